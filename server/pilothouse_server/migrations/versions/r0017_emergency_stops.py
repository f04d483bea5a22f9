"""Emergency stops and what each acts on."""

from __future__ import annotations

revision = "0017_emergency_stops"
down_revision = "0016_batches"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up."""


def downgrade() -> None:
    """Down."""
