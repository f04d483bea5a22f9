"""The one writer, its commits, and the readers beside it."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection

from pilothouse_server.adapters.sql.sqlite import Limits, SqliteDatabase
from pilothouse_server.domain.errors import Unavailable
from tests.support import wait_until


def put(number: int) -> Callable[[Connection], int]:
    def run(connection: Connection) -> int:
        connection.exec_driver_sql("INSERT INTO numbers VALUES (?)", (number,))
        return number

    return run


def count(connection: Connection) -> int:
    found: int = connection.exec_driver_sql("SELECT count(*) FROM numbers").scalar_one()
    return found


async def opened(path: Path, limits: Limits | None = None) -> SqliteDatabase:
    database = SqliteDatabase(path, limits=limits)
    statement = "CREATE TABLE IF NOT EXISTS numbers (number INTEGER PRIMARY KEY)"
    await database.write(lambda c: c.exec_driver_sql(statement).close())
    return database


async def busy(database: SqliteDatabase) -> tuple[threading.Event, asyncio.Task[bool]]:
    """Gives the writer something to do until it is released."""
    begun, release = threading.Event(), threading.Event()

    def hold(_connection: Connection) -> bool:
        begun.set()
        return release.wait(10)

    holding = asyncio.create_task(database.write(hold))
    await wait_until(begun.is_set)
    return release, holding


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    database = await opened(tmp_path / "state.db", Limits(queued_writes=50))
    yield database
    await database.close()


async def test_one_failing_write_hurts_only_itself(database: SqliteDatabase) -> None:
    def fail(connection: Connection) -> None:
        put(99)(connection)
        raise ValueError("on purpose")

    outcomes = await asyncio.gather(
        database.write(put(1)), database.write(fail), database.write(put(2)), return_exceptions=True
    )
    assert [outcomes[0], outcomes[2]] == [1, 2]
    assert isinstance(outcomes[1], ValueError)
    assert await database.read(count) == 2


async def test_more_writes_than_may_wait_are_refused(database: SqliteDatabase) -> None:
    release, first = await busy(database)
    waiting = [asyncio.create_task(database.write(put(number))) for number in range(50)]
    await wait_until(lambda: database.waiting == 50)
    with pytest.raises(Unavailable, match="too many writes"):
        await database.write(put(99))
    release.set()
    assert await first
    assert await asyncio.gather(*waiting) == list(range(50))


async def test_a_write_hears_it_when_its_transaction_cannot_begin(
    database: SqliteDatabase,
) -> None:
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(Unavailable, match="locked"):
            async with asyncio.timeout(20):
                await database.write(put(1))
    finally:
        other.close()
    assert await database.write(put(2)) == 2
    assert await database.read(count) == 1


async def test_a_write_that_nobody_waits_for_any_more_is_left_out(database: SqliteDatabase) -> None:
    release, first = await busy(database)
    given_up = asyncio.create_task(database.write(put(1)))
    await wait_until(lambda: database.waiting == 1)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    release.set()
    await first
    assert await database.read(count) == 0


async def test_a_reader_neither_waits_for_the_writer_nor_sees_its_half(
    database: SqliteDatabase,
) -> None:
    held, begun = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        put(1)(connection)
        begun.set()
        held.wait(10)

    writing = asyncio.create_task(database.write(slow))
    await wait_until(begun.is_set)
    assert await database.read(count) == 0
    held.set()
    await writing
    assert await database.read(count) == 1


async def test_a_reader_cannot_write(database: SqliteDatabase) -> None:
    with pytest.raises(Unavailable, match="readonly"):
        await database.read(put(1))


async def test_a_full_disk_is_said_and_leaves_nothing_half(database: SqliteDatabase) -> None:
    pages = await database.read(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar_one())
    limit = f"PRAGMA max_page_count={pages + 5}"
    await database.write(lambda c: c.exec_driver_sql(limit).scalar_one())

    def much(connection: Connection) -> None:
        for number in range(1000, 50_000):
            put(number)(connection)

    outcomes = await asyncio.gather(
        database.write(put(1)), database.write(much), return_exceptions=True
    )
    assert isinstance(outcomes[1], Unavailable)
    assert "the disk is full" in str(outcomes[1])
    # SQLite gave up the whole commit: who shared it is told, and may try again.
    assert isinstance(outcomes[0], Unavailable | int)
    assert await database.read(count) == (0 if isinstance(outcomes[0], Unavailable) else 1)
    assert await database.write(put(2)) == 2


async def test_a_read_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    database = await opened(tmp_path / "state.db", Limits(read_seconds=0.05))
    endless = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    )
    with pytest.raises(Unavailable, match="took too long"):
        await database.read(lambda c: c.exec_driver_sql(endless).scalar_one())
    assert await database.read(count) == 0
    await database.close()


async def test_closing_commits_what_waits_and_then_refuses(tmp_path: Path) -> None:
    database = await opened(tmp_path / "state.db")
    writing = [asyncio.create_task(database.write(put(number))) for number in range(20)]
    await asyncio.sleep(0)
    await database.close()
    await database.close()
    assert await asyncio.gather(*writing) == list(range(20))
    for refused in (database.write(put(99)), database.read(count)):
        with pytest.raises(Unavailable, match="closed"):
            await refused


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"something else altogether" * 100)
    with pytest.raises(Unavailable, match=r"cannot open .*state\.db"):
        SqliteDatabase(tmp_path / "state.db")


WRITER = """
import asyncio, sys
from pathlib import Path
from tests.storage.test_database import opened, put

async def main():
    database = await opened(Path(sys.argv[1]))

    async def one_after_another(start):
        for number in range(start, start + 1_000_000):
            await database.write(put(number))
            sys.stdout.write(f"{number}\\n")
            sys.stdout.flush()

    await asyncio.gather(*(one_after_another(n * 1_000_000) for n in range(10)))

asyncio.run(main())
"""


async def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    path, acknowledged = tmp_path / "state.db", tmp_path / "acknowledged"
    with acknowledged.open("wb") as output:
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, str(path), stdout=output, cwd=Path(__file__).parents[2]
        )
        try:
            await wait_until(lambda: acknowledged.stat().st_size > 5_000, within=30)
        finally:
            writer.kill()
            await writer.wait()
    database = await opened(path)
    kept = await database.read(
        lambda c: set(c.exec_driver_sql("SELECT number FROM numbers").scalars())
    )
    told = acknowledged.read_bytes().splitlines(keepends=True)
    assert {int(line) for line in told if line.endswith(b"\n")} <= kept
    await database.close()
