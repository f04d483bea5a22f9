"""What the traces of ended workflows were found to be, for many of them together."""

from __future__ import annotations

revision = "0023_trace_summaries"
down_revision = "0022_traces"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up."""


def downgrade() -> None:
    """Down."""
