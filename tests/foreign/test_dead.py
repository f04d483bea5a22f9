"""Entries that cannot be read: kept with the reason, listed, put back, dropped; and garbage does not stop the rest."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
import redis
from redis.asyncio import Redis

from pilothouse_server.adapters.redis_dead import RedisDeadEvents
from pilothouse_server.adapters.redis_follower import FollowLimits
from pilothouse_server.adapters.redis_intake import RedisIntake
from pilothouse_server.adapters.redis_log import RedisLog
from pilothouse_server.domain.errors import (
    DeadEventTruncated,
    InvalidPageToken,
    NotFound,
    RequestIdReused,
)
from pilothouse_server.domain.shards import shard_of
from pilothouse_server.services.dead_events import NoDeadEvents
from pilothouse_server.wire.events import decode_events
from tests.support import wait_until

STREAM, DEAD = "workflow:events", "workflow:events:dead"
FIRST = "0b0f0c1e-6a55-4a3b-9a42-0d5a1e6d7f01"


def plain(url: str) -> Any:
    return redis.Redis.from_url(url)  # pyright: ignore[reportUnknownMemberType]


@pytest.fixture
async def log(redis_url: str) -> AsyncIterator[RedisLog]:
    made = RedisLog(redis_url)
    yield made
    await made.close()


@pytest.fixture
async def dead(redis_url: str) -> AsyncIterator[RedisDeadEvents]:
    made = RedisDeadEvents(redis_url, 3)
    yield made
    await made.close()


def started(workflow: str) -> dict[str, str]:
    return {"event": json.dumps({"type": "workflow.started", "workflow_id": workflow})}


async def read_all(log: RedisLog, after: str = "") -> list[str]:
    """The workflows of all events after a cursor."""
    names: list[str] = []
    while entries := await log.read(after, limit=500):
        names += [event.workflow_id for entry in entries for event in decode_events(entry.payload)]
        after = entries[-1].cursor
    return names


async def test_what_cannot_be_read_is_kept_under_its_own_id(
    log: RedisLog, dead: RedisDeadEvents, redis_url: str
) -> None:
    with plain(redis_url) as connection:
        connection.xadd(STREAM, started("a"))
        wrong = connection.xadd(STREAM, {"event": b"\xff\xff\xff", "origin": "somewhere"})
        connection.xadd(STREAM, started("b"))
        assert await read_all(log) == ["a", "b"]
        ((entry_id, fields),) = connection.xrange(DEAD)
    assert entry_id == wrong
    assert fields == {
        b"event": b"\xff\xff\xff",
        b"origin": b"somewhere",
        b"reason": b"event: neither a serialized Event nor JSON",
        b"stream": b"workflow:events",
    }
    page = await dead.page(10, "")
    assert [event.id for event in page.events] == [f"0-{wrong.decode()}"]
    assert page.events[0].fields == [(b"event", b"\xff\xff\xff"), (b"origin", b"somewhere")]
    assert log.counts.dead == 1
    assert await dead.count(0) == 1


async def test_reading_again_keeps_nothing_twice(log: RedisLog, redis_url: str) -> None:
    with plain(redis_url) as connection:
        for number in range(20):
            connection.xadd(STREAM, {"nothing": str(number)})
        assert await read_all(log) == []
        connection.delete(f"{STREAM}:followed")  # as if the place had not been noted
        again = RedisLog(redis_url)
        assert await read_all(again) == []
        await wait_until(lambda: again.counts.dead == 20)
        assert connection.xlen(DEAD) == 20
        await again.close()
        other = RedisLog(redis_url)
        connection.xadd(STREAM, started("later"))
        assert (await read_all(other))[-1:] == ["later"]
        assert other.counts.dead == 0
        await other.close()


async def test_one_is_put_back_as_it_was_and_is_read_when_it_can_be(
    log: RedisLog, dead: RedisDeadEvents, redis_url: str
) -> None:
    fields = [*started("fixed").items(), ("reason", "its own"), ("stream", "its own")]
    with plain(redis_url) as connection:
        flat = [text for pair in fields for text in pair]
        connection.execute_command("XADD", DEAD, "5-0", *flat, "reason", "why", "stream", STREAM)
        cursor = await dead.retry("0-5-0", FIRST)
        assert await dead.retry("0-5-0", FIRST) == cursor
        assert connection.xlen(DEAD) == 0
        ((entry_id, put_back),) = connection.xrange(STREAM)
    assert entry_id.decode() == cursor
    assert put_back == {name.encode(): text.encode() for name, text in fields}
    assert await read_all(log) == ["fixed"]
    with pytest.raises(NotFound):
        await dead.retry("0-5-0", "")
    with pytest.raises(RequestIdReused):
        await dead.drop("0-5-0", FIRST)


async def test_one_is_dropped_once(dead: RedisDeadEvents, redis_url: str) -> None:
    with plain(redis_url) as connection:
        connection.xadd(f"{DEAD}:2", {"x": "y", "reason": "why", "stream": f"{STREAM}:2"}, id="7-1")
        await dead.drop("2-7-1", FIRST)
        await dead.drop("2-7-1", FIRST)
        assert connection.xlen(f"{DEAD}:2") == 0
    with pytest.raises(NotFound):
        await dead.drop("2-7-1", "")
    for nonsense in ("", "x", "0-", "9-1-1", "0-1", "0-1-x", "-1-1"):
        with pytest.raises(NotFound):
            await dead.drop(nonsense, "")


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 50])
async def test_pages_hold_each_once(dead: RedisDeadEvents, redis_url: str, size: int) -> None:
    with plain(redis_url) as connection:
        for key, count in ((DEAD, 4), (f"{DEAD}:1", 0), (f"{DEAD}:2", 3)):
            for number in range(1, count + 1):
                connection.xadd(key, {"reason": "why", "stream": "s"}, id=f"{number}-0")
    seen: list[str] = []
    token = ""
    while True:
        page = await dead.page(size, token)
        seen += [event.id for event in page.events]
        token = page.next_token
        if not token:
            break
    assert seen == ["0-4-0", "0-3-0", "0-2-0", "0-1-0", "2-3-0", "2-2-0", "2-1-0"]
    for nonsense in ("x", "9-", "0-x", "0-1"):
        with pytest.raises(InvalidPageToken):
            await dead.page(size, nonsense)


async def test_what_is_too_long_is_kept_in_part(
    log: RedisLog, dead: RedisDeadEvents, redis_url: str
) -> None:
    with plain(redis_url) as connection:
        connection.xadd(STREAM, {"event": b"\xff" * 100_000, "more": b"x" * 10})
        assert await read_all(log) == []
        ((entry_id, fields),) = connection.xrange(DEAD)
        assert 32_000 < len(fields[b"event"]) <= 32 << 10
    (event,) = (await dead.page(1, "")).events
    assert event.truncated
    with pytest.raises(DeadEventTruncated):
        await dead.retry(f"0-{entry_id.decode()}", "")


async def test_the_dead_are_capped(redis_url: str) -> None:
    log = RedisLog(redis_url, limits=FollowLimits(dead_entries=200))
    with plain(redis_url) as connection:
        with connection.pipeline(transaction=False) as pipeline:
            for _ in range(3000):
                pipeline.xadd(STREAM, {"garbage": "x" * 50})
            pipeline.execute()
        assert await read_all(log) == []
        await wait_until(lambda: log.counts.dead == 3000, within=30)
        assert 200 <= connection.xlen(DEAD) <= 400
    await log.close()


async def test_foreign_events_are_passed_on_to_their_shards_once(redis_url: str) -> None:
    names = [f"wf-{number}" for number in range(60)]
    first = RedisLog(redis_url, 0, shards=3)
    frozen = RedisLog(redis_url, 0, shards=3)
    # Both follow before anything is there: who begins after the other is through has nothing left to deal with.
    for log in (first, frozen):
        assert await read_all(log) == []
    with plain(redis_url) as connection:
        for name in names[:50]:
            connection.xadd(STREAM, started(name))
        connection.xadd(
            STREAM, {"event": json.dumps([json.loads(started(n)["event"]) for n in names[50:]])}
        )
        await wait_until(lambda: first.counts.entries == frozen.counts.entries == 51)
        own, theirs = await asyncio.gather(read_all(first), read_all(frozen))
        assert own == theirs
        others = [RedisLog(redis_url, shard, shards=3) for shard in (1, 2)]
        found = [own, *[await read_all(log) for log in others]]
    for shard, seen in enumerate(found):
        assert seen == [name for name in names if shard_of(name, "", 3) == shard]
    for log in (first, frozen, *others):
        await log.close()


@pytest.mark.timeout(180)
async def test_garbage_at_full_speed_does_not_hold_up_others(redis_url: str) -> None:
    log = RedisLog(redis_url)
    intake = RedisIntake(redis_url)
    assert await read_all(log) == []
    stop = asyncio.Event()

    async def flood() -> int:
        sent = 0
        connection: Any = cast("Any", Redis).from_url(redis_url)
        while not stop.is_set():
            async with connection.pipeline(transaction=False) as pipeline:
                for _ in range(200):
                    pipeline.xadd(STREAM, {"event": b'{"type": "nonsense', "more": b"\xff" * 100})
                await pipeline.execute()
            sent += 200
        await connection.aclose()
        return sent

    flooding = asyncio.create_task(flood())
    after = await log.tail()
    slowest = 0.0
    for _ in range(30):
        begun = time.monotonic()
        cursor = await intake.append({0: b""})
        while log.position(after) < log.position(cursor):
            entries = await log.read(after, limit=500, wait=5)
            after = entries[-1].cursor if entries else after
        slowest = max(slowest, time.monotonic() - begun)
    stop.set()
    sent = await flooding
    await wait_until(lambda: log.counts.dead == sent, within=60)
    # A bound that only something broken passes: what is measured is in bench/.
    assert slowest < 15
    await intake.close()
    await log.close()


async def test_the_embedded_log_has_none() -> None:
    dead = NoDeadEvents()
    assert (await dead.page(10, "")).events == ()
    with pytest.raises(NotFound):
        await dead.retry("0-1-1", "")
    with pytest.raises(NotFound):
        await dead.drop("0-1-1", "")
