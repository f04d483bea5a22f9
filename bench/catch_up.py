"""How fast a server catches up with a backlog: ten minutes of 1,000 events/s that nobody has read.

    python -m bench.catch_up [--events 600000] [--forms batches,protobuf,json] [--embedded]

The backlog is in the log before the server starts, with the times at which it would have come: as entries that our own
ingest writes (batches of 100), or as single entries of other programs. What counts is the time from the start of the
process until the snapshot has all, and until the rows have all.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.load import Flow
from bench.process import Server, start_server
from bench.producers import BATCH, FORMS, STREAM, as_json, as_protobuf
from bench.progress import Progress, Rows
from bench.report import provenance, seconds_of, table
from bench.storage import Storage, connected, cpu_seconds, running_storage
from pilothouse.v1 import events_pb2
from pilothouse_server.adapters.sqlite_log import SqliteLog

RATE = 1_000
"""Events a second, of the time that the backlog covers."""
DEADLINE = 1800.0
EVERY = 5.0
NAMES = {
    "batches": "our own entries, 100 events each",
    "protobuf": "one protobuf event an entry",
    "json": "one JSON event an entry",
}


def backlog(count: int) -> Iterator[tuple[int, list[events_pb2.Event]]]:
    """Batches of events, each with the time in µs at which it came; the last one came just now."""
    flow = Flow(f"backlog-{time.time_ns():x}")
    begin_us = time.time_ns() // 1000 - count * 1_000_000 // RATE
    for made in range(0, count, BATCH):
        came_us = begin_us + made * 1_000_000 // RATE
        events = flow.take(min(BATCH, count - made))
        for event in events:
            event.occur_time.FromMicroseconds(came_us - 2_000)
        yield came_us, events


def fill_redis(url: str, form: str, count: int) -> None:
    """Writes the backlog into the stream; ids of entries are the times at which they came."""
    encode = as_protobuf if form == "protobuf" else as_json
    with connected(url) as connection:
        for came_us, events in backlog(count):
            pipeline = connection.pipeline(transaction=False)
            if form == "batches":
                sealed = {"batch": _entry(came_us, events), "sealed": "1"}
                pipeline.xadd(STREAM, sealed, id=f"{came_us // 1000}-*")
            else:
                for event in events:
                    pipeline.xadd(STREAM, encode(event), id=f"{came_us // 1000}-*")
            pipeline.execute()


async def fill_embedded(data_dir: Path, count: int) -> None:
    """Writes the backlog into the embedded log."""
    log = SqliteLog(data_dir / "log.sqlite3")
    try:
        waiting: list[asyncio.Task[str]] = []
        for came_us, events in backlog(count):
            waiting.append(asyncio.create_task(log.append(_entry(came_us, events))))
            if len(waiting) == 100:
                await asyncio.gather(*waiting)
                waiting.clear()
        await asyncio.gather(*waiting)
    finally:
        await log.close()


def _entry(came_us: int, events: list[events_pb2.Event]) -> bytes:
    """As ingest seals them."""
    for event in events:
        event.receive_time.FromMicroseconds(came_us)
    return events_pb2.EventBatch(events=events).SerializeToString()


async def measure(storage: Storage | None, form: str, count: int) -> list[str]:
    """One row of the table."""
    with tempfile.TemporaryDirectory(prefix="pilothouse-bench-") as directory:
        data_dir = Path(directory)
        if storage:
            storage.renew()
            await asyncio.to_thread(fill_redis, storage.redis_url, form, count)
        else:
            await fill_embedded(data_dir, count)
        print(f"{NAMES[form]}: {count:,} events wait", flush=True)
        begin = time.monotonic()
        server = await start_server("serve", data_dir, storage)
        try:
            return await _caught_up(server, storage, form, count, begin)
        finally:
            await server.end()


async def _caught_up(
    server: Server, storage: Storage | None, form: str, count: int, begin: float
) -> list[str]:
    ready = time.monotonic() - begin
    rows = Rows.of(server, storage)
    progress = Progress(server, rows, lambda: count)
    looking = asyncio.create_task(progress.run())
    try:
        async with asyncio.TaskGroup() as group:
            saying = group.create_task(_say(progress, begin))
            shown = group.create_task(progress.reached(progress.snapshot, count, DEADLINE))
            stored = group.create_task(progress.reached(progress.rows, count, DEADLINE))
            await asyncio.wait([shown, stored])
            saying.cancel()
        ids = await rows.number("SELECT count(DISTINCT id) FROM events WHERE source = 'bench'")
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        rows.close()
    times = [each.result() - begin for each in (shown, stored)]
    processes = {"server": server.process, **(storage.processes() if storage else {})}
    used = {name: cpu_seconds(process) for name, process in processes.items()}
    return [
        "Valkey and PostgreSQL" if storage else "embedded",
        NAMES[form],
        seconds_of(ready),
        seconds_of(times[0]),
        f"{count / times[0]:,.0f}",
        seconds_of(times[1]),
        f"{count / times[1]:,.0f}",
        f"{count - ids:,}",
        ", ".join(f"{name} {seconds:.1f} s" for name, seconds in used.items()),
        f"{server.rss_mib():.0f} MiB",
    ]


async def _say(progress: Progress, begin: float) -> None:
    while True:
        await asyncio.sleep(EVERY)
        print(
            f"    {time.monotonic() - begin:5.0f} s: snapshot {progress.snapshot.seen:>9,}, "
            f"rows {progress.rows.seen:>9,}",
            flush=True,
        )


async def run(count: int, forms: list[str], *, embedded: bool) -> str:
    """The whole table."""
    found: list[list[str]] = []
    names = ["embedded log and database"]
    if embedded:
        print(provenance(), flush=True)
        found.append(await measure(None, "batches", count))
    else:
        with running_storage(with_redis=True, with_postgres=True) as storage:
            names = storage.names
            print(provenance(*names), flush=True)
            for form in forms:
                found.append(await measure(storage, form, count))
        found.append(await measure(None, "batches", count))
    header = [
        "where",
        "how the backlog is written",
        "ready in",
        "snapshot in",
        "events/s",
        "rows in",
        "events/s",
        "lost",
        "processor time",
        "server resident",
    ]
    return table(f"A backlog of {count:,} events ({', '.join(names)})", header, found)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--events", type=int, default=600_000)
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--embedded", action="store_true", help="only on the server's own files")
    given = parser.parse_args()
    forms = given.forms.split(",")
    print(asyncio.run(run(given.events, forms, embedded=given.embedded)))


if __name__ == "__main__":
    main()
