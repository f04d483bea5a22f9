"""What is the embedded log's own: its bounds, and a file that is not a log."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from pilothouse_server.adapters.sqlite_log import Limits, SqliteLog
from pilothouse_server.domain.errors import Unavailable


async def test_more_than_the_queue_holds_is_refused_and_the_rest_is_kept(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db", limits=Limits(queued_entries=10))
    outcomes = await asyncio.gather(*(log.append(b"x") for _ in range(25)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [str] * 10 + [Unavailable] * 15
    assert len(await log.read("", limit=100)) == 10
    assert await log.append(b"again") == await log.tail()
    await log.close()


async def test_bytes_that_wait_are_bounded_but_one_large_entry_is_taken(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db", limits=Limits(queued_bytes=1000, recent_bytes=1000))
    outcomes = await asyncio.gather(
        log.append(b"x" * 5000), log.append(b"y"), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [str, Unavailable]
    assert [len(entry.payload) for entry in await log.read("", limit=9)] == [5000]
    await log.close()


async def test_a_full_disk_refuses_and_keeps_nothing_half(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db", limits=Limits(file_bytes=50_000, entries_in_commit=3))
    await log.append(b"fits")
    outcomes = await asyncio.gather(
        *(log.append(b"z" * 4000) for _ in range(20)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, Unavailable)]
    assert refused
    assert "the disk is full" in str(refused[0])
    kept = await log.read("", limit=100)
    assert len(kept) == 1 + 20 - len(refused)
    await log.close()


@pytest.mark.parametrize("content", [b"not a database at all, and longer than a header" * 9, None])
async def test_a_file_that_is_no_log_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "log.db"
    if content is None:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version=99")
        connection.close()
    else:
        path.write_bytes(content)
    with pytest.raises(Unavailable, match=r"log\.db"):
        SqliteLog(path)


async def test_another_logs_cursor_is_told_from_our_own(tmp_path: Path) -> None:
    one, other = SqliteLog(tmp_path / "one.db"), SqliteLog(tmp_path / "other.db")
    cursor = await one.append(b"x")
    await other.append(b"x")
    with pytest.raises(ValueError, match="not a cursor"):
        await other.read(cursor, limit=1)
    await one.close()
    await other.close()
