"""Traces of OpenTelemetry that belong to no workflow, and how long workflows took.

Workflows that are there already get their duration here. No traces are made of stored events: spans are events only
since this release.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pilothouse_server.adapters.sql.metadata import TEXT

revision = "0022_traces"
down_revision = "0021_event_search"
branch_labels = None
depends_on = None

ALONE = sa.text("workflow_id = ''")
BEGUN = ("id", "workflow_id", "service", "name", "named_by")
TIMES = ("start_us", "last_us", "duration_us")
COUNTED = ("ended", "failed", "position")
INDEXES = (("start_us",), ("duration_us",), ("state", "start_us"), ("service", "start_us"))


def upgrade() -> None:
    """Up."""
    op.create_table(
        "traces",
        *(sa.Column(name, TEXT, nullable=False) for name in BEGUN),
        sa.Column("state", sa.Integer, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=name == "duration_us") for name in TIMES),
        sa.Column("open", TEXT, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in COUNTED),
        sa.PrimaryKeyConstraint("id"),
    )
    for columns in INDEXES:
        op.create_index(
            f"ix_traces_{'_'.join(columns)}_id",
            "traces",
            [*columns, "id"],
            sqlite_where=ALONE,
            postgresql_where=ALONE,
        )
    op.create_index("ix_traces_position", "traces", ["position"])
    op.add_column("workflows", sa.Column("duration_us", sa.BigInteger))
    op.execute(
        "UPDATE workflows SET duration_us = CASE WHEN end_us > create_us THEN end_us - create_us ELSE 0 END"
        " WHERE end_us IS NOT NULL"
    )
    op.create_index("ix_workflows_duration_us_id", "workflows", ["duration_us", "id"])


def downgrade() -> None:
    """Down."""
    op.drop_index("ix_workflows_duration_us_id", "workflows")
    op.drop_column("workflows", "duration_us")
    op.drop_table("traces")
