"""Emergency stops and what each acts on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pilothouse_server.adapters.sql.metadata import TEXT

revision = "0017_emergency_stops"
down_revision = "0016_batches"
branch_labels = None
depends_on = None

OPEN = sa.text("state IN (1, 2)")
DUE = sa.text("retry_us IS NOT NULL")
FLEET = sa.text("scope = 4")
DISOBEYING = sa.text("state IN (1, 4, 7)")


def upgrade() -> None:
    """Up."""
    _stops()
    _targets()
    op.create_table(
        "emergency_requests",
        sa.Column("request_id", TEXT, primary_key=True),
        sa.Column("stop_id", TEXT, nullable=False),
        sa.Column("asked", TEXT, nullable=False),
    )
    op.create_index("ix_emergency_requests_stop_id", "emergency_requests", ["stop_id"])
    op.create_index(
        "ix_commands_fleet",
        "commands",
        ["source", "target", "sequence"],
        sqlite_where=FLEET,
        postgresql_where=FLEET,
    )


def _stops() -> None:
    op.create_table(
        "emergency_stops",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("stage", sa.Integer, nullable=False),
        sa.Column("workflow_type", TEXT, nullable=False),
        sa.Column("agent_type", TEXT, nullable=False),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("start_us", sa.BigInteger, nullable=False),
        sa.Column("stage_us", sa.BigInteger, nullable=False),
        sa.Column("quiet_us", sa.BigInteger),
        sa.Column("told", sa.Boolean, nullable=False),
        sa.Column("released_by", TEXT, nullable=False),
        sa.Column("release_reason", TEXT, nullable=False),
        sa.Column("release_us", sa.BigInteger),
        sa.Column("end_us", sa.BigInteger),
        sa.Column("counts", sa.JSON, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.create_index("uq_emergency_stops_revision", "emergency_stops", ["revision"], unique=True)
    op.create_index("ix_emergency_stops_start_us_id", "emergency_stops", ["start_us", "id"])
    op.create_index(
        "ix_emergency_stops_open",
        "emergency_stops",
        ["start_us"],
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    )
    op.create_index("ix_emergency_stops_end_us", "emergency_stops", ["end_us"])


def _targets() -> None:
    op.create_table(
        "emergency_targets",
        sa.Column("stop_id", TEXT, primary_key=True),
        sa.Column("kind", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("since_us", sa.BigInteger, nullable=False),
        sa.Column("update_us", sa.BigInteger, nullable=False),
        sa.Column("command_id", TEXT, nullable=False),
        sa.Column("hold_id", TEXT, nullable=False),
        sa.Column("hold_sequence", sa.BigInteger, nullable=False),
        sa.Column("asks", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("asked_us", sa.BigInteger, nullable=False),
        sa.Column("retry_us", sa.BigInteger),
        sa.Column("error_code", TEXT),
        sa.Column("error_message", TEXT),
        sa.Column("error_retryable", sa.Boolean),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_emergency_targets_id_kind", "emergency_targets", ["id", "kind"])
    op.create_index(
        "ix_emergency_targets_due",
        "emergency_targets",
        ["stop_id", "retry_us"],
        sqlite_where=DUE,
        postgresql_where=DUE,
    )
    op.create_index(
        "ix_emergency_targets_disobeying",
        "emergency_targets",
        ["stop_id", "since_us"],
        sqlite_where=DISOBEYING,
        postgresql_where=DISOBEYING,
    )


def downgrade() -> None:
    """Down."""
    op.drop_index("ix_commands_fleet", "commands")
    op.drop_table("emergency_requests")
    op.drop_table("emergency_targets")
    op.drop_table("emergency_stops")
