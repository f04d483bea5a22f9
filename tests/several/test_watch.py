"""A watch on any replica sees every row that any other writes, in whatever order the writes commit."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest
from sqlalchemy import Connection, text

from pilothouse.v1 import events_pb2
from pilothouse_server.adapters.sql.event_views import SqlEventViews
from pilothouse_server.adapters.sql.workflow_rows import touch
from pilothouse_server.adapters.sql.workflow_views import SqlWorkflowViews
from pilothouse_server.domain.events import Event, EventType
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.watch import CaughtUp, Items, watch
from tests.several.conftest import Replica

Pair = tuple[Replica, Replica]


async def touch_once_each(replica: Replica, names: Sequence[str], seed: int) -> None:
    """Gives each row its one new revision, alone or beside others, and commits it some time later."""
    dice = random.Random(seed)

    async def one(name: str, pause: float, *, beside: bool) -> None:
        def run(connection: Connection) -> None:
            touch(connection, [name])
            connection.execute(text("SELECT pg_sleep(:pause)"), {"pause": pause})

        await replica.database.write(run, beside=beside)
        replica.projected.notify()

    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(one(name, dice.random() / 200, beside=dice.random() < 0.7))


async def seen_rows(replica: Replica, names: set[str], begun: asyncio.Event) -> set[str]:
    """What a watch on the replica is sent from now on, until it was sent all of these."""
    seen: set[str] = set()
    views = SqlWorkflowViews(replica.database, replica.clock)
    async for update in watch(views.follow(""), replica.projected, "", backlog=0):
        if isinstance(update, CaughtUp):
            begun.set()
        if isinstance(update, Items):
            seen.update(view.record.id for _, view in update.items)
        if seen >= names:
            break
    return seen


async def test_no_watch_misses_a_row_that_commits_late(pair: Pair) -> None:
    names = [f"w{n}" for n in range(120)]
    await pair[0].begin(*names)
    async with asyncio.timeout(50), asyncio.TaskGroup() as group:
        begun = [asyncio.Event() for _ in range(4)]
        watching = [
            group.create_task(seen_rows(pair[n % 2], set(names), event))
            for n, event in enumerate(begun)
        ]
        for event in begun:
            await event.wait()
        group.create_task(touch_once_each(pair[0], names[::2], 1))
        group.create_task(touch_once_each(pair[1], names[1::2], 2))
    assert all(task.result() == set(names) for task in watching)


async def publish(replica: Replica, shard: int, batches: int) -> list[str]:
    """What the projector of a shard stores."""
    ids: list[str] = []
    for batch in range(batches):
        now_us = replica.clock.now_us()
        events = [
            Event(
                id=f"{shard}-{batch}-{n}",
                type=EventType.LOG,
                occur_us=now_us,
                receive_us=now_us,
                source="e",
                workflow_id=f"s{shard}",
                agent_id="shared",
            )
            for n in range(5)
        ]
        ids += [event.id for event in events]
        await replica.project(shard, batch, *events)
    return ids


@pytest.mark.parametrize("rung", [True, False], ids=["rung", "by heartbeat"])
async def test_a_watch_of_events_sees_those_of_both_shards_once_and_in_order(
    pair: Pair, rung: bool
) -> None:
    one, other = pair
    changes = one.projected if rung else Changes()
    seen: list[str] = []

    async def follow(count: int) -> None:
        views = SqlEventViews(one.database, one.clock)
        source = views.follow("")
        async for update in watch(source, changes, "", backlog=1000, heartbeat=0.1):
            if isinstance(update, Items):
                for _, stored in update.items:
                    seen.append(events_pb2.Event.FromString(stored.payload).id)
            if len(seen) >= count:
                break

    async with asyncio.timeout(50), asyncio.TaskGroup() as group:
        group.create_task(follow(200))
        published = [
            group.create_task(publish(one, 0, 20)),
            group.create_task(publish(other, 1, 20)),
        ]
    for task in published:
        ours = task.result()
        assert [each for each in seen if each in set(ours)] == ours
    assert len(seen) == len(set(seen)) == 200
