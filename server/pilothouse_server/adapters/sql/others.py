"""What only the database knows of all replicas: who holds which lease, and who lives."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from sqlalchemy import Connection, delete, func, insert, select

from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.tables_leases import LEASES
from pilothouse_server.adapters.sql.tables_projection import IDENTITY
from pilothouse_server.services.status import Lease, Replica

LEAD = "shard-0"
LOG = "log"
"""The row of `identity` in which a process with a log of its own writes which one that is."""


class SqlOthers:
    """Implements `services.standing.Others`. `alive` tells the ids of the replicas that live."""

    def __init__(self, database: Database, alive: Callable[[], Collection[str]]) -> None:
        self._database = database
        self._alive = alive

    async def leases(self) -> Sequence[Lease]:
        """The newest tenure of each; without a holder when that replica is gone. Raises Unavailable."""
        query = select(LEASES.c.name, LEASES.c.holder, LEASES.c.epoch, LEASES.c.acquire_us)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        alive = set(self._alive())
        return [
            Lease(
                name=name, holder=holder if holder in alive else "", epoch=epoch, acquire_us=since
            )
            for name, holder, epoch, since in sorted(rows, key=lambda row: (len(row[0]), row[0]))
        ]

    async def replicas(self) -> Sequence[Replica]:
        """Those that live. Raises Unavailable."""
        holders = {lease.holder for lease in await self.leases() if lease.name == LEAD}
        return [Replica(id=each, leads=each in holders) for each in sorted(self._alive())]


async def next_epoch(database: Database, holder: str, now_us: int) -> int:
    """The epoch of all leases of a process that shares its database with nobody: the time in ms, unless the clock was
    put back since the last start. What is put on a board by a smaller one would be refused. Raises Unavailable."""

    def run(connection: Connection) -> int:
        last = connection.execute(select(func.max(LEASES.c.epoch))).scalar() or 0
        epoch = max(last + 1, now_us // 1000)
        connection.execute(delete(LEASES).where(LEASES.c.name == LEAD))
        row = {"name": LEAD, "epoch": epoch, "holder": holder, "acquire_us": now_us}
        connection.execute(insert(LEASES).values(row))
        return epoch

    return await database.write(run)


async def log_of(database: Database, log: str) -> str:
    """The log that the database is made from: the one given, if no other was given before. Raises Unavailable."""

    def run(connection: Connection) -> str:
        known = select(IDENTITY.c.value).where(IDENTITY.c.name == LOG)
        found: str | None = connection.execute(known).scalar()
        if found is None:
            connection.execute(insert(IDENTITY).values(name=LOG, value=log))
        return found or log

    return await database.write(run)
