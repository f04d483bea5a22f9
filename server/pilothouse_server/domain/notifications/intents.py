"""That something happened to an alert which somebody may want to know: stored in the transaction of what happened."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class IntentKind(IntEnum):
    """What happened."""

    FIRING = 1
    RESOLVED = 2
    ACKNOWLEDGED = 3
    UNACKNOWLEDGED = 4
    SUPPRESSION = 5
    """It began or ended to be kept quiet."""
    FLAPPING = 6
    """It begins to flap: told once."""
    FLAPPED = 7
    """It flaps no more: told once, with how it stands."""


class Intent(NamedTuple):
    """One of these, in the order in which they happened."""

    alert_id: str
    kind: IntentKind
    occur_us: int
