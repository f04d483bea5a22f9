"""How long lists of a million alerts take: pages, and filters and searches that many, few or none of them fulfil.

`python -m bench.alert_lists [--alerts 1000000] [--calls 50] [--postgres]`

The store is asked as a server asks it, one call after another; the database is filled first, which takes minutes.
"pages" says how many calls it took to find something, or all: each is bounded, and what is left comes with the next.
"CPU" is that of the calling process, which with SQLite is all there is: on a machine with other work, times say less.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, text, update

from bench.report import milliseconds, percentile, provenance, table
from bench.storage import running_storage
from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql import migrate
from pilothouse_server.adapters.sql.control_queries import SqlControlQueries
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.postgres import PostgresDatabase
from pilothouse_server.adapters.sql.sqlite import SqliteDatabase
from pilothouse_server.adapters.sql.tables_control import ALERTS
from pilothouse_server.adapters.sql.tables_projection import COUNTERS
from pilothouse_server.domain.alerts.search import terms_of
from pilothouse_server.services.views import PageRequest

AT_ONCE = 20_000
"""Alerts in one transaction of filling."""
EVERY_US = 2_000_000
"""Between the beginnings of two alerts."""
RULES = 40
LIVE = 500
"""Alerts that fire now: the newest."""

QUERIES = [
    ("the newest", ""),
    ("many: state", "state = RESOLVED"),
    ("few: state", "state = FIRING"),
    ("many: severity", "severity >= WARNING"),
    ("none: severity", "severity = ERROR"),
    ("1 of 40: rule", "rule = rule-7"),
    ("none: rule", "rule = nothing"),
    ("few: label", "labels.agent_id = agent-777"),
    ("none: label", "labels.agent_id = nobody"),
    ("many: word", "latency"),
    ("few: word", "agent-777"),
    ("one: word", "needle"),
    ("none: word", "haystack"),
    ("few: words", "latency agent-777"),
    ("many: not", "-labels.agent_id = agent-777"),
    ("few: assignee", "assignee = ada"),
    ("none: flags", "silenced = true"),
    ("many: time", "active_time < -10d"),
    ("few: time", "fire_time > -10m"),
    ("none: time", "resolve_time < -1000d"),
    ("few: several", "rule = rule-7 severity = CRITICAL labels.agent_id = agent-7"),
    ("none: two many", "rule = rule-7 severity = CRITICAL"),
    ("none: no index", "rule != rule-7 severity = WARNING assignee = ada labels.zone != eu"),
]  # fmt: skip
"""Names say how many alerts fulfil a filter. Odd rules are CRITICAL, even ones WARNING; rule-7 is made even below."""


class Measured(NamedTuple):
    """One kind of list."""

    seconds: Sequence[float]
    cpu: float
    """Of one call."""
    found: int
    pages: int


def _rows(count: int, now_us: int) -> Iterator[dict[str, Any]]:
    for n in range(count):
        rule = n * 7919 % RULES
        labels = {"agent_id": f"agent-{n * 31 % 1000}", "agent_type": f"type{n % 9}", "zone": "eu"}
        name = f"Rule {rule}: latency of agents"
        summary = f"Latency p95 {n % 3000} ms over 5 min, agent {labels['agent_id']}; limit 500 ms"
        if n == count // 3:
            summary += " needle"
        begun = now_us - (count - n) * EVERY_US
        live = n >= count - LIVE
        yield {
            "id": f"{n:08x}-alert-of-the-benchmark-0000", "sequence": n + 1, "revision": n + 1,
            "rule_id": f"rule-{rule}", "rule_name": name, "name": f"{n}", "labels": labels,
            "severity": 5 if rule % 2 and rule != 7 else 3,
            "state": 2 if live else 4, "summary": summary, "clears_when": "the value is at most 500 ms", "value": 1.5,
            "threshold": 0.5, "active_us": begun, "fire_us": begun + 1_000_000, "down_us": 0,
            "resolve_us": None if live else begun + 60_000_000, "latched": False, "acknowledged_by": "",
            "acknowledge_comment": "", "resolved_by": "", "update_us": begun, "steps": 3,
            "assignee": "ada" if n % 20_000 == 0 else "", "terms": terms_of(name, summary, labels),
            "annotations": {"runbook": "https://example.com/runbooks/latency"}, "evidence": [],
        }  # fmt: skip


async def _fill(database: Database, count: int) -> float:
    begun, some = time.monotonic(), list[dict[str, Any]]()
    for row in _rows(count, SystemClock().now_us()):
        some.append(row)
        if len(some) == AT_ONCE:
            await database.write(_adding(some))
            some = []
    if some:
        await database.write(_adding(some))
    reached = update(COUNTERS).where(COUNTERS.c.name == "revision").values(value=count)
    await database.write(lambda c: c.execute(reached).close())
    if isinstance(database, PostgresDatabase):
        # It does so by itself, a minute later.
        await database.write(lambda c: c.execute(text("ANALYZE alerts")).close())
    return time.monotonic() - begun


def _adding(rows: Sequence[dict[str, Any]]) -> Callable[[Connection], None]:
    return lambda connection: connection.execute(insert(ALERTS), rows).close()


async def _measure(queries: SqlControlQueries, filter_text: str, calls: int) -> Measured:
    seconds: list[float] = []
    found = pages = 0
    used = time.process_time()
    for call in range(calls):
        token = ""
        while True:
            begun = time.perf_counter()
            page = await queries.alerts(PageRequest(50, token, filter_text))
            seconds.append(time.perf_counter() - begun)
            if call == 0:
                found, pages = found + len(page.items), pages + 1
            token = page.next_token
            # A list is followed until there is something to show, as a page does.
            if page.items or not token or len(seconds) >= calls:
                break
        if len(seconds) >= calls:
            break
    return Measured(seconds, (time.process_time() - used) / len(seconds), found, pages)


async def _deep(queries: SqlControlQueries, calls: int) -> Measured:
    """Pages one after another, far into the list."""
    seconds: list[float] = []
    token = ""
    used = time.process_time()
    for _ in range(calls):
        begun = time.perf_counter()
        page = await queries.alerts(PageRequest(500, token))
        seconds.append(time.perf_counter() - begun)
        token = page.next_token
    return Measured(seconds, (time.process_time() - used) / calls, 500, 1)


async def run(place: Path | str, count: int, calls: int) -> str:
    """The whole table of one database."""
    migrate.upgrade(place)
    database: Database = (
        SqliteDatabase(place) if isinstance(place, Path) else PostgresDatabase(place)
    )
    try:
        filled = await _fill(database, count)
        queries = SqlControlQueries(database, SystemClock())
        measured = [(n, f, await _measure(queries, f, calls)) for n, f in QUERIES]
        measured.append(("pages of 500", "", await _deep(queries, calls)))
    finally:
        await database.close()
    rows = [
        [
            name,
            filter_text,
            f"{each.found:,}",
            f"{each.pages:,}",
            milliseconds(percentile(each.seconds, 0.5)),
            milliseconds(percentile(each.seconds, 0.99)),
            milliseconds(each.cpu),
        ]
        for name, filter_text, each in measured
    ]
    kind = "SQLite" if isinstance(place, Path) else "PostgreSQL"
    title = f"Lists of {count:,} alerts in {kind}, filled in {filled:.0f} s"
    header = ["alerts that fulfil it", "filter", "found", "pages", "p50", "p99", "CPU"]
    return table(title, header, rows)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--alerts", type=int, default=1_000_000)
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--postgres", action="store_true", help="PostgreSQL in place of SQLite")
    given = parser.parse_args()
    if not given.postgres:
        print(provenance("embedded database"), flush=True)
        with tempfile.TemporaryDirectory() as directory:
            place = Path(directory) / "state.sqlite3"
            print(asyncio.run(run(place, given.alerts, given.calls)))
        return
    with running_storage(with_redis=False, with_postgres=True) as storage:
        storage.renew()
        print(provenance(storage.names[1]), flush=True)
        print(asyncio.run(run(storage.database_url, given.alerts, given.calls)))


if __name__ == "__main__":
    main()
