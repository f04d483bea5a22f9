"""The counters behind watched rows: what changes gets a greater number than all that was committed before.

A counter is a row, which stays locked until the transaction that counted commits: so numbers are in the order of the
commits, and who has seen one has seen all below it. It is to be the last thing that a transaction locks.
"""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from pilothouse_server.adapters.sql.tables_projection import COUNTERS, IDENTITY

REVISION = "revision"
"""Counts changes of rows."""
POSITION = "position"
"""Counts events."""
DATABASE_ID = "database_id"


def next_revision(connection: Connection) -> int:
    """The next revision; taken for good when the transaction commits."""
    return reserve_revisions(connection, 1)[0]


def reserve_revisions(connection: Connection, count: int) -> range:
    """The next `count` revisions, for rows that are written together."""
    return reserve(connection, REVISION, count)


def newest_revision(connection: Connection) -> int:
    """The greatest revision that any row can have."""
    return newest(connection, REVISION)


def reserve(connection: Connection, counter: str, count: int) -> range:
    """The next `count` numbers of a counter; taken for good when the transaction commits. None locks nothing."""
    if not count:
        return range(0)
    reserved = (
        update(COUNTERS)
        .where(COUNTERS.c.name == counter)
        .values(value=COUNTERS.c.value + count)
        .returning(COUNTERS.c.value)
    )
    last: int = connection.execute(reserved).scalar_one()
    return range(last - count + 1, last + 1)


def newest(connection: Connection, counter: str) -> int:
    """The last number of a counter that was taken."""
    found: int = connection.execute(
        select(COUNTERS.c.value).where(COUNTERS.c.name == counter)
    ).scalar_one()
    return found


def database_id(connection: Connection) -> str:
    """What tells this database from every other one, so that a token of another is recognised."""
    found: str = connection.execute(
        select(IDENTITY.c.value).where(IDENTITY.c.name == DATABASE_ID)
    ).scalar_one()
    return found
