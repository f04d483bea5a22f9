"""When agents were last heard at a slot of the past: the stored events of agents, folded as the live reader folds them.

Only what lies shortly before the first slot is read in advance, so who was silent for longer by then is not known of.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from pilothouse_server.domain.errors import InvalidArgument, LimitExceeded
from pilothouse_server.domain.metrics.agents import NEVER, Agents
from pilothouse_server.domain.metrics.limits import AHEAD_US, Limits
from pilothouse_server.domain.metrics.snapshot import MINUTE_US, AgentSeen

MOST_EVENTS: Final = 2_000_000
"""Events of agents that one backtest reads."""
POSITIONS_AT_ONCE: Final = 20_000
MARGIN_US: Final = 5 * MINUTE_US
"""Read before what is needed: positions are only nearly in the order of receipt."""


class AgentEvent(NamedTuple):
    """What an agent reported."""

    position: int
    type: int
    occur_us: int
    receive_us: int
    agent_id: str
    agent_type: str


class Reach(NamedTuple):
    """Which events are stored."""

    first: int
    """The position of the oldest."""
    last: int
    oldest_us: int
    """When the oldest was received."""


class AgentEvents(Protocol):
    """Stored events. Everything raises Unavailable."""

    async def reach(self) -> Reach | None:
        """None when no event is stored."""
        ...

    async def position_at(self, receive_us: int, reach: Reach) -> int:
        """The position of about the first event that was received then or later."""
        ...

    async def agent_events(self, after: int, until: int) -> Sequence[AgentEvent]:
        """What agents reported, from behind one position up to another, in order."""
        ...


class Sightings:
    """`read_until` a time, then ask for the slots up to it in turn."""

    def __init__(self, store: AgentEvents, reach: Reach, position: int, start_us: int) -> None:
        self._store = store
        self._reach = reach
        self._position = position
        self._start_us = start_us
        self._agents = Agents(Limits().agents)
        self._waiting: deque[AgentEvent] = deque()
        self._read = 0

    async def read_until(self, ts_us: int) -> None:
        """Everything that was received up to then. Raises LimitExceeded."""
        until_us = ts_us + MARGIN_US
        while self._position < self._reach.last:
            if self._waiting and self._waiting[-1].receive_us > until_us:
                return
            until = min(self._position + POSITIONS_AT_ONCE, self._reach.last)
            events = await self._store.agent_events(self._position, until)
            self._position = until
            self._waiting.extend(events)
            self._read += len(events)
            if self._read > MOST_EVENTS:
                raise LimitExceeded("events of agents in one backtest", MOST_EVENTS, self._read)

    def at(self, ts_us: int) -> Mapping[str, AgentSeen]:
        """Who was known at a slot."""
        waiting, agents = self._waiting, self._agents
        while waiting and waiting[0].receive_us <= ts_us:
            _, kind, occur_us, receive_us, agent_id, agent_type = waiting.popleft()
            occur_us = min(occur_us, receive_us + AHEAD_US)
            agents.report(agent_id, kind, occur_us, receive_us, agent_type, NEVER)
        agents.dirty.clear()
        agents.forget(ts_us)
        return agents.sightings(ts_us)

    def caveats(self) -> Sequence[str]:
        """What should be known."""
        said = [
            "agents that had been silent for longer than the threshold when it began are not looked at"
        ]
        if self._reach.oldest_us > self._start_us:
            said.append(
                "stored events begin within this time: agents' silence is judged from there"
            )
        return said


async def open_sightings(
    store: AgentEvents, start_us: int, end_us: int, before_us: int
) -> Sightings:
    """From the events that are stored. Raises InvalidArgument when none are of that time."""
    reach = await store.reach()
    if reach is None or reach.oldest_us >= end_us:
        told = "the silence of agents is judged by stored events, and there are none of this time"
        raise InvalidArgument("start_time", told)
    position = await store.position_at(start_us - before_us - MARGIN_US, reach)
    return Sightings(store, reach, position - 1, start_us)
