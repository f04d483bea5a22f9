"""Connections to a Redis, and what its refusals mean in words.

The library's own retries are off: a write whose answer was lost must not be sent a second time behind our back, and
what may be tried again, and when, is said once, by whoever uses the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Coroutine
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from pilothouse_server.domain.addresses import scrubbed, shown
from pilothouse_server.domain.errors import Misconfigured, Unavailable

T = TypeVar("T")

CONNECT: Final = 2.0
"""Seconds until a connection that is not made is given up."""
FIRST_RETRY, LAST_RETRY = 0.1, 1.0
"""Seconds between two attempts, doubled each time."""

FAILURES: Final = (RedisError, OSError, TimeoutError)
"""What talking to a Redis may raise."""


class Backoff:
    """How long to wait before the next attempt: twice as long each time, and never the same for two replicas."""

    def __init__(self, first: float = FIRST_RETRY, last: float = LAST_RETRY) -> None:
        self._first, self._last = first, last
        self._next = first

    def next(self) -> float:
        """Seconds to wait now."""
        wait, self._next = self._next, min(2 * self._next, self._last)
        return wait * random.uniform(0.75, 1.25)  # noqa: S311 - it spreads attempts, it hides nothing

    def reset(self) -> None:
        """All is well again."""
        self._next = self._first

    async def wait(self) -> None:
        """Waits that long."""
        await asyncio.sleep(self.next())


async def apart(call: Coroutine[Any, Any, T]) -> T:
    """Awaits a call of the library in a task of its own, so that whoever is cancelled here does not go on.

    While it sends the library may lose a cancellation (`asyncio.wait_for` before Python 3.12 does).
    """
    task = asyncio.create_task(call)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            # Whoever cancels us once more is not to leave it behind either.
            with contextlib.suppress(asyncio.CancelledError):
                await ended(task)
        raise


async def ended(task: asyncio.Task[Any]) -> None:
    """Cancels a task until it has ended, however often the library loses the cancellation."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.05)
    if not task.cancelled():
        task.exception()  # seen: nobody waits for it any more


def connect(what: str, url: str, *, timeout: float, connections: int = 8) -> Redis:
    """A pool of connections, none of them made yet; an answer is waited for `timeout` seconds. Raises Misconfigured for
    a URL that cannot be one of a Redis."""
    check_url(what, url)
    try:
        from_url = cast("Any", BlockingConnectionPool.from_url)  # pyright: ignore[reportUnknownMemberType]
        pool: BlockingConnectionPool = from_url(
            url,
            timeout=timeout,
            protocol=2,
            socket_timeout=timeout,
            socket_connect_timeout=min(timeout, CONNECT),
            socket_keepalive=True,
            max_connections=connections,
            client_name=f"pilothouse-{what}",
            retry=Retry(NoBackoff(), 0),
            socket_read_size=1 << 18,
        )
    except (ValueError, TypeError) as error:
        raise Misconfigured(what, f"{shown(url)}: {scrubbed(str(error), url)}") from error
    return Redis.from_pool(pool)


def leave_answers(redis: Redis, *commands: str) -> None:
    """Has the answers to these commands given as they come, whatever the version of the library would make of them."""
    callback = cast("Any", _as_it_is)
    for command in commands:
        redis.set_response_callback(command, callback)


def _as_it_is(answer: Any, **_options: Any) -> Any:
    return answer


def check_url(what: str, url: str) -> None:
    """Raises Misconfigured, saying what a URL should look like."""
    example = "give it as redis://[user:password@]host:port/0, or rediss:// for TLS"
    try:
        parts = urlsplit(url)
        port_is_number = parts.port is None or parts.port > 0
    except ValueError:
        port_is_number = False
        parts = None
    if parts is None or not port_is_number:
        raise Misconfigured(what, f"{shown(url)} has no usable host and port; {example}")
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise Misconfigured(what, f"{shown(url)} is not the URL of a Redis; {example}")
    number = parts.path.strip("/")
    if parts.scheme != "unix":
        if not parts.hostname:
            raise Misconfigured(what, f"{shown(url)} names no host; {example}")
        if number and not (number.isascii() and number.isdigit()):
            raise Misconfigured(
                "redis", f"{shown(url)}: the database behind the host must be a number; {example}"
            )


def unavailable(what: str, url: str, error: BaseException) -> Unavailable:
    """The refusal in words that say what to do, without the password. Misconfigured where waiting alone cannot help."""
    where = f"the Redis at {shown(url)}"
    said = scrubbed(str(error), url) or type(error).__name__
    match error:
        case AuthenticationError():
            return Misconfigured(
                what, f"{where} refused the password or user ({said}); {_CHECK_URL}"
            )
        case NoPermissionError():
            return Misconfigured(
                what,
                f"{where} does not permit what is needed ({said}); {_RIGHTS}",
            )
        case BusyLoadingError():
            return Unavailable(
                what, f"{where} is still loading its data; it will answer when it is done"
            )
        case ReadOnlyError():
            return Unavailable(
                what,
                f"{where} is a replica that takes no writes; point PILOTHOUSE_REDIS_URL at the primary",
            )
        case OutOfMemoryError():
            return Unavailable(
                what,
                f"{where} is out of memory and refuses writes; give it more (maxmemory) or keep less of the log",
            )
        case RedisTimeoutError() | TimeoutError():
            return Unavailable(what, f"{where} does not answer")
        case _:
            return _of_text(what, where, said)


_CHECK_URL = "check the user and password in PILOTHOUSE_REDIS_URL"
_RIGHTS = (
    "give the user ~workflow:events* ~monitoring:* ~alerts:events* &monitoring:* &alerts:events and the categories"
    " @stream @string @hash @pubsub @scripting @transaction @connection and INFO"
)


def _of_text(what: str, where: str, said: str) -> Unavailable:
    upper = said.upper()
    if "NOAUTH" in upper or "AUTHENTICATION REQUIRED" in upper:
        return Misconfigured(what, f"{where} wants a password; {_CHECK_URL}")
    if "UNKNOWN COMMAND" in upper:
        return Misconfigured(
            what,
            f"{where} does not know a command that is needed ({said}); use Redis 6.2 or newer, or Valkey",
        )
    if upper.startswith("MISCONF"):
        return Unavailable(
            what, f"{where} cannot write to its own disk and refuses writes ({said})"
        )
    if upper.startswith("WRONGTYPE"):
        return Misconfigured(
            what,
            f"{where} holds something else under a name that is ours ({said}); use another database number",
        )
    return Unavailable(what, f"{where}: {said}")
