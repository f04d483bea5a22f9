"""How long lists of a million workflows, and of their traces, take: for filters that many, few or none of them fulfil.

`python -m bench.workflow_lists [--workflows 1000000] [--calls 50] [--postgres]`

The store is asked as a server asks it, one call after another; the database is filled first, which takes minutes. A
call is one page with its counts by state, and is bounded: where little fulfils a filter, "pages" says how many calls
it took to find something, or all. "CPU" is that of the calling process, which with SQLite is all there is.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import text, update

from bench.report import milliseconds, percentile, provenance, table
from bench.storage import running_storage
from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql import migrate, workflow_rows
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.postgres import PostgresDatabase
from pilothouse_server.adapters.sql.sqlite import SqliteDatabase
from pilothouse_server.adapters.sql.tables_projection import COUNTERS
from pilothouse_server.adapters.sql.trace_views import SqlTraces
from pilothouse_server.adapters.sql.workflow_views import SqlWorkflowViews
from pilothouse_server.domain.events import Event, EventType
from pilothouse_server.domain.projection.workflow import WorkflowRecord
from pilothouse_server.services.views import PageRequest

AT_ONCE = 20_000
"""Workflows in one transaction of filling."""
EVERY_US = 500_000
"""Between the beginnings of two workflows."""
LIVE = 2_000
"""Workflows that run now: the newest."""
TYPES = 40
_T = EventType

QUERIES = [
    ("the newest", "", ""),
    ("by name", "", "name"),
    ("by state", "", "state"),
    ("many: state", "state = COMPLETED", ""),
    ("few: state", "state = RUNNING", ""),
    ("few: states", "state = RUNNING OR state = PAUSED", ""),
    ("none: state", "state = WAITING", ""),
    ("1 of 40: type", "type = type-7", ""),
    ("none: type", "type = nothing", ""),
    ("few: type and state", "type = type-7 state = RUNNING", ""),
    ("one: id", "id = wf-00000777", ""),
    ("few: time", "create_time > -10m", ""),
    ("many: time", "create_time < -10m", ""),
    ("none: time", "create_time < -1000d", ""),
    ("few: agent", "agent = agent-7", ""),
    ("none: source", "source = nobody", ""),
    ("many: word", "invoices", ""),
    ("one: word", "needle", ""),
    ("none: word", "haystack", ""),
    ("none: not", "NOT source = engine", ""),
]
"""(how many fulfil it, filter, order)."""
TRACE_QUERIES = [
    ("the newest", "", ""),
    ("the oldest", "", "start_time"),
    ("the longest", "", "duration desc"),
    ("the shortest", "", "duration"),
    ("many: duration", "duration >= 0.5", ""),
    ("none: duration", "duration > 60", ""),
    ("few: state", "state = RUNNING", "duration desc"),
    ("1 of 40: type, longest", "workflow_type = type-7", "duration desc"),
    ("few: time, longest", "start_time > -10m", "duration desc"),
    ("one: word", "needle", ""),
    ("none: word, longest", "haystack", "duration desc"),
]
"""The same of traces."""


class Measured(NamedTuple):
    """One kind of list."""

    seconds: Sequence[float]
    cpu: float
    """Of one call."""
    found: int
    pages: int


def records(count: int, now_us: int) -> Iterator[WorkflowRecord]:
    """Workflows as their events make them: the newest run, most of the others completed."""
    for n in range(count):
        name = f"Import {n % 900} of invoices" + (" needle" if n == count // 3 else "")
        begun_us = now_us - (count - n) * EVERY_US
        live = n >= count - LIVE
        record = WorkflowRecord(f"wf-{n:08}")
        ends = (_T.WORKFLOW_FAILED, _T.WORKFLOW_CANCELLED)
        end = ends[n % 2] if n % 10 == 0 else _T.WORKFLOW_COMPLETED
        kinds = [_T.WORKFLOW_CREATED, _T.WORKFLOW_STARTED] + ([] if live else [end])
        for step, kind in enumerate(kinds):
            at_us = begun_us + step * 1_000_000
            record.apply(
                Event(
                    f"{n}-{step}", kind, at_us, at_us, "engine", record.id, f"type-{n * 7 % TYPES}", name, attempt=1
                )
            )  # fmt: skip
        record.agent_id = f"agent-{n % 50}" if live else ""
        yield record


async def fill(database: Database, count: int) -> float:
    """Returns how long it took, in seconds."""
    begun, some, done = time.monotonic(), dict[str, WorkflowRecord](), 0

    async def store() -> None:
        revisions = range(done + 1, done + len(some) + 1)
        await database.write(lambda c: workflow_rows.save(c, some, revisions))

    for record in records(count, SystemClock().now_us()):
        some[record.id] = record
        if len(some) == AT_ONCE:
            await store()
            done, some = done + len(some), {}
    await store()
    reached = update(COUNTERS).where(COUNTERS.c.name == "revision").values(value=count)
    await database.write(lambda c: c.execute(reached).close())
    if isinstance(database, PostgresDatabase):
        # It does so by itself, a minute later.
        await database.write(lambda c: c.execute(text("ANALYZE workflows")).close())
    return time.monotonic() - begun


Ask = Callable[[PageRequest], Awaitable[tuple[int, str]]]
"""One page: how many it has, and the token of the next."""


async def measure(ask: Ask, filter_text: str, order: str, calls: int) -> Measured:
    """Follows the list until there is something to show, as a page does."""
    seconds: list[float] = []
    found = pages = 0
    used = time.process_time()
    for call in range(calls):
        token = ""
        while True:
            begun = time.perf_counter()
            shown, token = await ask(PageRequest(50, token, filter_text, order))
            seconds.append(time.perf_counter() - begun)
            if call == 0:
                found, pages = found + shown, pages + 1
            if shown or not token or (call and len(seconds) >= calls):
                break
        if len(seconds) >= calls:
            break
    return Measured(seconds, (time.process_time() - used) / len(seconds), found, pages)


async def deep(views: SqlWorkflowViews, calls: int) -> Measured:
    """Pages one after another, far into the list."""
    seconds: list[float] = []
    token = ""
    used = time.process_time()
    for _ in range(calls):
        begun = time.perf_counter()
        page = await views.page(PageRequest(100, token))
        seconds.append(time.perf_counter() - begun)
        token = page.next_token
    return Measured(seconds, (time.process_time() - used) / calls, 100, 1)


async def run(place: Path | str, count: int, calls: int) -> str:
    """The whole table of one database."""
    migrate.upgrade(place)
    database: Database = (
        SqliteDatabase(place) if isinstance(place, Path) else PostgresDatabase(place)
    )
    try:
        filled = await fill(database, count)
        views, traces = (
            SqlWorkflowViews(database, SystemClock()),
            SqlTraces(database, SystemClock()),
        )

        async def workflows_page(request: PageRequest) -> tuple[int, str]:
            page = await views.page(request)
            return len(page.workflows), page.next_token

        async def traces_page(request: PageRequest) -> tuple[int, str]:
            page = await traces.page(request)
            return len(page.traces), page.next_token

        measured = [
            (f"{kind}: {name}", " ".join(filter(None, (asked, order and f"by {order}"))),
             await measure(ask, asked, order, calls))
            for kind, ask, queries in (
                ("workflows", workflows_page, QUERIES), ("traces", traces_page, TRACE_QUERIES)
            )
            for name, asked, order in queries
        ]  # fmt: skip
        measured.append(("pages of 100", "", await deep(views, calls)))
    finally:
        await database.close()
    rows = [
        [
            name,
            asked,
            f"{each.found:,}",
            f"{each.pages:,}",
            milliseconds(percentile(each.seconds, 0.5)),
            milliseconds(percentile(each.seconds, 0.99)),
            milliseconds(each.cpu),
        ]
        for name, asked, each in measured
    ]
    kind = "SQLite" if isinstance(place, Path) else "PostgreSQL"
    title = f"Lists of {count:,} workflows in {kind}, filled in {filled:.0f} s"
    header = ["how many fulfil it", "filter", "found", "pages", "p50", "p99", "CPU"]
    return table(title, header, rows)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--workflows", type=int, default=1_000_000)
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--postgres", action="store_true", help="PostgreSQL in place of SQLite")
    given = parser.parse_args()
    if not given.postgres:
        print(provenance("embedded database"), flush=True)
        with tempfile.TemporaryDirectory() as directory:
            place = Path(directory) / "state.sqlite3"
            print(asyncio.run(run(place, given.workflows, given.calls)))
        return
    with running_storage(with_redis=False, with_postgres=True) as storage:
        storage.renew()
        print(provenance(storage.names[1]), flush=True)
        print(asyncio.run(run(storage.database_url, given.workflows, given.calls)))


if __name__ == "__main__":
    main()
