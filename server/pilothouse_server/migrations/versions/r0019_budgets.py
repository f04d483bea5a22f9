"""Budgets, and what was used."""

from __future__ import annotations

revision = "0019_budgets"
down_revision = "0018_config"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up."""


def downgrade() -> None:
    """Down."""
