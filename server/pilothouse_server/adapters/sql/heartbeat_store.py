"""Heartbeats from outside as rows. A beat locks and changes its one row, beside other writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from pilothouse_server.adapters.sql import audit_rows, named_rows
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.tables_channels import CHANNELS, HEARTBEAT_CLOCK, HEARTBEATS
from pilothouse_server.domain.audit import Author, done
from pilothouse_server.domain.errors import InvalidArgument, LimitExceeded, NotFound
from pilothouse_server.domain.events import Severity
from pilothouse_server.domain.notifications.channels import MOST_HEARTBEATS, Heartbeat
from pilothouse_server.services.heartbeats import Beaten, Followed

_CLOCK: Final = 1


def every(connection: Connection) -> Sequence[Heartbeat]:
    """The heartbeats, by id."""
    rows = connection.execute(select(HEARTBEATS).order_by(HEARTBEATS.c.id)).mappings()
    return [heartbeat_of(row) for row in rows]


def channels_of(connection: Connection) -> Mapping[str, tuple[str, ...]]:
    """The channels of each heartbeat that names any."""
    rows = connection.execute(select(HEARTBEATS.c.id, HEARTBEATS.c.channels))
    return {row.id: tuple(row.channels) for row in rows if row.channels}


def heartbeat_of(row: RowMapping) -> Heartbeat:
    """The heartbeat in a row."""
    values = dict(row)
    severity, channels = Severity(values.pop("severity")), tuple(values.pop("channels"))
    return Heartbeat(**values, severity=severity, channels=channels)


class SqlHeartbeats:
    """The heartbeats in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def every(self) -> Sequence[Heartbeat]:
        """The heartbeats, by id."""
        return await self._database.read(every)

    async def put(self, heartbeat: Heartbeat, author: Author) -> Heartbeat:
        """A new one, or a change; what was heard of it stays. Raises InvalidArgument, LimitExceeded."""
        return await self._database.write(lambda c: _put(c, heartbeat, author))

    async def beat(self, heartbeat_id: str, now_us: int) -> Beaten:
        """It was heard. Raises NotFound."""
        return await self._database.write(lambda c: _beat(c, heartbeat_id, now_us), beside=True)

    async def delete(self, heartbeat_id: str, author: Author) -> None:
        """Deletes it. Raises NotFound."""

        def run(connection: Connection) -> None:
            gone = delete(HEARTBEATS).where(HEARTBEATS.c.id == heartbeat_id)
            if not connection.execute(gone).rowcount:
                raise NotFound("heartbeat", heartbeat_id)
            audit_rows.append(connection, [done(author, "heartbeat.delete", heartbeat_id)])

        await self._database.write(run)

    async def followed(self) -> Followed:
        """All of them, and when somebody last noted that he followed."""

        def run(connection: Connection) -> Followed:
            noted = connection.execute(select(HEARTBEAT_CLOCK.c.followed_us)).scalar()
            return Followed(every(connection), noted)

        return await self._database.read(run)

    async def note(self, now_us: int) -> None:
        """Somebody follows at that time."""
        await self._database.write(lambda c: _note(c, now_us), beside=True)

    async def listen_again(self, deaf_us: int, now_us: int) -> None:
        """Nobody could be heard from `deaf_us` until now: what was not late by then has its whole time again."""

        def run(connection: Connection) -> None:
            again = now_us + HEARTBEATS.c.interval_us + HEARTBEATS.c.grace_us
            waits = (HEARTBEATS.c.due_us > deaf_us) & (HEARTBEATS.c.due_us < again)
            connection.execute(update(HEARTBEATS).where(waits).values(due_us=again))
            _note(connection, now_us)

        await self._database.write(run)


def _put(connection: Connection, heartbeat: Heartbeat, author: Author) -> Heartbeat:
    missing = named_rows.missing(connection, CHANNELS, heartbeat.channels)
    if missing:
        raise InvalidArgument("heartbeat.channels", f"there is no channel {missing[0]!r}")
    said = {
        "description": heartbeat.description,
        "interval_us": heartbeat.interval_us,
        "grace_us": heartbeat.grace_us,
        "severity": int(heartbeat.severity),
        "channels": list(heartbeat.channels),
    }
    due_us = author.at_us + heartbeat.interval_us + heartbeat.grace_us
    row = _row(connection, heartbeat.id)
    changed = {name: value for name, value in said.items() if row is None or row[name] != value}
    if row is None:
        count = connection.execute(select(func.count()).select_from(HEARTBEATS)).scalar_one()
        if count >= MOST_HEARTBEATS:
            raise LimitExceeded("heartbeats", MOST_HEARTBEATS, count + 1)
        said |= {"id": heartbeat.id, "create_us": author.at_us, "due_us": due_us, "count": 0}
        connection.execute(insert(HEARTBEATS).values(**said))
    else:
        if (row["interval_us"], row["grace_us"]) != (heartbeat.interval_us, heartbeat.grace_us):
            said["due_us"] = due_us
        connection.execute(update(HEARTBEATS).where(HEARTBEATS.c.id == heartbeat.id).values(**said))
    if changed:
        before = {} if row is None else {name: str(row[name]) for name in changed}
        after = {name: str(value) for name, value in changed.items()}
        entry = done(author, "heartbeat.set", heartbeat.id, before=before, after=after)
        audit_rows.append(connection, [entry])
    stored = select(HEARTBEATS).where(HEARTBEATS.c.id == heartbeat.id)
    return heartbeat_of(connection.execute(stored).mappings().one())


def _beat(connection: Connection, heartbeat_id: str, now_us: int) -> Beaten:
    """A beat of a replica whose clock is behind takes nothing back."""
    row = _row(connection, heartbeat_id, lock=True)
    if row is None:
        raise NotFound("heartbeat", heartbeat_id)
    due_us = max(row["due_us"], now_us + row["interval_us"] + row["grace_us"])
    heard = {
        "last_us": max(row["last_us"] or 0, now_us),
        "due_us": due_us,
        "count": row["count"] + 1,
    }
    connection.execute(update(HEARTBEATS).where(HEARTBEATS.c.id == heartbeat_id).values(**heard))
    return Beaten(due_us, was_late=row["due_us"] <= now_us)


def _row(connection: Connection, heartbeat_id: str, *, lock: bool = False) -> RowMapping | None:
    found = select(HEARTBEATS).where(HEARTBEATS.c.id == heartbeat_id)
    return connection.execute(found.with_for_update() if lock else found).mappings().first()


def _note(connection: Connection, now_us: int) -> None:
    noted = update(HEARTBEAT_CLOCK).where(HEARTBEAT_CLOCK.c.id == _CLOCK)
    if not connection.execute(noted.values(followed_us=now_us)).rowcount:
        connection.execute(insert(HEARTBEAT_CLOCK).values(id=_CLOCK, followed_us=now_us))
