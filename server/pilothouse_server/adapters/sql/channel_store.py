"""Channels as rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, select

from pilothouse_server.adapters.sql import escalation_store, heartbeat_store, named_rows, rule_store
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.named_rows import Kind
from pilothouse_server.adapters.sql.tables_channels import CHANNELS
from pilothouse_server.domain.audit import Author
from pilothouse_server.domain.errors import StillNamed
from pilothouse_server.domain.notifications.channels import MOST_CHANNELS, Channel
from pilothouse_server.domain.notifications.documents import (
    channel_from_document,
    channel_to_document,
)

KIND: Final = Kind("channel", CHANNELS, MOST_CHANNELS)
_NAMED_AT_MOST: Final = 5
"""Of those that name a channel, so many are told."""


def every(connection: Connection) -> Sequence[Channel]:
    """The channels, by name, their secrets still sealed."""
    rows = connection.execute(select(CHANNELS).order_by(CHANNELS.c.name)).mappings()
    return [channel_of(row) for row in rows]


def missing(connection: Connection, ids: Collection[str]) -> list[str]:
    """Those of the ids that are no channel's, in the order given."""
    return named_rows.missing(connection, CHANNELS, ids)


def channel_of(row: RowMapping) -> Channel:
    """The channel in a row."""
    return replace(
        channel_from_document(row["id"], row["name"], row["document"]),
        version=row["version"],
        create_us=row["create_us"],
        update_us=row["update_us"],
        updated_by=row["updated_by"],
        sealed=row["sealed"],
    )


class SqlChannels:
    """The channels in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def every(self) -> Sequence[Channel]:
        """The channels, by name, sealed."""
        return await self._database.read(every)

    async def find(self, channel_id: str) -> Channel:
        """One of them. Raises NotFound."""
        return await self._database.read(lambda c: channel_of(named_rows.find(c, KIND, channel_id)))

    async def create(self, channel: Channel, request_id: str, digest: str) -> Channel:
        """The new one, or the one that the same request made before. Raises AlreadyThere, LimitExceeded,
        RequestIdReused."""
        values = _values(channel) | {"create_us": channel.create_us}
        values |= {"request_id": request_id, "request_digest": digest}
        return await self._database.write(lambda c: channel_of(named_rows.create(c, KIND, values)))

    async def replace(self, channel: Channel, seen: int) -> Channel | None:
        """The changed one; None when it is not of the version that was seen any more. Raises NotFound, AlreadyThere."""

        def run(connection: Connection) -> Channel | None:
            row = named_rows.replace(connection, KIND, _values(channel), seen)
            return None if row is None else channel_of(row)

        return await self._database.write(run)

    async def delete(self, channel_id: str, etag: str, author: Author) -> None:
        """Deletes it. Raises NotFound, EtagMismatch, StillNamed."""

        def run(connection: Connection) -> None:
            named_rows.remove(connection, KIND, channel_id, etag, author)
            naming = _naming(connection, channel_id)
            if naming:
                more = len(naming) - _NAMED_AT_MOST
                told = ", ".join(naming[:_NAMED_AT_MOST]) + (
                    f" and {more} more" if more > 0 else ""
                )
                raise StillNamed("channel", channel_id, told)

        await self._database.write(run)


def _naming(connection: Connection, channel_id: str) -> list[str]:
    """Who names it, in words."""
    rules = [each.id for each in rule_store.every(connection) if channel_id in each.channels]
    escalations = [
        each.id
        for each in escalation_store.every(connection)
        if any(channel_id in step.channels for step in each.steps)
    ]
    heartbeats = [
        each.id for each in heartbeat_store.every(connection) if channel_id in each.channels
    ]
    return [
        f"{kind} {id}"
        for kind, ids in (("rule", rules), ("escalation", escalations), ("heartbeat", heartbeats))
        for id in ids
    ]


def _values(channel: Channel) -> dict[str, Any]:
    return {
        "id": channel.id,
        "name": channel.name,
        "document": channel_to_document(channel),
        "sealed": channel.sealed,
        "version": channel.version,
        "update_us": channel.update_us,
        "updated_by": channel.updated_by,
    }
