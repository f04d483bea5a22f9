"""Dead entries in a Redis: beside each stream another one, whose entries have the ids of what could not be read.

What was added to an entry comes last in it: the reason and the stream, and before these that it was cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

from pilothouse_server.adapters.redis_client import (
    FAILURES,
    apart,
    connect,
    leave_answers,
    unavailable,
)
from pilothouse_server.adapters.redis_scripts import DROP, RETRY
from pilothouse_server.adapters.redis_streams import (
    START,
    Place,
    RawEntry,
    cursor_of,
    names_of,
    place_of,
    place_of_id,
)
from pilothouse_server.domain.errors import (
    DeadEventTruncated,
    InvalidPageToken,
    NotFound,
    RequestIdReused,
)
from pilothouse_server.services.dead_events import DeadEvent, DeadPage

ANSWER: Final = 3.0
"""Seconds that an answer of the Redis is waited for."""
REMEMBERED: Final = 86_400
"""Seconds that a request id is remembered."""


class RedisDeadEvents:
    """`DeadEvents` of a log of `shards` streams in the Redis at `url`."""

    def __init__(self, url: str, shards: int = 1) -> None:
        self._url = url
        self._shards = shards
        self._redis = connect("log", url, timeout=ANSWER, connections=2)
        leave_answers(self._redis, "XREVRANGE", "XLEN")
        self._retry = self._redis.register_script(RETRY)
        self._drop = self._redis.register_script(DROP)

    async def page(self, size: int, token: str) -> DeadPage:
        """Shard by shard, the newest first."""
        shard, place = self._begin(token)
        found: list[DeadEvent] = []
        while shard < self._shards:
            wanted = size - len(found)
            entries = await self._newest(shard, place, wanted + 1)
            found += [_event(shard, entry_id, fields) for entry_id, fields in entries[:wanted]]
            if len(entries) > wanted:
                return DeadPage(found, found[-1].id)
            shard, place = shard + 1, None
            if len(found) == size and shard < self._shards:
                return DeadPage(found, f"{shard}-")
        return DeadPage(found, "")

    async def count(self, shard: int) -> int:
        """How many there are. Raises Unavailable."""
        return int(await self._asked("XLEN", names_of(shard).dead))

    async def retry(self, dead_id: str, request_id: str) -> str:
        """Puts one back, in one transaction with its deletion."""
        shard, place = self._place(dead_id)
        names = names_of(shard)
        asked = f"retry {dead_id}" if request_id else ""
        keys = [names.dead, names.stream, self._request(shard, request_id)]
        done, said = await self._run(self._retry, keys, [cursor_of(place), asked, REMEMBERED])
        if done < 0:
            raise DeadEventTruncated(dead_id)
        return self._said(done, said, asked, dead_id, request_id)

    async def drop(self, dead_id: str, request_id: str) -> None:
        """Deletes one."""
        shard, place = self._place(dead_id)
        asked = f"drop {dead_id}" if request_id else ""
        keys = [names_of(shard).dead, self._request(shard, request_id)]
        done, said = await self._run(self._drop, keys, [cursor_of(place), asked, REMEMBERED])
        self._said(done, said, asked, dead_id, request_id)

    async def close(self) -> None:
        """Ends the connections."""
        await self._redis.aclose()

    def _said(self, done: int, said: str, asked: str, dead_id: str, request_id: str) -> str:
        if not done:
            raise NotFound("dead_event", dead_id)
        if done == 1:
            return said
        before, _, result = said.rpartition(" ")
        if before != asked:
            raise RequestIdReused(request_id)
        return result

    def _begin(self, token: str) -> tuple[int, Place | None]:
        if not token:
            return 0, None
        number, _, cursor = token.partition("-")
        try:
            shard = _shard(number)
            place = place_of(cursor) if cursor else None
        except ValueError as error:
            raise InvalidPageToken from error
        if shard >= self._shards:
            raise InvalidPageToken
        return shard, place

    def _place(self, dead_id: str) -> tuple[int, Place]:
        number, _, cursor = dead_id.partition("-")
        try:
            shard, place = _shard(number), place_of(cursor)
        except ValueError as error:
            raise NotFound("dead_event", dead_id) from error
        if place == START or shard >= self._shards:
            raise NotFound("dead_event", dead_id)
        return shard, place

    def _request(self, shard: int, request_id: str) -> str:
        return f"{names_of(shard).dead}:request:{request_id}"

    async def _newest(self, shard: int, before: Place | None, count: int) -> list[RawEntry]:
        last = "+" if before is None else f"({cursor_of(before)}"
        dead = names_of(shard).dead
        return cast(
            "list[RawEntry]", await self._asked("XREVRANGE", dead, last, "-", "COUNT", count)
        )

    async def _asked(self, *command: str | int) -> Any:
        try:
            return await apart(cast("Any", self._redis).execute_command(*command))
        except FAILURES as error:
            raise unavailable("log", self._url, error) from error

    async def _run(
        self, script: Any, keys: Sequence[str], arguments: Sequence[str | int]
    ) -> tuple[int, str]:
        try:
            done, said = await apart(script(keys=keys, args=arguments))
        except FAILURES as error:
            raise unavailable("log", self._url, error) from error
        return int(done), said.decode()


def _shard(number: str) -> int:
    if not (number.isascii() and number.isdigit() and len(number) <= 4):
        raise ValueError(f"{number!r} is not a shard")
    return int(number)


def _event(shard: int, entry_id: bytes, fields: Sequence[bytes]) -> DeadEvent:
    pairs = list(zip(fields[::2], fields[1::2], strict=False))
    own = dict(pairs[-2:])
    rest = pairs[:-2]
    truncated = bool(rest) and rest[-1][0] == b"truncated"
    return DeadEvent(
        id=f"{shard}-{entry_id.decode()}",
        reason=own.get(b"reason", b"").decode(errors="replace"),
        stream=own.get(b"stream", b"").decode(errors="replace"),
        receive_us=place_of_id(entry_id)[0] * 1000,
        fields=rest[:-1] if truncated else rest,
        truncated=truncated,
    )
