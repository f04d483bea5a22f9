"""How fast old rows and log entries go, and what those who publish notice of it.

    python -m bench.retention [--events 100000] [--seconds 10]

A database is filled with events of finished workflows of 40 days ago, and on SQLite a log with as many. Then batches of
ten events are appended to the log and projected, fifty times a second, each timed from the call to the commit of both:
alone first, then while everything old is removed at the pace of the server.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.load import Flow
from bench.projector import entries
from bench.report import percentile, provenance, table
from bench.storage import running_storage
from pilothouse.v1 import events_pb2
from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql import migrate
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.postgres import PostgresDatabase
from pilothouse_server.adapters.sql.projection_store import SqlProjectionStore
from pilothouse_server.adapters.sql.retention_store import SqlRetention
from pilothouse_server.adapters.sql.sqlite import SqliteDatabase
from pilothouse_server.adapters.sqlite_log import SqliteLog
from pilothouse_server.ports import LogEntry, LogKeep
from pilothouse_server.services.retention import DAY_US, Policy, Retention
from pilothouse_server.wire.events import decode_stored

EVERY = 0.02
"""Seconds between two batches."""
BATCH = 10


class Later(SystemClock):
    """Forty days ahead, so that all that was written is old."""

    ahead_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.ahead_us


@dataclass
class Plant:
    """A log and a database, and who writes them."""

    log: SqliteLog
    database: Database
    clock: Later

    async def publish(self, flow: Flow, latencies: list[float]) -> None:
        """One batch, now by the clock."""
        store = SqlProjectionStore(self.database, decode_stored)
        some = flow.take(BATCH)
        for event in some:
            event.occur_time.FromMicroseconds(self.clock.now_us())
            event.receive_time.CopyFrom(event.occur_time)
        payload = events_pb2.EventBatch(events=some).SerializeToString()
        begun = time.perf_counter()
        cursor = await self.log.append(payload)
        await store.apply([LogEntry(cursor, payload)])
        latencies.append(time.perf_counter() - begun)

    async def publish_until(self, done: asyncio.Event, latencies: list[float]) -> None:
        """Batches at their times; one that is late moves those behind it."""
        flow = Flow(f"retention-{time.time_ns():x}")
        while not done.is_set():
            begun = time.perf_counter()
            await self.publish(flow, latencies)
            await asyncio.sleep(max(0.0, begun + EVERY - time.perf_counter()))


async def measure(name: str, plant: Plant, events: int, seconds: float) -> list[str]:
    """One row of the table."""
    store = SqlProjectionStore(plant.database, decode_stored)
    for entry in entries(events, 500):
        await store.apply([entry])
        await plant.log.append(entry.payload)
    retention = Retention(
        SqlRetention(plant.database),
        {0: plant.log},
        plant.clock,
        lambda: Policy(log=LogKeep(age_us=0, size_bytes=0, cap_bytes=1)),
    )
    await SqlRetention(plant.database).mark(plant.clock.now_us())
    plant.clock.ahead_us = 40 * DAY_US
    alone: list[float] = []
    done = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, done.set)
    await plant.publish_until(done, alone)
    beside: list[float] = []
    done = asyncio.Event()
    publishing = asyncio.create_task(plant.publish_until(done, beside))
    begun = time.perf_counter()
    await retention.sweep()
    took = time.perf_counter() - begun
    done.set()
    await publishing
    counts = retention.counts
    rows = sum(counts.removed.values())
    return [
        name,
        f"{rows:,} rows, {counts.trimmed:,} entries",
        f"{took:.1f} s in {counts.batches:,} steps",
        f"{rows / took:,.0f}/s",
        _latency(alone),
        _latency(beside),
    ]


def _latency(seconds: list[float]) -> str:
    return f"{percentile(seconds, 0.5) * 1000:.1f} / {percentile(seconds, 0.99) * 1000:.1f} ms"


async def run(arguments: argparse.Namespace) -> list[list[str]]:
    """Both databases."""
    found: list[list[str]] = []
    with (
        tempfile.TemporaryDirectory() as directory,
        running_storage(with_redis=False, with_postgres=True) as storage,
    ):
        for kind in ("SQLite", "PostgreSQL"):
            storage.renew()
            place = Path(directory) / "state.db" if kind == "SQLite" else storage.database_url
            migrate.upgrade(place)
            database: Database = (
                SqliteDatabase(place) if isinstance(place, Path) else PostgresDatabase(place)
            )
            log = SqliteLog(Path(directory) / f"log-{kind}.db")
            plant = Plant(log, database, Later())
            found.append(await measure(kind, plant, arguments.events, arguments.seconds))
            await database.close()
            await log.close()
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of publishing alone")
    arguments = parser.parse_args()
    print(provenance("SQLite", "PostgreSQL"))
    header = [
        "database",
        "removed",
        "took",
        "rate",
        "published alone, p50 / p99",
        "meanwhile, p50 / p99",
    ]
    print(table("Removing what is old", header, asyncio.run(run(arguments))))


if __name__ == "__main__":
    main()
