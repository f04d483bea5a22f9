"""The embedded log lets its oldest entries go: what was read, and over its cap what was not, which is a counted gap."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pilothouse_server.adapters.sqlite_log import Limits, LogGap, SqliteLog
from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.ports import LogEntry, LogKeep

DAY = 86_400
KEEP_DAY = LogKeep(age_us=DAY * 1_000_000, size_bytes=0, cap_bytes=0)
SMALL = Limits(recent_entries=1, recent_bytes=1)
"""Nothing but the newest entry is in memory."""


class Wall:
    """A wall clock that tests set."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall() -> Wall:
    return Wall()


@asynccontextmanager
async def opened(
    path: Path, wall: Callable[[], float], limits: Limits = SMALL
) -> AsyncGenerator[SqliteLog]:
    log = SqliteLog(path / "log.db", limits=limits, wall=wall)
    yield log
    await log.close()


async def append(log: SqliteLog, count: int, size: int = 10) -> list[str]:
    return list(await asyncio.gather(*(log.append(b"x" * size) for _ in range(count))))


async def trim(log: SqliteLog, slowest: str, keep: LogKeep) -> int:
    removed = 0
    while some := await log.trim(slowest, keep):
        removed += some
    return removed


async def rest(log: SqliteLog, after: str) -> list[LogEntry]:
    entries: list[LogEntry] = []
    while some := await log.read(after, limit=1000):
        entries.extend(some)
        after = some[-1].cursor
    return entries


async def test_what_is_old_and_read_goes_and_nothing_else(tmp_path: Path, wall: Wall) -> None:
    async with opened(tmp_path, wall) as log:
        old = await append(log, 10)
        wall.now += 70
        await append(log, 5)  # notes that all of these are there
        wall.now += DAY - 60
        young = await append(log, 5)
        assert await trim(log, young[-1], KEEP_DAY) == 0
        wall.now += 70
        assert await trim(log, old[3], KEEP_DAY) == 4
        assert await trim(log, young[-1], KEEP_DAY) == 11
        assert [entry.cursor for entry in await rest(log, old[9])] != []
        assert log.oldest == young[0]
        assert (log.counts.trimmed, log.counts.unread, log.counts.gaps) == (15, 0, 1)


async def test_a_log_over_its_size_gives_up_what_was_read(tmp_path: Path, wall: Wall) -> None:
    keep = LogKeep(age_us=0, size_bytes=2 << 20, cap_bytes=0)
    async with opened(tmp_path, wall) as log:
        cursors = await append(log, 1200, size=5000)
        assert await trim(log, cursors[49], keep) == 50
        removed = await trim(log, cursors[-1], keep)
        left = await rest(log, cursors[removed + 49])
        assert 300 < len(left) < 450
        assert left[-1].cursor == cursors[-1]
        assert log.counts.unread == 0


async def test_over_its_cap_what_was_not_read_goes_too_and_is_a_counted_gap(
    tmp_path: Path, wall: Wall
) -> None:
    keep = LogKeep(age_us=0, size_bytes=1 << 20, cap_bytes=2 << 20)
    async with opened(tmp_path, wall) as log:
        cursors = await append(log, 1200, size=5000)
        slowest = cursors[99]
        removed = await trim(log, slowest, keep)
        assert log.counts.unread == removed - 100 > 500
        left = await rest(log, slowest)
        assert [entry.cursor for entry in left] == cursors[removed:]
        assert log.gap == LogGap(slowest, left[0].cursor, removed - 100)
        await log.read(slowest, limit=1)  # the same gap, met by another
        assert (log.counts.gaps, log.counts.missed) == (1, removed - 100)


async def test_after_everything_was_read_and_trimmed_the_log_goes_on_at_the_next_place(
    tmp_path: Path, wall: Wall
) -> None:
    keep = LogKeep(age_us=0, size_bytes=1, cap_bytes=0)
    async with opened(tmp_path, wall) as log:
        cursors = await append(log, 20)
        assert await trim(log, cursors[-1], keep) == 19
    async with opened(tmp_path, wall) as log:
        assert await log.tail() == cursors[-1]
        assert list(await log.read(cursors[-1], limit=5)) == []
        following = await log.append(b"more")
        assert log.position(following)[0] == log.position(cursors[-1])[0] + 1
        assert [entry.cursor for entry in await log.read(cursors[-1], limit=5)] == [following]
        assert log.counts.gaps == 0


async def test_trimming_gives_space_back_and_the_file_does_not_grow_for_ever(
    tmp_path: Path, wall: Wall
) -> None:
    keep = LogKeep(age_us=0, size_bytes=4 << 20, cap_bytes=0)
    path = tmp_path / "log.db"

    def pages() -> int:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            count: int = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.close()
        return count * 4096

    async with opened(tmp_path, wall) as log:
        await append(log, 1000, size=40_000)
        largest = pages()
        sizes: list[int] = []
        for _ in range(6):
            await trim(log, await log.tail(), keep)
            sizes.append(pages())
            await append(log, 100, size=40_000)
        assert largest > 38 << 20
        assert max(sizes) < 16 << 20
        assert sizes[-1] <= sizes[1] + (1 << 20)


async def test_a_full_log_takes_entries_again_after_trimming(tmp_path: Path, wall: Wall) -> None:
    full = Limits(recent_entries=1, recent_bytes=1, file_bytes=2 << 20, entries_in_commit=8)
    keep = LogKeep(age_us=0, size_bytes=1 << 20, cap_bytes=0)
    async with opened(tmp_path, wall, full) as log:
        outcomes = await asyncio.gather(
            *(log.append(b"x" * 5000) for _ in range(600)), return_exceptions=True
        )
        assert any(isinstance(outcome, Unavailable) for outcome in outcomes)
        assert await trim(log, await log.tail(), keep) > 0
        assert len(await append(log, 50, size=5000)) == 50


async def test_a_log_of_the_first_format_is_taken_over(tmp_path: Path, wall: Wall) -> None:
    connection = sqlite3.connect(tmp_path / "log.db")
    connection.executescript(
        "CREATE TABLE entries (position INTEGER PRIMARY KEY, payload BLOB NOT NULL);"
        "CREATE TABLE identity (epoch TEXT NOT NULL);"
        "INSERT INTO identity VALUES ('abc'); INSERT INTO entries VALUES (1, 'a'), (2, 'b');"
        "PRAGMA user_version=1"
    )
    connection.close()
    async with opened(tmp_path, wall) as log:
        assert await log.tail() == "abc-2"
        wall.now += DAY + 1
        assert await trim(log, "abc-2", KEEP_DAY) == 1
        assert log.oldest == "abc-2"


async def test_trimming_beside_appends_and_reads_loses_nothing_that_is_to_stay(
    tmp_path: Path, wall: Wall
) -> None:
    keep = LogKeep(age_us=0, size_bytes=1, cap_bytes=0)
    async with opened(tmp_path, wall) as log:
        cursors: list[str] = []
        seen: list[str] = []

        async def produce() -> None:
            for _ in range(60):
                cursors.extend(await append(log, 10, size=3000))

        async def consume() -> None:
            after = ""
            while len(seen) < 600:
                entries = await log.read(after, limit=50, wait=5)
                seen.extend(entry.cursor for entry in entries)
                after = seen[-1]
                await log.trim(after, keep)

        async with asyncio.timeout(50):
            await asyncio.gather(produce(), consume())
        assert seen == cursors
        assert log.counts.gaps == 0
        assert log.counts.trimmed > 400


async def test_a_closed_log_is_not_trimmed(tmp_path: Path, wall: Wall) -> None:
    async with opened(tmp_path, wall) as log:
        cursors = await append(log, 3)
    with pytest.raises(Unavailable):
        await log.trim(cursors[-1], KEEP_DAY)
