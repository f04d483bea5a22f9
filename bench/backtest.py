"""A day of history for 200 series, judged by a draft rule: how long it takes, and what others notice of it.

    python -m bench.backtest [--series 200] [--hours 24] [--postgres]

History is as a server of that age has it: minutes, and for the last two hours buckets of 5 s, in each of which a few
dozen stages ended. A second task on the same loop wants to run every 10 ms, as a server's ticks do, and notes how late
it was; the server gives backtests half of the loop at most, so elapsed time is about twice the work.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from bench.report import machine, milliseconds, percentile, seconds_of, table
from bench.storage import running_storage
from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql import bulk, migrate
from pilothouse_server.adapters.sql.backtest_store import SqlBacktestStore
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.postgres import PostgresDatabase
from pilothouse_server.adapters.sql.sqlite import SqliteDatabase
from pilothouse_server.adapters.sql.tables_metrics import METRIC_BUCKETS, METRIC_MINUTES
from pilothouse_server.domain.alerts.documents import rule_from_document
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.histogram import Histogram
from pilothouse_server.domain.metrics.limits import BUCKET_US
from pilothouse_server.domain.metrics.snapshot import MINUTE_US, Dimension
from pilothouse_server.services.alerts.backtest import Backtests, Summary

ROWS_AT_ONCE = 20_000
KEPT_BUCKETS = 1440
KINDS = 64
"""Different cells: making each anew would take longer than what is measured."""
GAUGES = json.dumps([0, 30, 0, 0, 12, 8, 8])
WANTED_EVERY = 0.01
"""Seconds between two turns of the task that shares the loop."""
RATE = {"metric": "error_rate", "window": "5m", "comparison": ">", "threshold": 0.2}
P95 = {"metric": "latency_p95", "window": "5m", "comparison": ">", "threshold": 8.0}


def rules() -> dict[str, Rule]:
    """What is backtested, by what it is called in the table."""

    def rule(condition: dict[str, object]) -> Rule:
        return rule_from_document({"name": "Draft", "condition": condition, "for": "2m"})

    stage: dict[str, object] = {"dimension": "stage", "min_samples": 20}
    return {
        "error rate of the fleet over 5 min": rule({**RATE}),
        "error rate of each stage over 5 min": rule({**RATE, **stage}),
        "p95 of each stage over 5 min": rule({**P95, **stage}),
        "p95 of each stage over 1 h": rule({**P95, **stage, "window": "1h"}),
    }


def cells(chance: random.Random) -> list[str]:
    """What a bucket holds: a few dozen ends of about a second to ten."""
    found: list[str] = []
    for _ in range(KINDS):
        durations = Histogram()
        ended = chance.randint(10, 40)
        failed = sum(chance.random() < 0.15 for _ in range(ended))
        for _ in range(ended):
            durations.add(round(chance.lognormvariate(0.8, 0.7) * 1_000_000))
        found.append(json.dumps((ended, ended - failed, failed, 0, durations.pack())))
    return found


def history(now_us: int, series: int, hours: float) -> Iterator[tuple[bool, bulk.Row]]:
    """Rows, and whether each is of minutes."""
    chance = random.Random(1)
    kinds = cells(chance)
    names = [f"stage-{number:03}" for number in range(series)]
    minute, bucket = now_us // MINUTE_US, now_us // BUCKET_US
    for minutes, units in (
        (True, range(minute - round(hours * 60), minute - 3)),
        (False, range(max(bucket - KEPT_BUCKETS, bucket - round(hours * 720)), bucket)),
    ):
        for unit in units:
            yield minutes, (int(Dimension.FLEET), "", unit, 0, chance.choice(kinds), GAUGES)
            for name in names:
                row = (int(Dimension.STAGE), name, unit, 0, chance.choice(kinds), "")
                yield minutes, row


async def fill(database: Database, now_us: int, series: int, hours: float) -> None:
    """Stores it."""
    waiting: dict[bool, list[bulk.Row]] = {True: [], False: []}

    async def store(minutes: bool) -> None:
        rows, waiting[minutes] = waiting[minutes], []
        into = METRIC_MINUTES if minutes else METRIC_BUCKETS
        await database.write(lambda connection: bulk.insert(connection, into, rows))

    for minutes, row in history(now_us, series, hours):
        waiting[minutes].append(row)
        if len(waiting[minutes]) >= ROWS_AT_ONCE:
            await store(minutes)
    await store(minutes=True)
    await store(minutes=False)
    await database.write(lambda connection: connection.execute(text("ANALYZE")).close())


@dataclass(frozen=True)
class Measured:
    """One backtest."""

    seconds: float
    cpu: float
    summary: Summary
    late: list[float]


async def measure(database: Database, rule: Rule, start_us: int, end_us: int) -> Measured:
    """Runs it beside a task that wants to run regularly."""
    late: list[float] = []

    async def beside() -> None:
        while True:
            wanted = time.perf_counter() + WANTED_EVERY
            await asyncio.sleep(WANTED_EVERY)
            late.append(time.perf_counter() - wanted)

    backtests = Backtests(SqlBacktestStore(database), SystemClock())
    task = asyncio.create_task(beside())
    begun, cpu = time.perf_counter(), time.process_time()
    updates = [update async for update in backtests.run(rule, start_us, end_us)]
    seconds, used = time.perf_counter() - begun, time.process_time() - cpu
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    summary = updates[-1]
    assert isinstance(summary, Summary)
    return Measured(seconds, used, summary, late)


async def measured(place: Path | str, series: int, hours: float) -> list[list[str]]:
    """A row for each rule."""
    migrate.upgrade(place)
    database = SqliteDatabase(place) if isinstance(place, Path) else PostgresDatabase(place)
    now_us = time.time_ns() // 1000
    start_us = now_us - round(hours * 60) * MINUTE_US
    found: list[list[str]] = []
    try:
        print(f"storing {hours:g} h of {series} series …", file=sys.stderr)
        await fill(database, now_us, series, hours)
        for name, rule in rules().items():
            done = await measure(database, rule, start_us, now_us)
            summary = done.summary
            found.append([
                name,
                f"{summary.evaluations:,}",
                f"{summary.fired:,}",
                seconds_of(done.seconds),
                seconds_of(done.cpu),
                f"{done.cpu / summary.evaluations * 1e6:.1f} µs",
                f"{milliseconds(percentile(done.late, 0.99))} / {milliseconds(max(done.late))}",
            ])  # fmt: skip
    finally:
        await database.close()
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=200)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--postgres", action="store_true", help="the database in PostgreSQL")
    arguments = parser.parse_args()
    with running_storage(with_redis=False, with_postgres=arguments.postgres) as storage:
        storage.renew()
        with tempfile.TemporaryDirectory() as directory:
            place = storage.database_url or Path(directory) / "state.db"
            rows = asyncio.run(measured(place, arguments.series, arguments.hours))
    header = [
        "draft",
        "evaluations",
        "fired",
        "took",
        "processor",
        "each",
        "others late: p99 / most",
    ]
    title = f"{arguments.hours:g} h of {arguments.series} series, backtested"
    print(f"{machine()}, {storage.names[1]}\n")
    print(table(title, header, rows))


if __name__ == "__main__":
    main()
