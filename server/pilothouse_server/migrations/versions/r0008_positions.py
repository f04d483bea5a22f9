"""A counter for the positions of events, which several may add to at once, and an index for each order of a list."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008_positions"
down_revision = "0007_retention"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_workflows_start_us_id": ("start_us", "id"),
    "ix_workflows_name_id": ("name", "id"),
    "ix_workflows_type_create_us_id": ("type", "create_us", "id"),
    "ix_workflows_source_revision": ("source", "revision"),
}


def upgrade() -> None:
    """Up."""
    op.execute(
        "INSERT INTO counters (name, value) SELECT 'position', coalesce(max(position), 0) FROM events"
    )
    for name, columns in INDEXES.items():
        op.create_index(name, "workflows", list(columns))
    latched = sa.text("latched")
    op.create_index(
        "ix_alerts_latched",
        "alerts",
        ["active_us"],
        sqlite_where=latched,
        postgresql_where=latched,
    )


def downgrade() -> None:
    """Down."""
    op.drop_index("ix_alerts_latched", table_name="alerts")
    for name in INDEXES:
        op.drop_index(name, table_name="workflows")
    op.execute("DELETE FROM counters WHERE name = 'position'")
