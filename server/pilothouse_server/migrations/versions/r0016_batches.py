"""One action on many workflows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pilothouse_server.adapters.sql.metadata import TEXT

revision = "0016_batches"
down_revision = "0015_audit"
branch_labels = None
depends_on = None

PENDING = sa.text("state IN (1, 2)")
OPEN = sa.text("state IN (1, 2, 3)")
BATCHED = sa.text("batch_id <> ''")


def upgrade() -> None:
    """Up."""
    op.create_table(
        "batches",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("action", sa.Integer, nullable=False),
        sa.Column("filter", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("started_by", TEXT, nullable=False),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("rate", sa.Float, nullable=False),
        sa.Column("preview", sa.JSON, nullable=False),
        sa.Column("create_us", sa.BigInteger, nullable=False),
        sa.Column("expire_us", sa.BigInteger, nullable=False),
        sa.Column("start_us", sa.BigInteger),
        sa.Column("end_us", sa.BigInteger),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.Column("refused", sa.Integer, nullable=False),
        sa.Column("abandoned", sa.Boolean, nullable=False),
        sa.Column("counts", sa.JSON(none_as_null=True)),
    )
    op.create_index("uq_batches_sequence", "batches", ["sequence"], unique=True)
    op.create_index(
        "ix_batches_open", "batches", ["sequence"], sqlite_where=OPEN, postgresql_where=OPEN
    )
    op.create_index("ix_batches_end_us", "batches", ["end_us"])
    _items()
    op.create_table(
        "batch_requests",
        sa.Column("request_id", TEXT, primary_key=True),
        sa.Column("batch_id", TEXT, nullable=False),
        sa.Column("asked", TEXT, nullable=False),
    )
    op.create_index("ix_batch_requests_batch_id", "batch_requests", ["batch_id"])
    op.create_index(
        "ix_commands_batch_id_state",
        "commands",
        ["batch_id", "state"],
        sqlite_where=BATCHED,
        postgresql_where=BATCHED,
    )
    op.create_index(
        "ix_commands_pending_source",
        "commands",
        ["source"],
        sqlite_where=PENDING,
        postgresql_where=PENDING,
    )


def _items() -> None:
    op.create_table(
        "batch_items",
        sa.Column("batch_id", TEXT, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("workflow_id", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("command_id", TEXT, nullable=False),
        sa.Column("error_code", TEXT),
        sa.Column("error_message", TEXT),
        sa.Column("error_retryable", sa.Boolean),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Down."""
    op.drop_index("ix_commands_pending_source", "commands")
    op.drop_index("ix_commands_batch_id_state", "commands")
    op.drop_table("batch_requests")
    op.drop_table("batch_items")
    op.drop_table("batches")
