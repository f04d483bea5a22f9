"""What an event log promises, asked of every adapter."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from pilothouse_server.adapters.redis_follower import FollowLimits
from pilothouse_server.adapters.redis_log import RedisLog
from pilothouse_server.adapters.sqlite_log import Limits, SqliteLog
from pilothouse_server.domain.errors import Unavailable
from tests.support import wait_until

AnyLog = SqliteLog | RedisLog
Open = Callable[[], Awaitable[AnyLog]]

KINDS = ("sqlite", "sqlite-without-memory", "redis", "redis-without-memory")


@pytest.fixture(params=KINDS)
async def open_log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens the log; again gives the same log as after a restart."""
    kind: str = request.param
    url: str = request.getfixturevalue("redis_url") if kind.startswith("redis") else ""
    opened: list[AnyLog] = []

    def made() -> AnyLog:
        match kind:
            case "redis":
                return RedisLog(url)
            case "redis-without-memory":
                return RedisLog(url, limits=FollowLimits(recent_entries=1, bytes_in_read=100))
            case "sqlite":
                return SqliteLog(tmp_path / "log.db")
            case _:
                limits = Limits(recent_entries=1, bytes_in_read=100)
                return SqliteLog(tmp_path / "log.db", limits=limits)

    async def open_it() -> AnyLog:
        for log in opened:
            await log.close()
        opened.append(made())
        return opened[-1]

    yield open_it
    for log in opened:
        await log.close()


async def everything(log: AnyLog, after: str = "") -> list[bytes]:
    """All payloads after a cursor, in as many reads as it takes."""
    payloads: list[bytes] = []
    while entries := await log.read(after, limit=7):
        payloads.extend(entry.payload for entry in entries)
        after = entries[-1].cursor
    return payloads


async def test_entries_come_back_in_order_with_growing_positions(open_log: Open) -> None:
    log = await open_log()
    payloads = [f"entry {number}".encode() for number in range(30)]
    cursors = [await log.append(payload) for payload in payloads]
    assert await everything(log) == payloads
    positions = [log.position(cursor) for cursor in cursors]
    assert positions == sorted(set(positions))
    assert await everything(log, cursors[9]) == payloads[10:]
    assert await log.tail() == cursors[-1]


async def test_an_empty_log_has_no_tail_and_nothing_to_read(open_log: Open) -> None:
    log = await open_log()
    assert await log.tail() == ""
    assert list(await log.read("", limit=10)) == []
    assert log.position("") < log.position(await log.append(b""))


async def test_concurrent_appends_are_all_there_once(open_log: Open) -> None:
    log = await open_log()
    payloads = [str(number).encode() for number in range(500)]
    cursors = await asyncio.gather(*(log.append(payload) for payload in payloads))
    assert len(set(cursors)) == 500
    assert sorted(await everything(log)) == sorted(payloads)


async def test_a_reader_waits_for_the_next_entry_and_no_longer(open_log: Open) -> None:
    log = await open_log()
    waiting = asyncio.create_task(log.read("", limit=10, wait=30))
    cursor = await log.append(b"news")
    async with asyncio.timeout(20):
        assert [entry.payload for entry in await waiting] == [b"news"]
    assert list(await log.read(cursor, limit=10, wait=0.01)) == []


async def test_a_log_that_was_closed_goes_on_where_it_was(open_log: Open) -> None:
    log = await open_log()
    first = await log.append(b"before")
    log = await open_log()
    assert await log.tail() == first
    second = await log.append(b"after")
    assert log.position(second) > log.position(first)
    assert await everything(log) == [b"before", b"after"]


@pytest.mark.parametrize("cursor", ["nonsense", "1", "-1", "0-x", "zz-1", "9" * 40])
async def test_a_cursor_of_another_log_is_refused(open_log: Open, cursor: str) -> None:
    log = await open_log()
    with pytest.raises(ValueError, match="not a cursor"):
        log.position(cursor)
    with pytest.raises(ValueError, match="not a cursor"):
        await log.read(cursor, limit=1)


async def test_a_cursor_beyond_the_end_is_refused(open_log: Open) -> None:
    log = await open_log()
    if isinstance(log, RedisLog):
        return  # a Redis may have lost what was read: see the tests of its own
    cursor = await log.append(b"one")
    with pytest.raises(ValueError, match="beyond the end"):
        await log.read(cursor.replace("-1", "-2"), limit=1)


async def test_a_closed_log_takes_nothing_and_lets_readers_go(open_log: Open) -> None:
    log = await open_log()
    waiting = asyncio.create_task(log.read("", limit=1, wait=30))
    await log.close()
    async with asyncio.timeout(20):
        assert list(await waiting) == []
    with pytest.raises(Unavailable):
        await log.append(b"late")


APPENDER = """
import asyncio, sys
from pathlib import Path
from pilothouse_server.adapters.sqlite_log import SqliteLog

async def main():
    log = SqliteLog(Path(sys.argv[1]))

    async def one_after_another(name):
        number = 0
        while True:
            await log.append(f"{name}:{number}".encode())
            sys.stdout.write(f"{name}:{number}\\n")
            sys.stdout.flush()
            number += 1

    await asyncio.gather(*(one_after_another(name) for name in range(20)))

asyncio.run(main())
"""


async def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with (tmp_path / "acknowledged").open("wb") as output:
        appender = await asyncio.create_subprocess_exec(
            sys.executable, "-c", APPENDER, str(path), stdout=output
        )
        try:
            acknowledged = tmp_path / "acknowledged"
            await wait_until(lambda: acknowledged.stat().st_size > 20_000, within=50)
        finally:
            appender.kill()
            await appender.wait()
    log = SqliteLog(path)
    kept = await everything(log)
    told = acknowledged.read_bytes().splitlines(keepends=True)
    assert {line.rstrip() for line in told if line.endswith(b"\n")} <= set(kept)
    assert len(kept) == len(set(kept))
    for name in range(20):
        numbers = [
            int(entry.partition(b":")[2]) for entry in kept if entry.startswith(b"%d:" % name)
        ]
        assert numbers == list(range(len(numbers)))
    await log.close()
