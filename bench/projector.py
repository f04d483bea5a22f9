"""How many events a second one projector writes into rows, without a log and without a server around it.

    python -m bench.projector [--events 50000] [--batches 100,1000]

What is timed is `SqlProjectionStore.apply`, batch after batch: decoding, folding, and the commit. Once on SQLite with
synchronous=FULL, once on PostgreSQL with fsync. The processor time for each event, ours and PostgreSQL's, is what a
busy machine falsifies least.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import psutil

from bench.load import Flow
from bench.report import provenance, table
from bench.storage import cpu_seconds, running_storage
from pilothouse.v1 import events_pb2
from pilothouse_server.adapters.sql import migrate
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.postgres import PostgresDatabase
from pilothouse_server.adapters.sql.projection_store import SqlProjectionStore
from pilothouse_server.adapters.sql.sqlite import SqliteDatabase
from pilothouse_server.ports import LogEntry
from pilothouse_server.wire.events import decode_stored


def entries(events: int, batch: int) -> list[LogEntry]:
    """The log, one entry for each batch."""
    flow = Flow(f"projector-{time.time_ns():x}")
    made: list[LogEntry] = []
    for number in range(events // batch):
        some = flow.take(batch)
        for event in some:
            event.receive_time.CopyFrom(event.occur_time)
        payload = events_pb2.EventBatch(events=some).SerializeToString()
        made.append(LogEntry(f"{number + 1}", payload))
    return made


async def measure(
    name: str, database: Database, batch: int, events: int, server: psutil.Process | None
) -> list[str]:
    """One row of the table."""
    store = SqlProjectionStore(database, decode_stored)
    log = entries(events, batch)
    own = psutil.Process()
    processes = [own, *([server] if server else [])]
    before = [cpu_seconds(process) for process in processes]
    begin = time.monotonic()
    written = 0
    for entry in log:
        written += (await store.apply([entry])).events
    taken = time.monotonic() - begin
    used = [
        (cpu_seconds(process) - was) / written * 1e6
        for process, was in zip(processes, before, strict=True)
    ]
    assert written == len(log) * batch
    by_server = f"{used[1]:.0f}" if server else ""
    return [name, f"{batch:,}", f"{written / taken:,.0f}", f"{used[0]:.0f}", by_server]


async def run(events: int, batches: list[int]) -> str:
    """The whole table."""
    rows: list[list[str]] = []
    with running_storage(with_redis=False, with_postgres=True) as storage:
        print(provenance(*storage.names), flush=True)
        for batch in batches:
            with tempfile.TemporaryDirectory(prefix="pilothouse-bench-") as directory:
                path = Path(directory) / "state.sqlite3"
                await asyncio.to_thread(migrate.upgrade, path)
                sqlite = SqliteDatabase(path)
                rows.append(await measure("SQLite", sqlite, batch, events, None))
                await sqlite.close()
            storage.renew()
            await asyncio.to_thread(migrate.upgrade, storage.database_url)
            postgres = PostgresDatabase(storage.database_url)
            server = storage.processes()["PostgreSQL"]
            rows.append(await measure("PostgreSQL", postgres, batch, events, server))
            await postgres.close()
    header = ["database", "events in a batch", "events/s", "µs an event, ours", "PostgreSQL's"]
    return table(f"One projector alone, {events:,} events", header, rows)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--batches", default="100,1000")
    given = parser.parse_args()
    print(asyncio.run(run(given.events, [int(each) for each in given.batches.split(",")])))


if __name__ == "__main__":
    main()
