"""The metrics of each shard of the log."""

from __future__ import annotations

revision = "0005_shards"
down_revision = "0004_leases"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up."""


def downgrade() -> None:
    """Down."""
