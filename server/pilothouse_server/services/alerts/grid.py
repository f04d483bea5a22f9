"""The slots on which rules are judged, and what has to be made up for between two of them.

Slots follow the aggregator's grid, which counts on the monotonic clock. A wall clock that is put forward by more than a
second is logged by the clock and told of in `stepped_us`; here the times of what goes on are moved along, so that
nobody has waited through time that never was. The same when the grid of a new lead is behind that of the one before.
"""

from __future__ import annotations

from typing import NamedTuple

from pilothouse_server.ports import Clock

SECOND_US = 1_000_000


class Passage(NamedTuple):
    """What lies between the slot before and this one."""

    missed: int = 0
    """Whole seconds in which nothing was judged though the engine ran. They are not replayed."""
    down_us: int = 0
    """For how long no engine ran."""
    shift_us: int = 0
    """By how much times have to be moved."""


class Grid:
    """Where the evaluation is."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stepped_us = clock.stepped_us
        self.last_us: int | None = None
        """The newest slot, perhaps of the engine before this one."""
        self.since_us: int | None = None
        """Since when this engine hears the fleet; None before its first slot."""

    def reach(self, ts_us: int) -> Passage:
        """The slot `ts_us` begins."""
        before_us, self._stepped_us = self._stepped_us, self._clock.stepped_us
        last_us, self.last_us = self.last_us, ts_us
        first = self.since_us is None
        if self.since_us is None:
            self.since_us = ts_us
        if not last_us:
            return Passage()
        if ts_us < last_us:
            if not first:
                self.since_us += ts_us - last_us
            return Passage(shift_us=ts_us - last_us)
        if first:
            return Passage(down_us=ts_us - last_us)
        moved_us = self._stepped_us - before_us
        if moved_us:
            # In the time that the wall clock left out no agent could be heard.
            self.since_us = ts_us
        missed = (ts_us - last_us - moved_us) // SECOND_US - 1
        return Passage(missed=max(0, missed), shift_us=moved_us)
