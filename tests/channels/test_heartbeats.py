"""Heartbeats from outside: heard by any replica, late only when somebody listened, told to the engine in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from sqlalchemy import Connection, insert, select

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql import heartbeat_store
from pilothouse_server.adapters.sql.channel_store import SqlChannels
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.heartbeat_store import SqlHeartbeats
from pilothouse_server.adapters.sql.tables_channels import HEARTBEATS
from pilothouse_server.domain.errors import InvalidArgument, LimitExceeded, NotFound, Unavailable
from pilothouse_server.domain.events import Severity
from pilothouse_server.domain.notifications.channels import Heartbeat
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.heartbeats import (
    DEAF_US,
    Followed,
    FollowedHeartbeats,
    HeartbeatFollower,
    Heartbeats,
)
from tests.channels.build import NOW_US, SECOND, webhook
from tests.support import wait_until

HOUR = 3600 * SECOND


@dataclass
class SetClock(SystemClock):
    """A wall that tests move."""

    us: int = NOW_US

    def now_us(self) -> int:
        return self.us


@dataclass
class Watch:
    """Heartbeats, and one replica after another that leads."""

    database: Database
    clock: SetClock = field(default_factory=SetClock)
    changes: Changes = field(default_factory=Changes)

    def __post_init__(self) -> None:
        self.store = SqlHeartbeats(self.database)
        self.heartbeats = Heartbeats(self.store, self.clock, self.changes)

    async def lead(self, *, alone: bool = False, after: int = 0) -> HeartbeatFollower:
        """Somebody begins to lead so much later."""
        self.clock.us += after
        follower = HeartbeatFollower(self.store, self.clock, self.changes, alone=alone)
        await follower.start()
        return follower

    def late(self, follower: HeartbeatFollower) -> list[str]:
        """What the engine would find late now."""
        return [each.id for each in follower.due() if each.due_us <= self.clock.us]


@pytest.fixture
def watch(database: Database) -> Watch:
    return Watch(database)


def nightly() -> Heartbeat:
    """Every hour, five minutes of grace."""
    return Heartbeat("nightly", interval_us=HOUR, grace_us=300 * SECOND)


@asynccontextmanager
async def running(follower: HeartbeatFollower) -> AsyncGenerator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(follower.run())
        yield
        task.cancel()


async def test_a_heartbeat_is_set_heard_changed_and_deleted(watch: Watch) -> None:
    made = await watch.heartbeats.put(nightly())
    assert (made.create_us, made.last_us, made.count) == (NOW_US, None, 0)
    assert made.due_us == NOW_US + HOUR + 300 * SECOND

    watch.clock.us += 10 * SECOND
    due_us = await watch.heartbeats.beat("nightly")
    assert due_us == watch.clock.us + HOUR + 300 * SECOND
    changed = await watch.heartbeats.put(Heartbeat("nightly", HOUR, 300 * SECOND, "the backup"))
    assert (changed.due_us, changed.count, changed.last_us) == (due_us, 1, watch.clock.us)
    watch.clock.us += 10 * SECOND
    shorter = await watch.heartbeats.put(Heartbeat("nightly", 60 * SECOND))
    assert shorter.due_us == watch.clock.us + 60 * SECOND

    await watch.heartbeats.delete("nightly")
    for gone in (watch.heartbeats.delete("nightly"), watch.heartbeats.beat("nightly")):
        with pytest.raises(NotFound, match="there is no heartbeat 'nightly'"):
            await gone


async def test_channels_of_a_heartbeat_have_to_be_there(watch: Watch, database: Database) -> None:
    named = Heartbeat("nightly", HOUR, channels=("ops",))
    with pytest.raises(InvalidArgument, match="no channel 'ops'"):
        await watch.heartbeats.put(named)
    await SqlChannels(database).create(webhook("https://e.com/"), "", "")
    await watch.heartbeats.put(named)
    assert await database.read(heartbeat_store.channels_of) == {"nightly": ("ops",)}
    follower = await watch.lead()
    assert (follower.channels("nightly"), follower.channels("other")) == (("ops",), ())


async def test_there_are_no_more_than_a_thousand(watch: Watch, database: Database) -> None:
    await watch.heartbeats.put(nightly())

    def fill(connection: Connection) -> None:
        (row,) = connection.execute(select(HEARTBEATS)).mappings()
        rows = [{**row, "id": f"h{number}"} for number in range(999)]
        connection.execute(insert(HEARTBEATS), rows)

    await database.write(fill)
    with pytest.raises(LimitExceeded, match="at most 1,000"):
        await watch.heartbeats.put(Heartbeat("more", HOUR))
    await watch.heartbeats.put(Heartbeat("h7", HOUR, severity=Severity.WARNING))


async def test_many_beats_at_once_are_all_counted(watch: Watch) -> None:
    await watch.heartbeats.put(nightly())
    await asyncio.gather(*(watch.heartbeats.beat("nightly") for _ in range(200)))
    (found,) = await watch.heartbeats.every()
    assert found.count == 200


async def test_a_beat_of_a_clock_that_is_behind_takes_nothing_back(watch: Watch) -> None:
    await watch.heartbeats.put(nightly())
    due_us = await watch.heartbeats.beat("nightly")
    watch.clock.us -= 60 * SECOND
    assert await watch.heartbeats.beat("nightly") == due_us


async def test_silence_is_late_at_its_time_and_over_with_the_next_beat(watch: Watch) -> None:
    await watch.heartbeats.put(Heartbeat("quick", 15 * SECOND, 5 * SECOND))
    follower = await watch.lead()
    for late in ([], [], ["quick"]):
        watch.clock.us += 8 * SECOND
        await follower.start()
        assert watch.late(follower) == late
    async with running(follower):
        await watch.heartbeats.beat("quick")  # rings by itself
        await wait_until(lambda: watch.late(follower) == [])


async def test_a_beat_that_was_not_read_yet_raises_no_alarm(watch: Watch) -> None:
    await watch.heartbeats.put(Heartbeat("quick", 2 * SECOND))
    follower = await watch.lead()
    watch.clock.us += SECOND
    await watch.store.beat("quick", watch.clock.us)
    watch.clock.us += 2 * SECOND - 1
    assert watch.late(follower) == []


async def test_a_deleted_one_is_known_no_more(watch: Watch) -> None:
    await watch.heartbeats.put(nightly())
    follower = await watch.lead()
    async with running(follower):
        await watch.heartbeats.delete("nightly")
        await wait_until(lambda: follower.due() == [])


@pytest.mark.parametrize(("alone", "down"), [(True, SECOND), (True, 2 * HOUR), (False, 2 * HOUR)])
async def test_time_in_which_nobody_could_hear_raises_no_alarm(
    alone: bool, down: int, watch: Watch
) -> None:
    await watch.heartbeats.put(nightly())
    await watch.lead(alone=alone)

    follower = await watch.lead(alone=alone, after=down)

    (due,) = follower.due()
    assert watch.late(follower) == []
    assert due.due_us == watch.clock.us + HOUR + 300 * SECOND
    # The next lead, soon after, does not know of it any more, and still gives the time.
    follower = await watch.lead(alone=False, after=5 * SECOND)
    assert watch.late(follower) == []


async def test_another_lead_that_takes_over_gives_no_more_time(watch: Watch) -> None:
    made = await watch.heartbeats.put(nightly())
    await watch.lead()
    follower = await watch.lead(after=6 * SECOND)
    assert [each.due_us for each in follower.due()] == [made.due_us]


async def test_what_was_late_stays_late_over_a_restart(watch: Watch) -> None:
    await watch.heartbeats.put(Heartbeat("late", 60 * SECOND))
    await watch.heartbeats.put(nightly())
    follower = await watch.lead()
    for _ in range(8):
        watch.clock.us += 8 * SECOND
        await follower.start()
    assert watch.late(follower) == ["late"]

    follower = await watch.lead(alone=True, after=2 * HOUR)

    assert watch.late(follower) == ["late"]
    await watch.heartbeats.beat("late")
    assert watch.late(await watch.lead()) == []


async def test_a_machine_that_slept_heard_nobody(watch: Watch) -> None:
    await watch.heartbeats.put(nightly())
    follower = await watch.lead()
    watch.clock.us += 10 * HOUR
    await follower.start()
    assert watch.late(follower) == []


class Away(FollowedHeartbeats):
    """A database that is away at times."""

    def __init__(self, store: SqlHeartbeats) -> None:
        self.store = store
        self.away = False

    async def followed(self) -> Followed:
        if self.away:
            raise Unavailable("database", "it went away")
        return await self.store.followed()

    async def note(self, now_us: int) -> None:
        await self.store.note(now_us)

    async def listen_again(self, deaf_us: int, now_us: int) -> None:
        await self.store.listen_again(deaf_us, now_us)


async def test_while_the_database_is_away_nothing_becomes_late(watch: Watch) -> None:
    await watch.heartbeats.put(nightly())
    store = Away(watch.store)
    follower = HeartbeatFollower(store, watch.clock, watch.changes, alone=False)
    await follower.start()
    async with running(follower):
        store.away = True
        await wait_until(lambda: follower.waiting_for == "database: it went away")
        watch.clock.us += 2 * HOUR
        assert watch.late(follower) == []
        store.away = False
        await wait_until(lambda: follower.waiting_for == "")
        assert watch.late(follower) == []
    assert DEAF_US < 2 * HOUR
