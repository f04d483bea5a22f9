"""silences."""

from __future__ import annotations

revision = "0010_silences"
down_revision = "0009_rules"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up."""


def downgrade() -> None:
    """Down."""
