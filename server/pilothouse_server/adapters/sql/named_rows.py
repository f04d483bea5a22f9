"""Rows that people make, name and change: one of an id, one of a name, each change of the version that was seen.

The functions are parts of exclusive writes, so what they read stays true until the commit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, Table, delete, func, insert, select, update

from pilothouse_server.adapters.sql import audit_rows
from pilothouse_server.domain.audit import Author, done
from pilothouse_server.domain.errors import (
    AlreadyThere,
    EtagMismatch,
    LimitExceeded,
    NotFound,
    RequestIdReused,
)


class Kind(NamedTuple):
    """What the rows are."""

    name: str
    table: Table
    most: int
    """So many there may be."""


def create(connection: Connection, kind: Kind, values: Mapping[str, Any]) -> RowMapping:
    """The new row, or the one that the same request made before. Raises AlreadyThere, LimitExceeded,
    RequestIdReused."""
    table, request_id = kind.table, values["request_id"]
    if request_id:
        row = (
            connection.execute(select(table).where(table.c.request_id == request_id))
            .mappings()
            .first()
        )
        if row is not None:
            if row["request_digest"] != values["request_digest"]:
                raise RequestIdReused(request_id)
            return row
    count = connection.execute(select(func.count()).select_from(table)).scalar_one()
    if count >= kind.most:
        raise LimitExceeded(f"{kind.name}s", kind.most, count + 1)
    _alone(connection, kind, "id", values["id"])
    _alone(connection, kind, "name", values["name"])
    connection.execute(insert(table).values(**values))
    entry = done(_author(values), f"{kind.name}.create", values["id"], after=_version(values))
    audit_rows.append(connection, [dataclasses.replace(entry, request_id=request_id)])
    return find(connection, kind, values["id"])


def replace(
    connection: Connection, kind: Kind, values: Mapping[str, Any], seen: int
) -> RowMapping | None:
    """The row with new values; None when its version is not the one that was seen. Raises NotFound, AlreadyThere."""
    table = kind.table
    row = find(connection, kind, values["id"])
    if row["version"] != seen:
        return None
    if values["name"] != row["name"]:
        _alone(connection, kind, "name", values["name"])
    connection.execute(update(table).where(table.c.id == values["id"]).values(**values))
    changed = {"before": _version(row), "after": _version(values)}
    entry = done(_author(values), f"{kind.name}.update", values["id"], **changed)
    audit_rows.append(connection, [entry])
    return find(connection, kind, values["id"])


def remove(connection: Connection, kind: Kind, id: str, etag: str, author: Author) -> None:
    """Deletes the row. Raises NotFound, EtagMismatch."""
    row = find(connection, kind, id)
    if etag and etag != str(row["version"]):
        raise EtagMismatch(kind.name, id, str(row["version"]))
    connection.execute(delete(kind.table).where(kind.table.c.id == id))
    audit_rows.append(connection, [done(author, f"{kind.name}.delete", id, before=_version(row))])


def _author(values: Mapping[str, Any]) -> Author:
    return Author(values["updated_by"], values["update_us"])


def _version(row: Mapping[Any, Any]) -> Mapping[str, str]:
    return {"version": str(row["version"]), "name": row["name"]}


def find(connection: Connection, kind: Kind, id: str) -> RowMapping:
    """The row. Raises NotFound."""
    row = connection.execute(select(kind.table).where(kind.table.c.id == id)).mappings().first()
    if row is None:
        raise NotFound(kind.name, id)
    return row


def missing(connection: Connection, table: Table, ids: Collection[str]) -> list[str]:
    """Those of the ids that no row has, in the order given."""
    if not ids:
        return []
    there = set(connection.execute(select(table.c.id)).scalars())
    return [id for id in ids if id not in there]


def _alone(connection: Connection, kind: Kind, column: str, value: str) -> None:
    table = kind.table
    if connection.execute(select(table.c.id).where(table.c[column] == value)).first() is not None:
        raise AlreadyThere(kind.name, column, value)
