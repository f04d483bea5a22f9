"""Leases: who does the work that only one may do."""

from __future__ import annotations

revision = "0004_leases"
down_revision = "0003_control"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up."""


def downgrade() -> None:
    """Down."""
