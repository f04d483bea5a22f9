"""The part of a server that tells people: a database, what happens to alerts, the notifier and the courier."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Table, func, select

from pilothouse_server.adapters.notifying.sealing import Sealer, keys_of, new_key
from pilothouse_server.adapters.notifying.sender import Sender
from pilothouse_server.adapters.sql import rule_store
from pilothouse_server.adapters.sql.alert_store import SqlAlerts
from pilothouse_server.adapters.sql.channel_store import SqlChannels
from pilothouse_server.adapters.sql.courier_store import SqlCourier
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.delivery_queries import SqlDeliveries
from pilothouse_server.adapters.sql.escalation_store import SqlEscalations
from pilothouse_server.adapters.sql.notifier_store import SqlNotifications
from pilothouse_server.adapters.sql.tables_notifications import DELIVERIES
from pilothouse_server.domain.alerts.records import Alert
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.notifications.channels import Channel, Escalation
from pilothouse_server.domain.notifications.deliveries import Delivery
from pilothouse_server.domain.notifications.intents import Intent, IntentKind
from pilothouse_server.domain.notifications.notification import Notification
from pilothouse_server.services.alerts.journal import AlertBatch
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.ids import uuid7
from pilothouse_server.services.notifications.courier import Courier
from pilothouse_server.services.notifications.lane import CourierStore
from pilothouse_server.services.notifications.log import DeliveryLog
from pilothouse_server.services.notifications.notifier import Notifier
from pilothouse_server.services.views import PageRequest
from tests.alerts.build import over
from tests.alerts.conftest import SetClock
from tests.channels.receiver import Receiver
from tests.notifications.build import SECOND, T0, alert


@dataclass
class Office:
    """One replica that leads."""

    database: Database
    clock: SetClock = field(default_factory=lambda: SetClock(us=T0))
    alive: Callable[[], bool] = lambda: True
    jitter: float = 0.0
    timeout: float = 60.0
    """Seconds that a send may take: longer than any machine stands still."""

    def __post_init__(self) -> None:
        self.alerts: dict[str, Alert] = {}
        self.happened = Changes()
        self.changed = Changes()
        self.log = DeliveryLog(SqlDeliveries(self.database), self.clock, self.changed)
        self.channels = SqlChannels(self.database)
        self.sender = Sender(Sealer(keys_of(new_key())), self.clock.now_us, hosts=("127.0.0.1",))
        self.restart()

    def restart(self) -> None:
        """Another replica leads: all in memory is gone."""
        self.notifier = Notifier(
            SqlNotifications(self.database), self.clock, self.happened, self._wake
        )
        self.courier = self.couriers(SqlCourier(self.database))

    def couriers(self, store: CourierStore) -> Courier:
        """Who sends."""
        return Courier(
            store,
            self.sender,
            self.channels.every,
            self.clock,
            changes=(self.changed,),
            alive=self.alive,
            ended=lambda channel_id, key, id: self.notifier.ended((channel_id, key), id),
            look_again=self.notifier.look_again,
            jitter=lambda: self.jitter,
            timeout=self.timeout,
        )

    async def add(self, *channels: Channel) -> None:
        """New channels."""
        for each in channels:
            await self.channels.create(replace(each, create_us=self.clock.us), "", "")

    async def ladder(self, escalation: Escalation) -> None:
        """The rule of all alerts has an escalation."""
        await SqlEscalations(self.database).create(escalation, "", "")
        rule = Rule("depth", "Depth", over(), escalation=escalation.id)
        await self.database.write(lambda connection: rule_store.ship(connection, [rule]))

    async def change(self, channel: Channel) -> None:
        """Another version of a channel."""
        stored = await self.channels.find(channel.id)
        version = stored.version + 1
        await self.channels.replace(replace(channel, version=version), stored.version)
        self.changed.notify()

    async def fire(self, *ids: str, **given: Any) -> None:
        """Alerts fire now."""
        for id in ids:
            self.alerts[id] = alert(id, fire_us=self.clock.us, **given)
        await self.note(IntentKind.FIRING, *ids)

    async def resolve(self, *ids: str) -> None:
        """They are over now."""
        for id in ids:
            self.alerts[id] = alert(id, fire_us=self.alerts[id].update_us, resolve_us=self.clock.us)
        await self.note(IntentKind.RESOLVED, *ids)

    async def note(self, kind: IntentKind, *ids: str) -> None:
        """As the engine's journal does, in one transaction."""
        store = SqlAlerts(self.database)
        await store.restore(())
        intents = [Intent(id, kind, self.clock.us) for id in ids]
        alerts = {id: self.alerts[id] for id in ids}
        await store.save(AlertBatch(id=uuid7(), alerts=alerts, intents=intents))
        self.happened.notify()

    async def gather(self) -> None:
        """The notifier does all that it has to do now."""
        while await self.notifier.gather_some():
            pass

    async def arrive(self) -> None:
        """Everything that is on its way arrives, without anybody having sent it."""
        for each in await self.deliveries("state=WAITING"):
            await self.log.drop(each.id)
        self.notifier.look_again()

    async def wait(self, seconds: float) -> None:
        """Later."""
        self.clock.us += round(seconds * SECOND)

    async def deliveries(self, filter: str = "") -> Sequence[Delivery]:
        """The log, newest first."""
        return (await self.log.page(PageRequest(500, "", filter))).items

    async def waiting(self) -> list[Notification]:
        """What is on its way, oldest first."""
        query = (
            select(DELIVERIES.c.notification)
            .where(DELIVERIES.c.state == 1)
            .order_by(DELIVERIES.c.create_us, DELIVERIES.c.id)
        )
        texts = await self.database.read(lambda c: c.execute(query).scalars().all())
        return [Notification.from_json(json.loads(text)) for text in texts]

    async def count(self, table: Table) -> int:
        """How many rows there are."""
        query = select(func.count()).select_from(table)
        return await self.database.read(lambda c: int(c.execute(query).scalar_one()))

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Both run, until the block ends: then they are killed."""
        tasks = [
            asyncio.create_task(self.notifier.run()), asyncio.create_task(self.courier.run()),
        ]  # fmt: skip
        try:
            yield
            for task in tasks:
                assert not task.done(), task
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    def _wake(self, channel_ids: Any) -> None:
        self.courier.wake(channel_ids)


def told(receiver: Receiver) -> list[tuple[str, str]]:
    """What a webhook was sent so far, each notification once: the status and the ids of alerts."""
    seen: dict[str, tuple[str, str]] = {}
    for each in receiver.received:
        agents = " ".join(alert["labels"]["agent"] for alert in each.json["alerts"])
        seen.setdefault(key_of(each), (each.json["status"], agents))
    return list(seen.values())


def key_of(received: Any) -> str:
    """The idempotency key of a request."""
    key: str = received.headers["idempotency-key"]
    return key


def sent(receiver: Receiver) -> Counter[str]:
    """How often each notification came."""
    return Counter(map(key_of, receiver.received))
