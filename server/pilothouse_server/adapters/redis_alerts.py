"""The stream `alerts:events` in a Redis, and the channel of the same name: every step in the life of every alert.

Whether an id was published before, and whether the caller's tenure is over, is looked at in the same script that
publishes, so each step is there once however often its publishing is tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pilothouse_server.adapters.redis_client import FAILURES, apart, connect, unavailable
from pilothouse_server.ports import Fence
from pilothouse_server.services.alerts.publisher import Message

STREAM: Final = "alerts:events"
"""The stream, and the channel."""
NEWEST: Final = "alerts:events:newest"
"""The ids of those that were published last."""
FENCES: Final = "alerts:events:fences"
"""The epoch of who published last, by lease."""
MOST_KEPT: Final = 100_000
"""Entries that the stream keeps, or some more."""
ANSWER: Final = 3.0
"""Seconds that an answer of the Redis is waited for."""

_PUBLISH: Final = """
local held = tonumber(redis.call('HGET', KEYS[3], ARGV[1]) or '0')
if held > tonumber(ARGV[2]) then return -1 end
local fresh, ids = 0, {}
for at = 4, #ARGV, 2 do
  ids[#ids + 1] = ARGV[at]
  ids[#ids + 1] = ''
  if redis.call('HEXISTS', KEYS[2], ARGV[at]) == 0 then
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', 'id', ARGV[at], 'event', ARGV[at + 1])
    redis.call('PUBLISH', KEYS[1], ARGV[at + 1])
    fresh = fresh + 1
  end
end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], unpack(ids))
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
return fresh
"""
"""KEYS stream, newest, fences. ARGV lease, epoch, the most that are kept, and for each step its id and its body."""


class RedisAlertStream:
    """Implements `services.alerts.publisher.AlertStream` in the Redis at `url`."""

    def __init__(self, url: str, *, kept: int = MOST_KEPT) -> None:
        self._url = url
        self._kept = kept
        self._redis = connect("redis", url, timeout=ANSWER, connections=2)
        self._publish = self._redis.register_script(_PUBLISH)

    async def publish(self, messages: Sequence[Message], fence: Fence) -> bool:
        """Adds those of which the ids are not known, in one script."""
        arguments: list[str | int | bytes] = [f"lease:{fence.lease}", fence.epoch, self._kept]
        for message in messages:
            arguments += message
        try:
            done = await apart(self._publish(keys=[STREAM, NEWEST, FENCES], args=arguments))
        except FAILURES as error:
            raise unavailable("redis", self._url, error) from error
        return int(done) >= 0

    async def close(self) -> None:
        """Ends the connections. Idempotent."""
        await self._redis.aclose()
