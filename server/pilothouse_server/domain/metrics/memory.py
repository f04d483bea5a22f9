"""The workflows that are remembered: in flight, ended with all details for as long as those can matter, then as
tombstones.

Forgetting follows the fold's clock and the order of the log alone, a few at each event, so that a replay
forgets exactly what live operation forgot.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import NamedTuple

from pilothouse_server.domain.metrics.limits import CLOSING_US, HORIZON_US
from pilothouse_server.domain.metrics.records import Workflow

_AT_ONCE = 4
"""How many are forgotten at one event: more than can end at one, so the work never piles up."""

NEVER_DUE = 1 << 62


class Tombstone(NamedTuple):
    """An ended workflow, as its dumped record."""

    finished_us: int
    finished_seq: int
    seq: int
    dumped: str


class Ending(NamedTuple):
    """A workflow in a queue of those that ended. Stale when it was reopened since: then its `seq` is another."""

    finished_us: int
    seq: int
    workflow_id: str


class Memory:
    """Workflows by id. `in_flight` is ordered by the last event, oldest first."""

    def __init__(self, ended_limit: int) -> None:
        self.in_flight: OrderedDict[str, Workflow] = OrderedDict()
        self.ended: dict[str, Workflow] = {}
        self.tombstones: dict[str, Tombstone] = {}
        self.dirty: set[str] = set()
        """Ids of those that changed, or were forgotten, since the last checkpoint."""
        self.next_due = NEVER_DUE
        """The clock at which `sweep` has something to do."""
        self.evicted = 0
        self._ended_limit = ended_limit
        self._to_bury: deque[Ending] = deque()
        self._to_forget: deque[Ending] = deque()

    def find(self, workflow_id: str) -> Workflow | None:
        """The record; of a tombstone a fresh one, to be given to `bury` again or to `reopen`."""
        workflow = self.in_flight.get(workflow_id) or self.ended.get(workflow_id)
        if workflow is not None:
            return workflow
        tombstone = self.tombstones.get(workflow_id)
        if tombstone is None:
            return None
        workflow = Workflow(workflow_id)
        workflow.load(tombstone.dumped)
        workflow.finished_us, workflow.finished_seq, workflow.seq, _ = tombstone
        return workflow

    def finish(self, workflow: Workflow, clock_us: int, seq: int) -> None:
        """It ended just now."""
        self.in_flight.pop(workflow.id, None)
        self.ended[workflow.id] = workflow
        workflow.finished_us = clock_us
        workflow.finished_seq = seq
        ending = Ending(clock_us, seq, workflow.id)
        self._to_bury.append(ending)
        self._to_forget.append(ending)
        self._schedule()

    def reopen(self, workflow: Workflow) -> None:
        """It had ended, and goes on."""
        self.ended.pop(workflow.id, None)
        self.tombstones.pop(workflow.id, None)
        workflow.finished_us = workflow.finished_seq = 0
        self.in_flight[workflow.id] = workflow

    def bury(self, workflow: Workflow) -> None:
        """Keeps an ended workflow as a tombstone."""
        self.ended.pop(workflow.id, None)
        self.tombstones[workflow.id] = Tombstone(
            workflow.finished_us, workflow.finished_seq, workflow.seq, workflow.dump()
        )

    def sweep(self, clock_us: int) -> None:
        """Buries and forgets a few of those for which it is time."""
        for _ in range(_AT_ONCE):
            if not self._bury_next(clock_us) and not self._forget_next(clock_us):
                break
        self._schedule()

    def _bury_next(self, clock_us: int) -> bool:
        if not self._to_bury or self._to_bury[0].finished_us + CLOSING_US > clock_us:
            return False
        ending = self._to_bury.popleft()
        workflow = self.ended.get(ending.workflow_id)
        if workflow is not None and workflow.finished_seq == ending.seq:
            settle(workflow, clock_us)
            self.bury(workflow)
            self.dirty.add(workflow.id)
        return True

    def _forget_next(self, clock_us: int) -> bool:
        over = len(self.ended) + len(self.tombstones) > self._ended_limit
        if not self._to_forget:
            return False
        early = self._to_forget[0].finished_us + HORIZON_US > clock_us
        if early and not over:
            return False
        ending = self._to_forget.popleft()
        known = self.ended.get(ending.workflow_id) or self.tombstones.get(ending.workflow_id)
        if known is not None and known.finished_seq == ending.seq:
            self.ended.pop(ending.workflow_id, None)
            self.tombstones.pop(ending.workflow_id, None)
            self.dirty.add(ending.workflow_id)
            self.evicted += early
        return True

    def _schedule(self) -> None:
        due = NEVER_DUE
        if self._to_bury:
            due = self._to_bury[0].finished_us + CLOSING_US
        if self._to_forget:
            due = min(due, self._to_forget[0].finished_us + HORIZON_US)
            if len(self.ended) + len(self.tombstones) > self._ended_limit:
                due = 0
        self.next_due = due

    def __iter__(self) -> Iterator[str]:
        yield from self.in_flight
        yield from self.ended
        yield from self.tombstones

    def absorb(self, other: Memory) -> None:
        """Takes over the workflows of another memory, which has none of these."""
        self.in_flight.update(other.in_flight)
        self.ended.update(other.ended)
        self.tombstones.update(other.tombstones)
        self.dirty.update(other)
        self.restore_queues()

    def restore_queues(self) -> None:
        """After a load: what ended, in the order in which it ended."""
        endings = [
            Ending(known.finished_us, known.finished_seq, workflow_id)
            for group in (self.ended, self.tombstones)
            for workflow_id, known in group.items()
        ]
        endings.sort(key=lambda ending: ending.seq)
        self._to_forget = deque(endings)
        self._to_bury = deque(e for e in endings if e.workflow_id in self.ended)
        self._schedule()


def settle(workflow: Workflow, clock_us: int) -> None:
    """Drops the stages and tasks that ended so long ago that no event in time can be about them."""
    horizon = clock_us - CLOSING_US
    for parts in (workflow.stages, workflow.tasks):
        for key in [k for k, p in parts.items() if p.ended is not None and p.ended <= horizon]:
            del parts[key]
    workflow.find_retries()
    workflow.settled_us = max(workflow.settled_us, horizon)
