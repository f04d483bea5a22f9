"""What is SQLite's alone: a lock that somebody else holds, a full disk, a file that is none of its own."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from pilothouse_server.adapters.sql.sqlite import SqliteDatabase
from pilothouse_server.domain.errors import Unavailable
from tests.storage.databases import numbers, opened, put


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    database = await opened(tmp_path / "state.db")
    assert isinstance(database, SqliteDatabase)
    yield database
    await database.close()


async def test_a_write_hears_it_when_its_transaction_cannot_begin(database: SqliteDatabase) -> None:
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(Unavailable, match="locked"):
            async with asyncio.timeout(45):
                await database.write(put(1))
    finally:
        other.close()
    assert await database.write(put(2)) == 2
    assert await database.read(numbers) == [2]


async def test_a_full_disk_is_said_and_leaves_nothing_half(database: SqliteDatabase) -> None:
    pages = await database.read(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar_one())
    limit = f"PRAGMA max_page_count={pages + 5}"
    await database.write(lambda c: c.exec_driver_sql(limit).scalar_one())

    def much(connection: Connection) -> None:
        rows = "WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)"
        connection.exec_driver_sql(f"INSERT INTO numbers {rows} SELECT i FROM n")

    outcomes = await asyncio.gather(
        database.write(put(1)), database.write(much), return_exceptions=True
    )
    assert isinstance(outcomes[1], Unavailable)
    assert "the disk is full" in str(outcomes[1])
    # SQLite gave up the whole commit: who shared it is told, and may try again.
    assert isinstance(outcomes[0], Unavailable | int)
    assert await database.read(numbers) == ([] if isinstance(outcomes[0], Unavailable) else [1])
    assert await database.write(put(2)) == 2


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"something else altogether" * 100)
    with pytest.raises(Unavailable, match=r"cannot open .*state\.db"):
        SqliteDatabase(tmp_path / "state.db")
