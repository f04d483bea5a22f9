"""What finds events among millions: counts of each minute and hour, and the words of messages."""

from __future__ import annotations

revision = "0021_event_search"
down_revision = "0020_waiting"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up."""


def downgrade() -> None:
    """Down."""
