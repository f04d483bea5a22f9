"""What tests of every area need: waiting for a condition instead of sleeping, free ports, and names of their own."""

from __future__ import annotations

import asyncio
import inspect
import socket
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast, overload

import pytest

T = TypeVar("T")

PAUSE = 0.01
"""Seconds between two looks at a condition; the only sleep that tests know."""


class NeverHappened(AssertionError):
    """A condition did not become true before the deadline; carries what was seen last."""


@overload
async def wait_until(
    condition: Callable[[], Awaitable[T]], *, within: float = ..., what: str = ...
) -> T: ...
@overload
async def wait_until(condition: Callable[[], T], *, within: float = ..., what: str = ...) -> T: ...
async def wait_until(
    condition: Callable[[], object], *, within: float = 10.0, what: str = "the condition"
) -> object:
    """Return the first true value of `condition`, which is asked again and again for `within` seconds.

    An exception of the condition ends the wait at once: only a false value is a reason to ask again.
    """
    end = time.monotonic() + within
    while True:
        answer = condition()
        seen: object = await answer if inspect.isawaitable(answer) else answer
        if seen:
            return seen
        if time.monotonic() >= end:
            raise NeverHappened(f"{what} did not happen within {within} s; last seen: {seen!r}")
        await asyncio.sleep(PAUSE)


def wait_until_sync(
    condition: Callable[[], T], *, within: float = 10.0, what: str = "the condition"
) -> T:
    """The same for tests without a loop."""
    end = time.monotonic() + within
    while not (seen := condition()):
        if time.monotonic() >= end:
            raise NeverHappened(f"{what} did not happen within {within} s; last seen: {seen!r}")
        time.sleep(PAUSE)
    return seen


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on. Prefer port 0 where the server can tell its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def name_of(request: pytest.FixtureRequest) -> str:
    """The name of the test that asks, as what only it uses is called."""
    test = cast("pytest.Item", request.node)  # pyright: ignore[reportUnknownMemberType] - untyped there
    return test.name.replace("[", "-").replace("]", "")
