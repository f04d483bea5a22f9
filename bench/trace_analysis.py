"""How long it takes to say where time went: one trace of 50,000 spans in four shapes, and many runs put together.

`python -m bench.trace_analysis [--spans 50000] [--runs 10000] [--calls 10] [--postgres]`

A trace is analysed in this process, in pure Python, one shape after another; each figure is the best and the median of
its calls, in time of the processor. "path" is causes and critical path together, which is what has to be there first;
"slack" and "bottlenecks" come on top of it. Runs are read from a database that is filled first, by the service that
answers AggregateTraces, on the wall's clock: the runs that were asked for, and as many of the week before.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, TextClause, text

from bench.report import milliseconds, provenance, table
from bench.storage import running_storage
from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql import migrate
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.postgres import PostgresDatabase
from pilothouse_server.adapters.sql.sqlite import SqliteDatabase
from pilothouse_server.adapters.sql.trace_summaries import SqlTraceSummaries
from pilothouse_server.adapters.sql.trace_views import SqlTraces
from pilothouse_server.domain.projection.spans import WorkState
from pilothouse_server.domain.traces.bottlenecks import Grouping, bottlenecks
from pilothouse_server.domain.traces.causes import Causes, causes_of
from pilothouse_server.domain.traces.critical_path import CriticalPath, critical_path
from pilothouse_server.domain.traces.model import Link, LinkKind, Span, SpanKind, TimeKind, Trace
from pilothouse_server.domain.traces.own_time import OwnTime
from pilothouse_server.domain.traces.slack import slack_of
from pilothouse_server.domain.traces.summary import Summary
from pilothouse_server.domain.workflows import WorkflowState
from pilothouse_server.services.trace_analysis import WEEK_US, TraceAnalysis, Window
from pilothouse_server.services.traces import TraceDesk
from pilothouse_server.wire.events import decode_one

LENGTH_US = 3_600_000_000
STAGES = 8
AT_ONCE = 500
"""Summaries in one transaction of filling."""


def span(place: int, above: int, begins: int, ends: int, *, after: int = -1) -> Span:
    """A span by its numbers."""
    return Span(
        str(place), str(above) if place else "", SpanKind.TASK if place else SpanKind.WORKFLOW,
        f"span {place}", begins, ends, WorkState.COMPLETED, stage=f"stage-{place % STAGES}" if place else "",
        links=[Link(LinkKind.FOLLOWS, str(after))] if after > 0 else [],
    )  # fmt: skip


def trace(spans: list[Span]) -> Trace:
    """A workflow of these."""
    return Trace(
        "run", "run", "bench", "a run", "engine", WorkflowState.COMPLETED, 1, (), 0, LENGTH_US, spans
    )  # fmt: skip


def chain(count: int) -> Trace:
    """One after the other, each said to follow the one before."""
    step = LENGTH_US // count
    root = span(0, -1, 0, LENGTH_US)
    return trace(
        [root, *(span(n, 0, n * step, (n + 1) * step, after=n - 1) for n in range(1, count))]
    )


def wide(count: int) -> Trace:
    """Beside each other, of any lengths, below one."""
    chance, root = random.Random(1), span(0, -1, 0, LENGTH_US)
    begins = sorted(chance.randrange(LENGTH_US) for _ in range(count - 1))
    ends = [min(LENGTH_US, at + chance.randrange(LENGTH_US // 100)) for at in begins]
    return trace(
        [root, *(span(n, 0, *each) for n, each in enumerate(zip(begins, ends, strict=True), 1))]
    )


def deep(count: int) -> Trace:
    """Each below the one before."""
    return trace([span(n, n - 1, n, LENGTH_US - n) for n in range(count)])


def grown(count: int) -> Trace:
    """A tree as chance grows it, four levels deep or so: what services and tasks look like."""
    chance, spans = random.Random(2), [span(0, -1, 0, LENGTH_US)]
    for n in range(1, count):
        above = spans[chance.randrange(max(1, n // 8))]
        ends = above.end_us or 0
        begins = chance.randrange(above.start_us, ends + 1)
        spans.append(span(n, int(above.id), begins, chance.randrange(begins, ends + 1)))
    return trace(spans)


SHAPES: Sequence[tuple[str, Callable[[int], Trace]]] = [
    ("chain, causes known", chain),
    ("wide", wide),
    ("deep", deep),
    ("random tree", grown),
]


def timed(run: Callable[[], object]) -> float:
    """Seconds of the processor: what else runs on the machine does not count."""
    begun = time.thread_time()
    run()
    return time.thread_time() - begun


def known(of: Trace) -> tuple[Causes, OwnTime, CriticalPath]:
    """Causes and path."""
    causes = causes_of(of, LENGTH_US)
    if not isinstance(causes, Causes):
        raise TypeError(causes.reason)
    own_time = OwnTime(causes)
    return causes, own_time, critical_path(causes, own_time)


def one_trace(count: int, calls: int) -> str:
    """The table of shapes."""
    rows: list[list[str]] = []
    for name, shape in SHAPES:
        of = shape(count)
        causes, own_time, path = known(of)
        if sum(step.length_us for step in path.steps) != LENGTH_US:
            raise AssertionError(name)
        paths = [timed(partial(known, of)) for _ in range(calls)]
        slack = [timed(partial(slack_of, causes)) for _ in range(calls)]
        held = [
            timed(partial(bottlenecks, causes, own_time, path, Grouping(causes)))
            for _ in range(calls)
        ]
        times = [
            f"{milliseconds(min(each))} / {milliseconds(statistics.median(each))}"
            for each in (paths, slack, held)
        ]
        rows.append([name, f"{len(path.steps):,}", *times])
    header = ["shape", "steps", "path: best / median", "slack", "bottlenecks"]
    return table(f"One trace of {count:,} spans", header, rows)


def summaries(count: int, now_us: int) -> list[Summary]:
    """Runs of one type, half of them of the week before."""
    chance, found = random.Random(3), list[Summary]()
    for n in range(2 * count):
        ago = chance.randrange(1, WEEK_US) + (WEEK_US if n % 2 else 0)
        critical = {f"stage-{each}": chance.randrange(1, 60_000_000) for each in range(STAGES)}
        length = sum(critical.values())
        split = {TimeKind.WORK: length - 1_000_000, TimeKind.QUEUE: 1_000_000}
        state = WorkflowState.FAILED if n % 20 == 0 else WorkflowState.COMPLETED
        found.append(
            Summary(f"run-{n:07}", "bench", state, 1, n, now_us - ago, length, critical, split, ())
        )
    return found


async def fill(database: Database, count: int, now_us: int) -> None:
    """As the analyst stores them, without the workflows."""
    store, found = SqlTraceSummaries(database), summaries(count, now_us)
    ids = text("INSERT INTO workflows (id, type, name, source, state, attempt, stage, agent_id, create_us, update_us, "
               "revision, record) VALUES (:id, 'bench', '', '', 5, 1, '', '', 0, 0, :revision, '{}')")  # fmt: skip
    for start in range(0, len(found), AT_ONCE):
        some = found[start : start + AT_ONCE]
        rows: list[dict[str, object]] = [
            {"id": each.workflow_id, "revision": each.revision + 1} for each in some
        ]
        await database.write(partial(_insert, ids, rows))
        await store.store({each.workflow_id: (each.revision + 1, each) for each in some}, (), 0)
    if isinstance(database, PostgresDatabase):
        await database.write(lambda c: c.execute(text("ANALYZE trace_summaries")).close())


def _insert(statement: TextClause, rows: list[dict[str, object]], connection: Connection) -> None:
    connection.execute(statement, rows)


async def many(place: Path | str, count: int, calls: int) -> list[str]:
    """A row of the table of runs put together."""
    migrate.upgrade(place)
    database: Database = (
        SqliteDatabase(place) if isinstance(place, Path) else PostgresDatabase(place)
    )
    clock = SystemClock()
    try:
        now_us = clock.now_us()
        await fill(database, count, now_us)
        desk = TraceDesk(SqlTraces(database, clock), decode_one)
        analysis = TraceAnalysis(desk, SqlTraceSummaries(database), clock)
        window, seconds, runs = Window(now_us - WEEK_US, now_us), list[float](), 0
        for _ in range(calls):
            begun = time.perf_counter()
            current, previous = await analysis.aggregate("bench", window)
            seconds.append(time.perf_counter() - begun)
            runs = current.together.runs + previous.together.runs
    finally:
        await database.close()
    kind = "SQLite" if isinstance(place, Path) else "PostgreSQL"
    return [kind, f"{runs:,}", milliseconds(min(seconds)), milliseconds(statistics.median(seconds))]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--spans", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--calls", type=int, default=10)
    parser.add_argument("--postgres", action="store_true", help="PostgreSQL in place of SQLite")
    given = parser.parse_args()
    header = ["database", "runs, both weeks", "best", "median"]
    title = f"AggregateTraces over {given.runs:,} runs, beside those of the week before"
    if not given.postgres:
        print(provenance())
        print(one_trace(given.spans, given.calls))
        with tempfile.TemporaryDirectory() as folder:
            row = asyncio.run(many(Path(folder) / "state.db", given.runs, given.calls))
        print(table(title, header, [row]))
        return
    with running_storage(with_redis=False, with_postgres=True) as storage:
        print(provenance(storage.names[1]))
        storage.renew()
        row = asyncio.run(many(storage.database_url, given.runs, given.calls))
        print(table(title, header, [row]))


if __name__ == "__main__":
    main()
