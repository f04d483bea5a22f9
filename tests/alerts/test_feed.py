"""Lists of alerts, and following them from any point."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import cast

import pytest
from sqlalchemy import Connection, insert, select

from pilothouse_server.adapters.sql import alert_lists
from pilothouse_server.adapters.sql.revisions import reserve_revisions
from pilothouse_server.adapters.sql.tables_control import ALERTS
from pilothouse_server.domain.alerts.records import Alert
from pilothouse_server.domain.alerts.requests import AlertRequest, Verb
from pilothouse_server.domain.alerts.states import AlertState
from pilothouse_server.domain.errors import InvalidFilter, InvalidPageToken, NotFound
from pilothouse_server.domain.events import Severity
from pilothouse_server.services.views import PageRequest
from pilothouse_server.services.watch import CaughtUp, Heartbeat, Items, Reset, Update, watch
from tests.alerts.build import SECOND, T0, rule
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
            async with asyncio.timeout(30):
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


async def test_alerts_are_found_by_their_labels_and_words(towers: Towers) -> None:
    core = rule(labels={"team": "core", "zone": "eu-1"}, name="Queue: the long one")
    tower = towers(core, rule(id="f", name="Other", labels={"team": "Edge"}))
    await tower.open()
    await tower.tick(11)

    async def rules(filter_text: str) -> list[str]:
        return sorted(alert.rule_id for alert in await tower.alerts(filter_text))

    assert await rules("labels.team = core") == ["r"]
    assert await rules("labels.team != core") == ["f"]
    assert await rules("labels.zone:*") == ["r"]
    assert await rules('labels.nothing = ""') == ["f", "r"]
    assert await rules("labels.team = edge") == [], "equal is equal"
    assert await rules("edge") == ["f"]
    assert await rules("QUE") == ["f", "r"], "in the summary of one, in the name of the other"
    assert await rules("LONG") == ["r"]
    assert await rules("ong") == [], "a word begins with what is searched"
    assert await rules("eu-1 core") == ["r"]
    assert await rules("core edge") == []
    assert await rules("long OR edge") == ["f", "r"]
    assert await rules("-long") == ["f"]
    for wrong, expected in (
        ("labels.team > a", "one of = !="),
        ("labels.9 = a", "one of the fields"),
        ("%", "a word with a letter"),
    ):
        with pytest.raises(InvalidFilter, match=expected):
            await tower.alerts(wrong)


async def test_what_changes_in_an_alert_is_found_at_once_and_what_is_removed_no_more(
    towers: Towers,
) -> None:
    tower = towers(PLAIN)
    await tower.open()
    await tower.tick(11)
    assert len(await tower.alerts('"depth 11"')) == 1
    await tower.tick(4711, seconds=10)
    assert len(await tower.alerts("4 711")) == 1
    assert await tower.alerts("711") != []
    (alert,) = await tower.alerts()
    asked = AlertRequest(Verb.ASSIGN, alert.id, "ada", "", assignee="bob")
    assigning = asyncio.create_task(tower.engine.act(asked))
    await asyncio.sleep(0)
    await tower.journal.flush()
    await assigning
    for filter_text in ("assignee = bob", "assignee:*", "assignee != ada", "kind = CONDITION"):
        assert len(await tower.alerts(filter_text)) == 1
    for filter_text in ("assignee = ada", "inhibited = true", "flapping = true", "kind = NO_DATA"):
        assert await tower.alerts(filter_text) == []


async def listed(tower: Watchtower, filter_text: str, patience: float) -> tuple[list[str], int]:
    """The ids of all that is listed, and in how many pages."""
    found: list[str] = []
    token, count = "", 0
    while True:
        asked = PageRequest(500, token, filter_text)
        page = await tower.database.read(
            partial(alert_lists.page, asked=asked, now_us=tower.clock.us, patience=patience)
        )
        found += [alert.id for alert in page.items]
        token, count = page.next_token, count + 1
        if not token:
            return found, count


async def test_a_list_that_takes_too_long_goes_on_with_the_next_page(
    towers: Towers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_lists, "LOOK", 256)
    tower = towers(PLAIN)
    await tower.open()
    await tower.tick(11)
    (alert,) = await tower.alerts()

    def fill(connection: Connection) -> None:
        row = dict(connection.execute(select(ALERTS)).mappings().one())
        last = reserve_revisions(connection, 3_000)[-1]
        rows = [
            row | {"id": f"l{n:05}", "sequence": last - n, "revision": last - n, "state": 4}
            | {"active_us": T0 - n % 100 * SECOND, "rule_id": f"r{n % 3}", "fire_us": T0 + n}
            | {"resolve_us": T0 + n, "severity": 5 if n == 2_502 else 3}
            for n in range(2_999)
        ]  # fmt: skip
        connection.execute(insert(ALERTS), rows)

    await tower.database.write(fill)
    everything, _ = await listed(tower, "", 10)
    assert (len(everything), everything[0]) == (3_000, alert.id)
    assert await listed(tower, "severity = CRITICAL", 0) == (["l02502"], 1), "an index knows it"
    for filter_text in (
        "rule != r0 rule != r1 rule != r2 rule != r",
        "labels.nothing:* severity = WARNING",
    ):
        found, pages = await listed(tower, filter_text, 0)
        assert (found, pages > 2) == ([], True)
        assert await listed(tower, filter_text, 10) == ([], 1)
    whole, _ = await listed(tower, "rule = r2", 10)
    parts, _ = await listed(tower, "rule = r2", 0)
    assert (
        parts == whole == [each for each in everything if each[0] == "l" and int(each[1:]) % 3 == 2]
    )


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
    while tower.engine.firing.warning < 600:
        await tower.tick(11)
    came: list[str] = []
    async with following(tower) as follower:
        while (said := await follower.next()) != "caught up":
            came += said.split()
    assert came == [AlertState.FIRING.name] * 600
