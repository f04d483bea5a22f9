"""A real server for each test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

import pilothouse.aio
from tests.e2e.support import Pilothouse


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Pilothouse]:
    """`pilothouse-server up`, ready."""
    async with Pilothouse(tmp_path / "data") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pilothouse]:
    """One server for all tests of a file that only ask, and are known by ids of their own."""
    async with Pilothouse(tmp_path_factory.mktemp("shared") / "data") as running:
        yield running


@pytest.fixture
async def shared_client(shared_server: Pilothouse) -> AsyncIterator[pilothouse.aio.Client]:
    """A client of the shared server."""
    async with pilothouse.aio.Client(shared_server.grpc) as connected:
        yield connected


@pytest.fixture
async def client(server: Pilothouse) -> AsyncIterator[pilothouse.aio.Client]:
    """A client of that server."""
    async with pilothouse.aio.Client(server.grpc) as connected:
        yield connected
