"""One reader for all who watch events: what each is sent is what a list has, in order, once."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing

import pytest
from sqlalchemy import Connection, update

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql import event_rows
from pilothouse_server.adapters.sql.event_tail_rows import SqlEventTail
from pilothouse_server.adapters.sql.revisions import POSITION
from pilothouse_server.adapters.sql.tables_projection import COUNTERS
from pilothouse_server.domain.errors import InvalidFilter, InvalidResumeToken, Unavailable
from pilothouse_server.domain.events import Event, EventType, Severity
from pilothouse_server.services.allowance import Allowance
from pilothouse_server.services.event_ring import TailLimits
from pilothouse_server.services.event_tail import EventTail, TailRead, TailSource
from tests.events_live.conftest import Feed, Watcher, running, updates
from tests.projection.build import NOON, event
from tests.support import wait_until

E = EventType
FILTERS = (
    "", "workflow_id = w3", "workflow_id = w1 OR workflow_id = w2", "severity >= WARNING", "type = LOG",
    "NOT type = LOG", "severity >= ERROR AND stage = build", "timeout", "conn time", "message:out",
    "type != LOG severity < ERROR", "agent_id = a1 OR disk", "workflow_id = nobody", "id = e7", "severity:*",
    "-(workflow_id = w1) agent_id = a2", "occur_time >= 1970-01-01T00:00:00Z", "type = TASK_FAILED OR type = LOG",
)  # fmt: skip
PATIENCE = 30.0
WORDS = ("Connection timeout", "disk full", "all well", "TIME out of mind", "")


def made(dice: random.Random, number: int) -> Event:
    return event(
        dice.choice((E.LOG, E.WORKFLOW_STARTED, E.TASK_FAILED, E.STAGE_STARTED)),
        id=f"e{number}",
        workflow_id=f"w{dice.randrange(6)}",
        agent_id=dice.choice(("", "a1", "a2")),
        stage=dice.choice(("build", "test")),
        task_id="t",
        severity=dice.choice(list(Severity)[1:]),
        message=dice.choice(WORDS),
        at=number,
    )


class StillClock(SystemClock):
    """A clock that stands."""

    def monotonic(self) -> float:
        return 0.0


async def until(watcher: Watcher, ids: list[str]) -> None:
    """It was sent these, and nothing else."""
    try:
        await wait_until(lambda: len(watcher.ids) >= len(ids), within=PATIENCE)
    finally:
        assert watcher.ids == ids


@pytest.mark.parametrize("seed", range(3))
async def test_replay_joins_live_whatever_is_asked_and_however_slow_somebody_is(
    feed: Feed, seed: int
) -> None:
    dice = random.Random(seed)
    limits = TailLimits(ring_events=dice.choice((5, 40, 400)), waiting=dice.choice((3, 300)))
    numbers = iter(range(10_000))

    async def flood(batches: int) -> None:
        for _ in range(batches):
            await feed.report(*(made(dice, next(numbers)) for _ in range(dice.randrange(1, 30))))

    async def hesitant(tail: EventTail, watcher: Watcher, filter_text: str) -> None:
        """Leaves and comes back by its token, and stands still now and then."""
        while True:
            stay = dice.randrange(1, 12)
            async with aclosing(updates(tail, filter_text, watcher.token, backlog=10)) as stream:
                async for update in stream:
                    watcher.note(update)
                    for _ in range(dice.randrange(3)):
                        await asyncio.sleep(0)
                    stay -= 1
                    if not stay and watcher.token:
                        break

    await flood(5)
    stale: dict[str, int] = {}
    hesitating: list[asyncio.Task[None]] = []
    async with running(feed.tail(limits)) as tail, asyncio.TaskGroup() as tasks:
        watchers = {text: Watcher() for text in FILTERS}
        for text, watcher in watchers.items():
            stale[text] = len(await feed.listed(text))
            hesitating.append(tasks.create_task(hesitant(tail, watcher, text)))
        await wait_until(lambda: all(each.token for each in watchers.values()))
        await flood(40)
        for text, watcher in watchers.items():
            ids = await feed.listed(text)
            await until(watcher, ids[max(0, stale[text] - 10) :])
            assert (watcher.resets, watcher.skipped) == (0, 0)
        for task in hesitating:
            task.cancel()


async def test_an_event_is_read_and_encoded_once_for_all_who_watch(feed: Feed) -> None:
    async with running(feed.tail()) as tail, asyncio.TaskGroup() as tasks:
        watchers = [Watcher() for _ in range(30)]
        following = [tasks.create_task(each.follow(updates(tail))) for each in watchers]
        for each in watchers:
            await each.caught_up.wait()
        await wait_until(lambda: tail.ring is not None)
        await feed.report(event(E.LOG, id="first"))
        for each in watchers:
            await until(each, ["first"])
        before = feed.encoded
        await feed.report(*(event(E.LOG, id=f"{n}") for n in range(50)))
        for each in watchers:
            await until(each, ["first", *map(str, range(50))])
        assert feed.encoded - before == 50
        assert tail.kept[0] == tail.counts.events
        for task in following:
            task.cancel()


async def test_each_is_asked_only_about_what_it_may_want(feed: Feed) -> None:
    async with running(feed.tail()) as tail, asyncio.TaskGroup() as tasks:
        watchers = [Watcher() for _ in range(20)]
        following = [
            tasks.create_task(each.follow(updates(tail, f"workflow_id = w{n}")))
            for n, each in enumerate(watchers)
        ]
        for each in watchers:
            await each.caught_up.wait()
        await wait_until(lambda: tail.ring is not None)
        for n in range(20):
            await feed.report(event(E.LOG, id=f"{n}", workflow_id=f"w{n}"))
        for n, each in enumerate(watchers):
            await until(each, [str(n)])
        assert tail.counts.asked <= 20
        for task in following:
            task.cancel()


async def test_nothing_is_read_or_kept_while_nobody_watches(feed: Feed) -> None:
    async with running(feed.tail()) as tail:
        await feed.report(*(event(E.LOG) for _ in range(10)))
        assert (tail.watchers, tail.kept, tail.counts.events) == (0, (0, 0), 0)
        async with aclosing(updates(tail)) as stream:
            await anext(stream)
            await wait_until(lambda: tail.ring is not None)
        assert tail.watchers == 0
        await feed.report(event(E.LOG))
        await wait_until(lambda: tail.ring is None)
        assert tail.kept == (0, 0)


async def test_one_that_does_not_read_holds_nobody_up_and_misses_nothing(feed: Feed) -> None:
    limits = TailLimits(ring_events=50, waiting=20)
    async with running(feed.tail(limits)) as tail, asyncio.TaskGroup() as tasks:
        quick, slow = Watcher(), Watcher()
        following = tasks.create_task(quick.follow(updates(tail)))
        async with aclosing(updates(tail)) as stalled:
            slow.note(await anext(stalled))
            await quick.caught_up.wait()
            await wait_until(lambda: tail.ring is not None)
            await feed.report(event(E.LOG, id="0"))
            slow.note(await anext(stalled))
            for n in range(1, 300):
                await feed.report(event(E.LOG, id=f"{n}"))
            await until(quick, [str(n) for n in range(300)])
            assert tail.kept[0] == 50
            while len(slow.ids) < 300:
                slow.note(await anext(stalled))
            assert slow.ids == quick.ids
            assert tail.counts.behind >= 1
        following.cancel()


async def test_what_is_sent_and_what_is_left_out_is_all_that_was_wanted(feed: Feed) -> None:
    async with running(feed.tail()) as tail, asyncio.TaskGroup() as tasks:
        watcher = Watcher()
        # Of a clock that stands: what is left out does not depend on how long the events take to come.
        allowance = Allowance(4, StillClock())
        stream = updates(tail, "message:wanted", allowance=allowance)
        following = tasks.create_task(watcher.follow(stream))
        await watcher.caught_up.wait()
        await wait_until(lambda: tail.ring is not None)
        await feed.report(event(E.LOG, id="joins", message="wanted"))
        await until(watcher, ["joins"])
        for n in range(200):
            message = "wanted" if n % 2 else "other"
            await feed.report(event(E.LOG, id=f"{n}", message=message))
        await wait_until(lambda: len(watcher.ids) + watcher.skipped == 101, within=PATIENCE)
        assert len(watcher.ids) == 20
        assert watcher.ids == [each for each in await feed.listed() if each in set(watcher.ids)]
        following.cancel()


async def test_of_many_that_came_meanwhile_the_few_that_were_wanted_are_not_left_out(
    feed: Feed,
) -> None:
    await feed.report(event(E.LOG, id="before"))
    async with running(feed.tail()) as tail:
        watcher = Watcher()
        async with aclosing(updates(tail, "needle", backlog=1)) as stream:
            while not watcher.caught_up.is_set():
                watcher.note(await anext(stream))
        for at in range(0, 3_000, 500):
            await feed.report(
                *(event(E.LOG, id=f"{n}", message="hay" if n % 300 else "needle") for n in range(at, at + 500))
            )  # fmt: skip
        back = Watcher()
        allowance = Allowance(4, feed.clock)
        stream = updates(tail, "needle", watcher.token, allowance=allowance)
        async with aclosing(stream):
            while not back.caught_up.is_set():
                back.note(await anext(stream))
        assert (back.ids, back.skipped) == ([str(n) for n in range(0, 3_000, 300)], 0)


async def test_a_token_of_another_history_is_told_so_and_a_made_up_one_refused(feed: Feed) -> None:
    await feed.report(*(made(random.Random(3), n) for n in range(20)))
    async with running(feed.tail()) as tail:
        for text in FILTERS:
            watcher = Watcher()
            async with aclosing(updates(tail, text, f"{'0' * 32}.7", backlog=5)) as stream:
                while not watcher.caught_up.is_set():
                    watcher.note(await anext(stream))
            assert watcher.resets == 1
            assert watcher.ids == (await feed.listed(text))[-5:]
            ours = watcher.token.split(".")[0]
            for token in ("nonsense", f"{watcher.token}.x", f"{ours}.-1"):
                with pytest.raises(InvalidResumeToken):
                    await anext(updates(tail, text, token))


async def test_a_filter_that_does_not_parse_is_refused(feed: Feed) -> None:
    tail = feed.tail()
    with pytest.raises(InvalidFilter):
        await anext(updates(tail, "severity >="))
    assert tail.watchers == 0


class Failing(TailSource):
    """A table that is away for a while."""

    def __init__(self, source: TailSource) -> None:
        self.source = source
        self.away = False

    async def newest(self) -> int:
        if self.away:
            raise Unavailable("database", "it is away")
        return await self.source.newest()

    async def after(self, position: int, limit: int) -> TailRead:
        if self.away:
            raise Unavailable("database", "it is away")
        return await self.source.after(position, limit)


async def test_while_the_common_reader_fails_everybody_reads_for_himself(feed: Feed) -> None:
    failing = Failing(SqlEventTail(feed.database))
    tail = feed.tail(source=failing)
    async with running(tail), asyncio.TaskGroup() as tasks:
        watcher = Watcher()
        following = tasks.create_task(watcher.follow(updates(tail)))
        await watcher.caught_up.wait()
        await wait_until(lambda: tail.ring is not None)
        failing.away = True
        await feed.report(event(E.LOG, id="0"))
        await until(watcher, ["0"])
        assert tail.counts.failures
        failing.away = False
        await wait_until(lambda: tail.ring is not None)
        await feed.report(event(E.LOG, id="1"))
        await until(watcher, ["0", "1"])
        following.cancel()


async def test_a_quiet_watch_at_the_tip_says_up_to_where_it_has_looked(feed: Feed) -> None:
    async with running(feed.tail()) as tail:
        with tail.follow("workflow_id = nobody") as follower:
            begun = await follower.start(0)
            await wait_until(lambda: tail.ring is not None)
            first = await follower.after(begun.newest, 10)
            await feed.report(*(event(E.LOG, receive_us=NOON) for _ in range(30)))
            await wait_until(lambda: tail.counts.events == 30)
            read = await follower.after(first.mark, 10)
    assert (read.mark - begun.newest, read.items, read.more) == (30, [], False)


async def test_a_database_that_lost_its_newest_events_begins_anew(feed: Feed) -> None:
    """As after a failover to a replica that had not got all of them."""

    def lose(connection: Connection) -> None:
        event_rows.remove(connection, 3, 6)
        connection.execute(update(COUNTERS).where(COUNTERS.c.name == POSITION).values(value=3))

    async with running(feed.tail()) as tail, asyncio.TaskGroup() as tasks:
        watcher = Watcher()
        following = tasks.create_task(watcher.follow(updates(tail)))
        await watcher.caught_up.wait()
        await wait_until(lambda: tail.ring is not None)
        for n in range(6):
            await feed.report(event(E.LOG, id=f"{n}"))
        await until(watcher, list("012345"))
        await feed.database.write(lose)
        feed.changes.notify()
        await wait_until(lambda: watcher.resets == 1)
        assert watcher.ids == list("012345")
        for n in range(6, 12):
            await feed.report(event(E.LOG, id=f"{n}"))
        await until(watcher, [*"0123456789", "10", "11"])
        following.cancel()
