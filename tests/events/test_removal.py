"""What was removed is found and counted no more, and what was there before the index came is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select, text

from pilothouse_server.adapters.sql import event_rows, migrate
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.event_views import SqlEventViews
from pilothouse_server.adapters.sql.retention_store import SqlRetention
from pilothouse_server.adapters.sql.tables_events import EVENT_COUNTS
from pilothouse_server.services.retention import Cut, Kind
from tests.databases import Place, open_database
from tests.events.build import some_events, store
from tests.projection.build import NOON
from tests.services.conftest import SetClock

WORDS = ("refused", "con", "two", "日本語", "end", "a_b", "attempt")
FILTERS = ("", "severity >= ERROR", "type = LOG", "occur_time > 2027-01-15T08:10:00Z")


async def seen(database: Database) -> list[object]:
    """What counts and searches say."""
    views = SqlEventViews(database, SetClock())
    return [await views.counts(asked) for asked in (*FILTERS, *WORDS)]


async def test_what_is_removed_is_neither_counted_nor_found(database: Database) -> None:
    events = list(some_events(600))
    await store(database, events)
    retention = SqlRetention(database)
    cut = Cut(now_us=NOON * 2, before_us=0, newest=200, spared_us=NOON * 2)
    while (await retention.remove(Kind.EVENTS, cut, 150)).more:
        pass
    views = SqlEventViews(database, SetClock())
    assert (await views.counts("")).total == 200
    assert await views.counts("refused") == await views.counts('"refused"')

    def words(connection: Connection) -> int:
        if connection.dialect.name == "postgresql":
            return 0
        query = "SELECT count(*) FROM event_search WHERE event_search MATCH :asked"
        found: int = connection.execute(text(query), {"asked": '"000000con"*'}).scalar_one()
        return found

    left = [each for each in events[400:] if "con" in each.message.lower()]
    assert await database.read(words) in (0, len(left))
    cut = Cut(now_us=NOON * 2, before_us=0, newest=1, spared_us=NOON * 2)
    while (await retention.remove(Kind.EVENTS, cut, 150)).more:
        pass
    total = select(func.sum(EVENT_COUNTS.c.count)).where(EVENT_COUNTS.c.level == 0)
    rows = select(func.count()).select_from(EVENT_COUNTS)
    assert await database.read(lambda c: int(c.execute(total).scalar_one())) == 1
    assert await database.read(lambda c: c.execute(rows).scalar_one()) == 3


@pytest.fixture
def fresh(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> Place:
    """Where nothing is yet."""
    if kind == "sqlite":
        return tmp_path / "fresh.db"
    url: str = request.getfixturevalue("database_url")
    return url


async def test_events_from_before_the_index_are_counted_and_found(fresh: Place) -> None:
    migrate.upgrade(fresh)
    database = open_database(fresh)
    await store(database, list(some_events(600)))
    before = await seen(database)
    await database.close()
    migrate.downgrade(fresh, "0020_waiting")
    migrate.upgrade(fresh)
    database = open_database(fresh)
    try:
        assert await seen(database) == before
        # And they can be removed as any others.
        await database.write(lambda c: event_rows.remove(c, 0, 600))
        assert (await SqlEventViews(database, SetClock()).counts("")).total == 0
    finally:
        await database.close()
