"""What the alert engine decided, on its way to the database: one write in flight, and of each alert only the newest.

No step is lost: steps and events gather until they are stored. When they gather beyond the limit the engine has to
wait, which is counted; it never forgets. A batch whose answer was lost is stored again as it is, under the same id, so
that it is never there twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from pilothouse_server.domain.alerts.flapping import Flaps
from pilothouse_server.domain.alerts.records import Alert, AlertKind, AlertStep, Change, fired
from pilothouse_server.domain.alerts.requests import Answer
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.errors import LeaseLost, Unavailable
from pilothouse_server.domain.events import Event
from pilothouse_server.domain.notifications.intents import Intent
from pilothouse_server.ports import Clock
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.ids import uuid7

MOST_STEPS = 20_000
"""Steps that may wait for the database."""

FIRST_RETRY, LAST_RETRY = 0.1, 1.0
"""Seconds to wait when the database does not answer, doubled each time."""


class InstanceKey(NamedTuple):
    """What tells one instance from all others, whichever alert it has now."""

    rule_id: str
    kind: AlertKind
    name: str


class FlapRecord(NamedTuple):
    """How often an instance changed lately, and the alert that it had when it changed last."""

    flaps: Flaps
    alert_id: str


@dataclass(slots=True)
class AlertBatch:
    """What is stored in one transaction."""

    id: str = ""
    """Given when it is first stored."""
    slot_us: int = 0
    alerts: dict[str, Alert] = field(default_factory=dict[str, Alert])
    steps: list[AlertStep] = field(default_factory=list[AlertStep])
    events: list[Event] = field(default_factory=list[Event])
    intents: list[Intent] = field(default_factory=list[Intent])
    flaps: dict[InstanceKey, FlapRecord] = field(default_factory=dict[InstanceKey, FlapRecord])
    answers: list[Answer] = field(default_factory=list[Answer])

    @property
    def empty(self) -> bool:
        """Whether there is nothing to store."""
        noted = self.alerts or self.steps or self.events or self.intents or self.answers
        return not (self.slot_us or noted or self.flaps)


@dataclass(slots=True)
class _Storing:
    """A batch on its way, and who waits for it."""

    batch: AlertBatch
    waiting: list[asyncio.Future[None]]


class Restored(NamedTuple):
    """What was stored: rules, alerts that are not over or are latched or of which somebody has to be told yet that they
    flap no more, and the newest slot; None before the first."""

    rules: Sequence[Rule]
    alerts: Sequence[Alert]
    slot_us: int | None
    flaps: Mapping[InstanceKey, FlapRecord] = {}


class AlertStore(Protocol):
    """Where alerts are kept."""

    async def restore(self, shipped: Sequence[Rule]) -> Restored:
        """What is stored. A new database gets the shipped rules first."""
        ...

    async def save(self, batch: AlertBatch) -> None:
        """Stores all of it, once, however often it is called with the newest batch. Raises Unavailable, and then
        perhaps nobody knows whether it is stored."""
        ...

    async def find(self, alert_id: str) -> Alert | None:
        """One alert, however old."""
        ...

    async def requested(self, request_id: str) -> AlertStep | None:
        """The step that an act asked for under this id led to."""
        ...


class AlertJournal:
    """The one writer of alerts. `run` writes; everything else only notes."""

    def __init__(
        self,
        store: AlertStore,
        clock: Clock,
        alerts: Changes,
        outbox: Changes,
        answered: Changes | None = None,
        *,
        notifications: Changes | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._alerts = alerts
        self._outbox = outbox
        self._answered = answered or Changes()
        self._notifications = notifications or Changes()
        self._batch = AlertBatch()
        self._storing: _Storing | None = None
        self._writing = asyncio.Lock()
        self._stored: set[str] = set()
        self._unseen: set[str] = set()
        self._noted = Changes()
        self._rung = False
        self._waiting: list[asyncio.Future[None]] = []
        self._over = False
        self.failures = 0

    def know(self, alert_id: str) -> None:
        """This alert is in the database."""
        self._stored.add(alert_id)

    @property
    def full(self) -> bool:
        """Whether so much waits that nothing more should be decided."""
        storing = len(self._storing.batch.steps) if self._storing is not None else 0
        return len(self._batch.steps) + storing >= MOST_STEPS

    def acts(self, request_id: str) -> bool:
        """Whether an act asked for under this id is noted, and not known to be stored."""
        return any(step.request_id == request_id for each in self._held() for step in each.steps)

    def answers(self, row_id: str) -> bool:
        """The same of an answer to a row."""
        return any(each.request_id == row_id for batch in self._held() for each in batch.answers)

    def note(self, change: Change) -> None:
        """Remembers a change until it is stored."""
        alert = change.alert
        if not alert.instance.live and not fired(alert) and alert.id not in self._stored:
            # It came and went before anybody could see it.
            self._batch.alerts.pop(alert.id, None)
            self._unseen.add(alert.id)
            return
        self._batch.alerts[alert.id] = alert
        if change.step is not None:
            self._batch.steps.append(change.step)
        if change.event is not None:
            self._batch.events.append(change.event)
        self._batch.intents += change.intents
        self._ring()

    def answer(self, answer: Answer) -> None:
        """Remembers an answer until it is stored, together with what is noted before the next await."""
        self._batch.answers.append(answer)
        self._ring()

    def note_flaps(self, key: InstanceKey, record: FlapRecord) -> None:
        """Remembers how often an instance changed; stored with the next write."""
        self._batch.flaps[key] = record

    def note_slot(self, slot_us: int) -> None:
        """Remembers how far the evaluation came; stored with the next write."""
        self._batch.slot_us = max(self._batch.slot_us, slot_us)

    def wake(self) -> None:
        """Stores what is noted even if that is only a slot."""
        self._noted.notify()

    async def stored(self) -> None:
        """Returns when everything noted so far is in the database. Raises Unavailable when it could not be stored
        now; it is tried again, unless another replica leads by then."""
        if self._over:
            raise _not_ours()
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._noted.notify()
        await waiting

    def close(self) -> None:
        """Another replica leads: nothing more is stored, and who waits is told so."""
        self._over = True
        self._fail(_not_ours())

    async def run(self) -> None:
        """Writes until it is cancelled. Raises LeaseLost when another replica leads."""
        seen, retry = 0, FIRST_RETRY
        while True:
            await self._noted.wait(seen, 3600)
            seen = self._noted.version
            try:
                await self.flush()
            except Unavailable:
                self.failures += 1
                await self._clock.sleep(retry)
                retry = min(2 * retry, LAST_RETRY)
                self._noted.notify()
            else:
                retry = FIRST_RETRY

    async def flush(self) -> None:
        """Writes what is noted so far. Raises Unavailable, and then still has it, as when it is cancelled; and
        LeaseLost."""
        async with self._writing:
            if self._storing is not None:
                await self._save(self._storing)
            self._storing = self._taken()
            await self._save(self._storing)

    def _held(self) -> list[AlertBatch]:
        return [self._batch] if self._storing is None else [self._storing.batch, self._batch]

    def _ring(self) -> None:
        """Once for each batch: a storm notes thousands of changes at once."""
        if not self._rung:
            self._rung = True
            self._noted.notify()

    def _taken(self) -> _Storing:
        """What is noted, as one batch, with those who wait for it."""
        batch, self._batch, self._rung = self._batch, AlertBatch(), False
        unseen, self._unseen = self._unseen, set()
        batch.id = uuid7()
        batch.steps = [step for step in batch.steps if step.alert_id not in unseen]
        batch.intents = [each for each in batch.intents if each.alert_id not in unseen]
        # What is being written counts as stored: should it vanish meanwhile, that has to be written too.
        self._stored.update(batch.alerts)
        waiting, self._waiting = self._waiting, []
        return _Storing(batch, waiting)

    async def _save(self, storing: _Storing) -> None:
        batch = storing.batch
        try:
            if not batch.empty:
                await self._store.save(batch)
        except Unavailable as error:
            self._fail(error)
            raise
        except LeaseLost:
            self.close()
            raise
        self._storing = None
        for alert in batch.alerts.values():
            over = not alert.instance.live and not alert.instance.latched
            if over and alert.id not in self._batch.alerts:
                self._stored.discard(alert.id)
        for future in storing.waiting:
            if not future.done():
                future.set_result(None)
        if batch.alerts:
            self._alerts.notify()
        if batch.events:
            self._outbox.notify()
        if batch.intents:
            self._notifications.notify()
        if batch.answers:
            self._answered.notify()

    def _fail(self, error: Unavailable) -> None:
        waiting, self._waiting = self._waiting, []
        if self._storing is not None:
            waiting += self._storing.waiting
            self._storing.waiting = []
        for future in waiting:
            if not future.done():
                future.set_exception(error)


def _not_ours() -> Unavailable:
    return Unavailable("alerts", "another replica takes care of alerts from now on; try again")
