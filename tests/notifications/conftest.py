"""An office on a database of each kind, and receivers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from pilothouse_server.adapters.sql.database import Database
from tests.channels.receiver import Receiver, listening
from tests.notifications.office import Office

Listen = Callable[[], Awaitable[Receiver]]


@pytest.fixture
async def office(database: Database) -> AsyncIterator[Office]:
    """One replica that leads."""
    office = Office(database)
    yield office
    await office.sender.close()


@pytest.fixture
async def listen() -> AsyncIterator[Listen]:
    """Opens receivers of webhooks."""
    async with AsyncExitStack() as stack:
        yield lambda: stack.enter_async_context(listening())
