"""Events on their way to the log, written in the transaction of what they tell of, in the order of their positions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.tables_control import OUTBOX
from pilothouse_server.domain.events import Event, EventError
from pilothouse_server.services.relay import Parcel

FIELDS = (
    "id", "type", "occur_us", "receive_us", "source", "workflow_id", "workflow_type", "agent_id",
    "agent_type", "severity", "message", "attributes", "command_id", "queue", "attempt", "forced_after_us",
)  # fmt: skip
"""What the server's own events carry."""


def add(connection: Connection, events: Iterable[Event]) -> None:
    """Puts the events in the outbox, in this transaction."""
    rows = [{"event": _to_row(event)} for event in events]
    if rows:
        connection.execute(insert(OUTBOX), rows)


def oldest(connection: Connection, limit: int) -> Sequence[Parcel]:
    """The next events to publish, in order."""
    rows = connection.execute(
        select(OUTBOX.c.position, OUTBOX.c.event).order_by(OUTBOX.c.position).limit(limit)
    )
    return [Parcel(position, _from_row(row)) for position, row in rows]


def remove(connection: Connection, positions: Sequence[int]) -> None:
    """Forgets what is in the log, and nothing else: a smaller position may be committed after a greater one."""
    connection.execute(delete(OUTBOX).where(OUTBOX.c.position.in_(positions)))


class SqlOutbox:
    """The relay's side of the outbox."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def oldest(self, limit: int) -> Sequence[Parcel]:
        return await self._database.read(lambda connection: oldest(connection, limit))

    async def remove(self, positions: Sequence[int]) -> None:
        # Beside others: nobody else deletes, and what is added meanwhile is not named.
        await self._database.write(lambda connection: remove(connection, positions), beside=True)


def _to_row(event: Event) -> dict[str, Any]:
    row = {name: getattr(event, name) for name in FIELDS}
    row["attributes"] = dict(event.attributes)
    row["error"] = None if event.error is None else asdict(event.error)
    return row


def _from_row(row: dict[str, Any]) -> Event:
    error = row.pop("error")
    return Event(**row, error=None if error is None else EventError(**error))
