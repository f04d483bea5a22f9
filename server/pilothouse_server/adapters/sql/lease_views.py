"""Who holds which lease, and which replicas are alive: as PostgreSQL sees their connections."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, select

from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.tables_leases import LEASES
from pilothouse_server.services.status import Lease, Replica

LEADS = "shard-0"
"""The lease whose holder leads."""


class SqlLeaseViews:
    """The `Others` of a server with a PostgreSQL. `alive` are the replicas that are connected now."""

    def __init__(self, database: Database, alive: Callable[[], Sequence[str]]) -> None:
        self._database = database
        self._alive = alive

    async def leases(self) -> Sequence[Lease]:
        """Every lease there ever was, by number. One whose last holder is gone is held by nobody."""
        alive = set(self._alive())
        rows = await self._database.read(_rows)
        return sorted(
            (
                Lease(
                    name=name,
                    holder=holder if holder in alive else "",
                    epoch=epoch,
                    acquire_us=acquire_us if holder in alive else None,
                )
                for name, holder, epoch, acquire_us in rows
            ),
            key=lambda lease: (len(lease.name), lease.name),
        )

    async def replicas(self) -> Sequence[Replica]:
        """Those that are connected."""
        leader = {lease.holder for lease in await self.leases() if lease.name == LEADS}
        return [Replica(id=each, leads=each in leader) for each in self._alive()]


def _rows(connection: Connection) -> Sequence[tuple[str, str, int, int]]:
    columns = LEASES.c
    query = select(columns.name, columns.holder, columns.epoch, columns.acquire_us)
    return [(row[0], row[1], row[2], row[3]) for row in connection.execute(query)]
