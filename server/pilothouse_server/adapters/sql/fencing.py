"""The database as one tenure may write it: every transaction begins by looking whether the tenure still is the newest.

The look locks the lease's row against the next holder's epoch until the transaction ends, so that nothing of this
tenure is committed after another has begun.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, select

from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.tables_leases import LEASES
from pilothouse_server.domain.errors import LeaseLost
from pilothouse_server.ports import Fence

T = TypeVar("T")


class FencedDatabase:
    """A `Database` whose writes raise LeaseLost, and keep nothing, once the fence's tenure is over."""

    def __init__(self, database: Database, fence: Fence) -> None:
        self._database = database
        self._fence = fence

    async def write(self, run: Callable[[Connection], T], *, beside: bool = False) -> T:
        """As the database; the look comes first."""
        fence = self._fence

        def fenced(connection: Connection) -> T:
            _check(connection, fence)
            return run(connection)

        return await self._database.write(fenced, beside=beside)

    async def read(self, run: Callable[[Connection], T]) -> T:
        """As the database: reading hurts nobody."""
        return await self._database.read(run)

    @property
    def waiting(self) -> int:
        """Writes that have not begun, those of others too."""
        return self._database.waiting

    async def close(self) -> None:
        """Nothing: the database belongs to others too."""


def _check(connection: Connection, fence: Fence) -> None:
    newest = select(LEASES.c.epoch).where(LEASES.c.name == fence.lease).with_for_update(read=True)
    if connection.execute(newest).scalar() != fence.epoch:
        raise LeaseLost(fence.lease, fence.epoch)
