"""What a backtest reads is found by an index on either database, however much is stored beside it."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, text

from pilothouse_server.adapters.sql import bulk
from pilothouse_server.adapters.sql.backtest_store import SqlBacktestStore
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.tables_metrics import METRIC_BUCKETS, METRIC_MINUTES
from pilothouse_server.adapters.sql.tables_projection import COUNTERS, EVENTS
from pilothouse_server.domain.alerts.phases import Extent
from pilothouse_server.domain.metrics.snapshot import MINUTE_US, Dimension
from tests.backtest.life import BEGIN, SECOND
from tests.storage.explained import ExplainedDatabase

NAMES = [f"stage{n:03}" for n in range(100)]
UNITS = 120
EVENTS_STORED = 20_000


def series() -> Iterable[bulk.Row]:
    for unit in range(UNITS):
        yield (int(Dimension.FLEET), "", unit, 0, "", "[0,0,0,0,0,1,1]")
        for name in NAMES:
            yield (int(Dimension.STAGE), name, unit, 0, "[0,1,0,0,[]]", "")


def events() -> Iterable[bulk.Row]:
    for n in range(EVENTS_STORED):
        kind, agent = (22, f"a{n % 50}") if n % 20 == 0 else (2, "")
        yield (
            n + 1, f"event-{n}", f"{n}", kind, 2, BEGIN + n * SECOND, BEGIN + n * SECOND, "engine", f"w{n}", "type", "",
            "", agent, "worker", "", "", b"payload" * 20,
        )  # fmt: skip


def fill(connection: Connection) -> None:
    bulk.insert(connection, METRIC_MINUTES, list(series()))
    bulk.insert(connection, METRIC_BUCKETS, list(series()))
    bulk.insert(connection, EVENTS, list(events()))
    reached = COUNTERS.update().where(COUNTERS.c.name == "position")
    connection.execute(reached.values(value=EVENTS_STORED))


async def test_every_read_goes_by_an_index(database: Database) -> None:
    await database.write(fill)
    await database.write(lambda connection: connection.execute(text("ANALYZE")).close())
    explained = ExplainedDatabase(database)
    store = SqlBacktestStore(explained)
    assert await store.extent() == Extent(0, UNITS - 1, 0, None)
    assert await store.names(Dimension.STAGE, 1_000) == NAMES
    assert await store.names(Dimension.STAGE, 7) == NAMES[:7]
    rows = await store.pieces(MINUTE_US, Dimension.STAGE, NAMES[3:5], 10, 15)
    assert sorted({(row.name, row.start) for row in rows}) == [
        (name, unit) for name in NAMES[3:5] for unit in range(10, 15)
    ]
    reach = await store.reach()
    assert reach is not None
    assert await store.position_at(BEGIN + 1_234 * SECOND, reach) == 1_235
    heard = await store.agent_events(1_000, 1_100)
    assert [event.position for event in heard] == [1_001, 1_021, 1_041, 1_061, 1_081]
    assert explained.statements
    # What a statement leaps over is its own, and as short as the list of names; counters are a handful.
    scanned = {table for table, _ in explained.scanned if not table.startswith("anon")}
    assert scanned <= {"counters"}
