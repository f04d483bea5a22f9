"""Escalations as rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, select

from pilothouse_server.adapters.sql import named_rows, rule_store
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.named_rows import Kind
from pilothouse_server.adapters.sql.tables_channels import CHANNELS, ESCALATIONS
from pilothouse_server.domain.audit import Author
from pilothouse_server.domain.errors import InvalidArgument, StillNamed
from pilothouse_server.domain.notifications.channels import MOST_ESCALATIONS, Escalation
from pilothouse_server.domain.notifications.documents import (
    escalation_from_document,
    escalation_to_document,
)

KIND: Final = Kind("escalation", ESCALATIONS, MOST_ESCALATIONS)


def every(connection: Connection) -> Sequence[Escalation]:
    """The escalations, by name."""
    rows = connection.execute(select(ESCALATIONS).order_by(ESCALATIONS.c.name)).mappings()
    return [escalation_of(row) for row in rows]


def exists(connection: Connection, escalation_id: str) -> bool:
    """Whether there is such an escalation."""
    found = select(ESCALATIONS.c.id).where(ESCALATIONS.c.id == escalation_id)
    return connection.execute(found).first() is not None


def escalation_of(row: RowMapping) -> Escalation:
    """The escalation in a row."""
    return replace(
        escalation_from_document(row["id"], row["name"], row["document"]),
        **{name: row[name] for name in ("version", "create_us", "update_us", "updated_by")},
    )


class SqlEscalations:
    """The escalations in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def every(self) -> Sequence[Escalation]:
        """The escalations, by name."""
        return await self._database.read(every)

    async def find(self, escalation_id: str) -> Escalation:
        """One of them. Raises NotFound."""
        return await self._database.read(
            lambda c: escalation_of(named_rows.find(c, KIND, escalation_id))
        )

    async def create(self, escalation: Escalation, request_id: str, digest: str) -> Escalation:
        """The new one, or the one that the same request made before. Raises InvalidArgument, AlreadyThere,
        LimitExceeded, RequestIdReused."""
        values = _values(escalation) | {"create_us": escalation.create_us}
        values |= {"request_id": request_id, "request_digest": digest}

        def run(connection: Connection) -> Escalation:
            _check(connection, escalation)
            return escalation_of(named_rows.create(connection, KIND, values))

        return await self._database.write(run)

    async def replace(self, escalation: Escalation, seen: int) -> Escalation | None:
        """The changed one; None when it is not of the version that was seen any more. Raises NotFound, AlreadyThere,
        InvalidArgument."""

        def run(connection: Connection) -> Escalation | None:
            _check(connection, escalation)
            row = named_rows.replace(connection, KIND, _values(escalation), seen)
            return None if row is None else escalation_of(row)

        return await self._database.write(run)

    async def delete(self, escalation_id: str, etag: str, author: Author) -> None:
        """Deletes it. Raises NotFound, EtagMismatch, StillNamed."""

        def run(connection: Connection) -> None:
            named_rows.remove(connection, KIND, escalation_id, etag, author)
            naming = [
                f"rule {each.id}"
                for each in rule_store.every(connection)
                if each.escalation == escalation_id
            ]
            if naming:
                raise StillNamed("escalation", escalation_id, ", ".join(naming[:5]))

        await self._database.write(run)


def _check(connection: Connection, escalation: Escalation) -> None:
    """Whether there are the channels that it names. Raises InvalidArgument."""
    for position, step in enumerate(escalation.steps):
        missing = named_rows.missing(connection, CHANNELS, step.channels)
        if missing:
            raise InvalidArgument(
                f"escalation.steps[{position}].channels", f"there is no channel {missing[0]!r}"
            )


def _values(escalation: Escalation) -> dict[str, Any]:
    return {
        "id": escalation.id,
        "name": escalation.name,
        "document": escalation_to_document(escalation),
        "version": escalation.version,
        "update_us": escalation.update_us,
        "updated_by": escalation.updated_by,
    }
