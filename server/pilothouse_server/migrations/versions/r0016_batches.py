"""One action on many workflows."""

from __future__ import annotations

revision = "0016_batches"
down_revision = "0015_audit"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up."""


def downgrade() -> None:
    """Down."""
