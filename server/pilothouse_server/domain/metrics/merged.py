"""Snapshots of all shards together, made of their parts.

Parts of the same running bucket give exactly what one reader of the whole log would show. A shard whose part is of an
earlier bucket, or that has none, is named among the reasons of health, and nothing of it is made to look younger than
it is: its windows count as far as they still reach what is asked for, and its agents are as it last knew them.

Names: every series that is shown by its name is complete, and a dimension adds up. So a name that some shard counts
among its others is counted among them whole; and when the shards together have more names than the limit of a
dimension, those shown before stay and the first in the alphabet follow, the others are counted together.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from pilothouse_server.domain.metrics.agents import Agents
from pilothouse_server.domain.metrics.health import DEGRADED_LAG_US, Behind, judge, seconds
from pilothouse_server.domain.metrics.limits import BUCKET_US, WINDOW_BUCKETS, Limits
from pilothouse_server.domain.metrics.part import AgentPart, Key, SeriesPart, ShardPart, agent_of
from pilothouse_server.domain.metrics.series import Cell
from pilothouse_server.domain.metrics.snapshot import (
    OTHER,
    AgentCounts,
    Dimension,
    FiringAlerts,
    Health,
    MetricsSnapshot,
    ReaderCounters,
    SeriesMetrics,
    Totals,
)
from pilothouse_server.domain.metrics.summary import summarize

_AT_ONCE = 64
"""Agents looked at between two chances for others to run."""

_ALL_WINDOWS = len(WINDOW_BUCKETS)


@dataclass(frozen=True, slots=True)
class Gathering:
    """What a merged snapshot needs to know beside the parts."""

    parts: Mapping[int, ShardPart]
    """By shard; of some there may be none yet."""
    shards: int
    now_us: int
    looked_since_us: int
    """Since when there could have been parts."""
    not_before_us: int
    """The slot of the snapshot before: time does not go back."""
    tick_interval_us: int
    firing: FiringAlerts
    offline_after_us: int = 30_000_000
    """An agent is offline when it was not heard for so long."""
    troubles: tuple[str, ...] = ()
    """What is wrong with the server itself."""

    @property
    def bucket(self) -> int:
        """The running bucket: the latest of any part."""
        return max((part.bucket for part in self.parts.values()), default=0)

    @property
    def behind(self) -> list[int]:
        """The shards without a part of the running bucket."""
        bucket, parts = self.bucket, self.parts
        return [k for k in range(self.shards) if k not in parts or parts[k].bucket < bucket]


class _Given(NamedTuple):
    """What one shard gives to a series."""

    part: SeriesPart
    first_window: int
    """The shortest window that it still reaches."""


class PartMerger:
    """Numbers the merged snapshots of one epoch."""

    def __init__(self, epoch: str, start_us: int, limits: Limits | None = None) -> None:
        self._epoch = epoch
        self._start_us = start_us
        self._limits = limits or Limits()
        self._sequence = 0
        self._names = _NameTable(self._limits.names)
        self._made: dict[Key, tuple[tuple[object, ...], SeriesMetrics | None]] = {}

    def steps(self, given: Gathering) -> Generator[None, None, MetricsSnapshot]:
        """Yields after each series that changed, and after some agents; returns the snapshot. There is at least one
        part."""
        parts = [given.parts[shard] for shard in sorted(given.parts)]
        as_of_us = max(given.not_before_us, *(part.moment.as_of_us for part in parts))
        since_us = min((part.since_us for part in parts if part.since_us), default=0)
        known = bool(since_us) and as_of_us - since_us >= BUCKET_US
        made: dict[Key, tuple[tuple[object, ...], SeriesMetrics | None]] = {}
        for key, contributions in self._contributions(parts, given.bucket).items():
            version = (contributions, known)
            before = self._made.get(key)
            if before is not None and before[0] == version:
                made[key] = before
            else:
                made[key] = (version, _summed(key, contributions, known=known))
                yield
        self._made = made
        agents = yield from self._agents(parts, given.bucket, as_of_us)
        return self._snapshot(given, parts, as_of_us, agents)

    def _contributions(
        self, parts: Sequence[ShardPart], bucket: int
    ) -> dict[Key, tuple[_Given, ...]]:
        homes = self._names.homes(parts)
        found: dict[Key, list[_Given]] = {(Dimension.FLEET, ""): []}
        for part in parts:
            first = _first_window(part.bucket, bucket)
            for key, series in part.series.items():
                home = homes.get(key, key)
                found.setdefault(home, []).append(_Given(series, first))
        return {key: tuple(given) for key, given in found.items()}

    def _agents(
        self, parts: Sequence[ShardPart], bucket: int, as_of_us: int
    ) -> Generator[None, None, Agents]:
        agents = Agents(self._limits.agents)
        for part in parts:
            # While nobody listened, no silence was heard.
            deaf_us = as_of_us - part.moment.as_of_us if part.bucket < bucket else 0
            for number, known in enumerate(part.agents.values()):
                _join(agents, known, deaf_us)
                if number % _AT_ONCE == 0:
                    yield
        agents.trim()
        return agents

    def _snapshot(
        self, given: Gathering, parts: Sequence[ShardPart], as_of_us: int, agents: Agents
    ) -> MetricsSnapshot:
        self._sequence += 1
        by_key = {
            key: shown for key in sorted(self._made) if (shown := self._made[key][1]) is not None
        }
        counts = agents.count(as_of_us, given.offline_after_us)
        behind = _behind(given)
        totals = Totals(*map(sum, zip(*(part.totals for part in parts), strict=True)))
        return MetricsSnapshot(
            sequence=self._sequence,
            epoch=self._epoch,
            as_of_us=as_of_us,
            cursor=",".join(f"{part.shard}:{part.moment.cursor}" for part in parts),
            reader_lag_us=_lag(parts, behind),
            health=self._health(given, by_key, counts, behind, totals),
            series=tuple(by_key.values()),
            totals=totals,
            agents=counts,
            reader=ReaderCounters(*map(sum, zip(*(part.reader for part in parts), strict=True))),
            tick_interval_us=given.tick_interval_us,
            start_us=self._start_us,
            events_per_second=None if given.behind else _rate(parts),
            by_key=MappingProxyType(by_key),
            agents_seen=MappingProxyType(agents.sightings(as_of_us)),
            caught_up=not given.behind and all(part.moment.caught_up for part in parts),
        )

    def _health(
        self,
        given: Gathering,
        by_key: Mapping[Key, SeriesMetrics],
        agents: AgentCounts,
        behind: Sequence[Behind],
        totals: Totals,
    ) -> Health:
        return judge(
            has_data=totals.events > 0,
            fleet=by_key[Dimension.FLEET, ""],
            agents=agents,
            firing=given.firing,
            reader_lag_us=None,
            shards=behind,
            troubles=given.troubles,
        )


def _summed(key: Key, contributions: Sequence[_Given], *, known: bool) -> SeriesMetrics | None:
    """The series of all shards; None when there is nothing to show."""
    live = [sum(states) for states in zip(*(g.part.live for g in contributions), strict=True)]
    windows = tuple(Cell() for _ in WINDOW_BUCKETS)
    for given in contributions:
        for number in range(given.first_window, _ALL_WINDOWS):
            windows[number].merge_packed(given.part.windows[number])
    if key[1] and not any(live) and windows[-1].blank:
        return None
    return summarize(*key, live or (0,) * 5, windows, known=known)


def _first_window(mine: int, running: int) -> int:
    """The shortest window that reaches back to bucket `mine`."""
    return sum(mine <= running - length for length in WINDOW_BUCKETS)


def _join(agents: Agents, known: AgentPart, deaf_us: int) -> None:
    if known.working:
        agents.work(known.agent_id, known.working)
    agent = agent_of(known)
    if agent.seen >= 0:
        agent.seen += deaf_us
        agents.join(agent)


def _behind(given: Gathering) -> list[Behind]:
    """Who is behind and by how much, in words."""
    late = set(given.behind)
    found: list[Behind] = []
    for shard in range(given.shards):
        part = given.parts.get(shard)
        if part is None:
            waited_us = given.now_us - given.looked_since_us
            found.append(Behind(waited_us, f"shard {shard} of the log is read by nobody yet"))
            continue
        moment = part.moment
        lag_us = moment.reader_lag_us or 0
        silent_us = given.now_us - moment.as_of_us
        if shard in late and moment.caught_up:
            told = f"nothing was heard of shard {shard} of the log for {seconds(silent_us)}"
            found.append(Behind(silent_us, told))
        elif shard in late or lag_us > DEGRADED_LAG_US:
            lag_us = max(lag_us, silent_us if shard in late else 0)
            told = f"the reader of shard {shard} is {seconds(lag_us)} behind the log"
            found.append(Behind(lag_us, told))
    return found


def _lag(parts: Sequence[ShardPart], behind: Sequence[Behind]) -> int | None:
    """That of the shard which is furthest behind; None while nothing is known."""
    lags = [lag for part in parts if (lag := part.moment.reader_lag_us) is not None]
    return max([*lags, *(shard.lag_us for shard in behind)], default=None)


def _rate(parts: Sequence[ShardPart]) -> float | None:
    rates = [part.moment.events_per_second for part in parts]
    known = [rate for rate in rates if rate is not None]
    return sum(known) if len(known) == len(rates) else None


class _NameTable:
    """Which names are shown, and which are counted together."""

    def __init__(self, limits: Mapping[Dimension, int]) -> None:
        self._limits = limits
        self._shown: dict[Dimension, set[str]] = {dimension: set() for dimension in limits}
        self._seen: list[tuple[object, ...]] = []
        self._homes: dict[Key, Key] = {}

    def homes(self, parts: Sequence[ShardPart]) -> Mapping[Key, Key]:
        """Where each name that is not shown is counted."""
        seen: list[tuple[object, ...]] = [
            (part.shard, tuple(part.series), dict(part.names)) for part in parts
        ]
        if seen != self._seen:
            self._seen = seen
            self._homes = {}
            for dimension in self._limits:
                self._divide(dimension, parts)
        return self._homes

    def _divide(self, dimension: Dimension, parts: Sequence[ShardPart]) -> None:
        having = [
            {name for d, name in part.series if d == dimension and name != OTHER} for part in parts
        ]
        everyone: set[str] = set[str]().union(*having)
        complete = set(everyone)
        for part, mine in zip(parts, having, strict=True):
            names = part.names.get(dimension)
            if names is not None:
                complete.difference_update(set(names.refused) - mine)
                if names.all_unknown:
                    complete &= mine
        limit = self._limits[dimension]
        shown = set(sorted(self._shown[dimension] & complete)[:limit])
        shown.update(sorted(complete - shown)[: limit - len(shown)])
        self._shown[dimension] = shown
        for name in everyone - shown:
            self._homes[dimension, name] = (dimension, OTHER)
