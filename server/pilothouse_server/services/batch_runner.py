"""Gives the workflows of batches their turns: the lead's, so one at a time over all replicas.

A turn is one transaction: the command is written, or the refusal, and the batch moves on; so whoever is killed when,
each workflow has its turn once. Batches take turns with one another, a slice each. A batch waits while the engine of
its next workflow has as many commands as it may be given: none loses the time of its deadline by waiting there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from pilothouse_server.domain import batches
from pilothouse_server.domain.audit import Entry, Outcome
from pilothouse_server.domain.batches import Batch, BatchItem, BatchState, request_id_of
from pilothouse_server.domain.commands import Deadlines
from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.domain.platform import PlatformConfig
from pilothouse_server.ports import Clock
from pilothouse_server.services.batch_rows import BatchStore, BatchTransaction
from pilothouse_server.services.batches import turn_of
from pilothouse_server.services.control import Asking, ControlRequest, ControlSignals, ask
from pilothouse_server.services.fanout import Changes

SLICE: Final = 100
"""Turns in one transaction: so few that nobody who writes has to wait for long."""
LEFT_TO_OTHERS: Final = 10
"""One part in so many of what an engine may be given is not for batches, so that nobody has to wait for one."""
BURST: Final = 0.25
"""Seconds of its rate that a batch may catch up on at once."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.05, 0.25
"""Seconds between two looks while there is something to do."""
IDLE: Final = 5.0
"""Seconds between two looks while there is nothing; who starts a batch wakes the runner."""
RETRY: Final = 1.0
"""Seconds after which it tries again when the database does not answer."""


@dataclass(slots=True)
class Allowance:
    """A token bucket. It is full at the beginning of a batch, and empty when another lead takes over in the middle."""

    rate: float
    tokens: float
    at: float

    @classmethod
    def of(cls, batch: Batch, now: float) -> Allowance:
        """That of a batch that was not seen running before."""
        return cls(batch.rate, 0.0 if batch.turn else 1.0, now)

    def fill(self, now: float) -> int:
        """How many turns may be given now."""
        most = max(1.0, self.rate * BURST)
        self.tokens = min(most, self.tokens + max(0.0, now - self.at) * self.rate)
        self.at = now
        return int(self.tokens)

    def spend(self, turns: int) -> None:
        """Turns were given; none were when the engine has all that it may be given, which takes a while to change."""
        self.tokens -= turns or self.tokens + LONGEST_PAUSE * self.rate - 1.0

    @property
    def wait(self) -> float:
        """Seconds until there is a turn to be given."""
        return max(0.0, 1.0 - self.tokens) / self.rate


class Given(NamedTuple):
    """What one transaction gave."""

    turns: int
    commands: int
    left: bool
    """Whether more could be given at once."""


class BatchRunner:
    """`waiting_for` tells what it retries, "" when all is well."""

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
        self._allowances: dict[str, Allowance] = {}
        self.turns = 0
        self.commands = 0
        self.waiting_for = ""

    async def run(self) -> None:
        """Looks until it is cancelled. Raises LeaseLost when another replica leads."""
        while True:
            seen = self._changes.version
            try:
                pause = await self.look()
            except Unavailable as error:
                self.waiting_for = error.message
                await self._clock.sleep(RETRY)
                continue
            self.waiting_for = ""
            await self._changes.wait(seen, pause)

    async def look(self) -> float:
        """Gives the turns that are due, and ends what is over; returns the seconds until there may be more to do.

        Raises Unavailable, LeaseLost.
        """
        opened = await self._store.read(_opened)
        now_us = self._clock.now_us()
        for batch, pending in opened:
            if _may_be_over(batch, pending, now_us):
                await self._store.write(lambda t: _end(t, batch.id, now_us))  # noqa: B023 - awaited
                self._told()
        running = [
            batch for batch, _ in opened if batch.state == BatchState.RUNNING and batch.waiting
        ]
        await self._give(running)
        return self._pause([batch for batch, _ in opened], running, now_us)

    async def _give(self, running: Sequence[Batch]) -> None:
        """Slices in turn, until each batch has had what its rate allows now."""
        now = self._clock.monotonic()
        self._allowances = {
            batch.id: self._allowances.get(batch.id) or Allowance.of(batch, now)
            for batch in running
        }
        due = deque((batch.id, self._allowances[batch.id].fill(now)) for batch in running)
        while due:
            batch_id, count = due.popleft()
            if not count:
                continue
            given = await self._store.write(
                lambda t: self._turns(t, batch_id, min(count, SLICE))  # noqa: B023 - awaited
            )
            self._allowances[batch_id].spend(given.turns)
            self.turns += given.turns
            self.commands += given.commands
            if given.turns:
                self._told()
            if given.left:
                due.append((batch_id, count - given.turns))

    def _turns(self, transaction: BatchTransaction, batch_id: str, count: int) -> Given:
        batch = transaction.get(batch_id)
        if batch is None or batch.state != BatchState.RUNNING:
            return Given(0, 0, left=False)
        config = self._configured()
        most = config.dispatch_limit - config.dispatch_limit // LEFT_TO_OTHERS
        items = _with_room(transaction, transaction.next_items(batch, count), most)
        if not items:
            return Given(0, 0, left=False)
        request_ids = [request_id_of(batch_id, item.position) for item in items]
        gathered = transaction.gathered([item.workflow_id for item in items], request_ids)
        now_us, deadlines = self._clock.now_us(), Deadlines.of(config)
        turns = [
            turn_of(
                item,
                ask(
                    gathered,
                    _request(batch, item, request_id),
                    Asking(self._new_id(), now_us, deadlines),
                ),
            )
            for item, request_id in zip(items, request_ids, strict=True)
        ]
        gathered.flush()
        transaction.took(batch_id, turns)
        refused = sum(turn.error is not None for turn in turns)
        batch = replace(batch, turn=batch.turn + len(turns), refused=batch.refused + refused)
        transaction.put(batch)
        more = len(items) == count and batch.waiting > 0
        return Given(len(turns), len(turns) - refused, left=more)

    def _pause(self, opened: Sequence[Batch], running: Sequence[Batch], now_us: int) -> float:
        """Until the next turn, or the next batch that nobody started; while commands are pending, until soon."""
        pause = IDLE
        for batch in opened:
            if batch.state == BatchState.READY:
                pause = min(pause, (batch.expire_us - now_us) / 1_000_000)
            else:
                pause = min(pause, LONGEST_PAUSE)
        for batch in running:
            pause = min(pause, self._allowances[batch.id].wait)
        return max(pause, SHORTEST_PAUSE)

    def _told(self) -> None:
        self._signals.notify()


def _opened(transaction: BatchTransaction) -> list[tuple[Batch, bool]]:
    """Those that are not over, each with whether one of its commands has not ended."""
    return [
        (batch, not batch.waiting and transaction.pending(batch.id)) for batch in transaction.open()
    ]


def _may_be_over(batch: Batch, pending: bool, now_us: int) -> bool:
    if batch.state == BatchState.READY:
        return now_us >= batch.expire_us
    return not batch.waiting and not pending


def _end(transaction: BatchTransaction, batch_id: str, now_us: int) -> None:
    """Ends the batch, if that is still so where nobody else writes."""
    batch = transaction.get(batch_id)
    if batch is None:
        return
    counts = batches.counts_of(batch, transaction.commands(batch_id))
    after = batches.over_now(batch, counts, now_us)
    if after is not batch:
        transaction.put(after)
        transaction.record([_ended(after)])


def _ended(batch: Batch) -> Entry:
    expired = batch.state == BatchState.EXPIRED
    return Entry(
        record_us=batch.end_us or 0,
        actor=batch.started_by or batch.actor,
        verb="batch.start",
        target_kind="batch",
        target_id=batch.id,
        outcome=Outcome.EXPIRED if expired else Outcome.EFFECTIVE,
        reason=batch.reason,
        after={
            "state": batch.state.name,
            **{outcome.name: str(count) for outcome, count in (batch.counts or {}).items()},
        },
        batch_id=batch.id,
    )


def _with_room(
    transaction: BatchTransaction, items: Sequence[BatchItem], limit: int
) -> Sequence[BatchItem]:
    """The first of them, up to one whose engine has as many commands as it may be given."""
    room: dict[str, int] = {}
    for number, item in enumerate(items):
        if item.source not in room:
            room[item.source] = limit - transaction.load_of(item.source, limit)
        if room[item.source] <= 0:
            return items[:number]
        room[item.source] -= 1
    return items


def _request(batch: Batch, item: BatchItem, request_id: str) -> ControlRequest:
    return ControlRequest(
        workflow_id=item.workflow_id,
        action=batch.action,
        reason=batch.reason,
        request_id=request_id,
        actor=batch.started_by,
        batch_id=batch.id,
    )
