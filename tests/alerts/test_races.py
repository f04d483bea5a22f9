"""What comes between: a storm, an edit, a restart or an act at the worst moment."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from pilothouse_server.domain.alerts import records
from pilothouse_server.domain.alerts.conditions import NOTHING
from pilothouse_server.domain.alerts.records import Act
from pilothouse_server.domain.alerts.requests import AlertRequest, Verb
from pilothouse_server.domain.alerts.rules import NoDataPolicy
from pilothouse_server.domain.alerts.states import AlertState, Instance
from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.domain.metrics.snapshot import Dimension, MetricsSnapshot
from pilothouse_server.services.alerts import journal as journals
from pilothouse_server.services.alerts.flaps import FlapHistory
from pilothouse_server.services.ids import uuid7
from tests.alerts.build import SECOND, over, rule, series, snapshot
from tests.alerts.conftest import UNHURRIED, Watchtower

Towers = Callable[..., Watchtower]
PLAIN = rule()
EACH = rule(dimension=Dimension.STAGE)


def stages(*names: str, depth: int) -> MetricsSnapshot:
    return snapshot(*(series(Dimension.STAGE, name, depth=depth) for name in names))


async def test_what_holds_again_while_too_many_begin_has_its_turn_in_the_next_slot(
    towers: Towers,
) -> None:
    tower = towers(EACH, limits=replace(UNHURRIED, begun_at_once=1))
    await tower.open()
    deep, calm = stages("a", "b", depth=20), stages("a", "b", depth=1)
    for shown in (deep, deep, calm, deep, deep):
        await tower.tick(shown)
    states = await tower.states()
    assert sorted(states) == ["FIRING"] * 2 + ["RESOLVED"] * 2


async def test_what_was_resolved_by_hand_under_a_rule_that_was_disabled_holds_back_nothing_later(
    towers: Towers,
) -> None:
    tower = towers(PLAIN)
    await tower.open()
    await tower.tick(11)
    (alert,) = await tower.alerts()
    resolving = asyncio.ensure_future(
        tower.engine.resolve(alert.id, actor="alice", reason="seen", etag="")
    )
    await asyncio.sleep(0)
    await tower.journal.flush()
    await resolving
    tower.engine.apply([replace(PLAIN, enabled=False, version=2)], tower.clock.us)
    tower.engine.apply([replace(PLAIN, version=3)], tower.clock.us)
    await tower.tick(11)
    await tower.tick(9)
    await tower.restart()
    await tower.tick(11)
    assert await tower.states() == ["FIRING", "RESOLVED", "RESOLVED"]


async def acts(tower: Watchtower, asked: AlertRequest) -> None:
    """As a caller whose act meets a database that refuses once."""
    tower.store.refuse = 1
    acting = asyncio.ensure_future(tower.engine.act(asked))
    while tower.store.refuse:
        await asyncio.sleep(0)
        with contextlib.suppress(Unavailable):
            await tower.journal.flush()
    with pytest.raises(Unavailable):
        await acting


async def test_a_repeat_of_an_act_that_is_not_stored_yet_is_no_second_one(towers: Towers) -> None:
    tower = towers(PLAIN)
    await tower.open()
    await tower.tick(11)
    (alert,) = await tower.alerts()
    asked = AlertRequest(Verb.COMMENT, alert.id, "alice", "look", request_id=uuid7())
    await acts(tower, asked)
    again = asyncio.ensure_future(tower.engine.act(asked))
    while not again.done():
        await asyncio.sleep(0)
        await tower.journal.flush()
    await again
    _, steps = await tower.queries.alert_with_steps(alert.id)
    assert [step.act for step in steps].count(Act.COMMENT) == 1


async def test_a_row_taken_again_before_its_answer_is_stored_is_no_second_act(
    towers: Towers,
) -> None:
    tower = towers(PLAIN)
    await tower.open()
    await tower.tick(11)
    (alert,) = await tower.alerts()
    asked = AlertRequest(Verb.COMMENT, alert.id, "alice", "look", id=uuid7())
    await acts(tower, asked)
    again = asyncio.ensure_future(tower.engine.act(asked))
    while not again.done():
        await asyncio.sleep(0)
        await tower.journal.flush()
    assert (await again).id == alert.id
    _, steps = await tower.queries.alert_with_steps(alert.id)
    assert [step.act for step in steps].count(Act.COMMENT) == 1


async def test_while_too_much_waits_for_the_database_nobody_acts(
    towers: Towers, monkeypatch: pytest.MonkeyPatch
) -> None:
    tower = towers(PLAIN)
    await tower.open()
    await tower.tick(11)
    (alert,) = await tower.alerts()
    monkeypatch.setattr(journals, "MOST_STEPS", 2)
    for verb in (Verb.COMMENT, Verb.ACKNOWLEDGE):
        await acts(tower, AlertRequest(verb, alert.id, "alice", "look"))
    assert tower.journal.full
    with pytest.raises(Unavailable, match="nothing was done"):
        await tower.engine.act(AlertRequest(Verb.COMMENT, alert.id, "alice", "again"))
    await tower.journal.flush()
    _, steps = await tower.queries.alert_with_steps(alert.id)
    assert [step.act for step in steps] == [Act.CONDITION, Act.COMMENT, Act.ACKNOWLEDGE]


async def flap(tower: Watchtower, times: int) -> None:
    for number in range(times):
        await tower.tick(9 if number % 2 else 11, seconds=10)


async def calm(tower: Watchtower) -> None:
    for _ in range(22):
        await tower.tick(9, seconds=10)


async def test_what_flaps_when_its_rule_is_changed_is_told_to_flap_no_more(towers: Towers) -> None:
    tower = towers(PLAIN)
    await tower.open()
    await flap(tower, 10)
    (newest, *_) = await tower.alerts()
    assert newest.suppression.flapping
    tower.engine.apply([rule(threshold=1000.0, version=2)], tower.clock.us)
    await calm(tower)
    (newest, *_) = await tower.alerts()
    assert not newest.suppression.flapping
    await tower.path_of(newest)


async def test_a_comment_on_what_flapped_before_a_restart_keeps_its_place(towers: Towers) -> None:
    tower = towers(PLAIN)
    await tower.open()
    await flap(tower, 12)
    await tower.restart()
    (newest, *_) = await tower.alerts()
    acting = asyncio.ensure_future(
        tower.engine.act(AlertRequest(Verb.COMMENT, newest.id, "alice", "noise"))
    )
    while not acting.done():
        await asyncio.sleep(0)
        await tower.journal.flush()
    await acting
    await calm(tower)
    (newest, *_) = await tower.alerts()
    assert not newest.suppression.flapping
    await tower.path_of(newest)


async def test_the_value_is_stored_again_where_the_clock_of_a_new_lead_is_behind(
    towers: Towers,
) -> None:
    tower = towers(PLAIN)
    await tower.open()
    await tower.tick(11)
    await tower.restart(down=-3600)
    await tower.tick(12)
    await tower.tick(13, seconds=10)
    (alert,) = await tower.alerts()
    assert alert.instance.value == 13


async def test_a_storm_that_is_remembered_holds_up_no_slot(towers: Towers) -> None:
    tower = towers(PLAIN)
    await tower.open()
    flaps = FlapHistory(tower.journal)
    began = 1_000_000_000 * SECOND
    one = records.begin(
        records.Beginning("a", PLAIN, ""), Instance(AlertState.FIRING, began, began), (NOTHING,)
    ).alert
    flaps.restore({}, [replace(one, name=str(each)) for each in range(50_000)], began)
    assert flaps.changed(replace(one, name="0"), began) is False
    took: list[float] = []
    for slots in range(1, 6):
        begin = time.thread_time()
        assert flaps.sweep(began + slots * 10 * SECOND) == []
        took.append(time.thread_time() - begin)
    # Of its own time, and without what is cleaned up for all tests in the middle of one.
    assert min(took) < 0.05
    flaps.sweep(began + 210 * SECOND)
    assert not flaps.changed(replace(one, name="other"), began + 210 * SECOND)
    assert flaps.beyond == 0, "what is quiet was forgotten"


@pytest.mark.parametrize("state", ["PENDING", "FIRING", "RECOVERING", "FLAPPING"])
async def test_a_rule_that_is_changed_while_nobody_leads_ends_what_it_began(
    towers: Towers, state: str
) -> None:
    before = rule(
        for_us=(3600 if state == "PENDING" else 0) * SECOND,
        keep_firing_us=(3600 if state == "RECOVERING" else 0) * SECOND,
    )
    tower = towers(before)
    await tower.open()
    await flap(tower, 11 if state == "FLAPPING" else 2 if state == "RECOVERING" else 1)
    await tower.restart_with(replace(before, condition=over(1000.0), version=2, updated_by="bob"))
    await tower.tick(11)
    shown = await tower.alerts()
    if state == "PENDING":
        assert shown == []
        return
    newest = shown[0]
    assert newest.instance.state == AlertState.RESOLVED
    _, steps = await tower.queries.alert_with_steps(newest.id)
    changes = [step for step in steps if step.act == Act.RULE_CHANGE]
    assert [step.comment for step in changes] == ["the rule was changed by bob"]
    await calm(tower)
    (newest, *_) = await tower.alerts()
    assert not newest.suppression.flapping
    await tower.path_of(newest)


async def test_an_alert_of_no_value_goes_on_after_a_restart(towers: Towers) -> None:
    absent = rule(dimension=Dimension.STAGE, no_data_policy=NoDataPolicy.ALERT, for_us=3 * SECOND)
    there, few = stages("a", depth=20), stages("a", depth=1)
    tower = towers(replace(absent, condition=over(dimension=Dimension.STAGE, min_samples=5)))
    await tower.open()
    for _ in range(2):
        await tower.tick(few)
    assert await tower.states() == ["PENDING"]
    await tower.restart(down=100)
    await tower.tick(few, seconds=0)
    assert await tower.states() == ["PENDING"], "time of being down does not count"
    await tower.tick(few)
    await tower.tick(few)
    assert await tower.states() == ["FIRING"]
    await tower.restart()
    await tower.tick(few)
    assert await tower.states() == ["FIRING"]
    await tower.tick(there)
    assert "RESOLVED" in await tower.states()


async def test_a_rule_that_is_deleted_is_over_its_limit_no_more(towers: Towers) -> None:
    tower = towers(replace(EACH, instance_limit=1))
    await tower.open()
    await tower.tick(stages("a", "b", depth=20))
    assert [each.rule_name for each in await tower.alerts("state = firing")].count(
        "RuleOverLimit"
    ) == 1
    tower.engine.apply([], tower.clock.us)
    await tower.tick(stages("a", "b", depth=20))
    assert await tower.states() == ["RESOLVED", "RESOLVED"]


async def test_a_slot_without_time_for_those_that_are_refused_ends_no_alert_about_them(
    towers: Towers,
) -> None:
    tower = towers(replace(EACH, instance_limit=1), limits=replace(UNHURRIED, rule_ns=0))
    await tower.open()
    names = [f"{number:03}" for number in range(200)]
    for number in range(8):
        calm = [series(Dimension.STAGE, name, depth=number % 2) for name in names[:150]]
        deep = [series(Dimension.STAGE, name, depth=20) for name in names[150:]]
        await tower.tick(snapshot(*calm, *deep))
    over_limit = [each for each in await tower.alerts() if each.rule_name == "RuleOverLimit"]
    assert [each.instance.state for each in over_limit] == [AlertState.FIRING]
