"""One action on many workflows: a frozen set, looked at first, then asked for at a bounded rate.

    READY ──▶ RUNNING ◀──▶ STOPPED
      │          │            │
      ▼          ▼            ▼
    EXPIRED     DONE        DONE      an abandoned batch is STOPPED until its last command has ended, then DONE

The turn of a workflow comes once. What is asked at its turn is judged then, as any other request is; what is refused
then stays refused, and nothing is tried again: who looked at the preview decided about that moment, not about later.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import NamedTuple
from uuid import UUID, uuid5

from pilothouse_server.domain.commands import CommandState
from pilothouse_server.domain.errors import (
    CommandPending,
    NotConfirmed,
    PilothouseError,
    WrongState,
)
from pilothouse_server.domain.events import EventError
from pilothouse_server.domain.workflows import Action, WorkflowState

READY_US = 15 * 60 * 1_000_000
"""How long a batch waits to be started: what it showed is not true for ever."""

MOST_OPEN = 100
"""Batches that are not over, at once."""

TYPES_SHOWN, REFUSALS_SHOWN, IDS_SHOWN = 50, 20, 5
"""What a preview names at most."""


class BatchState(IntEnum):
    """Where a batch stands. The numbers are those of the contract."""

    READY = 1
    RUNNING = 2
    STOPPED = 3
    DONE = 4
    EXPIRED = 5


OPEN = frozenset({BatchState.READY, BatchState.RUNNING, BatchState.STOPPED})
"""The states in which a batch is not over."""


class ItemOutcome(IntEnum):
    """What became of one workflow of a batch. The numbers are those of the contract."""

    WAITING = 1
    PENDING = 2
    EFFECTIVE = 3
    FAILED = 4
    EXPIRED = 5
    REFUSED = 6
    ABANDONED = 7


OUTCOMES: Mapping[CommandState, ItemOutcome] = {
    CommandState.REQUESTED: ItemOutcome.PENDING,
    CommandState.ACCEPTED: ItemOutcome.PENDING,
    CommandState.EFFECTIVE: ItemOutcome.EFFECTIVE,
    CommandState.FAILED: ItemOutcome.FAILED,
    CommandState.EXPIRED: ItemOutcome.EXPIRED,
}
"""The outcome of a workflow that has a command: it follows the command and is written nowhere else."""


class Candidate(NamedTuple):
    """A workflow as it was when the set was frozen."""

    workflow_id: str
    workflow_type: str
    source: str
    state: WorkflowState


class Refused(NamedTuple):
    """Workflows that would be refused for one reason."""

    reason: str
    message: str
    size: int
    workflow_ids: tuple[str, ...]
    """The first of them."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a batch would meet, when it was made."""

    states: Mapping[WorkflowState, int] = field(default_factory=dict[WorkflowState, int])
    types: tuple[tuple[str, int], ...] = ()
    """Most first."""
    pending: int = 0
    """Workflows with a command that has not ended."""
    acceptable: int = 0
    refusals: tuple[Refused, ...] = ()
    """Most first."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One action on many workflows."""

    id: str
    action: Action
    filter: str
    reason: str
    actor: str
    """Who made it."""
    state: BatchState
    size: int
    rate: float
    """Commands a second at most."""
    preview: Preview
    create_us: int
    expire_us: int
    started_by: str = ""
    """Who started it: in whose name its commands are asked for."""
    start_us: int | None = None
    end_us: int | None = None
    turn: int = 0
    """The place of the workflow whose turn is next: those before it had theirs."""
    refused: int = 0
    """Those that were refused when their turn came."""
    abandoned: bool = False
    """Nobody else gets a turn, ever."""
    counts: Mapping[ItemOutcome, int] | None = None
    """What became of its workflows, once it is over."""

    @property
    def waiting(self) -> int:
        """Workflows whose turn will come."""
        return 0 if self.abandoned else self.size - self.turn

    @property
    def over(self) -> bool:
        """Whether it will never change again."""
        return self.state not in OPEN

    @property
    def etag(self) -> str:
        """Changes with its state."""
        said = f"{self.id}/{int(self.state)}/{self.abandoned}"
        return hashlib.sha256(said.encode()).hexdigest()[:16]


class BatchView(NamedTuple):
    """A batch and what became of its workflows so far."""

    batch: Batch
    counts: Mapping[ItemOutcome, int]


class BatchItem(NamedTuple):
    """One workflow of a batch."""

    position: int
    """Its place in the order of turns, from 0."""
    workflow_id: str
    source: str
    state: WorkflowState
    """When the set was frozen."""
    outcome: ItemOutcome = ItemOutcome.WAITING
    command_id: str = ""
    error: EventError | None = None


def request_id_of(batch_id: str, position: int) -> str:
    """What a turn is asked for under: always the same, so that a turn that comes twice is one command."""
    return str(uuid5(UUID(batch_id), str(position)))


def preview_of(
    candidates: Iterable[Candidate],
    pending: Callable[[str], bool],
    judge: Callable[[Candidate], PilothouseError | None],
) -> Preview:
    """What the candidates are, and what `judge`, which judges requests, says of each."""
    states: Counter[WorkflowState] = Counter()
    types: Counter[str] = Counter()
    busy = acceptable = 0
    refused: dict[tuple[str, str], list[str]] = {}
    for candidate in candidates:
        states[candidate.state] += 1
        types[candidate.workflow_type] += 1
        busy += pending(candidate.workflow_id)
        error = judge(candidate)
        if error is None:
            acceptable += 1
        else:
            refused.setdefault(_group(error), []).append(candidate.workflow_id)
    most_first = sorted(refused.items(), key=lambda item: (-len(item[1]), item[0]))
    return Preview(
        states=dict(sorted(states.items())),
        types=tuple(sorted(types.items(), key=lambda item: (-item[1], item[0]))[:TYPES_SHOWN]),
        pending=busy,
        acceptable=acceptable,
        refusals=tuple(
            Refused(reason, message, len(ids), tuple(ids[:IDS_SHOWN]))
            for (reason, message), ids in most_first[:REFUSALS_SHOWN]
        ),
    )


def _group(error: PilothouseError) -> tuple[str, str]:
    """What is told apart: words that name one workflow's own command would make each its own group."""
    if isinstance(error, CommandPending):
        return error.reason, f"another command ({error.action}) on the workflow has not ended"
    return error.reason, error.message


def start(batch: Batch, confirm_size: int, actor: str, now_us: int) -> Batch | PilothouseError:
    """Begins to give turns, when the caller knows how many there are."""
    if batch.state == BatchState.READY and now_us >= batch.expire_us:
        batch = replace(batch, state=BatchState.EXPIRED)
    if batch.state != BatchState.READY:
        again = batch.state in (BatchState.DONE, BatchState.EXPIRED)
        return _wrong(batch, "start", "make a new batch" if again else "")
    if confirm_size != batch.size:
        return NotConfirmed(expected=str(batch.size))
    return replace(batch, state=BatchState.RUNNING, start_us=now_us, started_by=actor)


def stop(batch: Batch) -> Batch | PilothouseError:
    """Gives no further turn; what was asked goes on."""
    if batch.state != BatchState.RUNNING:
        detail = "it has not been started" if batch.state == BatchState.READY else ""
        return _wrong(batch, "stop", detail)
    return replace(batch, state=BatchState.STOPPED)


def go_on(batch: Batch) -> Batch | PilothouseError:
    """Gives turns again."""
    if batch.state != BatchState.STOPPED:
        detail = "start it" if batch.state == BatchState.READY else ""
        return _wrong(batch, "continue", detail)
    if batch.abandoned:
        return _wrong(batch, "continue", "it was abandoned, and only its last commands go on")
    return replace(batch, state=BatchState.RUNNING)


def abandon(batch: Batch) -> Batch | PilothouseError:
    """Nobody else gets a turn, ever; `over_now` says when that was the end of it."""
    if batch.over or batch.abandoned:
        return _wrong(batch, "abandon", "it was abandoned already" if batch.abandoned else "")
    return replace(batch, state=BatchState.STOPPED, abandoned=True)


def over_now(batch: Batch, counts: Mapping[ItemOutcome, int], now_us: int) -> Batch:
    """The batch, over when each of its workflows has its outcome or when nobody started it in time."""
    if batch.over:
        return batch
    if batch.state == BatchState.READY:
        if now_us < batch.expire_us:
            return batch
        return replace(batch, state=BatchState.EXPIRED, end_us=now_us, counts=counts)
    if batch.waiting or counts.get(ItemOutcome.PENDING):
        return batch
    return replace(batch, state=BatchState.DONE, end_us=now_us, counts=counts)


def counts_of(batch: Batch, commands: Mapping[CommandState, int]) -> Mapping[ItemOutcome, int]:
    """What became of the workflows of a batch, given how many of its commands stand where; none that is 0."""
    counts = Counter({ItemOutcome.REFUSED: batch.refused})
    left = ItemOutcome.ABANDONED if batch.abandoned else ItemOutcome.WAITING
    counts[left] = batch.size - batch.turn
    for state, count in commands.items():
        counts[OUTCOMES[state]] += count
    return {outcome: count for outcome, count in sorted(counts.items()) if count}


def _wrong(batch: Batch, action: str, detail: str) -> WrongState:
    return WrongState("batch", batch.id, batch.state.name, action, detail)
