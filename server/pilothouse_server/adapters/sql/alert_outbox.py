"""Steps in the lives of alerts that wait to be published."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, select

from pilothouse_server.adapters.sql.alert_store import alert_of, step_of
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.tables_control import ALERT_OUTBOX, ALERT_TRANSITIONS, ALERTS
from pilothouse_server.domain.alerts.records import AlertStep
from pilothouse_server.services.alerts.publisher import Told

_STEP = [ALERT_TRANSITIONS.c[name] for name in AlertStep._fields]


class SqlAlertOutbox:
    """Implements `services.alerts.publisher.AlertOutbox`; give it the database as the tenure may write it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def oldest(self, limit: int) -> Sequence[Told]:
        return await self._database.read(lambda connection: _oldest(connection, limit))

    async def remove(self, positions: Sequence[int]) -> None:
        gone = delete(ALERT_OUTBOX).where(ALERT_OUTBOX.c.position.in_(positions))
        await self._database.write(lambda c: c.execute(gone).close(), beside=True)

    async def keep_newest(self, count: int) -> int:
        out = ALERT_OUTBOX.c
        newest = await self._database.read(
            lambda c: c.execute(
                select(out.position).order_by(out.position.desc()).offset(count).limit(1)
            ).scalar()
        )
        if newest is None:
            return 0
        gone = delete(ALERT_OUTBOX).where(out.position <= newest)
        return await self._database.write(lambda c: c.execute(gone).rowcount, beside=True)


def _oldest(connection: Connection, limit: int) -> Sequence[Told]:
    out = ALERT_OUTBOX.c
    query = select(out.position, out.alert_id, out.step).order_by(out.position).limit(limit)
    waiting = connection.execute(query).all()
    if not waiting:
        return []
    ids = sorted({row.alert_id for row in waiting})
    rows = connection.execute(select(ALERTS).where(ALERTS.c.id.in_(ids))).mappings()
    alerts = {row["id"]: alert_of(row) for row in rows}
    table = ALERT_TRANSITIONS.c
    numbers = sorted({row.step for row in waiting})
    steps = {
        (step.alert_id, step.position): step
        for row in connection.execute(
            select(*_STEP).where(table.alert_id.in_(ids), table.position.in_(numbers))
        ).mappings()
        for step in [step_of(row)]
    }
    return [
        Told(row.position, alerts.get(row.alert_id), steps.get((row.alert_id, row.step)))
        for row in waiting
    ]
