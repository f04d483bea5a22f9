"""One server for the tests of a file; a checkpointer and a workshop for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from pilothouse.aio import Client
from tests.e2e.support import Pilothouse
from tests.langgraph.graphs import Workshop
from tests.langgraph.support import House
from tests.support import name_of


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pilothouse]:
    """`pilothouse-server up`, ready."""
    async with Pilothouse(tmp_path_factory.mktemp("langgraph") / "data") as server:
        yield server


@pytest_asyncio.fixture(loop_scope="package")
async def saver(tmp_path: Path) -> AsyncIterator[AsyncSqliteSaver]:
    """Checkpoints in a file."""
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "checkpoints.db")) as opened:
        yield opened


@pytest.fixture
def workshop() -> Workshop:
    """Nodes that can be held and broken."""
    return Workshop()


@pytest_asyncio.fixture(loop_scope="package")
async def house(running: Pilothouse, request: pytest.FixtureRequest) -> AsyncIterator[House]:
    """The server, under a source of the test's own."""
    async with Client(running.grpc) as client:
        yield House(client, running.grpc, source=f"langgraph-{name_of(request)}")
