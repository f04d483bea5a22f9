"""The series by dimension and name, with a limit on names: what is over it is counted in one series, `__other__`.

A name that was refused stays refused until `__other__` has been silent for an hour, so that what was counted
there is taken back from there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from pilothouse_server.domain.metrics.limits import BUCKETS, Limits
from pilothouse_server.domain.metrics.series import PackedCell, Series
from pilothouse_server.domain.metrics.snapshot import OTHER, Dimension

REFUSED_REMEMBERED = 2_000
"""Refused names remembered in a dimension. When there are more, no new name is admitted until `__other__` has
been silent.
"""


class SeriesTable:
    """All series."""

    def __init__(self, limits: Limits) -> None:
        self.at = 0
        """The running bucket, for series that are made now."""
        self.unrolled = sys.maxsize
        """The first bucket that is not rolled up yet, when somebody keeps history: a series that has something in
        it or later is not forgotten.
        """
        self.other_names = 0
        self.fleet = Series(Dimension.FLEET, "", 0)
        self._limits = limits.names
        self._named: dict[Dimension, dict[str, Series]] = {d: {} for d in limits.names}
        self._refused: dict[Dimension, dict[str, None]] = {d: {} for d in limits.names}
        self.types = self._named[Dimension.WORKFLOW_TYPE]
        self.stages = self._named[Dimension.STAGE]
        self.agent_types = self._named[Dimension.AGENT_TYPE]
        self.agents = self._named[Dimension.AGENT]

    def admit(self, dimension: Dimension, name: str) -> Series:
        """The series of a name, made when there is room, else that of all others."""
        named = self._named[dimension]
        series = named.get(name)
        if series is not None:
            return series
        if name != OTHER and (self._is_refused(dimension, name) or self._is_full(dimension)):
            self._refuse(dimension, name)
            name = OTHER
            series = named.get(name)
            if series is not None:
                return series
        series = named[name] = Series(dimension, name, self.at)
        return series

    def _is_full(self, dimension: Dimension) -> bool:
        named = self._named[dimension]
        return len(named) - (OTHER in named) >= self._limits[dimension]

    def _is_refused(self, dimension: Dimension, name: str) -> bool:
        refused = self._refused[dimension]
        return name in refused or len(refused) >= REFUSED_REMEMBERED

    def _refuse(self, dimension: Dimension, name: str) -> None:
        refused = self._refused[dimension]
        if name not in refused:
            self.other_names += 1
            if len(refused) < REFUSED_REMEMBERED:
                refused[name] = None

    def find(self, dimension: Dimension, name: str) -> Series | None:
        """The series, when there is one by this very name."""
        return self.fleet if dimension == Dimension.FLEET else self._named[dimension].get(name)

    def __iter__(self) -> Iterator[Series]:
        yield self.fleet
        for named in self._named.values():
            yield from named.values()

    def drop_idle(self, at: int) -> None:
        """Forgets the series in which nothing happened in the hour before bucket `at`: their names make room."""
        since = min(at - BUCKETS + 1, self.unrolled)
        for dimension, named in self._named.items():
            for name in [name for name, series in named.items() if series.idle(since)]:
                del named[name]
                if name == OTHER:
                    self._refused[dimension].clear()

    def refused(self) -> dict[int, list[str]]:
        """The refused names by dimension, for the checkpoint."""
        return {int(d): list(names) for d, names in self._refused.items() if names}

    def restore(
        self,
        refused: dict[int, list[str]],
        buckets: dict[tuple[Dimension, str], dict[int, PackedCell]],
        at: int,
    ) -> None:
        """Takes over what a checkpoint stored."""
        self.at = at
        for number, names in refused.items():
            self._refused[Dimension(number)] = dict.fromkeys(names)
        self.fleet.load(buckets.pop((Dimension.FLEET, ""), {}), at)
        for (dimension, name), cells in buckets.items():
            if any(index > at - BUCKETS for index in cells):
                series = self._named[dimension][name] = Series(dimension, name, at)
                series.load(cells, at)
