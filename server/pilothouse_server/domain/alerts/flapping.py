"""When an instance begins and ends so often that each notice of it is noise: a pure fold of the changes of its firing
state.

The measure is Nagios' (https://assets.nagios.com/downloads/nagioscore/docs/nagioscore/4/en/flapping.html): of the last
21 slots the share in which the state changed, the newest slot weighing 1.25 and the oldest 0.75, linear between, so
that the weights are 1 on average. Flapping begins at a share of one half and ends below a quarter; the gap between the
two keeps the judgement itself from flapping.

Nagios' slots are checks. Here rules are judged on every tick, so a slot is `SLOT_US`: ten seconds are longer than the
longest tick and than a group's usual wait, so a slot with a change is one that somebody would have been told of, and 21
of them are three and a half minutes. An alert that changes every twenty seconds or faster flaps after about two
minutes, and one that then stays as it is has calmed down within three. What changes more slowly is for `for` and
`keep_firing_for`.
"""

from __future__ import annotations

from typing import NamedTuple

SLOTS = 21
SLOT_US = 10_000_000
BEGINS, ENDS = 0.5, 0.25
NEWEST, OLDEST, ONE = 50, 30, 40
"""Weights in fortieths, so that a share of exactly one half is one."""

_ALL = (1 << SLOTS) - 1
_WEIGHTS = tuple(NEWEST - (NEWEST - OLDEST) * age // (SLOTS - 1) for age in range(SLOTS))


class Flaps(NamedTuple):
    """In which of the last slots an instance changed."""

    slot: int
    """The newest slot that was looked at: microseconds divided by `SLOT_US`."""
    changed: int
    """One bit for each slot, the lowest for `slot`, the next for the one before it, and so on."""
    flapping: bool = False

    @property
    def share(self) -> float:
        """The weighted share of slots with a change, from 0 to 1."""
        weight = sum(each for age, each in enumerate(_WEIGHTS) if self.changed >> age & 1)
        return weight / (ONE * SLOTS)

    @property
    def quiet(self) -> bool:
        """Whether there is nothing left to remember."""
        return not self.changed and not self.flapping


def changed(flaps: Flaps | None, ts_us: int) -> Flaps:
    """After the firing state changed in the slot of `ts_us`."""
    now = passed(flaps, ts_us) if flaps is not None else Flaps(ts_us // SLOT_US, 0)
    return _judged(now._replace(changed=now.changed | 1))


def passed(flaps: Flaps, ts_us: int) -> Flaps:
    """When it is `ts_us`. The same object within a slot, and when time did not go on."""
    slot = ts_us // SLOT_US
    if slot <= flaps.slot:
        return flaps
    kept = flaps.changed << min(slot - flaps.slot, SLOTS) & _ALL
    return _judged(Flaps(slot, kept, flaps.flapping))


def shifted(flaps: Flaps, by_us: int) -> Flaps:
    """When the grid was moved."""
    return flaps._replace(slot=flaps.slot + by_us // SLOT_US)


def _judged(flaps: Flaps) -> Flaps:
    share = flaps.share
    flapping = share >= ENDS if flaps.flapping else share >= BEGINS
    return flaps if flapping == flaps.flapping else flaps._replace(flapping=flapping)
