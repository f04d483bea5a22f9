"""What is held: all that the engine starts, one workflow type, or what agents of one type would get.

A held workflow stays QUEUED, and a held task too; what has begun goes on. Each hold stands for itself: that of a type
is still there when that of everything is lifted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pilothouse.executor import CommandRefused, ReportedQueue
from pilothouse.v1.events_pb2 import Event
from pilothouse_server.demo.account import Account
from pilothouse_server.demo.journal import Hold, Journal

EVERYTHING = Hold()
MOST_HOLDS = 100


class Holds:
    """The holds of one engine."""

    def __init__(self, journal: Journal, source: str, changed: Callable[[], None]) -> None:
        self._journal = journal
        self._account = Account(source)
        self._changed = changed
        self._held = journal.holds()

    def begins(self, workflow_type: str) -> bool:
        """Whether a workflow of this type may begin."""
        return self._held.isdisjoint((EVERYTHING, Hold(workflow_type)))

    def gives(self, workflow_type: str, agent_type: str) -> bool:
        """Whether an agent of this type may get a task of a workflow of this type."""
        return self._held.isdisjoint((Hold(agent_type=agent_type), Hold(workflow_type, agent_type)))

    @property
    def everything(self) -> bool:
        """Whether nothing may begin."""
        return EVERYTHING in self._held

    def tell(
        self,
        report: Callable[[Event], str | None],
        workflow_types: Iterable[str],
        agent_types: Iterable[str],
    ) -> None:
        """Say of everything, of each type, and of what else is held, whether it is."""
        known = [EVERYTHING, *map(Hold, workflow_types)]
        known += [Hold(agent_type=agent_type) for agent_type in agent_types]
        for hold in (*known, *sorted(self._held.difference(known))):
            queue = _queue(report, hold)
            if hold in self._held:
                queue.paused()
            else:
                queue.active()

    def pause(self, hold: Hold, command_id: str) -> None:
        """Let nothing of it begin from now on. Raises CommandRefused."""
        if hold in self._held:
            raise CommandRefused("ALREADY_PAUSED", "it is held")
        if len(self._held) >= MOST_HOLDS:
            raise CommandRefused("TOO_MANY_HOLDS", f"{MOST_HOLDS} types are held already")
        self._held.add(hold)
        _queue(self._account.report, hold).paused(command_id)
        self._commit(hold, command_id)

    def resume(self, hold: Hold, command_id: str) -> None:
        """Let it begin again. Raises CommandRefused."""
        if hold not in self._held:
            raise CommandRefused("NOT_PAUSED", "it is not held")
        self._held.remove(hold)
        _queue(self._account.report, hold).active(command_id)
        self._commit(hold, command_id)

    def _commit(self, hold: Hold, command_id: str) -> None:
        self._journal.commit_hold(hold, hold in self._held, self._account.take(), command_id)
        self._changed()


def _queue(report: Callable[[Event], str | None], hold: Hold) -> ReportedQueue:
    return ReportedQueue(report, workflow_type=hold.workflow_type, agent_type=hold.agent_type)
