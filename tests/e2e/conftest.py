"""A real server for each test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import pilothouse.aio
from tests.e2e.support import Pilothouse


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Pilothouse]:
    """`pilothouse-server up`, ready."""
    async with Pilothouse(tmp_path / "data") as running:
        yield running


@pytest.fixture
async def client(server: Pilothouse) -> AsyncIterator[pilothouse.aio.Client]:
    """A client of that server."""
    async with pilothouse.aio.Client(server.grpc) as connected:
        yield connected
