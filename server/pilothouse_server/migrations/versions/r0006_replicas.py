"""What replicas share: acts on alerts, on which replica an executor is, and clocks that outlive their keepers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pilothouse_server.adapters.sql.metadata import TEXT

revision = "0006_replicas"
down_revision = "0005_shards"
branch_labels = None
depends_on = None

BIG = sa.BigInteger()


def upgrade() -> None:
    """Up."""
    for name in ("replica", "stream"):
        op.add_column("executors", sa.Column(name, TEXT, nullable=False, server_default=""))
    op.create_table(
        "command_clock",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("swept_us", BIG, nullable=False),
    )
    op.add_column("alert_clock", sa.Column("batch", TEXT, nullable=False, server_default=""))
    op.add_column("alert_clock", sa.Column("meters", sa.JSON()))
    op.add_column("alert_clock", sa.Column("meters_us", BIG, nullable=False, server_default="0"))
    _create_alert_requests()


def _create_alert_requests() -> None:
    op.create_table(
        "alert_requests",
        sa.Column("id", TEXT, primary_key=True),
        *[sa.Column(name, sa.Integer(), nullable=False) for name in ("state", "verb")],
        *[
            sa.Column(name, TEXT, nullable=False)
            for name in ("alert_id", "actor", "comment", "etag")
        ],
        sa.Column("request_us", BIG, nullable=False),
        sa.Column("refusal", sa.JSON()),
    )
    op.create_index("ix_alert_requests_request_us", "alert_requests", ["request_us"])
    still_open = sa.text("state IN (1, 2)")
    op.create_index(
        "ix_alert_requests_open",
        "alert_requests",
        ["request_us"],
        sqlite_where=still_open,
        postgresql_where=still_open,
    )


def downgrade() -> None:
    """Down."""
    op.drop_table("alert_requests")
    op.drop_table("command_clock")
    for name in ("meters_us", "meters", "batch"):
        op.drop_column("alert_clock", name)
    for name in ("stream", "replica"):
        op.drop_column("executors", name)
