"""The service: in small steps, whatever fails; and every step finds its rows by an index."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, event, insert, update

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.fencing import FencedDatabase
from pilothouse_server.adapters.sql.retention_store import SqlRetention
from pilothouse_server.adapters.sql.sqlite import SqliteDatabase
from pilothouse_server.adapters.sql.tables_leases import LEASES
from pilothouse_server.adapters.sql.tables_projection import CURSORS, EVENTS, WORKFLOWS
from pilothouse_server.adapters.sqlite_log import Limits, SqliteLog
from pilothouse_server.domain.errors import LeaseLost, Unavailable
from pilothouse_server.domain.events import EventType
from pilothouse_server.ports import Fence, LogKeep
from pilothouse_server.services.retention import DAY_US, Kind, Policy, Retention, consumers
from tests.projection.build import NOON
from tests.projection.build import event as made
from tests.retention.conftest import NOTHING, House, SetClock
from tests.support import wait_until

E = EventType
T = TypeVar("T")


class Quick(SystemClock):
    """Sleeps no longer than it must to let others run."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


async def test_the_log_is_trimmed_up_to_the_consumer_that_is_furthest_behind(
    house: House, tmp_path: Path
) -> None:
    log = SqliteLog(tmp_path / "log.db", limits=Limits(recent_entries=1))
    cursors = [await log.append(b"x" * 10_000) for _ in range(300)]
    policy = replace(NOTHING, log=LogKeep(0, 1, 0))
    retention = Retention(house.store, {0: log}, house.clock, lambda: policy)
    at = dict(zip(consumers(0), (cursors[199], cursors[49]), strict=True))
    for told, trimmed in (({}, 0), (dict([*at.items()][:1]), 0), (at, 50)):
        for consumer, cursor in told.items():
            await house.database.write(partial(put_cursor, consumer, cursor))
        await retention.sweep()
        assert retention.counts.trimmed == log.counts.trimmed == trimmed
    await log.close()


def put_cursor(consumer: str, cursor: str, connection: Connection) -> None:
    moved = connection.execute(
        update(CURSORS).where(CURSORS.c.consumer == consumer).values(cursor=cursor)
    )
    if not moved.rowcount:
        connection.execute(insert(CURSORS).values(consumer=consumer, cursor=cursor))


def test_each_shard_has_consumers_of_its_own() -> None:
    assert consumers(0) == ("projector", "aggregator")
    assert consumers(3) == ("projector:3", "aggregator:3")


async def test_a_leap_of_the_clock_removes_nothing_until_as_much_time_has_passed(
    house: House,
) -> None:
    await house.report(*(made(E.WORKFLOW_COMPLETED, workflow_id=f"w{n}") for n in range(9)))
    clock = Leaping()
    await Retention(house.store, {}, clock, Policy).sweep()
    clock.us += 40 * DAY_US
    clock.stepped_us += 40 * DAY_US
    retention = Retention(house.store, {}, clock, Policy)
    for days in (0, 39):
        clock.ran = days * 86_400.0
        with pytest.raises(Unavailable, match="the wall clock was put forward by days"):
            await retention.sweep()
        assert not any(retention.counts.removed.values())
    clock.ran = 41 * 86_400.0
    await retention.sweep()
    assert retention.counts.removed[Kind.WORKFLOWS] == 9


class Leaping(SetClock):
    """One that can be put forward while hardly any time passes."""

    ran = 0.0

    def monotonic(self) -> float:
        return self.ran


async def test_a_lost_lease_ends_it_and_nothing_is_removed(house: House) -> None:
    await house.report(*(made(E.LOG) for _ in range(10)))
    house.clock.pass_days(2)
    await house.add(LEASES, {"name": "shard-0", "epoch": 8, "holder": "another"})
    old = SqlRetention(FencedDatabase(house.database, Fence("shard-0", 7)))
    retention = Retention(old, {}, Quick(), lambda: replace(NOTHING, events_us=DAY_US))
    async with asyncio.timeout(30):
        with pytest.raises(LeaseLost):
            await retention.run()
    assert await house.count(EVENTS) == 10


async def test_what_cannot_be_reached_is_tried_again_and_said(sqlite_place: Path) -> None:
    database = SqliteDatabase(sqlite_place)
    await database.close()
    retention = Retention(SqlRetention(database), {}, Quick(), Policy)
    running = asyncio.create_task(retention.run())
    await wait_until(lambda: retention.counts.failures > 6, within=30)
    assert "closed" in retention.waiting_for
    assert retention.counts.last_run_us == 0
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_full_disk_hurts_nothing_and_removing_gets_out_of_it(sqlite_place: Path) -> None:
    house = House(SqliteDatabase(sqlite_place))

    def limit(connection: Connection) -> None:
        pages: int = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 300}")

    await house.database.write(limit)
    stored = 0

    async def fill() -> None:
        nonlocal stored
        while stored < 100_000:
            batch = [made(E.LOG, at=stored, message="x" * 400) for _ in range(100)]
            stored += (await house.report(*batch)).events

    with pytest.raises(Unavailable, match="disk is full"):
        await fill()
    house.clock.pass_days(9)
    retention = await house.sweep(events_us=7 * DAY_US)
    assert retention.counts.removed[Kind.EVENTS] == stored - 1
    assert (await house.report(*(made(E.LOG, at=1e6 + n) for n in range(200)))).events == 200
    await house.database.close()


@pytest.mark.timeout(240)
async def test_the_embedded_database_gives_space_back_and_stops_growing(sqlite_place: Path) -> None:
    house = House(SqliteDatabase(sqlite_place))

    def size(connection: Connection) -> int:
        pages: int = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        return pages * 4096

    sizes: list[int] = []
    for round_ in range(3):
        for _ in range(12):
            at = round_ * 9 * DAY_US / 1_000_000
            receive_us = house.clock.us
            batch = [
                made(E.LOG, at=at, message="x" * 2000, receive_us=receive_us) for _ in range(500)
            ]
            await house.report(*batch)
        sizes.append(await house.database.read(size))
        house.clock.pass_days(9)
        await house.sweep(events_us=7 * DAY_US)
    assert sizes[0] > 24 << 20
    assert sizes[-1] < 1.1 * sizes[0]
    assert await house.database.read(size) < 22 << 20
    await house.database.close()


class Explaining:
    """The database, and how it finds the rows of each statement."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.plans: list[str] = []

    async def write(self, run: Callable[[Connection], T], *, beside: bool = False) -> T:
        def explained(connection: Connection) -> T:
            def note(
                c: Any, cursor: Any, statement: str, given: Any, context: Any, many: bool
            ) -> None:
                if statement.startswith(("SELECT", "DELETE")):
                    cursor.execute(self._how(connection) + statement, given)
                    rows: Sequence[Sequence[Any]] = cursor.fetchall()
                    self.plans.append(statement + "\n" + "\n".join(str(row[-1]) for row in rows))

            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            event.listen(connection, "before_cursor_execute", note)
            try:
                return run(connection)
            finally:
                event.remove(connection, "before_cursor_execute", note)

        return await self._database.write(explained, beside=beside)

    def _how(self, connection: Connection) -> str:
        return "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "

    async def read(self, run: Callable[[Connection], T]) -> T:
        return await self._database.read(run)

    @property
    def waiting(self) -> int:
        return self._database.waiting

    async def close(self) -> None:
        await self._database.close()


LARGE = ("events", "workflows", "tasks", "commands", "alerts", "alert_transitions", "agents")


async def test_every_step_finds_its_rows_by_an_index(house: House) -> None:
    for number in range(20):
        name = f"w{number}"
        await house.report(
            made(E.TASK_STARTED, workflow_id=name, task_id="t", agent_id=f"a{number}"),
            made(E.TASK_COMPLETED, at=1, workflow_id=name, task_id="t", agent_id=f"a{number}"),
            made(E.WORKFLOW_COMPLETED, at=2, workflow_id=name),
            made(E.AGENT_HEARTBEAT, agent_id=f"a{number}"),
        )
    await house.store.mark(NOON)
    house.clock.pass_days(100)
    explaining = Explaining(house.database)
    retention = Retention(SqlRetention(explaining), {}, house.clock, Policy)
    await retention.sweep()
    assert await house.count(WORKFLOWS) == 0
    assert len(explaining.plans) > 15
    for plan in explaining.plans:
        for table in LARGE:
            assert f"SCAN {table}\n" not in f"{plan}\n", plan
            assert f"Seq Scan on {table} " not in plan, plan
