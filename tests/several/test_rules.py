"""Rules with several replicas: any of them changes one, the one that leads goes by it, all show the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from pilothouse_server.adapters.sql.alert_desk_store import SqlAlertRequests
from pilothouse_server.adapters.sql.alert_store import SqlAlerts, steps_of
from pilothouse_server.adapters.sql.rule_store import SqlRules
from pilothouse_server.adapters.sql.rule_views import SqlRuleViews
from pilothouse_server.domain.alerts.records import Act, AlertStep
from pilothouse_server.domain.alerts.states import AlertState
from pilothouse_server.domain.errors import AlreadyThere, LeaseLost, NotFound
from pilothouse_server.services.alerts.desk import AlertRequests
from pilothouse_server.services.alerts.engine import AlertEngine
from pilothouse_server.services.alerts.following import RuleFollower
from pilothouse_server.services.alerts.journal import AlertJournal
from pilothouse_server.services.alerts.rulebook import Edit, Rulebook
from pilothouse_server.services.alerts.ruleviews import RuleViews
from pilothouse_server.services.ids import uuid7
from tests.alerts.build import SECOND, T0, depth
from tests.rules.build import rule, threshold
from tests.several.conftest import Replica
from tests.several.test_alerts import Pair, alerts_on
from tests.support import wait_until

ADA, BOB = Edit("ada"), Edit("bob", "too loud")


def book(replica: Replica) -> Rulebook:
    return Rulebook(SqlRules(replica.database), replica.clock, replica.rules)


def views(replica: Replica) -> RuleViews:
    return RuleViews(SqlRuleViews(replica.database), replica.clock, lambda: replica.desk.engine)


@asynccontextmanager
async def leading(replica: Replica) -> AsyncGenerator[AlertEngine]:
    """A tenure: its engine, and all that runs beside it."""
    database = await replica.reign()
    store = SqlAlerts(database)
    journal = AlertJournal(
        store, replica.clock, replica.alerted, replica.projected, replica.requests
    )
    engine = AlertEngine(store, journal, replica.clock, uuid7)
    await engine.start()
    requests = AlertRequests(SqlAlertRequests(database), engine, replica.clock, replica.requests)
    follower = RuleFollower(SqlRules(database), engine, replica.clock, replica.rules)
    tasks = [asyncio.create_task(part.run()) for part in (journal, requests, follower)]
    try:
        with replica.desk.leading(engine):
            yield engine
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError, LeaseLost):
                await task


async def steps_on(replica: Replica, alert_id: str) -> list[AlertStep]:
    return await replica.database.read(lambda connection: steps_of(connection, alert_id))


async def test_a_change_on_one_replica_is_gone_by_on_the_other(pair: Pair) -> None:
    one, other = pair
    async with leading(one) as engine:
        made = await book(other).create(rule("queue_depth > 10", id="r"), ADA)
        await wait_until(lambda: "r" in {each.id for each in engine.rules()}, what="the rule")
        engine.tick(depth(50), T0)
        await engine.journal.stored()
        (first,) = await alerts_on(other)
        assert first.instance.state == AlertState.FIRING
        changed = threshold("queue_depth > 20")
        await book(other).update("r", lambda r: replace(r, condition=changed), "1", BOB)
        await wait_until(lambda: not engine.live_count("r"), what="the end of its alert")
        engine.tick(depth(50), T0 + SECOND)
        await engine.journal.stored()
        second, ended = await alerts_on(other)
        assert (ended.id, ended.instance.state) == (first.id, AlertState.RESOLVED)
        assert (second.instance.state, second.rule_version) == (AlertState.FIRING, 2)
        last = (await steps_on(other, first.id))[-1]
        assert (last.act, last.actor) == (Act.RULE_CHANGE, "bob")
        assert "the rule was changed by bob" in last.comment
        assert made.version == 1


async def test_what_changed_while_nobody_led_is_gone_by_afterwards(pair: Pair) -> None:
    one, other = pair
    async with leading(one) as engine:
        await book(other).create(rule("queue_depth > 10", id="r"), ADA)
        await wait_until(lambda: "r" in {each.id for each in engine.rules()}, what="the rule")
        engine.tick(depth(50), T0)
        await engine.journal.stored()
    await book(one).enable("r", False, BOB)
    async with leading(other) as engine:
        await engine.journal.stored()
        (alert,) = await alerts_on(one)
        assert alert.instance.state == AlertState.RESOLVED
        await book(one).delete("r", "", BOB)
        await wait_until(lambda: "r" not in {each.id for each in engine.rules()}, what="its end")


async def test_two_replicas_never_give_a_name_twice(pair: Pair) -> None:
    one, other = pair
    made = await asyncio.gather(
        *(book(each).create(rule(id=""), ADA) for each in (one, other) * 4), return_exceptions=True
    )
    refused = [each for each in made if isinstance(each, AlreadyThere)]
    assert len(refused) == 7, made


async def test_rules_are_shown_everywhere_and_what_is_not_known_is_said(pair: Pair) -> None:
    one, other = pair
    await book(one).create(rule("queue_depth > 10", id="r"), ADA)
    unknown = await views(other).one("r")
    assert (unknown.live, unknown.meters) == (0, None)
    assert "not known" in unknown.error
    async with leading(one) as engine:
        engine.tick(depth(50), T0)
        await engine.journal.stored()
        here = await views(one).one("r")
        assert (here.live, here.error) == (1, "")
        assert here.meters is not None
        assert here.meters.run == 1

        async def known() -> bool:
            shown = await views(other).one("r")
            return shown.live == 1 and shown.meters is not None and not shown.error

        await wait_until(known, what="the lead's note")
        names = [view.rule.name for view in await views(other).every()]
        assert names == [view.rule.name for view in await views(one).every()] == sorted(names)
        await book(other).create(rule("queue_depth > 90", id="new", name="New"), ADA)
        for each in (one, other):
            new = await views(each).one("new")
            assert new.error == ""
            assert new.meters is None or not new.meters.run, "the lead has not judged it yet"
    other.clock.ahead_us = 60 * SECOND
    assert "not known" in (await views(other).one("r")).error
    await book(other).enable("r", False, ADA)
    assert (await views(other).one("r")).error == "", "nobody evaluates it, and nobody should"
    with pytest.raises(NotFound):
        await views(other).one("x")
