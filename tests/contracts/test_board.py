"""What a board promises, asked of every adapter, and what only the one in a Redis has to show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import redis

from pilothouse_server.adapters.board import MemoryBoard
from pilothouse_server.adapters.redis_board import RedisBoard
from pilothouse_server.domain.errors import Misconfigured, Unavailable
from pilothouse_server.ports import Fence
from tests.servers.valkey import Valkey
from tests.support import wait_until

NAME = "monitoring:metrics:realtime"
FIRST, SECOND = Fence("shard-0", 1), Fence("shard-0", 2)

AnyBoard = MemoryBoard | RedisBoard


@pytest.fixture(params=["memory", "redis"])
async def board(request: pytest.FixtureRequest) -> AsyncIterator[AnyBoard]:
    made: AnyBoard = (
        MemoryBoard()
        if request.param == "memory"
        else RedisBoard(request.getfixturevalue("redis_url"))
    )
    hearing = asyncio.create_task(made.run()) if isinstance(made, RedisBoard) else None
    yield made
    if hearing is not None:
        hearing.cancel()
        await asyncio.wait([hearing])
    await made.close()


@pytest.fixture
async def redis_board(redis_url: str) -> AsyncIterator[RedisBoard]:
    """One that hears no notifications."""
    made = RedisBoard(redis_url, look=0.1)
    yield made
    await made.close()


@pytest.fixture
def valkey(servers_directory: Path, tmp_path: Path) -> Iterator[Valkey]:
    server = Valkey(servers_directory / f"board-{tmp_path.name}")
    server.start()
    yield server
    server.stop()


def following(board: AnyBoard) -> aclosing[AsyncGenerator[bytes]]:
    return aclosing(cast("AsyncGenerator[bytes]", board.follow(NAME)))


def plain(url: str) -> redis.Redis:
    return redis.Redis.from_url(url)  # pyright: ignore[reportUnknownMemberType]


async def test_a_follower_gets_what_is_there_and_then_what_is_new(board: AnyBoard) -> None:
    assert await board.post(NAME, b"one", FIRST)
    async with following(board) as values, asyncio.timeout(20):
        assert await anext(values) == b"one"
        coming = asyncio.ensure_future(anext(values))
        assert await board.post("monitoring:metrics:other", b"not asked for", FIRST)
        assert await board.post(NAME, b"two", FIRST)
        assert await coming == b"two"


async def test_a_slow_follower_gets_the_newest_only(board: AnyBoard) -> None:
    await board.post(NAME, b"0", FIRST)
    async with following(board) as values, asyncio.timeout(20):
        assert await anext(values) == b"0"
        for number in range(1, 20):
            await board.post(NAME, str(number).encode(), FIRST)
        assert await anext(values) == b"19"


async def test_the_same_bytes_posted_again_are_a_newer_value(board: AnyBoard) -> None:
    async with following(board) as values, asyncio.timeout(20):
        for _ in range(3):
            await board.post(NAME, b"same", FIRST)
            assert await anext(values) == b"same"


async def test_a_tenure_that_is_over_cannot_overwrite_its_successor(board: AnyBoard) -> None:
    assert await board.post(NAME, b"old", FIRST)
    assert await board.post(NAME, b"new", SECOND)
    assert not await board.post(NAME, b"late", FIRST)
    assert await board.post("monitoring:metrics:other", b"another name", FIRST)
    assert await board.post(NAME, b"another lease", Fence("shard-1", 1))
    async with following(board) as values, asyncio.timeout(20):
        assert await anext(values) == b"another lease"


async def test_many_followers_see_each_value_of_a_slow_poster(board: AnyBoard) -> None:
    seen: list[list[bytes]] = [[] for _ in range(20)]

    async def follow(into: list[bytes]) -> None:
        async for value in board.follow(NAME):
            into.append(value)  # noqa: PERF401 - what comes is noted as it comes

    def all_have(number: int) -> bool:
        return all(len(each) == number for each in seen)

    followers = [asyncio.create_task(follow(into)) for into in seen]
    for number in range(5):
        await board.post(NAME, str(number).encode(), FIRST)
        await wait_until(partial(all_have, number + 1), within=20)
    for follower in followers:
        follower.cancel()
    await asyncio.wait(followers)
    assert seen == [[b"0", b"1", b"2", b"3", b"4"]] * 20


async def test_a_value_is_a_plain_key_that_goes_after_its_time(
    redis_board: RedisBoard, redis_url: str
) -> None:
    connection: Any
    with plain(redis_url) as connection:
        before, _ = connection.time()
        await redis_board.post(NAME, b"\x00\xff bytes", FIRST)
        after, _ = connection.time()
        assert connection.get(NAME) == b"\x00\xff bytes"
        assert before + 300 <= connection.expiretime(NAME) <= after + 301


async def test_a_follower_does_not_need_the_notification(
    redis_board: RedisBoard, redis_url: str
) -> None:
    async with following(redis_board) as values, asyncio.timeout(20):
        await redis_board.post(NAME, b"one", FIRST)
        assert await anext(values) == b"one"
        with plain(redis_url) as connection:  # as a post whose notification is lost
            connection.set(NAME, b"two")
            connection.hset(f"{NAME}:fences", "version", "unheard")
        assert await anext(values) == b"two"


async def test_followers_go_on_after_the_redis_was_away(valkey: Valkey) -> None:
    board = RedisBoard(valkey.url, look=0.1)
    hearing = asyncio.create_task(board.run())
    values = board.follow(NAME)
    await board.post(NAME, b"before", FIRST)
    assert await anext(values) == b"before"
    coming = asyncio.ensure_future(anext(values))
    valkey.kill()
    with pytest.raises(Unavailable, match="board: the Redis at redis://127"):
        await board.post(NAME, b"meanwhile", FIRST)
    await wait_until(lambda: board.waiting_for, what="the listener's notice")
    valkey.start()
    await wait_until(lambda: not board.waiting_for, what="the new subscription")
    assert await board.post(NAME, b"after", FIRST)
    async with asyncio.timeout(20):
        assert await coming == b"after"
    hearing.cancel()
    await asyncio.wait([hearing])
    await board.close()


async def test_what_is_forgotten_is_gone_and_its_fence_is_not(redis_board: RedisBoard) -> None:
    await redis_board.post(NAME, b"value", SECOND)
    await redis_board.forget([NAME, "nothing"])
    async with following(redis_board) as values:
        coming = asyncio.ensure_future(anext(values))
        assert not await redis_board.post(NAME, b"frozen", FIRST)
        assert await redis_board.post(NAME, b"new", SECOND)
        assert await coming == b"new"


async def test_garbage_on_the_channel_deafens_nobody(redis_url: str) -> None:
    board = RedisBoard(redis_url, look=60.0)
    hearing = asyncio.create_task(board.run())
    connection: Any = plain(redis_url)
    async with following(board) as values:
        await board.post(NAME, b"before", FIRST)
        assert await anext(values) == b"before"
        coming = asyncio.ensure_future(anext(values))
        await wait_until(lambda: connection.publish("monitoring:posted", b"\xff\xfe"))
        await board.post(NAME, b"after", FIRST)
        async with asyncio.timeout(20):
            assert await coming == b"after"
    assert not hearing.done()
    hearing.cancel()
    await asyncio.wait([hearing])
    await board.close()


async def test_passwords_are_not_told(valkey: Valkey) -> None:
    board = RedisBoard(valkey.url.replace("redis://", "redis://someone:hunter2@"))
    with pytest.raises(Misconfigured, match="refused the password or user") as refused:
        await board.post(NAME, b"value", FIRST)
    assert "hunter2" not in refused.value.message
    await board.close()


@pytest.mark.parametrize(
    "url", ["http://host", "redis://", "redis://:pa:ss@host:x/0", "host:6379", "redis://host/name"]
)
async def test_what_is_no_redis_url_is_said_so(url: str) -> None:
    with pytest.raises(Misconfigured, match="give it as redis://") as refused:
        RedisBoard(url)
    assert "pa:ss" not in refused.value.message
