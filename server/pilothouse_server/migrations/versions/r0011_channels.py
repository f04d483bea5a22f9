"""Where notifications go, whom to tell next, and what has to be heard from outside."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pilothouse_server.adapters.sql.metadata import TEXT

revision = "0011_channels"
down_revision = "0010_silences"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up."""
    _named("channels", sa.Column("sealed", TEXT, nullable=False))
    _named("escalations")
    op.create_table(
        "heartbeats",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("description", TEXT, nullable=False),
        sa.Column("interval_us", sa.BigInteger(), nullable=False),
        sa.Column("grace_us", sa.BigInteger(), nullable=False),
        sa.Column("severity", sa.Integer(), nullable=False),
        sa.Column("channels", sa.JSON(), nullable=False),
        sa.Column("create_us", sa.BigInteger(), nullable=False),
        sa.Column("last_us", sa.BigInteger(), nullable=True),
        sa.Column("due_us", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "heartbeat_clock",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("followed_us", sa.BigInteger(), nullable=False),
    )


def downgrade() -> None:
    """Down."""
    for table in ("heartbeat_clock", "heartbeats", "escalations", "channels"):
        op.drop_table(table)


def _named(table: str, *more: sa.Column[str]) -> None:
    op.create_table(
        table,
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        *more,
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("create_us", sa.BigInteger(), nullable=False),
        sa.Column("update_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_by", TEXT, nullable=False),
        sa.Column("request_id", TEXT, nullable=False),
        sa.Column("request_digest", TEXT, nullable=False),
    )
    op.create_index(f"uq_{table}_name", table, ["name"], unique=True)
    asked = sa.text("request_id <> ''")
    op.create_index(
        f"uq_{table}_request_id",
        table,
        ["request_id"],
        unique=True,
        sqlite_where=asked,
        postgresql_where=asked,
    )
