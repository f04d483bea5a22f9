"""What is remembered of the canvases in hand: roots, their tasks, and the attempts of those."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from pilothouse.v1.events_pb2 import EventError

MAX_ATTEMPTS = 8
"""Attempts of a task that are remembered; the oldest go first."""


class End(Enum):
    """Whether an attempt is over."""

    NOT = 0
    SEEN = 1
    """A worker said so."""
    SUPPOSED = 2
    """Nobody said so, and no worker has it any more."""


@dataclass(slots=True)
class Attempt:
    """One attempt of a task."""

    number: int
    host: str = ""
    received: bool = False
    started: bool = False
    end: End = End.NOT


@dataclass(slots=True)
class TaskSeen:
    """One task. Celery counts retries; what else is given out anew (after a worker was lost, say) is counted by
    `shift`."""

    uuid: str
    root: str
    name: str = ""
    parent: str = ""
    queue: str = ""
    attempts: dict[int, Attempt] = field(default_factory=dict[int, Attempt])
    shift: int = 0
    seeded: bool = False
    """Its attempts come from the server, so how many of them were retries is not known yet."""
    touched_us: int = 0
    """When it was last heard of, by our clock."""
    missing: int = 0
    """How often in a row no worker had it."""

    @property
    def newest(self) -> Attempt | None:
        """The attempt with the greatest number."""
        return self.attempts[max(self.attempts)] if self.attempts else None

    @property
    def open(self) -> bool:
        """Whether it is still to be done."""
        newest = self.newest
        return newest is None or newest.end is End.NOT

    def attempt(self, number: int) -> Attempt:
        """That attempt, opened when it is not there."""
        found = self.attempts.get(number)
        if found is None:
            found = self.attempts[number] = Attempt(number)
            if len(self.attempts) > MAX_ATTEMPTS:
                del self.attempts[min(self.attempts)]
        return found

    def of_start(self, host: str) -> Attempt | None:
        """The attempt that a worker begins: the oldest that it received."""
        waiting = [each for each in self._open() if not each.started]
        return next(
            (each for each in waiting if each.host == host), waiting[0] if waiting else None
        )

    def of_retry(self, host: str) -> Attempt | None:
        """The attempt that a worker will try again: the oldest that it began. The retry may be received, begun and
        even ended by another process before."""
        return next(iter(self._begun(host)), None)

    def of_end(self, host: str) -> Attempt | None:
        """The attempt that a worker ends for good: the newest that it began, since those before are tried again."""
        begun, still = self._begun(host), self._open()
        return begun[-1] if begun else still[-1] if still else None

    def _begun(self, host: str) -> list[Attempt]:
        begun = [each for each in self._open() if each.started]
        return [each for each in begun if each.host == host] or begun

    def _open(self) -> list[Attempt]:
        return [self.attempts[n] for n in sorted(self.attempts) if self.attempts[n].end is End.NOT]


@dataclass(slots=True)
class RootSeen:
    """One workflow: all tasks that come from one root."""

    id: str
    type: str = ""
    attempt: int = 1
    told: bool = False
    """Whether the server knows of it."""
    started: bool = False
    ended: bool = False
    tasks: dict[str, TaskSeen] = field(default_factory=dict[str, TaskSeen])
    open: set[str] = field(default_factory=set[str])
    failures: dict[str, EventError] = field(default_factory=dict[str, EventError])
    """By task."""
    revoked: bool = False
    """Whether one of its tasks was."""
    last_us: int = 0
    """When the last of its tasks ended, by the worker's clock."""
    quiet_us: int = 0
    """Since when nothing of it is open, by our clock; 0 while something is."""
    cancel: str = ""
    """The command that cancels it."""
    root_known: bool = True
    """False for a task that was found on a worker, which does not say what it comes from."""


@dataclass(frozen=True, slots=True)
class Found:
    """A task as a worker that is asked shows it."""

    uuid: str
    name: str
    host: str
    active: bool
    start_us: int | None = None
    queue: str = ""
