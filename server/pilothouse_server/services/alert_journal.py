"""What the alert engine decided, on its way to the database: one write in flight, and of each alert only the newest.

No step is lost: steps and events gather until they are stored. When they gather beyond the limit the engine has to
wait, which is counted; it never forgets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from pilothouse_server.domain.alert_records import Alert, AlertStep, Change, fired
from pilothouse_server.domain.alerts import Rule
from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.domain.events import Event
from pilothouse_server.ports import Clock
from pilothouse_server.services.fanout import Changes

MOST_STEPS = 20_000
"""Steps that may wait for the database."""

FIRST_RETRY, LAST_RETRY = 0.1, 5.0
"""Seconds to wait when the database does not answer, doubled each time."""


@dataclass(slots=True)
class AlertBatch:
    """What is stored in one transaction."""

    slot_us: int = 0
    alerts: dict[str, Alert] = field(default_factory=dict[str, Alert])
    steps: list[AlertStep] = field(default_factory=list[AlertStep])
    events: list[Event] = field(default_factory=list[Event])


class Restored(NamedTuple):
    """What was stored: rules, alerts that are not over or are latched, and the newest slot; None before the first."""

    rules: Sequence[Rule]
    alerts: Sequence[Alert]
    slot_us: int | None


class AlertStore(Protocol):
    """Where alerts are kept."""

    async def restore(self, shipped: Sequence[Rule]) -> Restored:
        """What is stored. A new database gets the shipped rules first."""
        ...

    async def save(self, batch: AlertBatch) -> None:
        """Stores all of it or, raising Unavailable, nothing."""
        ...

    async def find(self, alert_id: str) -> Alert | None:
        """One alert, however old."""
        ...


class AlertJournal:
    """The one writer of alerts. `run` writes; everything else only notes."""

    def __init__(self, store: AlertStore, clock: Clock, alerts: Changes, outbox: Changes) -> None:
        self._store = store
        self._clock = clock
        self._alerts = alerts
        self._outbox = outbox
        self._batch = AlertBatch()
        self._stored: set[str] = set()
        self._unseen: set[str] = set()
        self._noted = Changes()
        self._waiting: list[asyncio.Future[None]] = []
        self.failures = 0

    def know(self, alert_id: str) -> None:
        """This alert is in the database."""
        self._stored.add(alert_id)

    @property
    def full(self) -> bool:
        """Whether so much waits that nothing more should be decided."""
        return len(self._batch.steps) >= MOST_STEPS

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
        self._noted.notify()

    def note_slot(self, slot_us: int) -> None:
        """Remembers how far the evaluation came; stored with the next write."""
        self._batch.slot_us = max(self._batch.slot_us, slot_us)

    def wake(self) -> None:
        """Stores what is noted even if that is only a slot."""
        self._noted.notify()

    async def stored(self) -> None:
        """Returns when everything noted so far is in the database. Raises Unavailable when it could not be stored
        now; it is tried again."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._noted.notify()
        await waiting

    async def run(self) -> None:
        """Writes until it is cancelled."""
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
        """Writes what is noted. Raises Unavailable, and then still has it."""
        batch, self._batch = self._batch, AlertBatch()
        waiting, self._waiting = self._waiting, []
        unseen, self._unseen = self._unseen, set()
        batch.steps = [step for step in batch.steps if step.alert_id not in unseen]
        # What is being written counts as stored: should it vanish meanwhile, that has to be written too.
        self._stored.update(batch.alerts)
        try:
            await _to_its_end(self._store.save(batch))
        except Unavailable as error:
            self._batch = _joined(batch, self._batch)
            for future in waiting:
                if not future.done():
                    future.set_exception(error)
            raise
        for alert in batch.alerts.values():
            over = not alert.instance.live and not alert.instance.latched
            if over and alert.id not in self._batch.alerts:
                self._stored.discard(alert.id)
        for future in waiting:
            if not future.done():
                future.set_result(None)
        if batch.alerts:
            self._alerts.notify()
        if batch.events:
            self._outbox.notify()


async def _to_its_end(save: Coroutine[object, object, None]) -> None:
    """Awaits the save even when we are cancelled meanwhile: half-known whether it was stored, it could not be
    repeated."""
    saving = asyncio.ensure_future(save)
    cancelled: asyncio.CancelledError | None = None
    while not saving.done():
        try:
            await asyncio.shield(saving)
        except asyncio.CancelledError as error:
            cancelled = error
    saving.result()
    if cancelled is not None:
        raise cancelled


def _joined(older: AlertBatch, newer: AlertBatch) -> AlertBatch:
    return AlertBatch(
        slot_us=max(older.slot_us, newer.slot_us),
        alerts=older.alerts | newer.alerts,
        steps=older.steps + newer.steps,
        events=older.events + newer.events,
    )
