"""How far the snapshot and the rows are behind what was put in: asked of the server and of the database, while it runs.

The snapshot is what `GetMetrics` answers. Rows are counted in the database itself, by a connection of our own: places
of events are dense, so the greatest is their number.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

import grpc
from sqlalchemy import Engine, create_engine, text

from bench.process import Server
from bench.storage import Storage
from pilothouse.v1 import metrics_pb2, metrics_pb2_grpc
from tests.support import wait_until

LOOK = 0.05
"""Seconds between looks."""


class Rows:
    """Reads the database of a server beside it."""

    def __init__(self, url: str) -> None:
        self._engine: Engine = create_engine(url, pool_size=1, max_overflow=0)

    @classmethod
    def of(cls, server: Server, storage: Storage | None) -> Rows:
        """The database that this server uses."""
        if storage and storage.database_url:
            return cls(storage.database_url.replace("postgresql://", "postgresql+psycopg://", 1))
        path = quote(str((server.data_dir / "state.sqlite3").resolve()))
        return cls(f"sqlite:///file:{path}?mode=ro&uri=true")

    async def number(self, query: str, **parameters: object) -> int:
        """The one number that a query answers."""
        return await asyncio.to_thread(self._number, query, parameters)

    async def events(self) -> int:
        """How many events there are, by their places."""
        return await self.number("SELECT max(position) FROM events")

    async def texts(self, query: str) -> list[str]:
        """The first column of a query's answer."""
        return await asyncio.to_thread(self._texts, query)

    def close(self) -> None:
        """Ends the connection."""
        self._engine.dispose()

    def _number(self, query: str, parameters: dict[str, object]) -> int:
        with self._engine.connect() as connection:
            return int(connection.execute(text(query), parameters).scalar() or 0)

    def _texts(self, query: str) -> list[str]:
        with self._engine.connect() as connection:
            return [str(row[0]) for row in connection.execute(text(query))]


@dataclass(slots=True)
class Lag:
    """How far behind one of the two is."""

    seen: int = 0
    """Events that it has."""
    worst: float = 0.0
    """The greatest lag since it was last reset, seconds."""
    at_end: float = 0.0
    """The newest."""


@dataclass(slots=True)
class Progress:
    """Looks at both until it is cancelled."""

    server: Server
    rows_of: Rows
    acknowledged: Callable[[], int]
    snapshot: Lag = field(default_factory=Lag)
    rows: Lag = field(default_factory=Lag)
    _when: list[float] = field(default_factory=list[float])
    _count: list[int] = field(default_factory=list[int])

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._snapshots())
            group.create_task(self._stored())

    def note(self) -> None:
        """Remembers how much was put in by now."""
        self._when.append(time.monotonic())
        self._count.append(self.acknowledged())

    def reset(self) -> None:
        """Forgets the greatest lags."""
        self.snapshot.worst = self.rows.worst = 0.0

    async def caught_up(self, within: float) -> None:
        """Returns when both have all that was put in. Raises NeverHappened."""
        await wait_until(
            lambda: min(self.snapshot.seen, self.rows.seen) >= self.acknowledged(),
            within=within,
            what="the arrival of all events",
        )

    async def reached(self, lag: Lag, count: int, within: float) -> float:
        """When one of the two had so many, monotonic seconds. Raises NeverHappened."""
        await wait_until(lambda: lag.seen >= count, within=within, what=f"{count:,} events")
        return time.monotonic()

    async def _snapshots(self) -> None:
        async with grpc.aio.insecure_channel(self.server.grpc) as channel:
            stub = metrics_pb2_grpc.MetricsServiceStub(channel)
            while True:
                seen = self.snapshot.seen
                try:
                    answer = await stub.GetMetrics(metrics_pb2.GetMetricsRequest())
                    seen = answer.snapshot.totals.events
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        raise
                self._look(self.snapshot, seen)
                await asyncio.sleep(LOOK)

    async def _stored(self) -> None:
        while True:
            self._look(self.rows, await self.rows_of.events())
            await asyncio.sleep(LOOK)

    def _look(self, lag: Lag, seen: int) -> None:
        """The lag is the age of the oldest event that was acknowledged and is not seen."""
        self.note()
        lag.seen = seen
        place = bisect_left(self._count, seen + 1)
        missing = place < len(self._count)
        lag.at_end = time.monotonic() - self._when[place] if missing else 0.0
        lag.worst = max(lag.worst, lag.at_end)
