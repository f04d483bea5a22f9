"""notifications."""

from __future__ import annotations

revision = "0012_notifications"
down_revision = "0011_channels"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up."""


def downgrade() -> None:
    """Down."""
