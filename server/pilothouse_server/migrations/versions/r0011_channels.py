"""channels."""

from __future__ import annotations

revision = "0011_channels"
down_revision = "0010_silences"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up."""


def downgrade() -> None:
    """Down."""
