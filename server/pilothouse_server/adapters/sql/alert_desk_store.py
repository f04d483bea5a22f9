"""What replicas ask of each other about alerts, in the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, update

from pilothouse_server.adapters.sql import alert_requests, alert_store
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.tables_control import ALERT_CLOCK
from pilothouse_server.domain.alerts.records import Alert
from pilothouse_server.domain.alerts.requests import AlertRequest
from pilothouse_server.services.alerts.desk import Asked


class SqlAlertDesk:
    """The side of whoever asks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ask(self, request: AlertRequest) -> None:
        await self._database.write(lambda c: alert_requests.add(c, request), beside=True)

    async def asked(self, request_id: str) -> Asked:
        outcome = await self._database.read(lambda c: alert_requests.outcome(c, request_id))
        return Asked(None) if outcome is None else Asked(*outcome)

    async def withdraw(self, request_id: str) -> bool:
        return await self._database.write(
            lambda c: alert_requests.withdraw(c, request_id), beside=True
        )

    async def find(self, alert_id: str) -> Alert | None:
        return await self._database.read(lambda c: alert_store.find(c, alert_id))


class SqlAlertRequests:
    """The side of whoever leads; give it the database as its tenure may write it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, stale_us: int, limit: int) -> Sequence[AlertRequest]:
        if not await self._database.read(alert_requests.any_open):
            return ()
        return await self._database.write(
            lambda c: alert_requests.claim(c, stale_us, limit), beside=True
        )

    async def note(self, meters: Mapping[str, Any], now_us: int, prune_us: int) -> None:
        def run(connection: Connection) -> None:
            noted = update(ALERT_CLOCK).where(ALERT_CLOCK.c.id == alert_store.CLOCK)
            connection.execute(noted.values(meters=dict(meters), meters_us=now_us))
            alert_requests.prune(connection, prune_us)

        await self._database.write(run, beside=True)
