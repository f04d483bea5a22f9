"""The projector's transaction: events once, rows as the fold has them, and the cursor with both."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Coroutine, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, func, select

from pilothouse_server.adapters.sql import (
    agent_rows,
    event_rows,
    projection_store,
    workflow_rows,
)
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.event_rows import Arrived
from pilothouse_server.adapters.sql.postgres import PostgresDatabase
from pilothouse_server.adapters.sql.projection_store import SqlProjectionStore
from pilothouse_server.adapters.sql.sqlite import writing_engine
from pilothouse_server.adapters.sql.tables_projection import AGENTS, EVENTS, TASKS, WORKFLOWS
from pilothouse_server.adapters.sqlite_log import SqliteLog
from pilothouse_server.domain.events import Event, EventType
from pilothouse_server.domain.projection.fold import Projection
from pilothouse_server.domain.projection.task import TaskRecord
from pilothouse_server.domain.shards import shard_of
from pilothouse_server.ports import LogEntry
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.project import Applied, Projector
from pilothouse_server.wire.events import decode_stored, encode_events
from tests.projection.build import event, fold, reorderings, seen
from tests.support import wait_until

E = EventType


def entry(cursor: str, *events: Event) -> LogEntry:
    return LogEntry(cursor, encode_events(events))


def stored(connection: Connection) -> Projection:
    """All rows as records; what is derived only for the row is left out."""
    workflows = workflow_rows.load(
        connection, list(connection.execute(select(WORKFLOWS.c.id)).scalars())
    )
    for workflow in workflows.values():
        workflow.agent_id = ""
    query = select(TASKS.c.workflow_id, TASKS.c.task_id, TASKS.c.record)
    tasks = {(w, t): TaskRecord.loaded(w, t, record) for w, t, record in connection.execute(query)}
    agents = agent_rows.load(connection, list(connection.execute(select(AGENTS.c.id)).scalars()))
    return Projection(workflows, tasks, agents)


@settings(max_examples=40)
@given(reorderings(), st.integers(1, 10))
def test_rows_are_what_the_fold_says_however_the_log_is_cut(
    sqlite_template: Path, both: tuple[Sequence[Event], Sequence[Event]], size: int
) -> None:
    history, reordered = both
    with TemporaryDirectory() as directory:
        path = Path(directory) / "state.db"
        shutil.copyfile(sqlite_template, path)
        engine = writing_engine(path)
        for start in range(0, len(reordered), size):
            arrived = [Arrived(each, b"", "c") for each in reordered[start : start + size]]
            with engine.begin() as connection:
                fresh = event_rows.fresh(connection, arrived)
                projection_store.fold(connection, [each.event for each in fresh])
                event_rows.store(connection, fresh)
        with engine.begin() as connection:
            found = stored(connection)
            places = list(
                connection.execute(select(EVENTS.c.position).order_by(EVENTS.c.position)).scalars()
            )
        engine.dispose()
    assert seen(found) == seen(fold(history))
    assert places == list(range(1, len(history) + 1))


async def test_an_event_counts_once_whether_repeated_at_once_or_later(
    database: Database,
) -> None:
    store = SqlProjectionStore(database, decode_stored)
    one, other = event(E.WORKFLOW_STARTED), event(E.WORKFLOW_COMPLETED, at=1)
    assert await store.apply([entry("c1", one, one)]) == Applied(1, 1)
    assert await store.apply([entry("c2", one), entry("c3", other, one)]) == Applied(1, 2)
    assert await store.cursor() == "c3"


async def test_an_entry_that_is_no_batch_is_passed_over_and_counted(
    database: Database,
) -> None:
    store = SqlProjectionStore(database, decode_stored)
    good = entry("a-2", event(E.WORKFLOW_STARTED))

    applied = await store.apply([LogEntry("a-1", b"\xff\xff garbage"), good])

    assert (applied.events, applied.undecodable) == (1, 1)
    assert await store.cursor() == "a-2"


async def test_a_hook_that_fails_leaves_neither_rows_nor_cursor(database: Database) -> None:
    def refuse(connection: Connection, events: object, workflows: object) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        await SqlProjectionStore(database, decode_stored, [refuse]).apply(
            [entry("c1", event(E.WORKFLOW_STARTED))]
        )
    store = SqlProjectionStore(database, decode_stored)
    assert await store.cursor() == ""
    assert seen(await database.read(stored))["workflows"] == {}


async def test_hooks_see_only_new_events_and_the_workflows_they_touched(
    database: Database,
) -> None:
    calls: list[tuple[list[str], list[str]]] = []
    store = SqlProjectionStore(
        database,
        decode_stored,
        [lambda _c, events, workflows: calls.append(([e.id for e in events], list(workflows)))],
    )
    one = event(E.WORKFLOW_STARTED)
    await store.apply([entry("c1", one)])
    await store.apply([entry("c2", one, event(E.LOG, id="log"))])
    assert calls == [([one.id], ["w"]), (["log"], [])]


async def test_the_projector_goes_on_from_its_cursor(database: Database, tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    store, changes = SqlProjectionStore(database, decode_stored), Changes()
    for number in range(5):
        await log.append(encode_events([event(E.WORKFLOW_CREATED, workflow_id=f"w{number}")]))
    first = Projector(log, store, None, changes)  # type: ignore[arg-type] # nothing here waits
    assert await first.step(0) == 5
    assert changes.version > 0
    await log.append(encode_events([event(E.WORKFLOW_CREATED, workflow_id="late")]))
    second = Projector(log, store, None, changes)  # type: ignore[arg-type] # nothing here waits
    second.cursor = await store.cursor()
    assert await second.step(0) == 1
    assert len((await database.read(stored)).workflows) == 6
    assert second.counts.duplicates == 0
    await log.close()


async def test_an_agent_that_falls_silent_is_marked_once(database: Database) -> None:
    store = SqlProjectionStore(database, decode_stored)
    heartbeat = event(E.AGENT_HEARTBEAT, agent_id="a")
    await store.apply(
        [entry("c1", heartbeat, event(E.TASK_STARTED, task_id="t", agent_id="never-seen"))]
    )
    late = heartbeat.receive_us + 1
    assert await store.mark_overdue(late - 1, 10) == 0
    assert await store.mark_overdue(late, 10) == 1
    assert await store.mark_overdue(late, 10) == 0
    await store.apply([entry("c2", event(E.AGENT_HEARTBEAT, at=50, agent_id="a"))])
    assert await store.mark_overdue(late, 10) == 0


def busy_fleet(workflows: int, agents: int) -> list[Event]:
    """Workflows whose tasks go round among few agents, and what these say of themselves."""
    events: list[Event] = []
    for number in range(workflows):
        name = f"w{number}"
        events.append(event(E.WORKFLOW_STARTED, workflow_id=name, at=number))
        for task in range(3):
            agent = f"a{(number + task) % agents}"
            told = {"workflow_id": name, "task_id": f"t{task}", "agent_id": agent}
            events.append(event(E.TASK_STARTED, at=number + 1, **told))
            events.append(event(E.TASK_COMPLETED, at=number + 2 + task, **told))
            events.append(event(E.AGENT_HEARTBEAT, at=number, agent_id=agent))
    return events


async def test_projectors_of_several_shards_lose_nothing_of_the_agents_they_share(
    postgres_place: str,
) -> None:
    history = busy_fleet(workflows=60, agents=5)
    shards: list[list[Event]] = [[], [], []]
    for each in history:
        shards[shard_of(each.workflow_id, each.agent_id, 3)].append(each)
    databases = [PostgresDatabase(postgres_place) for _ in shards]

    async def project(shard: int) -> None:
        store = SqlProjectionStore(databases[shard], decode_stored, shard=shard)
        for start in range(0, len(shards[shard]), 7):
            await store.apply([entry(f"{shard}-{start}", *shards[shard][start : start + 7])])

    seen_positions: list[int] = []

    async def watch(working: asyncio.Task[None]) -> None:
        """Looks as a watcher does: nothing may appear behind what was seen."""
        while not working.done():
            newest, count = await databases[0].read(
                lambda c: (
                    event_rows.newest_position(c),
                    c.execute(select(func.count()).select_from(EVENTS)).scalar_one(),
                )
            )
            assert newest == count
            seen_positions.append(newest)

    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(_all(project(shard) for shard in range(3)))
        tasks.create_task(watch(working))
    found = await databases[0].read(stored)
    assert seen(found) == seen(fold(history))
    assert seen_positions == sorted(seen_positions)
    assert [
        await SqlProjectionStore(databases[0], decode_stored, shard=n).cursor() for n in (0, 1, 2)
    ] == [f"{n}-{(len(shards[n]) - 1) // 7 * 7}" for n in (0, 1, 2)]
    for database in databases:
        await database.close()


async def test_shards_that_meet_an_agent_while_it_is_removed_both_count(
    postgres_place: str,
) -> None:
    database = PostgresDatabase(postgres_place)
    stores = [SqlProjectionStore(database, decode_stored, shard=n) for n in (0, 1)]
    await stores[0].apply([entry("0", event(EventType.AGENT_HEARTBEAT, agent_id="a"))])
    tasks = [
        event(EventType.TASK_STARTED, at=n, workflow_id=f"w{n}", task_id="t", agent_id="a")
        for n in (1, 2)
    ]
    waits = (
        "SELECT count(*) >= 2 FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with (
        psycopg.connect(postgres_place) as removing,
        psycopg.connect(postgres_place, autocommit=True) as looking,
    ):
        removing.execute("SELECT id FROM agents FOR UPDATE")
        removing.execute("DELETE FROM agents")
        both = [
            asyncio.create_task(store.apply([entry("1", each)]))
            for store, each in zip(stores, tasks, strict=True)
        ]
        await wait_until(lambda: (looking.execute(waits).fetchone() or (False,))[0])
        removing.commit()
    await asyncio.gather(*both)
    assert seen(await database.read(stored)) == seen(fold(tasks))
    await database.close()


async def _all(work: Iterable[Coroutine[None, None, None]]) -> None:
    await asyncio.gather(*work)


async def test_hostile_text_is_stored_as_it_came(database: Database) -> None:
    text = "'; DROP TABLE events; -- \0 %_\\ \u202e 漢😀"
    store = SqlProjectionStore(database, decode_stored)
    await store.apply([entry("c1", event(E.LOG, message=text, workflow_id="' OR 1=1"))])
    (payload,) = await database.read(lambda c: c.execute(select(EVENTS.c.payload)).scalars().all())
    assert text.encode() in payload


LONGEST = "😀" * 64
"""As many bytes as a name may have."""
HOSTILE: list[dict[str, Any]] = [
    {
        "workflow_id": LONGEST,
        "workflow_type": LONGEST,
        "workflow_name": LONGEST * 2,
        "source": "é" * 64,
    },
    {"workflow_id": "n\0l", "workflow_type": "\0", "workflow_name": "a\0b", "trace_id": "\0"},
    {"workflow_id": "%s %(x)s ? :y $1", "workflow_name": "{0} \\ \"' ", "attempt": 2**32 - 1},
    {"workflow_id": "\u202e\ufeff\x7f\x01", "message": "\x00" * 4096},
    {"workflow_id": "late", "at": 250_000_000_000},
    {"workflow_id": "early", "at": -1_700_000_000},
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
async def test_no_value_stops_the_projector(database: Database, number: int) -> None:
    fields: dict[str, Any] = {
        "task_id": LONGEST,
        "agent_id": LONGEST,
        "agent_type": LONGEST,
        "stage": LONGEST,
    }
    fields |= HOSTILE[number]
    store = SqlProjectionStore(database, decode_stored)
    for kind in (E.WORKFLOW_STARTED, E.TASK_STARTED, E.TASK_COMPLETED, E.WORKFLOW_COMPLETED):
        assert (await store.apply([entry("c1", event(kind, **fields))])).events == 1
    one = event(E.AGENT_HEARTBEAT, id="\0", agent_id="\0")
    assert (await store.apply([entry("c2", one)])).events == 1
    names = select(WORKFLOWS.c.type, WORKFLOWS.c.name, WORKFLOWS.c.state)
    assert len((await database.read(lambda c: c.execute(names))).all()) == 1
