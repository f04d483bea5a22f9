"""A table of numbers in a database of either kind, and what tests put there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection, text

from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.postgres import PostgresDatabase
from pilothouse_server.adapters.sql.postgres_unit import Limits as PostgresLimits
from pilothouse_server.adapters.sql.sqlite import Limits as SqliteLimits
from pilothouse_server.adapters.sql.sqlite import SqliteDatabase
from tests.databases import Place
from tests.support import wait_until


def put(number: int) -> Callable[[Connection], int]:
    """A write of one number."""

    def run(connection: Connection) -> int:
        connection.execute(text("INSERT INTO numbers VALUES (:number)"), {"number": number})
        return number

    return run


def numbers(connection: Connection) -> list[int]:
    """All of them."""
    return list(connection.execute(text("SELECT number FROM numbers ORDER BY number")).scalars())


async def opened(
    place: Place, *, writes: int = 1024, reads: int = 256, read_seconds: float = 10.0
) -> Database:
    """The database with an empty table of numbers."""
    database: Database
    if isinstance(place, Path):
        limits = SqliteLimits(queued_writes=writes, queued_reads=reads, read_seconds=read_seconds)
        database = SqliteDatabase(place, limits=limits)
    else:
        narrow = PostgresLimits(
            queued_writes=writes, queued_reads=reads, read_seconds=read_seconds, close_seconds=20
        )
        database = PostgresDatabase(place, limits=narrow)
    make = text("CREATE TABLE IF NOT EXISTS numbers (number INTEGER PRIMARY KEY)")
    await database.write(lambda c: c.execute(make).close())
    return database


class Held:
    """A function that keeps its transaction open until it is let go."""

    def __init__(self, then: Callable[[Connection], object] = lambda _: None) -> None:
        self._begun, self._released = threading.Event(), threading.Event()
        self._then = then

    def __call__(self, connection: Connection) -> bool:
        self._then(connection)
        self._begun.set()
        return self._released.wait(30)

    async def begun(self) -> None:
        """Returns when it has done what it was to do first."""
        await wait_until(self._begun.is_set, within=30)

    def release(self) -> None:
        """Lets it end."""
        self._released.set()


async def holding(database: Database, held: Held) -> asyncio.Task[bool]:
    """A write that goes on until `held` is released."""
    task = asyncio.create_task(database.write(held))
    await held.begun()
    return task
