"""How long it takes to find events among millions: pages, searches and counts that many, few or none of them fulfil.

`python -m bench.event_query [--events 1000000] [--calls 100] [--postgres] [--keep DIRECTORY]`

The store is asked as a server asks it, one call after another; the database is filled first with what a fleet reports
in thirty days, one event in a thousand late by up to an hour. A call is one page of 100, and is bounded: "calls" says
how many it took to find something, or to know that there is nothing. With `--keep` a filled SQLite file is used again.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from sqlalchemy import Connection, text

from bench.report import milliseconds, percentile, provenance, table
from bench.storage import running_storage
from pilothouse.v1 import events_pb2 as pb
from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql import event_rows, migrate
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.event_rows import Arrived
from pilothouse_server.adapters.sql.event_views import SqlEventViews
from pilothouse_server.adapters.sql.postgres import PostgresDatabase
from pilothouse_server.adapters.sql.sqlite import SqliteDatabase
from pilothouse_server.domain.events import Event, EventType, Severity
from pilothouse_server.services.views import PageRequest

AT_ONCE: Final = 20_000
"""Events in one transaction of filling."""
DAY_US: Final = 86_400_000_000
SPAN_US: Final = 30 * DAY_US
STAGES: Final = ("initialize", "scaffold", "validate", "test", "deploy")
TYPES: Final = ("feature", "bugfix", "nightly", "release")
AGENT_TYPES: Final = ("coder", "tester", "reviewer", "deployer")
WORDS: Final = (
    "connection",
    "refused",
    "cache",
    "warm",
    "retrying",
    "after",
    "model",
    "answered",
    "branch",
    "merged",
)
SIDE_BY_SIDE: Final = 40
"""Workflows whose events come in turn."""
_T, _S = EventType, Severity
STEPS: Final = (
    _T.WORKFLOW_CREATED, _T.WORKFLOW_STARTED,
    *(
        _T.STAGE_STARTED, _T.TASK_QUEUED, _T.TASK_ASSIGNED, _T.TASK_STARTED, _T.LOG, _T.TASK_COMPLETED,
        _T.STAGE_COMPLETED,
    ) * len(STAGES),
    _T.WORKFLOW_COMPLETED,
)  # fmt: skip
"""What one workflow reports."""


def events(count: int, end_us: int) -> Iterator[Event]:
    """What a fleet reports up to the end."""
    every_us = SPAN_US // count
    for n in range(count):
        at_us = end_us - (count - n) * every_us
        occur_us = at_us - (n * 7919 % 3600) * 1_000_000 if n % 1000 == 7 else at_us - 40_000
        if n % 7 == 3:
            agent = n // 7 % 200
            yield Event(
                f"event-{n:010}", _T.AGENT_HEARTBEAT, occur_us, at_us, "engine-1", agent_id=f"agent-{agent}",
                agent_type=AGENT_TYPES[agent % 4],
            )  # fmt: skip
            continue
        yield _of_workflow(n, occur_us, at_us, count)


def _of_workflow(n: int, occur_us: int, at_us: int, count: int) -> Event:
    lane, turn = n % SIDE_BY_SIDE, n // SIDE_BY_SIDE
    run, step = divmod(turn, len(STEPS))
    number = run * SIDE_BY_SIDE + lane
    kind, stage = STEPS[step], STAGES[min(max(step - 2, 0) // 7, 4)]
    failed = kind is _T.TASK_COMPLETED and number % 53 == 0
    agent = number % 200
    at_work = _T.TASK_QUEUED <= kind <= _T.TASK_CANCELLED or kind is _T.LOG
    return Event(
        f"event-{n:010}",
        _T.TASK_FAILED if failed else kind,
        occur_us,
        at_us,
        "engine-1" if number % 3 else "engine-2",
        f"workflow-{number:08}",
        TYPES[number % 4],
        stage=stage if step > 1 else "",
        task_id=f"{stage}-{number % 9}" if at_work else "",
        agent_id=f"agent-{agent}" if at_work else "",
        agent_type=AGENT_TYPES[agent % 4] if at_work else "",
        trace_id=f"{number:032x}",
        severity=_severity(n, kind, failed=failed),
        message=_message(n, kind, stage, count),
    )


def _severity(n: int, kind: EventType, *, failed: bool) -> Severity:
    if failed:
        return _S.ERROR
    if n % 90_001 == 5:
        return _S.CRITICAL
    if kind is _T.LOG:
        return _S.WARNING if n % 29 == 0 else _S.DEBUG
    return _S.INFO


def _message(n: int, kind: EventType, stage: str, count: int) -> str:
    if n == count // 3:
        return "Found the needle in the haystack"
    if kind is not _T.LOG:
        return f"Stage {stage} took {n % 9000} ms" if n % 3 == 0 else ""
    first, second = WORDS[n % 10], WORDS[n * 7 % 10]
    rare = " quota exceeded" if n % 50_021 < 5 else ""
    return f"{first} {second}: attempt {n % 5} on host-{n % 300} (request {n * 2654435761 % 2**32:08x}){rare}"


def _arrived(event: Event, number: int) -> Arrived:
    payload = pb.Event(
        id=event.id,
        type=pb.EventType.ValueType(event.type),
        source=event.source,
        workflow_id=event.workflow_id,
        workflow_type=event.workflow_type,
        stage=event.stage,
        task_id=event.task_id,
        agent_id=event.agent_id,
        trace_id=event.trace_id,
        message=event.message,
    )
    payload.occur_time.FromMicroseconds(event.occur_us)
    payload.receive_time.FromMicroseconds(event.receive_us)
    return Arrived(event, payload.SerializeToString(), str(number))


async def fill(database: Database, count: int, end_us: int) -> float:
    """Returns how long it took, in seconds."""
    begun = time.monotonic()
    made = events(count, end_us)
    for done in range(0, count, AT_ONCE):
        some = [_arrived(event, done) for event in islice(made, AT_ONCE)]

        def store(connection: Connection, some: Sequence[Arrived] = some) -> None:
            event_rows.store(connection, some)

        await database.write(store)
    if isinstance(database, PostgresDatabase):
        # It does so by itself, a minute later.
        await database.write(lambda c: c.execute(text("ANALYZE")).close())
    return time.monotonic() - begun


class Query(NamedTuple):
    """A list of events."""

    name: str
    filter: str
    ascending: bool = False


def queries(count: int, end_us: int) -> list[Query]:
    """What people ask for."""

    def moment(days: float) -> str:
        return datetime.fromtimestamp((end_us - days * DAY_US) / 1e6, UTC).isoformat()

    middle = f"workflow-{count // 80 // len(STEPS) * SIDE_BY_SIDE:08}"
    old = f"occur_time >= {moment(20)} occur_time < {moment(19.99)}"
    return [
        Query("the newest", ""),
        Query("the oldest", "", ascending=True),
        Query("1 of 20: type", "type = TASK_STARTED"),
        Query("few: type", "type = TASK_FAILED"),
        Query("none: type", "type = BUDGET_EXCEEDED"),
        Query("few: severity", "severity >= ERROR"),
        Query("rare: severity", "severity = CRITICAL"),
        Query("few: workflow", f"workflow_id = {middle}"),
        Query("few: trace", f"trace_id = {int(middle[-8:]):032x}"),
        Query("1 of 200: agent", "agent_id = agent-7"),
        Query("agent and severity", "agent_id = agent-7 severity >= ERROR"),
        Query("many: stage", "stage = deploy"),
        Query("none: stage", "stage = nothing"),
        Query("none: source", "source = nobody"),
        Query("many: word", "attempt"),
        Query("1 of 10,000: words", "quota exceeded"),
        Query("one: word", "needle"),
        Query("one: word, oldest first", "needle", ascending=True),
        Query("none: word", "zeppelin"),
        Query("beginning of many words", "h"),
        Query("one: text", 'message:"the needle in"'),
        Query("rare: combination", "quota stage = deploy severity = WARNING"),
        Query("none: combination", "attempt stage = deploy type = TASK_FAILED"),
        Query("not often", "NOT type = TASK_STARTED NOT type = LOG severity >= WARNING"),
        Query("old range", old),
        Query("old range, oldest first", old, ascending=True),
        Query("old range, word", f"refused {old}"),
        Query("newest hour", f"occur_time > {moment(1 / 24)}"),
        Query("one: id", f"id = event-{count // 2:010}"),
    ]


class Measured(NamedTuple):
    """One kind of question."""

    seconds: Sequence[float]
    found: int
    calls: int


async def listed(views: SqlEventViews, query: Query, calls: int) -> Measured:
    """Follows the list until there is something to show, as a page does."""
    seconds: list[float] = []
    found = asked = 0
    while len(seconds) < calls:
        token, first = "", not seconds
        while True:
            begun = time.perf_counter()
            page = await views.page(
                PageRequest(100, token, query.filter), ascending=query.ascending
            )
            seconds.append(time.perf_counter() - begun)
            token = page.next_token
            if first:
                found, asked = found + len(page.events), asked + 1
            if page.events or not token or len(seconds) >= 20 * calls:
                break
    return Measured(seconds, found, asked)


async def deep(views: SqlEventViews, filter_text: str, calls: int) -> Measured:
    """Pages one after another, far into the list."""
    seconds: list[float] = []
    token, found = "", 0
    for _ in range(calls):
        begun = time.perf_counter()
        page = await views.page(PageRequest(100, token, filter_text), ascending=False)
        seconds.append(time.perf_counter() - begun)
        token, found = page.next_token, found + len(page.events)
        if not token:
            break
    return Measured(seconds, found, len(seconds))


async def counted(views: SqlEventViews, filter_text: str, calls: int) -> Measured:
    """Counts by type and severity."""
    seconds: list[float] = []
    found = 0
    for _ in range(calls):
        begun = time.perf_counter()
        found = (await views.counts(filter_text)).total
        seconds.append(time.perf_counter() - begun)
    return Measured(seconds, found, 1)


async def measure(views: SqlEventViews, count: int, end_us: int, calls: int) -> list[list[str]]:
    """The rows of the table."""

    async def row(name: str, asked: str, measured: Awaitable[Measured]) -> list[str]:
        each = await measured
        return [
            name,
            asked.replace("|", "\\|"),
            f"{each.found:,}",
            f"{each.calls:,}",
            milliseconds(percentile(each.seconds, 0.5)),
            milliseconds(percentile(each.seconds, 0.99)),
        ]

    asked = queries(count, end_us)
    rows = [await row(each.name, each.filter, listed(views, each, calls)) for each in asked]
    rows += [
        await row(f"{calls} pages: {name}", each, deep(views, each, calls))
        for name, each in (("all", ""), ("a word", "refused"), ("an agent", "agent_id = agent-7"))
    ]
    ranges = {each.name: each.filter for each in asked if "range" in each.name}
    for name, each in (
        ("all", ""),
        ("a type", "type = TASK_STARTED"),
        ("a range and a severity", f"{ranges['old range']} severity >= WARNING"),
        ("a workflow", asked[7].filter),
        ("a rare word", "quota"),
        ("a frequent word, in part", "attempt"),
    ):
        rows.append(await row(f"count: {name}", each, counted(views, each, calls)))
    return rows


async def run(
    place: Path | str, count: int, calls: int, size: Callable[[], int] = lambda: 0
) -> str:
    """The whole table of one database."""
    await asyncio.to_thread(migrate.upgrade, place)
    database: Database = (
        SqliteDatabase(place) if isinstance(place, Path) else PostgresDatabase(place)
    )
    clock = SystemClock()
    views = SqlEventViews(database, clock)
    try:
        there = await views.page(PageRequest(1), ascending=False)
        filled, end_us = 0.0, clock.now_us()
        if there.events:
            newest = pb.Event.FromString(there.events[0].payload)
            end_us = newest.receive_time.ToMicroseconds()
        else:
            filled = await fill(database, count, end_us)
        rows = await measure(views, count, end_us, calls)
    finally:
        await database.close()
    kind = "SQLite" if isinstance(place, Path) else "PostgreSQL"
    file = f", {size() / 1e9:.1f} GB" if size() else ""
    title = f"{count:,} events in {kind}, filled in {filled:.0f} s{file}"
    return table(title, ["events that fulfil it", "filter", "found", "calls", "p50", "p99"], rows)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--postgres", action="store_true", help="PostgreSQL in place of SQLite")
    parser.add_argument("--keep", type=Path, help="where the SQLite file stays")
    given = parser.parse_args()
    if given.postgres:
        with running_storage(with_redis=False, with_postgres=True) as storage:
            storage.renew()
            print(provenance(storage.names[1]), flush=True)
            print(asyncio.run(run(storage.database_url, given.events, given.calls)))
        return
    print(provenance("embedded database"), flush=True)
    with tempfile.TemporaryDirectory() as directory:
        place = (given.keep or Path(directory)) / "state.sqlite3"
        place.parent.mkdir(parents=True, exist_ok=True)
        asked = run(place, given.events, given.calls, lambda: place.stat().st_size)
        print(asyncio.run(asked))


if __name__ == "__main__":
    main()
