"""A small server for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.client.support import Server
from tests.demo.support import Seen


@pytest.fixture
async def seen() -> AsyncIterator[Seen]:
    """A server, and what it was told."""
    async with Server() as server:
        yield Seen(server)
