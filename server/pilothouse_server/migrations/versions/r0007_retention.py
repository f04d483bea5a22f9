"""What retention needs to find what is old."""

from __future__ import annotations

revision = "0007_retention"
down_revision = "0006_replicas"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up."""


def downgrade() -> None:
    """Down."""
