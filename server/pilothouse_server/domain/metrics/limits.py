"""Every limit of the live metrics, by name. What is over a limit is counted where the snapshot shows it."""

from __future__ import annotations

from dataclasses import dataclass, field

from pilothouse_server.domain.metrics.snapshot import Dimension

SECOND_US = 1_000_000
BUCKET_US = 5 * SECOND_US
BUCKETS = 720
"""One hour in memory."""

WINDOW_BUCKETS = (12, 60, 180, 720)
"""The sliding windows in buckets: 1, 5, 15 and 60 minutes."""

LATENESS_US = 120 * SECOND_US
"""What is later than this corrects states and totals, and no bucket."""

CLOSING_US = LATENESS_US + 30 * SECOND_US
"""A bucket is closed so long after its end: the lateness, and a grace for a reader that is behind."""

AHEAD_US = 60 * SECOND_US
"""What says that it happened later than this after its receipt is taken to have happened then."""

HORIZON_US = 15 * 60 * SECOND_US
"""What ended is remembered so long, so that its duplicates are recognised."""

AGENT_MEMORY_US = 24 * 3600 * SECOND_US
"""An agent is known so long after it was last heard."""


def _names() -> dict[Dimension, int]:
    return {
        Dimension.WORKFLOW_TYPE: 200,
        Dimension.STAGE: 200,
        Dimension.AGENT_TYPE: 200,
        Dimension.AGENT: 1_000,
    }


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept in memory."""

    names: dict[Dimension, int] = field(default_factory=_names)
    """Series in each dimension; other names are counted together."""
    in_flight: int = 200_000
    """Workflows that have not ended. Over it, the one that was silent longest is forgotten."""
    ended: int = 500_000
    """Ended workflows that are remembered."""
    parts: int = 20_000
    """Stages and tasks remembered of one workflow."""
    agents: int = 10_000
    """Agents remembered."""
    recent_ids: int = 4_096
    """Ids of events without an entity."""
