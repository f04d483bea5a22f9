"""What several replicas share: acts on alerts, and which replica an executor is connected to."""

from __future__ import annotations

revision = "0006_replicas"
down_revision = "0005_shards"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up."""


def downgrade() -> None:
    """Down."""
