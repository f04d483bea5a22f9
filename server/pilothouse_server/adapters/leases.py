"""Leases of an embedded database: the data directory belongs to one process, so every lease is ours from the start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from pilothouse_server.ports import Fence


class OwnTenure:
    """A tenure that nobody can take."""

    waiting_for = ""

    def __init__(self, fence: Fence) -> None:
        self.fence = fence

    async def lost(self) -> None:
        """Never returns."""
        await asyncio.get_running_loop().create_future()

    def surrender(self) -> None:
        """Nothing: nobody else can be there."""


class OwnLeases:
    """`epoch` has to be greater at each start, where others keep fences too (a Redis does)."""

    def __init__(self, epoch: int, replica: str) -> None:
        self.replicas = (replica,)
        self._epoch = epoch

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncGenerator[OwnTenure]:
        """Ours at once."""
        yield OwnTenure(Fence(name, self._epoch))
