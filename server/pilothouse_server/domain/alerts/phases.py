"""By what a backtest judges when: buckets of 5 s as far as they are kept and fill the longest window, minutes before.

Both begin an hour before their first slot: windows are to be full, and a series is shown for an hour after its last
event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pilothouse_server.domain.alerts.replay import SHOWN_US
from pilothouse_server.domain.metrics.limits import BUCKET_US
from pilothouse_server.domain.metrics.snapshot import MINUTE_US


class Extent(NamedTuple):
    """What history holds of the fleet, in buckets and minutes since the epoch."""

    first_bucket: int
    last_bucket: int
    first_minute: int | None
    """None when no minute is closed yet."""
    minute_before: int | None
    """The last minute that ended before the first bucket."""

    @property
    def begin_us(self) -> int:
        """From when there is history."""
        first_us = self.first_bucket * BUCKET_US
        return (
            first_us if self.first_minute is None else min(first_us, self.first_minute * MINUTE_US)
        )

    @property
    def end_us(self) -> int:
        """Up to when it is whole: the newest bucket may still be running."""
        return self.last_bucket * BUCKET_US


class Phase(NamedTuple):
    """Pieces of one length, read in turn. A slot is the end of a piece; those after `after_us` are judged."""

    unit_us: int
    begin: int
    """The first piece, in units since the epoch."""
    end: int
    """The piece behind the last."""
    after_us: int

    @property
    def judged_us(self) -> tuple[int, int]:
        """The span that is judged; empty where the one is not before the other."""
        return max(self.after_us, self.begin * self.unit_us), self.end * self.unit_us

    @property
    def slots(self) -> int:
        """How many slots are judged."""
        begin_us, end_us = self.judged_us
        return max(0, (end_us - begin_us) // self.unit_us)


def phases(start_us: int, end_us: int, extent: Extent, longest_us: int) -> Sequence[Phase]:
    """How slots after `start_us` and up to `end_us` are judged, for a rule whose longest window is so long."""
    first_us = extent.first_bucket * BUCKET_US
    end_us = min(end_us, extent.end_us)
    border_us = min(max(_border_us(extent, first_us, longest_us), start_us), max(end_us, start_us))
    found: list[Phase] = []
    if start_us < border_us or start_us - SHOWN_US < first_us:
        begin = max(start_us - SHOWN_US, 0) // MINUTE_US
        found.append(Phase(MINUTE_US, begin, border_us // MINUTE_US, start_us))
    begin = max(border_us - SHOWN_US, first_us) // BUCKET_US
    found.append(Phase(BUCKET_US, begin, end_us // BUCKET_US, border_us))
    return [phase for phase in found if phase.begin < phase.end]


def _border_us(extent: Extent, first_us: int, longest_us: int) -> int:
    """From when on buckets fill the longest window: none of what is before the first of them reaches into it."""
    if extent.minute_before is None:
        return first_us
    before_us = min((extent.minute_before + 1) * MINUTE_US, first_us)
    full_us = max(first_us, before_us + longest_us)
    return -(-full_us // MINUTE_US) * MINUTE_US
