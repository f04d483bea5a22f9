"""Every way to look for events is answered by an index, on either database."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from pilothouse_server.adapters.sql import bulk, event_search, migrate
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.event_rows import newest_position
from pilothouse_server.adapters.sql.event_views import SqlEventViews
from pilothouse_server.domain.events import Event, EventType, Severity
from pilothouse_server.services.views import PageRequest
from tests.databases import Place, open_database
from tests.events.build import store
from tests.projection.build import NOON, SECOND
from tests.services.conftest import SetClock
from tests.storage.explained import ExplainedDatabase

# Filling takes long, so one worker does it for all of them.
pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("plans of events")]

COUNT = 70_000
FILTERS = (
    "", "id = e7", "type = TASK_FAILED", "type = BUDGET_WARNING", "severity >= ERROR", "workflow_id = w7",
    "workflow_id = w7 OR trace_id = t9", "agent_id = a7 severity = CRITICAL", "trace_id = t7", "stage = none",
    "number", "needle", "zeppelin", "needle OR zeppelin", 'message:"the needle is"', "message:eedl",
    "NOT number", "occur_time < 2027-01-15T08:10:00Z", "occur_time = 2027-01-15T08:10:00Z needle",
)  # fmt: skip
SMALL = {"some", "each_of", "stream_0", "stream_1", "found", "counters", "identity", "event_counts"}
"""What a statement makes itself, of as many rows as it may, and tables of few rows."""


def events(begin: int, end: int) -> list[Event]:
    return [
        Event(
            f"e{n}",
            EventType.TASK_FAILED if n % 997 == 0 else EventType.LOG,
            NOON + n * SECOND // 10 - (600 * SECOND if n % 500 == 0 else 0),
            NOON + n * SECOND // 10,
            "engine",
            f"w{n // 30}",
            agent_id=f"a{n % 50}",
            trace_id=f"t{n // 30}",
            severity=Severity.CRITICAL if n % 9001 == 0 else Severity.INFO,
            message="There the needle is" if n == 777 else f"number {n}",
        )
        for n in range(begin, end)
    ]


@pytest.fixture(scope="module")
def places(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Place]:
    """A database of each kind, to be filled once."""
    return {
        "sqlite": tmp_path_factory.mktemp("plans") / "state.db",
        "postgresql": module_database_url,
    }


@pytest.fixture
async def filled(places: dict[str, Place], kind: str) -> AsyncIterator[Database]:
    place = places[kind]
    migrate.upgrade(place)
    database = open_database(place)
    try:
        # From where it was left, should a test have been ended while it was filled.
        filled = await database.read(newest_position)
        for begin in range(filled, COUNT, 10_000):
            await store(database, events(begin, begin + 10_000))
        if filled < COUNT and not isinstance(place, Path):
            await database.write(lambda c: c.execute(text("ANALYZE")).close())
        yield database
    finally:
        await database.close()


@pytest.mark.parametrize("asked", FILTERS)
async def test_no_list_or_count_reads_all_events(filled: Database, asked: str) -> None:
    explained = ExplainedDatabase(filled)
    views = SqlEventViews(explained, SetClock())
    for ascending in (False, True):
        page = await views.page(PageRequest(50, filter=asked), ascending=ascending)
        await views.page(PageRequest(50, page.next_token, asked), ascending=ascending)
    await views.counts(asked)
    scans = {(table, query) for table, query in explained.scanned if table not in SMALL}
    assert not scans, "\n\n".join(f"all of {table}:\n{query}" for table, query in scans)


async def test_words_are_looked_for_in_the_index_of_terms(filled: Database) -> None:
    asked = event_search.Term("needle", begins=True)
    plans: list[str] = []

    def run(connection: Connection) -> list[int]:
        found = event_search.found(connection, asked, range(2, -1, -1), COUNT, 10)
        if bulk.is_postgres(connection):
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            wanted = "'000000needle':* | '000001needle':*"
            query = (
                f"EXPLAIN (FORMAT JSON) SELECT position FROM events WHERE {event_search.FUNCTION_OF_ROW}"
                " @@ CAST(:asked AS tsquery)"
            )
            plan: Any = connection.execute(text(query), {"asked": wanted}).scalar_one()
            plans.append(json.dumps(plan))
        return found

    assert await filled.read(run) == [778]
    assert all("ix_events_terms" in plan for plan in plans)
