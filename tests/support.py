"""What tests of every area need: waiting for a condition instead of sleeping, free ports, and names of their own."""

from __future__ import annotations

import asyncio
import fcntl
import functools
import inspect
import os
import random
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
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


PORTS = range(16_384, 32_768)
"""None of those from which the kernel takes the near ends of connections: one that is ours stays free while its server
is away, and who tries to connect to it meanwhile cannot be given that very port and meet itself."""


@functools.cache
def _reserved() -> tuple[int, set[int]]:
    """A file with a byte for each port, of which each process locks those that it was given; and which these are."""
    path = Path(tempfile.gettempdir(), f"pilothouse-ports-{os.getuid()}")
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600), set()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on, and that no other process of tests is given while this one lives.
    Prefer port 0 where the server can tell its own."""
    file, ours = _reserved()
    # Not by the dice of the tests: those fall alike in all processes.
    first = random.SystemRandom().randrange(len(PORTS))
    for step in range(len(PORTS)):
        port = PORTS[(first + step) % len(PORTS)]
        if port in ours:
            continue
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except OSError:
            continue
        ours.add(port)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise NeverHappened("no port is free")


def name_of(request: pytest.FixtureRequest) -> str:
    """The name of the test that asks, as what only it uses is called."""
    test = cast("pytest.Item", request.node)  # pyright: ignore[reportUnknownMemberType] - untyped there
    return test.name.replace("[", "-").replace("]", "")
