"""Lists of alerts, and following them from any point."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import cast

import pytest

from pilothouse_server.domain.alerts.records import Alert
from pilothouse_server.domain.alerts.states import AlertState
from pilothouse_server.domain.errors import InvalidFilter, InvalidPageToken, NotFound
from pilothouse_server.domain.events import Severity
from pilothouse_server.services.views import PageRequest
from pilothouse_server.services.watch import CaughtUp, Heartbeat, Items, Reset, Update, watch
from tests.alerts.build import SECOND, rule
from tests.alerts.conftest import Watchtower

Towers = Callable[..., Watchtower]
PLAIN = rule()
FOR = rule(id="f", name="For", for_us=5 * SECOND, severity=Severity.CRITICAL)


class Follower:
    """One watch, message by message, without its heartbeats."""

    def __init__(self, updates: AsyncIterator[Update[Alert]]) -> None:
        self._updates = updates
        self.token = ""

    async def next(self) -> str:
        """The states that came, or what else did."""
        while True:
            async with asyncio.timeout(5):
                update = await anext(self._updates)
            match update:
                case Items(items=items):
                    self.token = items[-1][0]
                    return " ".join(alert.instance.state.name for _, alert in items)
                case CaughtUp(token=token):
                    self.token = token
                    return "caught up"
                case Reset(token=token):
                    self.token = token
                    return "reset"
                case Heartbeat():
                    pass


@asynccontextmanager
async def following(tower: Watchtower, token: str = "") -> AsyncGenerator[Follower, None]:
    updates = watch(tower.queries.follow(), tower.changes, token, backlog=0)
    async with aclosing(cast("AsyncGenerator[Update[Alert], None]", updates)) as closing:
        yield Follower(closing)


async def test_a_list_is_newest_first_and_comes_in_pages(towers: Towers) -> None:
    tower = towers(PLAIN)
    await tower.open()
    for waiting in (11, 9) * 5:
        await tower.tick(waiting)
    everything = [alert.id for alert in await tower.alerts()]
    assert len(everything) == 5
    paged: list[str] = []
    token = ""
    while True:
        page = await tower.queries.alerts(PageRequest(2, token))
        paged += [alert.id for alert in page.items]
        token = page.next_token
        if not token:
            break
    assert paged == everything
    starts = [alert.instance.active_us for alert in await tower.alerts()]
    assert starts == sorted(starts, reverse=True)


async def test_a_list_is_filtered_by_what_people_ask(towers: Towers) -> None:
    tower = towers(PLAIN, FOR)
    await tower.open()
    await tower.tick(11)

    async def rules(filter_text: str) -> list[str]:
        return sorted(alert.rule_id for alert in await tower.alerts(filter_text))

    assert await rules("") == ["f", "r"]
    assert await rules("state = firing") == ["r"]
    assert await rules("severity >= error") == ["f"]
    assert await rules("rule = f OR state = ALERT_STATE_FIRING") == ["f", "r"]
    assert await rules('"depth 11"') == ["f", "r"]
    assert await rules("fire_time > -1h") == ["r"]
    assert await rules("fire_time < -1h") == []
    assert await rules("NOT acknowledged = true") == ["f", "r"]


async def test_bad_filters_tokens_and_ids_are_named(towers: Towers) -> None:
    tower = towers(PLAIN)
    await tower.open()
    for waiting in (11, 9, 11):
        await tower.tick(waiting)
    with pytest.raises(InvalidFilter, match="one of the fields"):
        await tower.alerts("colour = red")
    page = await tower.queries.alerts(PageRequest(1))
    for token in (page.next_token + "x", "%%%", page.next_token[2:]):
        with pytest.raises(InvalidPageToken):
            await tower.queries.alerts(PageRequest(1, token))
    with pytest.raises(InvalidPageToken):
        await tower.queries.alerts(PageRequest(1, page.next_token, "state = firing"))
    with pytest.raises(NotFound):
        await tower.queries.alert_with_steps("nothing")


async def test_following_begins_with_what_is_not_over_and_goes_on_with_every_change(
    towers: Towers,
) -> None:
    tower = towers(PLAIN)
    await tower.open()
    for waiting in (11, 9, 11):
        await tower.tick(waiting)
    async with following(tower) as follower:
        assert await follower.next() == "FIRING"
        assert await follower.next() == "caught up"
        await tower.tick(9)
        assert await follower.next() == "RESOLVED"
        await tower.tick(11)
        assert await follower.next() == "FIRING"


async def test_following_begins_before_the_first_alert(towers: Towers) -> None:
    tower = towers(PLAIN)
    await tower.open()
    async with following(tower) as follower:
        assert await follower.next() == "caught up"
        await tower.tick(11)
        assert await follower.next() == "FIRING"


async def test_a_token_goes_on_where_it_was_over_a_restart(towers: Towers) -> None:
    tower = towers(PLAIN)
    await tower.open()
    await tower.tick(11)
    async with following(tower) as follower:
        assert await follower.next() == "FIRING"
    await tower.tick(9)
    await tower.restart()
    async with following(tower, follower.token) as again:
        assert await again.next() == "RESOLVED"
        assert await again.next() == "caught up"
    async with following(tower, again.token) as last:
        assert await last.next() == "caught up"


async def test_a_pending_alert_that_goes_is_seen_to_go(towers: Towers) -> None:
    tower = towers(FOR)
    await tower.open()
    await tower.tick(11)
    async with following(tower) as follower:
        assert await follower.next() == "PENDING"
        await tower.tick(9)
        assert "RESOLVED" in (await follower.next(), await follower.next())


async def test_who_was_away_while_an_alert_was_removed_starts_again(towers: Towers) -> None:
    tower = towers(FOR, PLAIN)
    await tower.open()
    await tower.tick(11)
    async with following(tower) as follower:
        assert await follower.next() == "PENDING FIRING"
        old = follower.token
    await tower.tick(9)
    await tower.tick(11, seconds=1000)
    await tower.tick(11, seconds=10)
    async with following(tower, old) as again:
        assert await again.next() == "reset"
        assert await again.next() == "FIRING FIRING"
        assert await again.next() == "caught up"


async def test_many_alerts_come_whole(towers: Towers) -> None:
    tower = towers(*(rule(id=f"r{n}", name=f"Rule {n}") for n in range(600)))
    await tower.open()
    await tower.tick(11)
    came: list[str] = []
    async with following(tower) as follower:
        while (said := await follower.next()) != "caught up":
            came += said.split()
    assert came == [AlertState.FIRING.name] * 600
