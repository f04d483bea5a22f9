"""What the reader of one shard contributes to the snapshot of all: sums that can be added, not percentiles.

A part is made of one moment, with the sums of its four windows up to the running bucket. Parts of the same running
bucket add up to exactly what one reader of everything would show. Whatever did not change since the part before is
the same object again, so that it is neither encoded nor added anew.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pilothouse_server.domain.metrics.agents import Agent
from pilothouse_server.domain.metrics.fold import MetricsState
from pilothouse_server.domain.metrics.limits import BUCKET_US, CLOSING_US
from pilothouse_server.domain.metrics.names import REFUSED_REMEMBERED
from pilothouse_server.domain.metrics.series import EMPTY, PackedCell
from pilothouse_server.domain.metrics.snapshot import Dimension, ReaderCounters, Totals

Key = tuple[Dimension, str]


class SeriesPart(NamedTuple):
    """One series of one shard: its states now, and the sums of its windows, shortest first. Sums may be negative: after
    a change of the number of shards, what one counted another may take back."""

    dimension: Dimension
    name: str
    live: tuple[int, ...]
    windows: tuple[PackedCell, ...]


class AgentPart(NamedTuple):
    """What one shard knows of one agent: facts as in `agents.Agent`, and the tasks it has in hand there."""

    agent_id: str
    type: str
    type_key: int
    seen: int
    alive: int
    registered: int
    draining: int
    left: int
    active: int
    active_key: int
    working: int


class Names(NamedTuple):
    """The names of one dimension that a shard counts among its others."""

    refused: tuple[str, ...]
    all_unknown: bool
    """There are too many to be listed: any name of which the shard has no series may be among them."""


@dataclass(frozen=True, slots=True)
class PartMoment:
    """What a part needs to know beside the state."""

    as_of_us: int
    cursor: str
    reader_lag_us: int | None
    caught_up: bool
    tick_interval_us: int
    events_per_second: float | None


@dataclass(frozen=True, slots=True)
class ShardPart:
    """Everything that one shard contributes, at one moment."""

    shard: int
    sequence: int
    start_us: int
    """When the process that made it started."""
    moment: PartMoment
    since_us: int
    totals: Totals
    reader: ReaderCounters
    names: Mapping[Dimension, Names]
    series: Mapping[Key, SeriesPart]
    agents: Mapping[str, AgentPart]

    @property
    def bucket(self) -> int:
        """The running bucket."""
        return self.moment.as_of_us // BUCKET_US


_Version = tuple[object, ...]


class PartMaker:
    """Numbers the parts of one tenure of a shard. A state has one maker at a time: it takes note of what changed."""

    def __init__(self, shard: int, start_us: int) -> None:
        self._shard = shard
        self._start_us = start_us
        self._sequence = 0
        self._series: dict[Key, tuple[_Version, SeriesPart]] = {}
        self._agents: dict[str, AgentPart] = {}
        self._looked = False

    def steps(self, state: MetricsState, moment: PartMoment) -> Generator[None, None, ShardPart]:
        """Yields after each series and returns the part. The state must not change until it is through."""
        now = moment.as_of_us // BUCKET_US
        closed = (moment.as_of_us - CLOSING_US) // BUCKET_US
        state.series.at = max(state.series.at, now)
        state.ledger.closed = max(state.ledger.closed, closed)
        made: dict[Key, tuple[_Version, SeriesPart]] = {}
        for series in state.series:
            series.settle(now)
            series.close(closed)
            key = (series.dimension, series.name)
            version = (series, series.version, tuple(series.live))
            before = self._series.get(key)
            if before is not None and before[0] == version:
                made[key] = before
            else:
                windows = tuple(window.pack() for window in series.windows)
                made[key] = (version, SeriesPart(*key, tuple(series.live), windows))
            yield
        self._series = made
        yield from self._look_at_agents(state)
        return self._part(state, moment)

    def _look_at_agents(self, state: MetricsState) -> Generator[None, None, None]:
        """Looks again at the agents of which something changed; at all of them the first time."""
        agents = state.agents
        if agents.changed is None or not self._looked:
            self._looked = True
            agents.changed = {*agents.by_id, *agents.working}
        for agent_id in agents.changed:
            agent = agents.by_id.get(agent_id)
            working = agents.working.get(agent_id, 0)
            if agent is None and not working:
                self._agents.pop(agent_id, None)
            else:
                self._agents[agent_id] = _agent_part(agent or Agent(agent_id), working)
            yield
        agents.changed.clear()

    def _part(self, state: MetricsState, moment: PartMoment) -> ShardPart:
        self._sequence += 1
        return ShardPart(
            shard=self._shard,
            sequence=self._sequence,
            start_us=self._start_us,
            moment=moment,
            since_us=state.since_us,
            totals=state.totals(),
            reader=state.counters(),
            names={
                Dimension(number): Names(tuple(names), len(names) >= REFUSED_REMEMBERED)
                for number, names in state.series.refused().items()
            },
            series={
                key: part
                for key, (_, part) in self._series.items()
                if not key[1] or any(part.live) or any(cell != EMPTY for cell in part.windows)
            },
            agents=dict(self._agents),
        )


def _agent_part(agent: Agent, working: int) -> AgentPart:
    return AgentPart(
        agent.id, agent.type, agent.type_key, agent.seen, agent.alive, agent.registered,
        agent.draining, agent.left, agent.active, agent.active_key, working,
    )  # fmt: skip


def agent_of(part: AgentPart) -> Agent:
    """The agent as this shard knows it."""
    agent = Agent(part.agent_id)
    agent.type, agent.type_key = part.type, part.type_key
    agent.seen, agent.alive, agent.registered = part.seen, part.alive, part.registered
    agent.draining, agent.left = part.draining, part.left
    agent.active, agent.active_key = part.active, part.active_key
    return agent
