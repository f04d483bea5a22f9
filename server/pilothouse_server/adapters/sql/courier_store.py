"""Deliveries on their way and how their channels do, as rows; a try and what it says of its channel are one write."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from pilothouse_server.adapters.sql import bulk
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.tables_notifications import (
    CHANNEL_HEALTH,
    DELIVERIES,
)
from pilothouse_server.domain.notifications.breaker import Breaker
from pilothouse_server.domain.notifications.deliveries import DeliveryState, Standing, Verdict
from pilothouse_server.domain.notifications.notification import DeliveryKind, Notification
from pilothouse_server.services.channels import ChannelHealth
from pilothouse_server.services.notifications.lane import Dropped, Due

WAITING = DELIVERIES.c.state == int(DeliveryState.WAITING)
DEAD = DELIVERIES.c.state == int(DeliveryState.DEAD)

DROPPED_AT_ONCE = 250


class SqlCourier:
    """The courier's side."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def breakers(self) -> Mapping[str, Breaker]:
        return await self._database.read(breakers)

    async def forget(self, channel_ids: Collection[str]) -> None:
        gone = CHANNEL_HEALTH.c.channel_id.in_(list(channel_ids))
        await self._database.write(
            lambda c: c.execute(delete(CHANNEL_HEALTH).where(gone)), beside=True
        )

    async def waiting_channels(self) -> Collection[str]:
        query = select(DELIVERIES.c.channel_id).where(WAITING).distinct()
        return await self._database.read(lambda c: c.execute(query).scalars().all())

    async def due(self, channel_id: str, limit: int) -> Sequence[Due]:
        return await self._database.read(lambda c: _due(c, channel_id, limit))

    async def notification(self, delivery_id: str) -> Notification | None:
        query = select(DELIVERIES.c.notification).where(DELIVERIES.c.id == delivery_id, WAITING)
        text = await self._database.read(lambda c: c.execute(query).scalar())
        return None if text is None else Notification.from_json(json.loads(text))

    async def settle(
        self, channel_id: str, delivery_id: str, verdict: Verdict, breaker: Breaker
    ) -> None:
        # Beside others: only the replica that leads sends, and a delivery that was dropped meanwhile stays so.
        await self._database.write(
            lambda c: _settle(c, channel_id, delivery_id, verdict, breaker), beside=True
        )

    async def note(
        self, channel_id: str, breaker: Breaker, beat: Notification | None, name: str
    ) -> None:
        await self._database.write(
            lambda c: _note_beat(c, channel_id, breaker, beat, name), beside=True
        )

    async def drop(self, channel_id: str, why: str, now_us: int) -> Sequence[Dropped]:
        return await self._database.write(lambda c: _drop(c, channel_id, why, now_us), beside=True)


def breakers(connection: Connection) -> Mapping[str, Breaker]:
    """How each channel did of which something is known."""
    rows = connection.execute(select(CHANNEL_HEALTH)).mappings()
    return {
        row["channel_id"]: Breaker(**{k: v for k, v in row.items() if k != "channel_id"})
        for row in rows
    }


def health(connection: Connection) -> Mapping[str, ChannelHealth]:
    """How each channel does, as people see it."""
    known = breakers(connection)
    waiting, dead = _counts(connection, WAITING), _counts(connection, DEAD)
    return {
        channel_id: _health(
            known.get(channel_id, Breaker()), waiting.get(channel_id, 0), dead.get(channel_id, 0)
        )
        for channel_id in known.keys() | waiting.keys() | dead.keys()
    }


def _health(breaker: Breaker, waiting: int, dead: int) -> ChannelHealth:
    return ChannelHealth(
        open=breaker.open_until_us is not None,
        retry_us=breaker.open_until_us,
        failures=breaker.failures,
        error=breaker.error,
        last_success_us=breaker.success_us,
        waiting=waiting,
        dead=dead,
    )


def _counts(connection: Connection, which: Any) -> Mapping[str, int]:
    query = select(DELIVERIES.c.channel_id, func.count()).where(which)
    rows = connection.execute(query.group_by(DELIVERIES.c.channel_id))
    return {channel_id: int(count) for channel_id, count in rows}


def _due(connection: Connection, channel_id: str, limit: int) -> Sequence[Due]:
    table = DELIVERIES
    columns = (
        table.c.id, table.c.group_key, table.c.retry_us, table.c.since_us, table.c.attempts,
    )  # fmt: skip
    query = (
        select(*columns)
        .where(table.c.channel_id == channel_id, WAITING)
        .order_by(table.c.retry_us)
        .limit(limit)
    )
    return [
        Due(row.id, row.group_key, row.retry_us or 0, Standing(row.since_us, row.attempts))
        for row in connection.execute(query)
    ]


def _settle(
    connection: Connection, channel_id: str, delivery_id: str, verdict: Verdict, breaker: Breaker
) -> None:
    over = verdict.state != DeliveryState.WAITING
    values: dict[str, Any] = {
        "state": int(verdict.state),
        "attempts": verdict.attempts,
        "error": verdict.error,
        "status_code": verdict.status_code,
        "retry_us": verdict.retry_us,
        "end_us": verdict.at_us if over else None,
    }
    if verdict.state == DeliveryState.DELIVERED:
        values["notification"] = None
    connection.execute(
        update(DELIVERIES).where(DELIVERIES.c.id == delivery_id, WAITING).values(values)
    )
    _note(connection, channel_id, breaker)


def _note(connection: Connection, channel_id: str, breaker: Breaker) -> None:
    row = (
        channel_id,
        breaker.failures,
        breaker.trips,
        breaker.open_until_us,
        breaker.error,
        breaker.success_us,
        breaker.beat_us,
    )
    bulk.upsert(connection, CHANNEL_HEALTH, [row])


def _note_beat(
    connection: Connection,
    channel_id: str,
    breaker: Breaker,
    beat: Notification | None,
    name: str,
) -> None:
    """Of heartbeats only the newest that arrived is kept."""
    if beat is not None:
        table = DELIVERIES
        newest = table.c.kind == int(DeliveryKind.HEARTBEAT)
        connection.execute(delete(table).where(table.c.channel_id == channel_id, newest))
        connection.execute(insert(table).values(_beat_row(beat, name, breaker.success_us or 0)))
    _note(connection, channel_id, breaker)


def _beat_row(beat: Notification, name: str, now_us: int) -> dict[str, Any]:
    return {
        "id": beat.id,
        "channel_id": beat.channel_id,
        "channel_name": name,
        "group_key": beat.group_key,
        "kind": int(beat.kind),
        "state": int(DeliveryState.DELIVERED),
        "group_labels": json.dumps(dict(beat.group_labels)),
        "alert_ids": "[]",
        "firing_count": 1,
        "resolved_count": 0,
        "create_us": beat.create_us,
        "end_us": now_us,
        "retry_us": None,
        "since_us": beat.create_us,
        "attempts": 1,
        "error": "",
        "status_code": 0,
        "notification": None,
    }


def _drop(connection: Connection, channel_id: str, why: str, now_us: int) -> Sequence[Dropped]:
    table = DELIVERIES
    some = (
        select(table.c.id, table.c.group_key)
        .where(table.c.channel_id == channel_id, WAITING)
        .limit(DROPPED_AT_ONCE)
    )
    found = [Dropped(row.id, row.group_key) for row in connection.execute(some)]
    if found:
        values = {
            "state": int(DeliveryState.DROPPED), "end_us": now_us, "retry_us": None, "error": why,
            "notification": None,
        }  # fmt: skip
        mine = table.c.id.in_([each.id for each in found])
        connection.execute(update(table).where(mine, WAITING).values(values))
    return found
