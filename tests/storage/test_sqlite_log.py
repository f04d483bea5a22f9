"""What is the embedded log's own: its bounds, and a file that is not a log."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pilothouse_server.adapters.sqlite_log import Limits, SqliteLog
from pilothouse_server.domain.errors import Unavailable
from tests.support import wait_until


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


class Late(SqliteLog):
    """Its writer is slow to tell that it has committed."""

    def __init__(self, path: Path) -> None:
        self.may_tell = threading.Event()
        super().__init__(path)

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        self.may_tell.wait()
        super()._tell(callback, *arguments)


async def test_what_is_on_disk_and_not_told_of_yet_is_not_read_before(tmp_path: Path) -> None:
    """Or its cursor would be one beyond the end, to the log that gave it."""
    path = tmp_path / "log.db"
    before = SqliteLog(path)
    await before.append(b"first")
    await before.close()
    log = Late(path)
    appending = asyncio.create_task(log.append(b"second"))

    def stored() -> bool:
        with closing(sqlite3.connect(path)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM entries").fetchone()
            return bool(count == 2)

    try:
        await wait_until(stored, what="the second entry on disk")
        (first,) = await log.read("", limit=9)
        assert await log.read(first.cursor, limit=9) == ()
    finally:
        log.may_tell.set()
    cursor = await appending
    assert [entry.cursor for entry in await log.read(first.cursor, limit=9)] == [cursor]
    await log.close()
