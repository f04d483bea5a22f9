"""When agents were last heard and what they do. Facts only: whether an agent is online depends on the moment at
which one asks.
"""

from __future__ import annotations

from typing import Any

from pilothouse_server.domain.events import EventType
from pilothouse_server.domain.metrics.limits import AGENT_MEMORY_US
from pilothouse_server.domain.metrics.snapshot import AgentCounts, AgentSeen

NEVER = -1


class Agent:
    """One agent. Of each kind of report the latest counts, by the agent's clock; it is seen when the server
    received something.
    """

    __slots__ = (
        "active", "active_key", "alive", "draining", "id", "left", "registered", "seen", "type",
        "type_key",
    )  # fmt: skip

    def __init__(self, agent_id: str) -> None:
        self.id = agent_id
        self.type = ""
        self.type_key = NEVER
        self.seen = NEVER
        self.alive = NEVER
        self.registered = NEVER
        self.draining = NEVER
        self.left = NEVER
        self.active = 0
        self.active_key = NEVER

    def report(
        self, event_type: int, occur: int, receive: int, agent_type: str, active: int
    ) -> bool:
        """Takes one report. Returns whether it changed anything."""
        before = (self.seen, self.alive, self.registered, self.draining, self.left)
        self.seen = max(self.seen, receive)
        if event_type == EventType.AGENT_OFFLINE:
            self.left = max(self.left, occur)
        else:
            self.alive = max(self.alive, occur)
            if event_type == EventType.AGENT_REGISTERED:
                self.registered = max(self.registered, occur)
            elif event_type == EventType.AGENT_DRAINING:
                self.draining = max(self.draining, occur)
        if agent_type and (occur, agent_type) > (self.type_key, self.type):
            self.type_key, self.type = occur, agent_type
        if active >= 0 and (occur, active) > (self.active_key, self.active):
            self.active_key, self.active = occur, active
        return before != (self.seen, self.alive, self.registered, self.draining, self.left)

    @property
    def deregistered(self) -> bool:
        """Whether it said goodbye and nothing after."""
        return self.left >= self.alive

    def join(self, other: Agent) -> None:
        """Takes over what another reader knows of the same agent."""
        self.seen = max(self.seen, other.seen)
        self.alive = max(self.alive, other.alive)
        self.registered = max(self.registered, other.registered)
        self.draining = max(self.draining, other.draining)
        self.left = max(self.left, other.left)
        self.type_key, self.type = max((self.type_key, self.type), (other.type_key, other.type))
        self.active_key, self.active = max(
            (self.active_key, self.active), (other.active_key, other.active)
        )

    def dump(self) -> list[Any]:
        """For JSON; `load` reads it."""
        return [getattr(self, name) for name in self.__slots__]

    @classmethod
    def load(cls, dumped: list[Any]) -> Agent:
        """The agent of which `dump` made this."""
        agent = cls("")
        for name, value in zip(cls.__slots__, dumped, strict=True):
            setattr(agent, name, value)
        return agent


class Agents:
    """All agents seen within 24 h, and how many tasks each has in hand by its tasks' reports."""

    def __init__(self, limit: int) -> None:
        self.by_id: dict[str, Agent] = {}
        self.working: dict[str, int] = {}
        self.evicted = 0
        self.dirty: set[str] = set()
        """Ids of those whose facts changed, or that were forgotten, since the last checkpoint."""
        self.changed: set[str] | None = None
        """Ids of those of which anything changed since whoever wants to know looked; None while nobody does."""
        self._limit = limit

    def report(
        self, agent_id: str, event_type: int, occur: int, receive: int, agent_type: str, active: int
    ) -> bool:
        """Takes one report. Returns whether it changed anything."""
        agent = self.by_id.get(agent_id)
        if agent is None:
            if len(self.by_id) >= self._limit:
                self._evict()
            agent = self.by_id[agent_id] = Agent(agent_id)
        self._note(agent_id)
        return agent.report(event_type, occur, receive, agent_type, active)

    def join(self, other: Agent) -> None:
        """Takes over what another reader knows of an agent."""
        self.by_id.setdefault(other.id, Agent(other.id)).join(other)
        self._note(other.id)

    def _note(self, agent_id: str) -> None:
        self.dirty.add(agent_id)
        if self.changed is not None:
            self.changed.add(agent_id)

    def _evict(self) -> None:
        oldest = min(self.by_id.values(), key=lambda agent: (agent.seen, agent.id))
        del self.by_id[oldest.id]
        self._note(oldest.id)
        self.evicted += 1

    def trim(self) -> None:
        """Forgets those that were silent longest, as many as there are over the limit."""
        over = len(self.by_id) - self._limit
        if over > 0:
            oldest = sorted(self.by_id.values(), key=lambda agent: (agent.seen, agent.id))
            for agent in oldest[:over]:
                del self.by_id[agent.id]
                self._note(agent.id)
            self.evicted += over

    def work(self, agent_id: str, change: int) -> None:
        """A task came to an agent's hand (1) or left it (-1)."""
        if agent_id:
            tasks = self.working.get(agent_id, 0) + change
            if tasks:
                self.working[agent_id] = tasks
            else:
                self.working.pop(agent_id, None)
            if self.changed is not None:
                self.changed.add(agent_id)

    def forget(self, clock_us: int) -> None:
        """Drops the agents that were not heard for 24 h."""
        horizon = clock_us - AGENT_MEMORY_US
        for agent_id in [agent.id for agent in self.by_id.values() if agent.seen < horizon]:
            del self.by_id[agent_id]
            self._note(agent_id)

    def count(self, now_us: int, limit_us: int) -> AgentCounts:
        """How many agents there are at a moment, silent for at most `limit_us` if online."""
        online = busy = draining = known = seen = 0
        for agent in self.by_id.values():
            age = now_us - agent.seen
            if age > AGENT_MEMORY_US:
                continue
            seen += 1
            if agent.left >= agent.alive:
                continue
            known += 1
            if age <= limit_us:
                online += 1
                busy += agent.active > 0 or agent.id in self.working
                draining += agent.draining >= max(agent.registered, 0)
        return AgentCounts(online, busy, draining, known, seen)

    def sightings(self, now_us: int) -> dict[str, AgentSeen]:
        """Who was heard within 24 h, and when."""
        horizon = now_us - AGENT_MEMORY_US
        return {
            agent.id: AgentSeen(agent.id, agent.type, agent.seen, agent.left >= agent.alive)
            for agent in self.by_id.values()
            if agent.seen >= horizon
        }
