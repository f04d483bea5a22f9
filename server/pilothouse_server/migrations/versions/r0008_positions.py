"""A counter for the positions of events, which several may add to at once."""

from __future__ import annotations

from alembic import op

revision = "0008_positions"
down_revision = "0007_retention"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up."""
    op.execute(
        "INSERT INTO counters (name, value) SELECT 'position', coalesce(max(position), 0) FROM events"
    )


def downgrade() -> None:
    """Down."""
    op.execute("DELETE FROM counters WHERE name = 'position'")
