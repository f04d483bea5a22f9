"""Whoever watches is never left with rows that are gone, and is sent anew no more often than that takes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from sqlalchemy import Connection, func, select

from pilothouse_server.adapters.sql import removals
from pilothouse_server.adapters.sql.tables_retention import REMOVALS
from pilothouse_server.domain.events import EventType
from pilothouse_server.services.retention import DAY_US
from pilothouse_server.services.watch import CaughtUp, Items, Reset, Update, WatchSource, watch
from tests.projection.build import NOON, event
from tests.retention.conftest import House

E = EventType


class Watcher:
    """One watch, and what a page that follows it shows."""

    _updates: AsyncGenerator[Update[Any]]

    def __init__(
        self, house: House, source: WatchSource[Any], token: str = "", **options: Any
    ) -> None:
        self.shown: dict[str, None] = {}
        self.token = token
        self.resets = 0
        options = {"backlog": 100} | options
        self._updates = watch(  # type: ignore[assignment] # it is one
            source, house.changes, token, heartbeat=0.02, **options
        )

    async def rest(self) -> list[str]:
        """Takes in updates until nothing is new; returns what is shown."""
        while True:
            update = await anext(self._updates)
            match update:
                case Items(items=items):
                    for token, item in items:
                        self.shown[name_of(item)] = None
                        self.token = token
                case Reset(token=token):
                    self.shown.clear()
                    self.resets += 1
                    self.token = token
                case CaughtUp(token=token):
                    self.token = token
                case _:
                    self.token = update.token
                    return sorted(self.shown)

    async def leave(self) -> None:
        await self._updates.aclose()


def name_of(item: Any) -> str:
    return item.record.id if hasattr(item, "record") else str(item.position)


async def end(house: House, *names: str) -> None:
    for name in names:
        await house.report(event(E.WORKFLOW_COMPLETED, workflow_id=name, receive_us=house.clock.us))


async def test_a_page_that_stays_open_lets_removed_workflows_go(house: House) -> None:
    await end(house, "a", "b")
    await house.sweep(workflows_us=DAY_US)
    house.clock.pass_days(1.1)
    page = Watcher(house, house.workflows.follow(""))
    filtered = Watcher(
        house, house.workflows.follow("state = completed"), backlog=0, reset_backlog=50
    )
    assert await page.rest() == ["a", "b"]
    assert await filtered.rest() == []
    await end(house, "c")
    assert await filtered.rest() == ["c"]
    await house.sweep(workflows_us=DAY_US)
    assert await page.rest() == ["c"]
    assert (page.resets, await filtered.rest(), filtered.resets) == (1, ["c"], 0)
    house.clock.pass_days(1.1)
    await end(house, "d")
    await house.sweep(workflows_us=DAY_US)
    assert (await page.rest(), await filtered.rest(), filtered.resets) == (["d"], ["d"], 1)
    await page.leave()
    await filtered.leave()


async def test_who_was_sent_nothing_that_is_gone_is_not_disturbed(house: House) -> None:
    await end(house, "old")
    await house.sweep(workflows_us=DAY_US)
    house.clock.pass_days(1.1)
    await end(house, *(f"w{n}" for n in range(5)))
    page = Watcher(house, house.workflows.follow(""), backlog=5)
    assert len(await page.rest()) == 5
    await house.sweep(workflows_us=DAY_US)
    assert (len(await page.rest()), page.resets) == (5, 0)
    # Nor when it comes back with its token.
    again = Watcher(house, house.workflows.follow(""), page.token)
    assert (await again.rest(), again.resets) == ([], 0)
    await page.leave()
    await again.leave()


async def test_who_comes_back_after_a_removal_starts_again_if_it_had_been_sent_such_rows(
    house: House,
) -> None:
    await end(house, "a", "b")
    await house.sweep(workflows_us=DAY_US)
    page = Watcher(house, house.workflows.follow(""))
    await page.rest()
    await page.leave()
    house.clock.pass_days(1.1)
    await end(house, "c")
    await house.sweep(workflows_us=DAY_US)
    database_id, mark, _first = page.token.split(".")
    for token in (page.token, f"{database_id}.{mark}"):
        again = Watcher(house, house.workflows.follow(""), token)
        assert (await again.rest(), again.resets) == (["c"], 1)
        await again.leave()


async def test_agents_that_were_removed_are_let_go(house: House) -> None:
    for name in ("a", "b"):
        await house.report(event(E.AGENT_HEARTBEAT, agent_id=name))
    await house.sweep(agents_us=DAY_US)
    page = Watcher(house, house.agents.follow())
    assert await page.rest() == ["a", "b"]
    house.clock.pass_days(1.1)
    await house.report(event(E.AGENT_HEARTBEAT, agent_id="b", receive_us=house.clock.us))
    await house.sweep(agents_us=DAY_US)
    assert (await page.rest(), page.resets) == (["b"], 1)
    assert (await page.rest(), page.resets) == (["b"], 1)
    await page.leave()


async def test_a_watch_of_events_from_before_the_oldest_starts_anew(house: House) -> None:
    await house.report(*(event(E.LOG, receive_us=NOON + n) for n in range(20)))
    slow = Watcher(house, house.events.follow(""), backlog=10, reset_backlog=3)
    assert len(await slow.rest()) == 10
    await slow.leave()
    database_id = slow.token.split(".")[0]
    house.clock.us = NOON + DAY_US + 15
    await house.sweep(events_us=DAY_US)
    for mark, resets, shown in ((15, 0, 5), (14, 1, 4), (0, 1, 4)):
        token = f"{database_id}.{mark}"
        page = Watcher(house, house.events.follow(""), token, backlog=4)
        assert (len(await page.rest()), page.resets) == (shown, resets)
        await page.leave()


async def test_a_watch_of_events_that_falls_behind_what_is_removed_is_told(house: House) -> None:
    await house.report(*(event(E.LOG, receive_us=NOON + n) for n in range(600)))
    source = house.events.follow("")
    updates = watch(source, house.changes, f"{(await source.start(0)).database_id}.0", backlog=9)
    first = await anext(updates)
    assert isinstance(first, Items)
    assert len(first.items) == 256
    house.clock.us = NOON + DAY_US + 590
    await house.sweep(events_us=DAY_US)
    assert isinstance(await anext(updates), Reset)
    rest = await anext(updates)
    assert isinstance(rest, Items)
    assert [item.position for _, item in rest.items] == list(range(592, 601))
    assert rest.skipped == 0
    assert isinstance(await anext(updates), CaughtUp)


async def test_what_is_remembered_of_removals_is_bounded_and_forgets_nothing(house: House) -> None:
    def note(connection: Connection) -> None:
        for number in range(2 * removals.REMEMBERED + 10):
            removals.note(connection, removals.Watched.WORKFLOWS, greatest=1000 + number)

    await house.database.write(note)
    query = select(func.count(), func.max(REMOVALS.c.greatest)).select_from(REMOVALS)
    rows, greatest = (await house.database.read(lambda c: c.execute(query).all()))[0]
    assert rows <= 2 * removals.REMEMBERED
    assert greatest == 1000 + 2 * removals.REMEMBERED + 9
    seen = await house.database.read(
        lambda c: removals.newest(c, removals.Watched.WORKFLOWS, mark=0)
    )
    assert len(seen.removals) == rows
    none = await house.database.read(
        lambda c: removals.newest(c, removals.Watched.WORKFLOWS, seen.revision)
    )
    assert none == (seen.revision, ())
