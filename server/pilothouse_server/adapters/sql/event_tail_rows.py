"""The newest events with what filters ask of them, as the columns have it: so that a filter means in memory what it
means in the database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.event_rows import newest_position
from pilothouse_server.adapters.sql.tables_projection import EVENTS
from pilothouse_server.domain.event_fields import EVENT_FIELDS, WORDS
from pilothouse_server.domain.filters import words_of
from pilothouse_server.ports import StoredEvent
from pilothouse_server.services.event_ring import TailRow
from pilothouse_server.services.event_tail import TailRead

_C = EVENTS.c
_ASKED = tuple(EVENT_FIELDS.fields)
_COLUMNS: tuple[ColumnElement[Any], ...] = tuple(
    _C.occur_us if name == "occur_time" else _C[name] for name in _ASKED
)
_QUERY = select(_C.position, _C.cursor, _C.payload, *_COLUMNS).order_by(_C.position)


class SqlEventTail:
    """Reads what came behind a place."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def newest(self) -> int:
        """The place of the newest event; raises Unavailable, as does `after`."""
        return await self._database.read(newest_position)

    async def after(self, position: int, limit: int) -> TailRead:
        """The next ones."""

        def run(connection: Connection) -> TailRead:
            newest = newest_position(connection)
            if newest <= position:
                return TailRead((), newest)
            query = _QUERY.where(_C.position > position, _C.position <= newest).limit(limit)
            return TailRead([_row(*row) for row in connection.execute(query)], newest)

        return await self._database.read(run)


def _row(position: int, cursor: str, payload: bytes, *asked: Any) -> TailRow:
    values = dict(zip(_ASKED, asked, strict=True))
    values[WORDS] = " ".join(words_of(values["message"]))
    return TailRow(StoredEvent(position, cursor, payload), values)
