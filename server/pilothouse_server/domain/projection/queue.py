"""A queue of an engine as the engine's reports show it: whether work is taken from it, and since when.

Engines say it again at every start, and reports may come in any order, so the newest of them are kept and the state is
read off them; what is older is folded into where they begin.
"""

from __future__ import annotations

import json
from enum import IntEnum
from typing import Any, Final, NamedTuple

from pilothouse_server.domain.events import Event, EventType
from pilothouse_server.domain.projection.spans import to_json

REPORTS_KEPT: Final = 8
"""Reports of one queue that may still be overtaken by older ones."""


class QueueState(IntEnum):
    """Whether work is taken. The numbers are those of the contract."""

    ACTIVE = 1
    PAUSED = 2


class QueueName(NamedTuple):
    """Which queue. An empty `name` is all that the engine starts, or all of one type."""

    source: str
    name: str = ""
    workflow_type: str = ""
    agent_type: str = ""


def queue_name(event: Event) -> QueueName:
    """What a QUEUE_ event is about. Types narrow only what has no name."""
    if event.queue:
        return QueueName(event.source, event.queue)
    return QueueName(event.source, "", event.workflow_type, event.agent_type)


_STATES = {
    EventType.QUEUE_ACTIVE: QueueState.ACTIVE,
    EventType.QUEUE_PAUSED: QueueState.PAUSED,
}

_Report = tuple[int, int, str]
"""(when, state, event id): of two of one time PAUSED is believed, then the greater id."""


class QueueRecord:
    """One queue. Times are the engine's, but for `heard_us`."""

    __slots__ = ("before", "heard_us", "name", "reports")

    def __init__(self, name: QueueName) -> None:
        self.name = name
        self.heard_us = 0
        """When the server last heard of it."""
        self.before: tuple[int, int] = (0, 0)
        """(since, state) before the reports; state 0: nothing was known."""
        self.reports: list[_Report] = []
        """In their order."""

    def apply(self, event: Event) -> None:
        """Takes in a QUEUE_ event."""
        self.heard_us = max(self.heard_us, event.receive_us)
        report = (event.occur_us, int(_STATES[EventType(event.type)]), event.id)
        if report in self.reports:
            return
        self.reports = sorted([*self.reports, report])
        if len(self.reports) > REPORTS_KEPT:
            oldest = self.reports.pop(0)
            if oldest is not report or not self.before[1]:
                self.before = _after(self.before, oldest)

    @property
    def state(self) -> QueueState:
        """Whether work is taken from it."""
        return QueueState(self._now[1])

    @property
    def since_us(self) -> int:
        """Since when."""
        return self._now[0]

    @property
    def report_us(self) -> int:
        """The time of the newest report."""
        return self.reports[-1][0]

    @property
    def _now(self) -> tuple[int, int]:
        now = self.before
        for report in self.reports:
            now = _after(now, report)
        return now

    def dump(self) -> str:
        """JSON; `loaded` reads it."""
        return to_json([self.heard_us, self.before, self.reports])

    @classmethod
    def loaded(cls, name: QueueName, dumped: str) -> QueueRecord:
        """What `dump` returned, again."""
        record = cls(name)
        fields: list[Any] = json.loads(dumped)
        record.heard_us, before, reports = fields
        record.before = (before[0], before[1])
        record.reports = [(report[0], report[1], report[2]) for report in reports]
        return record


def _after(now: tuple[int, int], report: _Report) -> tuple[int, int]:
    return now if now[1] == report[1] else (report[0], report[1])
