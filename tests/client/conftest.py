"""A small server for each test, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from pilothouse import aio
from pilothouse.retry import RetryPolicy
from tests.client.support import Server
from tests.support import free_port


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """The small server. Its port stays its own while a test has it stopped."""
    async with Server(free_port()) as server:
        yield server


@pytest.fixture
async def client(server: Server) -> AsyncIterator[aio.Client]:
    """An asyncio client whose retries are quick."""
    retry = RetryPolicy(initial_delay=0.01, max_delay=0.05)
    async with aio.Client(server.target, retry=retry) as client:
        yield client
