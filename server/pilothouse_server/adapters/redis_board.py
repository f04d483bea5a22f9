"""The board that all replicas see: string keys of a Redis, which anybody may read, and a notification for each.

An owner that was frozen and wakes up cannot overwrite its successor: the same script that sets the value compares
the epochs. Notifications make followers quick while `run` hears them, and are not relied on: a follower also looks
once a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Generator, Sequence
from typing import Any, Final, cast

import structlog
from redis.asyncio.client import PubSub

from pilothouse_server.adapters.redis_client import (
    FAILURES,
    Backoff,
    apart,
    connect,
    unavailable,
)
from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.ports import Fence
from pilothouse_server.services.fanout import Changes

TTL: Final = 300.0
"""Seconds that a value is there after it was posted."""
FENCES_KEPT: Final = 86_400.0
"""Seconds that the epochs are remembered after a post; a frozen owner is given up long before."""
ANSWER: Final = 2.0
"""Seconds that an answer of the Redis is waited for."""
LOOK: Final = 1.0
"""Seconds between two looks of a follower that is not notified."""
SILENCE: Final = 5.0
"""Seconds without a word, asked for or not, after which the connection of notifications is made anew."""
NOTIFICATIONS: Final = "monitoring:posted"
"""The channel on which the name of each value is said when it was posted."""

_POST: Final = """
local held = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '0')
if held > tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2], 'version', ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[6])
redis.call('PUBLISH', ARGV[7], KEYS[1])
return 1
"""

_log = structlog.get_logger(__name__)


class RedisBoard:
    """A `Board` in the Redis at `url`; nothing is connected before it is needed. Raises Misconfigured for a URL that
    cannot be one. The fences of a value are in the hash `{name}:fences`."""

    def __init__(self, url: str, *, ttl: float = TTL, look: float = LOOK) -> None:
        self._url = url
        self._ttl_ms = round(ttl * 1000)
        self._look = look
        self._redis = connect("board", url, timeout=ANSWER, connections=16)
        self._post = self._redis.register_script(_POST)
        self._changes: dict[str, Changes] = {}
        self._followed: Counter[str] = Counter()
        self.waiting_for = ""
        """Why notifications do not come; "" when they do."""

    async def post(self, name: str, value: bytes, fence: Fence) -> bool:
        """Puts a value up for the time to live, unless a later tenure has posted under this name."""
        version = f"{fence.epoch}-{os.urandom(8).hex()}"
        arguments: list[str | int | bytes] = [
            f"lease:{fence.lease}", fence.epoch, value, self._ttl_ms, version, round(FENCES_KEPT * 1000), NOTIFICATIONS,
        ]  # fmt: skip
        try:
            return bool(await apart(self._post(keys=[name, f"{name}:fences"], args=arguments)))
        except FAILURES as error:
            raise unavailable("board", self._url, error) from error

    async def forget(self, names: Sequence[str]) -> None:
        """Takes values down; who has posted under these names stays known. Raises Unavailable."""
        try:
            await apart(cast("Any", self._redis).delete(*names))
        except FAILURES as error:
            raise unavailable("board", self._url, error) from error

    async def follow(self, name: str) -> AsyncIterator[bytes]:
        """The value that is there, then each newer one that is seen in time; through times when the Redis is away."""
        backoff = Backoff(last=self._look)
        shown: str | None = None
        with self._listening(name) as changes:
            while True:
                seen = changes.version
                try:
                    value, version = await self._look_at(name)
                except Unavailable:
                    await backoff.wait()
                    continue
                backoff.reset()
                if value is not None and version != shown:
                    shown = version
                    yield value
                await changes.wait(seen, self._look)

    async def run(self) -> None:
        """Wakes followers until it is cancelled."""
        await apart(self._listen())

    async def close(self) -> None:
        """Ends the connections. Idempotent."""
        await self._redis.aclose()

    async def _look_at(self, name: str) -> tuple[bytes | None, str | None]:
        """The value and its version, of one moment."""
        try:
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.get(name)
                pipeline.hget(f"{name}:fences", "version")
                value, version = cast("list[bytes | None]", await apart(pipeline.execute()))
        except FAILURES as error:
            raise unavailable("board", self._url, error) from error
        return value, None if version is None else version.decode(errors="replace")

    @contextlib.contextmanager
    def _listening(self, name: str) -> Generator[Changes]:
        self._followed[name] += 1
        try:
            yield self._changes.setdefault(name, Changes())
        finally:
            self._followed[name] -= 1
            if not self._followed[name]:
                del self._followed[name], self._changes[name]

    async def _listen(self) -> None:
        """Hears notifications, and connects again after a break."""
        backoff = Backoff()
        while True:
            try:
                async with PubSub(self._redis.connection_pool) as pubsub:
                    await pubsub.subscribe(NOTIFICATIONS)
                    await self._hear(pubsub, backoff)
            except FAILURES as error:
                told = unavailable("board", self._url, error).message
                if not self.waiting_for:
                    _log.warning("no notifications of the board; it is looked at instead", why=told)
                self.waiting_for = told
            await backoff.wait()

    async def _hear(self, pubsub: PubSub, backoff: Backoff) -> None:
        loop = asyncio.get_running_loop()
        heard = loop.time()
        while True:
            message = cast("dict[str, Any] | None", await pubsub.get_message(timeout=self._look))
            if message is None:
                if loop.time() - heard > SILENCE:
                    raise TimeoutError
                await cast("Any", pubsub).ping()
                continue
            heard = loop.time()
            if message["type"] == "subscribe":
                backoff.reset()
                self.waiting_for = ""
                for changes in self._changes.values():  # what was posted before was not heard
                    changes.notify()
            elif message["type"] == "message":
                # Anybody may say anything on a channel.
                posted = self._changes.get(message["data"].decode(errors="replace"))
                if posted is not None:
                    posted.notify()
