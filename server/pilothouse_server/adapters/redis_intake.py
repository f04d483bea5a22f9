"""Entries into the streams of a Redis: appends that come at once share one round trip, and one connection has them all.

When the Redis is away, whoever publishes is told at once: one append at a time finds out whether it is back. An
append whose answer was lost may be in the log or not; events have ids, so to publish them again is right.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import structlog
from redis.exceptions import RedisError

from pilothouse_server.adapters.redis_client import (
    FAILURES,
    Backoff,
    apart,
    connect,
    ended,
    leave_answers,
    unavailable,
)
from pilothouse_server.adapters.redis_streams import BATCH, SEALED, names_of
from pilothouse_server.domain.errors import Unavailable

ANSWER: Final = 4.0
"""Seconds that an answer of the Redis is waited for."""


_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """What bounds the memory of the intake."""

    queued_appends: int = 8192
    """Appends that may wait for their answer; one more is refused."""
    queued_bytes: int = 64 << 20
    """Bytes that may wait; more are refused, but one append alone never is."""
    appends_at_once: int = 512
    bytes_at_once: int = 8 << 20


@dataclass(slots=True)
class IntakeCounts:
    """For `/metrics`."""

    appended: int = 0
    refused: int = 0
    failures: int = 0
    """Round trips that failed."""


@dataclass(slots=True)
class _Append:
    parts: Mapping[int, bytes]
    size: int
    future: asyncio.Future[str]


class RedisIntake:
    """The `Intake` of a log of `shards` streams in the Redis at `url`, which is not asked before the first append.
    Raises Misconfigured for a URL that cannot be one. `waiting_for` tells why appends are refused, "" when they are
    not."""

    def __init__(self, url: str, shards: int = 1, *, limits: IntakeLimits | None = None) -> None:
        self._url = url
        self._shards = shards
        self._limits = limits or IntakeLimits()
        self._streams = [names_of(shard).stream for shard in range(shards)]
        self._redis = connect("log", url, timeout=ANSWER, connections=1)
        leave_answers(self._redis, "XADD", "MULTI", "EXEC")
        self._queue: deque[_Append] = deque()
        self._queued_bytes = 0
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._writer: asyncio.Task[None] | None = None
        self._backoff = Backoff()
        self._again_at = 0.0
        self._closed = False
        self.waiting_for = ""
        self.counts = IntakeCounts()

    @property
    def shards(self) -> int:
        return self._shards

    async def append(self, parts: Mapping[int, bytes]) -> str:
        """Returns the id of the entry, or of each entry behind its shard, as `0:1700000000000-0,3:1700000000000-0`."""
        size = sum(map(len, parts.values()))
        self._check_room(size)
        append = _Append(parts, size, asyncio.get_running_loop().create_future())
        self._queued_bytes += size
        self._queue.append(append)
        self._woken.set()
        self._idle.clear()
        if self._writer is None:
            self._writer = asyncio.create_task(self._write(), name="log-write")
        return await append.future

    async def close(self) -> None:
        """Lets appends under way end, for as long as an answer is waited for, and refuses the rest. Idempotent."""
        if not self._closed:
            self._closed = True
            try:
                async with asyncio.timeout(ANSWER):
                    await self._idle.wait()
            except TimeoutError:
                self._refuse(self._queue, Unavailable("log", "it is closed"))
        if self._writer is not None:
            await ended(self._writer)
        await self._redis.aclose()

    def _check_room(self, size: int) -> None:
        limits = self._limits
        left = self._again_at - asyncio.get_running_loop().time()
        if self._closed:
            refusal = Unavailable("log", "it is closed")
        elif self.waiting_for and left > 0:
            refusal = Unavailable("log", self.waiting_for, max(round(left * 1_000_000), 100_000))
        elif len(self._queue) >= limits.queued_appends or (
            self._queued_bytes and self._queued_bytes + size > limits.queued_bytes
        ):
            refusal = Unavailable("log", "more events are waiting for the Redis than it can take")
        else:
            return
        self.counts.refused += 1
        raise refusal

    async def _write(self) -> None:
        """Sends what has gathered, again and again, until it is cancelled."""
        while True:
            await self._woken.wait()
            appends = self._gather()
            if not appends:
                self._woken.clear()
                self._idle.set()
                continue
            try:
                self._answer(appends, await apart(self._send(appends)))
            except FAILURES as error:
                self._failed(appends, unavailable("log", self._url, error))
            except Exception as error:  # noqa: BLE001 - whatever it is, nobody must wait for ever
                _log.exception("the log's writer met what it does not know")
                self._failed(appends, Unavailable("log", f"{type(error).__name__}: {error}"))
            finally:
                self._queued_bytes -= sum(append.size for append in appends)

    def _gather(self) -> list[_Append]:
        limits = self._limits
        appends: list[_Append] = []
        size = 0
        while self._queue and len(appends) < limits.appends_at_once:
            size += self._queue[0].size
            if appends and size > limits.bytes_at_once:
                break
            appends.append(self._queue.popleft())
        return appends

    async def _send(self, appends: Sequence[_Append]) -> list[Any]:
        """One answer for each append: an id, the ids of a transaction, or what was refused."""
        answers: list[Any] = []
        async with self._redis.pipeline(transaction=False) as pipeline:
            send = cast("Any", pipeline).execute_command
            for append in appends:
                several = len(append.parts) > 1
                if several:
                    send("MULTI")
                for shard, payload in append.parts.items():
                    send("XADD", self._streams[shard], "*", BATCH, payload, SEALED, b"1")
                if several:
                    send("EXEC")
            said = iter(await pipeline.execute(raise_on_error=False))
        for append in appends:
            answer = next(said)
            if len(append.parts) > 1:  # MULTI, each XADD, EXEC: what counts is the last
                for _ in range(len(append.parts) + 1):
                    answer = next(said)
            answers.append(answer)
        return answers

    def _answer(self, appends: Sequence[_Append], answers: Sequence[Any]) -> None:
        self.waiting_for = ""
        self._backoff.reset()
        for append, answer in zip(appends, answers, strict=True):
            wrong = _first_error(answer)
            if wrong is not None:
                refusal = unavailable("log", self._url, wrong)
                self._refuse([append], refusal)
                self._stay_away(refusal)
            elif not append.future.done():
                self.counts.appended += 1
                append.future.set_result(_cursor(append.parts, answer))

    def _failed(self, appends: Sequence[_Append], refusal: Unavailable) -> None:
        """Nobody answers, so those that wait behind these need not wait as long again."""
        self.counts.failures += 1
        self._stay_away(refusal)
        waiting = list(self._queue)
        self._queue.clear()
        self._queued_bytes -= sum(append.size for append in waiting)
        self._refuse([*appends, *waiting], refusal)

    def _stay_away(self, refusal: Unavailable) -> None:
        if not self.waiting_for or self._again_at <= asyncio.get_running_loop().time():
            self._again_at = asyncio.get_running_loop().time() + self._backoff.next()
        self.waiting_for = refusal.detail

    def _refuse(self, appends: Any, refusal: Unavailable) -> None:
        for append in appends:
            self.counts.refused += 1
            if not append.future.done():
                append.future.set_exception(
                    type(refusal)("log", refusal.detail, refusal.retry_after_us)
                )


def _first_error(answer: Any) -> RedisError | None:
    if isinstance(answer, RedisError):
        return answer
    if isinstance(answer, list):
        answers = cast("Sequence[Any]", answer)
        return next((each for each in answers if isinstance(each, RedisError)), None)
    return None


def _cursor(parts: Mapping[int, bytes], answer: Any) -> str:
    if isinstance(answer, bytes):
        return answer.decode()
    ids = cast("list[bytes]", answer)
    return ",".join(f"{shard}:{entry.decode()}" for shard, entry in zip(parts, ids, strict=True))
