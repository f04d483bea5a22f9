"""Batches: made, looked at, started, stopped and given up by people; `batch_runner` gives their workflows their turns.

Matching is a read, so that a filter that matches a million workflows keeps nobody from writing; what it found is frozen
in one write, with what was previewed of it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from pilothouse_server.domain import batches
from pilothouse_server.domain.audit import Entry, Outcome
from pilothouse_server.domain.batches import (
    MOST_OPEN,
    READY_US,
    Batch,
    BatchItem,
    BatchState,
    BatchView,
    ItemOutcome,
)
from pilothouse_server.domain.commands import Command
from pilothouse_server.domain.errors import (
    InvalidArgument,
    LimitExceeded,
    NotFound,
    PilothouseError,
    RequestIdReused,
)
from pilothouse_server.domain.events import EventError
from pilothouse_server.domain.platform import PlatformConfig
from pilothouse_server.ports import Clock
from pilothouse_server.services.batch_rows import (
    BatchStore,
    BatchTransaction,
    Matched,
    Selection,
    Turn,
)
from pilothouse_server.services.control import ControlSignals
from pilothouse_server.services.control_views import Page
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.views import PageRequest

T = TypeVar("T")

HEARTBEAT: Final = 5.0
"""Seconds after which who follows a batch is told that nothing changed."""
PACE: Final = 0.25
"""Seconds between two looks of one who follows a batch."""
NARROW: Final = "narrow the filter, by type, source, state or create_time, or make several batches"


@dataclass(frozen=True, slots=True)
class Draft:
    """A batch that somebody asks for."""

    selection: Selection
    reason: str = ""
    rate: float = 0.0
    """0: what the configuration says."""
    request_id: str = ""
    actor: str = ""

    @property
    def asked(self) -> str:
        """What a repeat under the same request id has to be."""
        selection = self.selection
        return json.dumps(
            ["create", int(selection.action), selection.filter, list(selection.workflow_ids),
             self.reason, self.rate, self.actor]
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Act:
    """What somebody does with a batch."""

    batch_id: str
    actor: str = ""
    reason: str = ""
    request_id: str = ""


class Batches:
    """The verbs of batches. Every one of them raises Unavailable when the database does not answer."""

    def __init__(
        self,
        store: BatchStore,
        clock: Clock,
        signals: ControlSignals,
        changes: Changes,
        *,
        new_id: Callable[[], str],
        configured: Callable[[], PlatformConfig] = PlatformConfig,
    ) -> None:
        self._store = store
        self._clock = clock
        self._signals = signals
        self._changes = changes
        self._new_id = new_id
        self._configured = configured

    async def create(self, draft: Draft) -> BatchView:
        """The batch, READY.

        Raises InvalidArgument, InvalidFilter, NotFound for a workflow that there is not, LimitExceeded,
        RequestIdReused.
        """
        _check(draft.selection)
        if draft.request_id:
            earlier = await self._store.read(lambda t: _repeated(t, draft.request_id, draft.asked))
            if isinstance(earlier, BatchView):
                return earlier
        limit = self._configured().batch_limit
        matched = await self._store.match(draft.selection, limit + 1)
        made = await self._store.write(lambda t: self._make(t, draft, matched, limit))
        self._changes.notify()
        return _told(made)

    async def start(self, act: Act, confirm_size: int) -> BatchView:
        """The batch, RUNNING. Raises NotFound, NotConfirmed, WrongState, RequestIdReused."""
        now_us = self._clock.now_us()
        asked = f"start {confirm_size}"
        return await self._act(
            act, asked, lambda batch: batches.start(batch, confirm_size, act.actor, now_us)
        )

    async def stop(self, act: Act) -> BatchView:
        """The batch, STOPPED. Raises NotFound, WrongState, RequestIdReused."""
        return await self._act(act, "stop", batches.stop)

    async def go_on(self, act: Act) -> BatchView:
        """The batch, RUNNING. Raises NotFound, WrongState, RequestIdReused."""
        return await self._act(act, "continue", batches.go_on)

    async def abandon(self, act: Act) -> BatchView:
        """The batch, DONE, or STOPPED until its last command has ended.

        Raises NotFound, WrongState, RequestIdReused.
        """
        return await self._act(act, "abandon", batches.abandon)

    async def get(self, batch_id: str) -> BatchView:
        """One batch. Raises NotFound."""
        return _told(await self._store.read(lambda t: view_of(t, batch_id)))

    async def page(self, asked: PageRequest) -> Page[BatchView]:
        """Newest first. Raises InvalidFilter, InvalidPageToken."""
        return await self._store.page(asked)

    async def items(
        self, batch_id: str, outcomes: Sequence[ItemOutcome], asked: PageRequest
    ) -> Page[BatchItem]:
        """In the order of turns. Raises NotFound, InvalidPageToken."""
        return await self._store.items(batch_id, outcomes, asked)

    async def watch(self, batch_id: str) -> AsyncIterator[BatchView | None]:
        """The batch as it is, then whenever that changes, until it is over; None when nothing changed for a while.
        Raises NotFound."""
        sent: BatchView | None = None
        sent_at = self._clock.monotonic()
        while True:
            seen, looked_at = self._signals.workflows.version, self._clock.monotonic()
            view = await self.get(batch_id)
            if view != sent:
                sent, sent_at = view, looked_at
                yield view
            elif looked_at - sent_at >= HEARTBEAT:
                sent_at = looked_at
                yield None
            if view.batch.over:
                return
            left = max(0.0, sent_at + HEARTBEAT - self._clock.monotonic())
            await self._signals.workflows.wait(seen, left)
            await self._clock.sleep(max(0.0, looked_at + PACE - self._clock.monotonic()))

    def _make(
        self, transaction: BatchTransaction, draft: Draft, matched: Matched, limit: int
    ) -> BatchView | PilothouseError:
        if draft.request_id:
            earlier = _repeated(transaction, draft.request_id, draft.asked)
            if isinstance(earlier, BatchView):
                return earlier
            if earlier is not None:
                transaction.record([_entry("create", "", draft, self._clock.now_us(), earlier)])
                return earlier
        now_us = self._clock.now_us()
        selection, candidates = draft.selection, matched.candidates
        error = _too_much(len(candidates), limit, len(transaction.open()))
        if error is not None:
            named = selection.filter or f"{len(selection.workflow_ids)} workflows"
            transaction.record(
                [_entry("create", "", draft, now_us, error, after={"filter": named})]
            )
            return error
        batch = Batch(
            id=self._new_id(),
            action=selection.action,
            filter=selection.filter,
            reason=draft.reason,
            actor=draft.actor,
            state=BatchState.READY,
            size=len(candidates),
            rate=draft.rate or self._configured().batch_rate,
            preview=matched.preview,
            create_us=now_us,
            expire_us=now_us + READY_US,
        )
        transaction.add(batch, candidates)
        if draft.request_id:
            transaction.note(draft.request_id, batch.id, draft.asked)
        after = {"action": batch.action.name, "filter": batch.filter, "size": str(batch.size)}
        transaction.record([_entry("create", batch.id, draft, now_us, after=after)])
        return BatchView(batch, batches.counts_of(batch, {}))

    async def _act(
        self, act: Act, asked: str, change: Callable[[Batch], Batch | PilothouseError]
    ) -> BatchView:
        now_us = self._clock.now_us()
        content = json.dumps([act.batch_id, asked, act.reason, act.actor])
        verb = asked.partition(" ")[0]

        def run(transaction: BatchTransaction) -> BatchView | PilothouseError:
            if act.request_id:
                earlier = _repeated(transaction, act.request_id, content)
                if isinstance(earlier, BatchView):
                    return earlier
                if earlier is not None:
                    transaction.record([_entry(verb, act.batch_id, act, now_us, earlier)])
                    return earlier
            before = transaction.get(act.batch_id)
            after = change(before) if before is not None else NotFound("batch", act.batch_id)
            if isinstance(after, PilothouseError):
                transaction.record([_entry(verb, act.batch_id, act, now_us, after, batch=before)])
                return after
            counts = batches.counts_of(after, transaction.commands(after.id))
            after = batches.over_now(after, counts, now_us)
            transaction.put(after)
            if act.request_id:
                transaction.note(act.request_id, after.id, content)
            said = {"state": after.state.name}
            transaction.record([_entry(verb, after.id, act, now_us, batch=before, after=said)])
            return BatchView(after, counts)

        done = await self._store.write(run)
        self._changes.notify()
        self._signals.workflows.notify()
        return _told(done)


def view_of(transaction: BatchTransaction, batch_id: str) -> BatchView | PilothouseError:
    """A batch and what became of its workflows so far."""
    batch = transaction.get(batch_id)
    if batch is None:
        return NotFound("batch", batch_id)
    if batch.counts is not None:
        return BatchView(batch, batch.counts)
    return BatchView(batch, batches.counts_of(batch, transaction.commands(batch_id)))


def turn_of(item: BatchItem, asked: Command | PilothouseError) -> Turn:
    """What came of the turn of a workflow."""
    if isinstance(asked, Command):
        return Turn(item.position, asked.id, None)
    return Turn(item.position, "", EventError(asked.reason, asked.message))


def _check(selection: Selection) -> None:
    if selection.filter.strip() and selection.workflow_ids:
        raise InvalidArgument("workflow_ids", "name workflows or give a filter, not both")
    if not selection.filter.strip() and not selection.workflow_ids:
        told = "say which workflows; for all that are there name their states, as `state = RUNNING OR state = WAITING`"
        raise InvalidArgument("filter", told)


def _too_much(matched: int, limit: int, opened: int) -> PilothouseError | None:
    if not matched:
        return InvalidArgument("filter", "no workflow matches it, so there is nothing to do")
    if matched > limit:
        return LimitExceeded("workflows in a batch", limit, matched, NARROW)
    if opened >= MOST_OPEN:
        remedy = "start or abandon some; what is not started expires by itself"
        return LimitExceeded("batches that are not over", MOST_OPEN, opened + 1, remedy)
    return None


def _repeated(
    transaction: BatchTransaction, request_id: str, asked: str
) -> BatchView | PilothouseError | None:
    """What a repeat is answered with; None when it is none."""
    earlier = transaction.requested(request_id)
    if earlier is None:
        return None
    batch_id, content = earlier
    return view_of(transaction, batch_id) if content == asked else RequestIdReused(request_id)


def _told(found: BatchView | PilothouseError) -> BatchView:
    if isinstance(found, PilothouseError):
        raise found
    return found


def _entry(
    verb: str,
    batch_id: str,
    by: Draft | Act,
    now_us: int,
    error: PilothouseError | None = None,
    *,
    batch: Batch | None = None,
    after: Mapping[str, str] | None = None,
) -> Entry:
    return Entry(
        record_us=now_us,
        actor=by.actor,
        verb=f"batch.{verb}",
        target_kind="batch",
        target_id=batch_id,
        outcome=Outcome.ACCEPTED if error is None else Outcome.REFUSED,
        reason=by.reason,
        before={} if batch is None else {"state": batch.state.name, "turn": str(batch.turn)},
        after=after or {},
        error=None if error is None else EventError(error.reason, error.message),
        request_id=by.request_id,
        batch_id=batch_id,
    )
