"""The configuration of the platform, with its versions."""

from __future__ import annotations

revision = "0018_config"
down_revision = "0017_emergency_stops"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up."""


def downgrade() -> None:
    """Down."""
