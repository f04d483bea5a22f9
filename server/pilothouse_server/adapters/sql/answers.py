"""Waiting for PostgreSQL no longer than one wants to, on an asyncio connection.

The library cannot be kept from waiting for a server that stands still, neither by a timeout nor by a cancellation:
it asks the server to cancel, and waits for that. So the socket is cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Coroutine
from typing import Any, TypeVar

import psycopg

T = TypeVar("T")


async def answered(
    connection: psycopg.AsyncConnection[Any], asking: Coroutine[Any, Any, T], within: float
) -> T:
    """What comes of statements on the connection; when that takes longer than `within` seconds, or nobody waits for it
    any more, the connection is cut. Raises what the statements do, psycopg.Error when they were cut."""
    doing = asyncio.ensure_future(asking)
    try:
        await asyncio.wait({doing}, timeout=within)
    finally:
        if not doing.done():
            _cut(connection)
            await asyncio.gather(doing, return_exceptions=True)
    return doing.result()


def _cut(connection: psycopg.AsyncConnection[Any]) -> None:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)
