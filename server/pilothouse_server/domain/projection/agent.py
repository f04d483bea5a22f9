"""An agent as its own events and those of its tasks show it. Whether it is there depends on when one asks."""

from __future__ import annotations

import json
from enum import IntEnum
from typing import Any, Final

from pilothouse_server.domain.events import AgentLoad, Event, EventType
from pilothouse_server.domain.projection.spans import UNSTATED, Stated, to_json

OFFLINE_AFTER_US: Final = 30_000_000
"""Without a heartbeat for longer an agent is offline, unless configured."""


class AgentState(IntEnum):
    """Where an agent stands. The numbers are those of the contract."""

    ONLINE = 1
    BUSY = 2
    DRAINING = 3
    OFFLINE = 4


class AgentRecord:
    """One agent. `last_seen_us` and `register_us` are the server's clock, the rest is the agent's."""

    __slots__ = (
        "completed", "drain_us", "failed", "goodbye", "id", "last_seen_us", "load", "place", "present_us", "ready_us",
        "register_us", "running", "source", "timed", "type", "worked_us",
    )  # fmt: skip

    def __init__(self, agent_id: str) -> None:
        self.id = agent_id
        self.type: Stated = UNSTATED
        self.source: Stated = UNSTATED
        self.register_us = 0
        """When the server first heard of it; 0: never, only others named it."""
        self.last_seen_us = 0
        self.ready_us = -1
        """Its last registration."""
        self.present_us = -1
        """Its last sign of life that is no goodbye."""
        self.drain_us = -1
        self.goodbye: Stated = UNSTATED
        self.load: tuple[int, int, int] = (-1, 0, 0)
        """(when, active, capacity)."""
        self.place: tuple[int, str, str] = (-1, "", "")
        """(when, workflow, task) as it said itself."""
        self.completed = 0
        self.failed = 0
        self.running = 0
        self.timed = 0
        """Those of the completed tasks of which it is known how long they took, and …"""
        self.worked_us = 0
        """… how long that was in all."""

    def apply(self, event: Event) -> None:
        """Takes in an AGENT_ event."""
        occur_us, received = event.occur_us, event.receive_us
        self.register_us = min(self.register_us, received) if self.register_us else received
        self.last_seen_us = max(self.last_seen_us, received)
        self.name(event)
        match event.type:
            case EventType.AGENT_OFFLINE:
                self.goodbye = max(self.goodbye, (occur_us, event.message))
            case EventType.AGENT_DRAINING:
                self.drain_us = max(self.drain_us, occur_us)
                self.present_us = max(self.present_us, occur_us)
            case EventType.AGENT_REGISTERED:
                self.ready_us = max(self.ready_us, occur_us)
                self.present_us = max(self.present_us, occur_us)
            case _:
                self.present_us = max(self.present_us, occur_us)
        if event.load is not None:
            self.load = max(self.load, (occur_us, event.load.active, event.load.capacity))
        self.place = max(self.place, (occur_us, event.workflow_id, event.task_id))

    def name(self, event: Event) -> None:
        """Takes in what an event says of its kind and who reports it."""
        if event.agent_type:
            self.type = max(self.type, (event.occur_us, event.agent_type))
        if event.source:
            self.source = max(self.source, (event.occur_us, event.source))

    @property
    def known(self) -> bool:
        """Whether it was ever heard of itself."""
        return self.last_seen_us > 0

    @property
    def gone(self) -> bool:
        """Whether it said goodbye and nothing since."""
        return self.goodbye != UNSTATED and self.goodbye[0] >= self.present_us

    @property
    def draining(self) -> bool:
        """Whether it was told to finish, and did not register since."""
        return self.drain_us >= 0 and self.drain_us >= self.ready_us

    @property
    def reported_load(self) -> AgentLoad | None:
        """What it last said that it has to do; None when it never said."""
        return AgentLoad(self.load[1], self.load[2]) if self.load[0] >= 0 else None

    @property
    def mean_task_us(self) -> int | None:
        """How long its tasks that completed took, on average; None when that is not known of any."""
        return self.worked_us // self.timed if self.timed else None

    @property
    def working(self) -> bool:
        """Whether it has work: as it says, or else as its tasks show."""
        return self.load[1] > 0 if self.load[0] >= 0 else self.running > 0

    @property
    def full(self) -> bool:
        """Whether it has as much in hand as it can; False when it never said how much that is."""
        return 0 < self.load[2] <= self.load[1]

    def state(self, now_us: int, offline_after_us: int = OFFLINE_AFTER_US) -> AgentState:
        """Where it stands at `now_us` by the server's clock."""
        if self.gone or now_us - self.last_seen_us > offline_after_us:
            return AgentState.OFFLINE
        if self.draining:
            return AgentState.DRAINING
        return AgentState.BUSY if self.working else AgentState.ONLINE

    def offline_reason(self, now_us: int, offline_after_us: int = OFFLINE_AFTER_US) -> str:
        """Why it is offline, for people; "" when it is not."""
        if self.gone:
            return f"it said goodbye: {self.goodbye[1]}" if self.goodbye[1] else "it said goodbye"
        silent_us = now_us - self.last_seen_us
        if silent_us > offline_after_us:
            limit = offline_after_us / 1_000_000
            return f"no heartbeat for more than {limit:g} s"
        return ""

    def dump(self) -> str:
        """JSON; `loaded` reads it."""
        return to_json(
            [
                self.type, self.source, self.register_us, self.last_seen_us, self.ready_us, self.present_us,
                self.drain_us, self.goodbye, self.load, self.place, self.completed, self.failed, self.running,
                self.timed, self.worked_us,
            ]
        )  # fmt: skip

    @classmethod
    def loaded(cls, agent_id: str, dumped: str) -> AgentRecord:
        """What `dump` returned, again."""
        record = cls(agent_id)
        fields: list[Any] = json.loads(dumped)
        record.type, record.source = (*fields[0],), (*fields[1],)
        record.register_us, record.last_seen_us, record.ready_us, record.present_us = fields[2:6]
        record.drain_us, goodbye, load, place = fields[6:10]
        record.goodbye, record.load, record.place = (*goodbye,), (*load,), (*place,)
        record.completed, record.failed, record.running = fields[10:13]
        if len(fields) > 13:  # it was not kept always
            record.timed, record.worked_us = fields[13:]
        return record
