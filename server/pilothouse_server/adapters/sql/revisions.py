"""The counter behind every watched row: what changes gets a greater revision than all that was committed before."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from pilothouse_server.adapters.sql.tables_projection import COUNTERS, IDENTITY

REVISION = "revision"
DATABASE_ID = "database_id"


def next_revision(connection: Connection) -> int:
    """The next revision; taken for good when the transaction commits."""
    return reserve_revisions(connection, 1)[0]


def reserve_revisions(connection: Connection, count: int) -> range:
    """The next `count` revisions, for rows that are written together."""
    reserved = (
        update(COUNTERS)
        .where(COUNTERS.c.name == REVISION)
        .values(value=COUNTERS.c.value + count)
        .returning(COUNTERS.c.value)
    )
    last: int = connection.execute(reserved).scalar_one()
    return range(last - count + 1, last + 1)


def newest_revision(connection: Connection) -> int:
    """The greatest revision that any row can have."""
    newest: int = connection.execute(
        select(COUNTERS.c.value).where(COUNTERS.c.name == REVISION)
    ).scalar_one()
    return newest


def database_id(connection: Connection) -> str:
    """What tells this database from every other one, so that a token of another is recognised."""
    found: str = connection.execute(
        select(IDENTITY.c.value).where(IDENTITY.c.name == DATABASE_ID)
    ).scalar_one()
    return found
