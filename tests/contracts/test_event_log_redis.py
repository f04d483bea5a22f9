"""What only a log in a Redis has to show: several readers, restarts, lost entries, gaps, refusals in words."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from pilothouse_server.adapters.redis_follower import FollowLimits
from pilothouse_server.adapters.redis_intake import IntakeLimits, RedisIntake
from pilothouse_server.adapters.redis_log import RedisLog
from pilothouse_server.domain.errors import Misconfigured, Unavailable
from pilothouse_server.foreign.entries import Sorted
from pilothouse_server.ports import LogKeep
from tests.servers.valkey import Valkey
from tests.support import wait_until

STREAM = "workflow:events"


def plain(url: str) -> Any:
    return redis.Redis.from_url(url)  # pyright: ignore[reportUnknownMemberType]


@pytest.fixture
def valkey(servers_directory: Path, tmp_path: Path) -> Iterator[Valkey]:
    # What it answered is there after a kill, however busy the disk is.
    server = Valkey(servers_directory / f"log-{tmp_path.name}", appendfsync="always")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def log(redis_url: str) -> AsyncIterator[RedisLog]:
    made = RedisLog(redis_url)
    yield made
    await made.close()


async def follow(log: RedisLog, into: list[bytes], after: str = "") -> None:
    """Reads as a consumer does: what cannot be read now is read later."""
    while True:
        try:
            for entry in await log.read(after, limit=100, wait=1.0):
                into.append(entry.payload)
                after = entry.cursor
        except Unavailable:
            pass
        await asyncio.sleep(0)


@asynccontextmanager
async def following(log: RedisLog, *into: list[bytes], after: str = "") -> AsyncGenerator[None]:
    """Consumers, while it is entered."""
    readers = [asyncio.create_task(follow(log, each, after)) for each in into]
    yield
    for reader in readers:
        reader.cancel()
    await asyncio.wait(readers)


async def taken(log: RedisLog, payload: bytes) -> None:
    """Appends once the log takes entries again."""

    async def tried() -> bool:
        try:
            await log.append(payload)
        except Unavailable:
            return False
        return True

    await wait_until(tried, what="an append")


async def test_two_readers_see_all_through_restarts_and_kills(valkey: Valkey) -> None:
    log = RedisLog(valkey.url)
    seen: tuple[list[bytes], list[bytes]] = ([], [])
    async with following(log, *seen):
        sent: list[bytes] = []
        for how in (valkey.stop, valkey.kill, valkey.kill):
            for _ in range(50):
                sent.append(str(len(sent)).encode())
                await log.append(sent[-1])
            await wait_until(lambda: seen[0] == sent)
            how()
            with pytest.raises(Unavailable, match="log: the Redis at redis://127"):
                await log.append(b"refused")
            with pytest.raises(Unavailable):
                await log.append(b"refused at once")
            valkey.start()
            await wait_until(lambda: not log.waiting_for, what="the reconnection")
            await taken(log, str(len(sent)).encode())
            sent.append(str(len(sent)).encode())
        await wait_until(lambda: seen == (sent, sent))
    assert log.counts.rewound == 0
    assert log.counts.gaps == 0
    await log.close()


async def test_a_frozen_redis_is_noticed_and_readers_go_on_after_it(valkey: Valkey) -> None:
    log = RedisLog(valkey.url)
    cursor = await log.append(b"one")
    assert [entry.payload for entry in await log.read("", limit=5)] == [b"one"]
    os.kill(valkey.pid, signal.SIGSTOP)
    with pytest.raises(Unavailable, match="does not answer"):
        await log.append(b"unknown")
    await wait_until(lambda: "does not answer" in log.waiting_for)
    with pytest.raises(Unavailable):
        await log.read(cursor, limit=5)
    os.kill(valkey.pid, signal.SIGCONT)
    await wait_until(lambda: not log.waiting_for)
    async with asyncio.timeout(10):
        # Its outcome was not known: it did come in once the server went on.
        entries = await log.read(cursor, limit=5, wait=5)
    assert [entry.payload for entry in entries] in ([b"unknown"], [])
    await log.close()


async def test_a_redis_that_lost_everything_is_seen_and_new_entries_are_read(
    log: RedisLog, redis_url: str
) -> None:
    for number in range(5):
        await log.append(str(number).encode())
    entries = await log.read("", limit=10)
    assert len(entries) == 5
    cursor = entries[-1].cursor
    with plain(redis_url) as connection:
        connection.flushdb()
        # A server whose clock is behind gives smaller ids than those that were read.
        connection.xadd(STREAM, {"batch": b"new", "sealed": b"1"}, id="1000-1")
        async with asyncio.timeout(10):
            entries = await log.read(cursor, limit=10, wait=9)
        assert [entry.payload for entry in entries] == [b"new"]
        assert log.counts.rewound == 1
        connection.xadd(STREAM, {"batch": b"newer", "sealed": b"1"}, id="1000-2")
        entries = await log.read(entries[-1].cursor, limit=10, wait=9)
        assert [entry.payload for entry in entries] == [b"newer"]
    assert log.counts.rewound == 1


async def test_a_redis_that_lost_the_newest_entries_gives_what_came_instead(
    log: RedisLog, redis_url: str
) -> None:
    with plain(redis_url) as connection:
        for number in range(1, 6):
            connection.xadd(STREAM, {"batch": str(number), "sealed": b"1"}, id=f"{number}-0")
        assert len(await log.read("", limit=10)) == 5
        # A replica that had only three took over, and took others before we looked: a read that waited for more must
        # not be answered by it. Nothing of ours runs until the next await.
        connection.client_kill_filter(_type="normal", skipme=True)
        connection.delete(STREAM)
        for number in (1, 2, 3):
            connection.xadd(STREAM, {"batch": str(number), "sealed": b"1"}, id=f"{number}-0")
        connection.xadd(STREAM, {"batch": "four again", "sealed": b"1"}, id="4-7")
        connection.xadd(STREAM, {"batch": "six", "sealed": b"1"}, id="6-0")
        read: list[bytes] = []
        await wait_until(lambda: log.waiting_for, what="the lost connection")
        async with following(log, read, after="5-0"):
            await wait_until(lambda: b"six" in read, what="the entry after the cursor")
    assert read[-2:] == [b"four again", b"six"]
    assert log.counts.rewound == 1


async def test_entries_trimmed_by_others_are_a_gap(redis_url: str) -> None:
    with plain(redis_url) as connection:
        for number in range(1, 301):
            connection.xadd(STREAM, {"batch": str(number), "sealed": b"1"}, id=f"{number}-0")
        connection.xtrim(STREAM, maxlen=100, approximate=False)
        log = RedisLog(redis_url)
        entries = await log.read("50-0", limit=10)
    assert entries[0].payload == b"201"
    assert log.counts.gaps == 1
    assert log.gap is not None
    assert (log.gap.after, log.gap.before) == ("50-0", "201-0")
    assert (await log.read("50-0", limit=10))[0].payload == b"201"
    assert log.counts.gaps == 1
    await log.close()


async def test_trimming_does_not_pass_the_slowest_reader(redis_url: str) -> None:
    log = RedisLog(redis_url)
    with plain(redis_url) as connection:
        for number in range(1, 1001):
            connection.xadd(STREAM, {"batch": str(number), "sealed": b"1"}, id=f"{number}-0")
        keep = LogKeep(age_us=1_000_000, size_bytes=0, cap_bytes=0)
        assert await log.trim("500-0", keep) == 0  # nothing was sorted yet
        after = ""
        while entries := await log.read(after, limit=512):
            after = entries[-1].cursor
        await wait_until(lambda: connection.get(f"{STREAM}:followed") == b"1000-0", within=20)
        removed = 0
        while step := await log.trim("500-0", keep):
            removed += step
        assert 400 <= removed <= 500
        assert connection.xlen(STREAM) == 1000 - removed
    other = RedisLog(redis_url)
    assert (await other.read("500-0", limit=1))[0].payload == b"501"
    assert other.counts.gaps == log.counts.gaps == 0
    await other.close()
    await log.close()


async def test_over_the_cap_the_oldest_go_unread_which_is_a_gap(redis_url: str) -> None:
    log = RedisLog(redis_url)
    with plain(redis_url) as connection:
        for number in range(1, 2001):
            connection.xadd(STREAM, {"batch": b"x" * 200, "sealed": b"1"}, id=f"{number}-0")
        size = connection.memory_usage(STREAM)
        keep = LogKeep(age_us=0, size_bytes=size // 4, cap_bytes=size // 2)
        while await log.trim("10-0", keep):
            pass
        left = connection.xlen(STREAM)
    assert 800 <= left <= 1200
    (entry,) = await log.read("10-0", limit=1)
    assert log.counts.gaps == 1
    assert log.gap is not None
    assert log.gap.before == entry.cursor
    await log.close()


async def test_several_shards_are_one_transaction(redis_url: str) -> None:
    intake = RedisIntake(redis_url, 3)
    cursor = await intake.append({0: b"zero", 2: b"two"})
    first, second = cursor.split(",")
    logs = [RedisLog(redis_url, shard, shards=3) for shard in range(3)]
    payloads = [[entry.payload for entry in await log.read("", limit=5)] for log in logs]
    assert payloads == [[b"zero"], [], [b"two"]]
    assert first == f"0:{await logs[0].tail()}"
    assert second == f"2:{await logs[2].tail()}"
    with plain(redis_url) as connection:
        connection.delete("workflow:events:1")
        connection.set("workflow:events:1", "not a stream")
    with pytest.raises(Misconfigured, match="holds something else"):
        await intake.append({1: b"refused"})
    await intake.close()
    for log in logs:
        await log.close()


async def test_concurrent_appends_share_round_trips(redis_url: str) -> None:
    intake = RedisIntake(redis_url)
    await intake.append({0: b"first"})
    with plain(redis_url) as connection:
        before = connection.info("stats")["total_net_input_bytes"]
        cursors = await asyncio.gather(*(intake.append({0: b"x"}) for _ in range(1000)))
        assert connection.info("stats")["total_net_input_bytes"] > before
    assert len(set(cursors)) == 1000
    await intake.close()
    with pytest.raises(Unavailable, match="closed"):
        await intake.append({0: b"late"})


async def test_more_than_may_wait_is_refused_with_a_hint(redis_url: str) -> None:
    intake = RedisIntake(redis_url, limits=IntakeLimits(queued_appends=3, queued_bytes=1000))
    tried = await asyncio.gather(
        *(intake.append({0: b"x"}) for _ in range(10)), return_exceptions=True
    )
    refused = [each for each in tried if isinstance(each, Unavailable)]
    assert len(refused) == 7
    assert "more events are waiting" in refused[0].message
    assert refused[0].retry_after_us > 0
    tried = await asyncio.gather(
        *(intake.append({0: b"x" * 600}) for _ in range(2)), return_exceptions=True
    )
    assert [type(each) for each in tried] == [str, Unavailable]
    assert await intake.append({0: b"x" * 5000})  # alone it is never too large
    assert intake.counts.appended == 5
    assert intake.counts.refused == 8
    await intake.close()


async def test_readers_far_behind_and_close_see_the_same(redis_url: str) -> None:
    small = RedisLog(redis_url, limits=FollowLimits(entries_in_read=7, recent_entries=5))
    await asyncio.gather(*(small.append(str(number).encode()) for number in range(100)))
    whole: list[str] = []
    after = ""
    while entries := await small.read(after, limit=9):
        whole += [entry.cursor for entry in entries]
        after = entries[-1].cursor
    assert len(whole) == 100
    assert [e.cursor for e in await small.read(whole[-4], limit=9)] == whole[-3:]
    await small.close()


async def test_refusals_say_what_to_do(valkey: Valkey, tmp_path: Path) -> None:
    with plain(valkey.url) as connection:
        connection.config_set("maxmemory", "1")
        log = RedisLog(valkey.url)
        with pytest.raises(Unavailable, match="out of memory"):
            await log.append(b"x")
        await log.close()
        connection.config_set("maxmemory", "0")
        connection.acl_setuser("reader", enabled=True, passwords=["+hunter2"], commands=["+get"])
        url = valkey.url.replace("redis://", "redis://reader:hunter2@")
        log = RedisLog(url)
        with pytest.raises(Misconfigured, match="does not permit") as refused:
            await log.append(b"x")
        assert "hunter2" not in refused.value.message
        with pytest.raises(Misconfigured, match="does not permit"):
            await log.check()
        await log.close()
        connection.execute_command("REPLICAOF", "127.0.0.1", "1")
        log = RedisLog(valkey.url)
        with pytest.raises(Unavailable, match="replica that takes no writes"):
            await log.append(b"x")
        await log.close()


async def test_what_does_not_speak_redis_is_said_so() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        log = RedisLog(f"redis://127.0.0.1:{port}/0")
        with pytest.raises(Unavailable, match="log: the Redis at redis://127"):
            await log.check()
        with pytest.raises(Unavailable):
            await log.read("", limit=1)
        await log.close()


async def test_a_follower_that_fails_is_no_silence(redis_url: str) -> None:
    def broken(_entry_id: bytes, _fields: object) -> Sorted:
        raise ArithmeticError("a fault")

    log = RedisLog(redis_url, sort=broken)
    assert list(await log.read("", limit=10)) == []
    reading = asyncio.create_task(log.read("", limit=10, wait=30.0))
    plain(redis_url).xadd(STREAM, {"event": "{}"})
    with pytest.raises(ArithmeticError):
        async with asyncio.timeout(20):
            await reading
    with pytest.raises(ArithmeticError):
        await log.read("", limit=10)
    await log.close()


async def test_how_far_it_was_sorted_is_noted_at_the_end(redis_url: str) -> None:
    log = RedisLog(redis_url)
    cursors = [await log.append(b"") for _ in range(3)]
    assert len(await log.read("", limit=5)) == 3
    await log.close()
    with plain(redis_url) as connection:
        assert connection.get(f"{STREAM}:followed").decode() == cursors[-1]


async def test_fewer_entries_than_asked_for_are_all_there_are(redis_url: str) -> None:
    """Whoever reads takes it for the end, and what it sees then for what is the case now."""
    with plain(redis_url) as connection, connection.pipeline(transaction=False) as pipeline:
        for number in range(1, 3001):
            pipeline.xadd(STREAM, {"batch": b"x" * 20_000, "sealed": b"1"}, id=f"{number}-0")
        pipeline.execute()
    log = RedisLog(redis_url, limits=FollowLimits(bytes_in_read=1 << 20, recent_entries=700))
    after, sizes = "", list[int]()
    while entries := await log.read(after, limit=512):
        sizes.append(len(entries))
        after = entries[-1].cursor
    assert sizes == [512] * 5 + [3000 - 5 * 512]
    await log.close()


async def test_a_stream_that_nobody_reads_is_followed_no_more_until_somebody_does(
    redis_url: str,
) -> None:
    log = RedisLog(redis_url, limits=FollowLimits(unasked_seconds=0.2))
    first = await log.append(b"1")
    assert [entry.payload for entry in await log.read("", limit=10, wait=1.0)] == [b"1"]
    assert log.following
    await wait_until(lambda: not log.following)
    await log.append(b"2")
    assert log.counts.entries == 1
    assert [entry.payload for entry in await log.read(first, limit=10, wait=1.0)] == [b"2"]
    await log.append(b"3")
    found = await log.read("", limit=10, wait=1.0)
    assert [entry.payload for entry in found] == [b"1", b"2", b"3"]
    assert (log.counts.gaps, log.counts.rewound) == (0, 0)
    await log.close()
