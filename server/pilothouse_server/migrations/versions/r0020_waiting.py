"""Queues of engines, and what says why a workflow waits."""

from __future__ import annotations

revision = "0020_waiting"
down_revision = "0019_budgets"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up."""


def downgrade() -> None:
    """Down."""
