"""Traces of OpenTelemetry that belong to no workflow."""

from __future__ import annotations

revision = "0022_traces"
down_revision = "0021_event_search"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up."""


def downgrade() -> None:
    """Down."""
