"""What alerts mean, line by line, of the engine on a real database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import func, select

from pilothouse_server.adapters.sql.tables_control import ALERT_TRANSITIONS, ALERTS, OUTBOX
from pilothouse_server.adapters.sql.tables_notifications import NOTIFICATION_INTENTS
from pilothouse_server.domain.alerts.conditions import AlertMetric, AllOf, AnyOf
from pilothouse_server.domain.alerts.records import Act, Alert, AlertKind
from pilothouse_server.domain.alerts.rules import NoDataPolicy, Rule
from pilothouse_server.domain.alerts.states import (
    AlertState,
)
from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.domain.metrics.snapshot import (
    MINUTE_US,
    Dimension,
    MetricsSnapshot,
    SeriesMetrics,
)
from tests.alerts.build import SECOND, depth, over, rule, series, snapshot, window
from tests.alerts.conftest import UNHURRIED, Watchtower

Towers = Callable[..., Watchtower]


async def intents(tower: Watchtower) -> list[int]:
    query = select(NOTIFICATION_INTENTS.c.kind).order_by(NOTIFICATION_INTENTS.c.position)
    rows = await tower.database.read(lambda connection: connection.execute(query).scalars().all())
    return list(rows)


FAILS = over(0.1, metric=AlertMetric.ERROR_RATE, dimension=Dimension.STAGE, window_us=MINUTE_US)
STAGES = rule(condition=FAILS)


def failing(*names: str) -> list[SeriesMetrics]:
    return [series(Dimension.STAGE, name, windows=(window(1, 0, 1),)) for name in names]


def empty(*names: str) -> list[SeriesMetrics]:
    return [series(Dimension.STAGE, name) for name in names]


async def test_5_each_instance_without_a_value_has_one_alert_beside_its_own(towers: Towers) -> None:
    tower = towers(replace(STAGES, no_data_policy=NoDataPolicy.ALERT, for_us=3 * SECOND))
    await tower.open()
    for _ in range(4):
        await tower.tick(snapshot(*failing("a", "b")))
    for _ in range(4):
        await tower.tick(snapshot(*failing("b"), *empty("a", "c")))
    alerts = {(each.kind.name, each.name): each for each in await tower.alerts()}
    assert {key: each.instance.state.name for key, each in alerts.items()} == {
        ("CONDITION", "a"): "FIRING",
        ("CONDITION", "b"): "FIRING",
        ("NO_DATA", "a"): "FIRING",
        ("NO_DATA", "c"): "FIRING",
    }
    absent = alerts["NO_DATA", "a"]
    assert absent.summary == "No value to judge by: Error rate over 1 min, stage a"
    assert (absent.instance.value, absent.labels["alert_kind"]) == (None, "no_data")
    await tower.tick(snapshot(*failing("a", "b", "c")))
    resolved = [each for each in await tower.alerts() if each.kind == AlertKind.NO_DATA]
    assert [each.instance.state.name for each in resolved] == ["RESOLVED"] * 2


async def test_5_what_is_forgotten_altogether_has_no_value(towers: Towers) -> None:
    tower = towers(replace(STAGES, no_data_policy=NoDataPolicy.ALERT))
    await tower.open()
    await tower.tick(snapshot(*failing("a")))
    await tower.tick(snapshot())
    assert sorted(await tower.states()) == ["FIRING", "FIRING"]
    await tower.tick(snapshot(*failing("a")))
    assert sorted(await tower.states()) == ["FIRING", "RESOLVED"]


async def test_5_an_error_keeps_the_state_and_is_shown(
    towers: Towers, monkeypatch: pytest.MonkeyPatch
) -> None:
    tower = towers(rule())
    await tower.open()
    await tower.tick(11)

    def fails(*_: object) -> None:
        raise ValueError("no such thing")

    with monkeypatch.context() as patched:
        patched.setattr("pilothouse_server.domain.alerts.states.judge", fails)
        await tower.tick(9)
    assert await tower.states() == ["FIRING"]
    assert tower.engine.meters()["r"].error == "ValueError: no such thing"
    await tower.tick(9)
    assert await tower.states() == ["RESOLVED"]


async def test_6_over_the_limit_those_that_exist_stay_new_ones_are_refused_and_one_alert_says_so(
    towers: Towers,
) -> None:
    tower = towers(replace(STAGES, instance_limit=2))
    await tower.open()
    await tower.tick(snapshot(*failing("b")))
    await tower.tick(snapshot(*failing(*"abcd")))
    names = sorted((each.rule_id, each.name) for each in await tower.alerts())
    assert names == [("r", "a"), ("r", "b"), ("rule-over-limit", "r")]
    await tower.tick(snapshot(*failing("c", "d"), *empty("a", "b")))
    assert len(await tower.alerts()) == 3, "no value is not the end of one"
    mended = [series(Dimension.STAGE, name, windows=(window(1, 9, 0),)) for name in "ab"]
    await tower.tick(snapshot(*failing("c"), *mended))
    await tower.tick(snapshot(*failing("c"), *mended))
    states = {each.name: each.instance.state.name for each in await tower.alerts()}
    assert states == {"a": "RESOLVED", "b": "RESOLVED", "c": "FIRING", "r": "RESOLVED"}


async def test_7_nothing_is_resolved_before_one_evaluation_over_fresh_data(towers: Towers) -> None:
    tower = towers(rule())
    await tower.open()
    await tower.tick(11)
    await tower.restart(down=100)
    await tower.tick(replace(depth(0), caught_up=False))
    assert await tower.states() == ["FIRING"]
    await tower.tick(0)
    assert await tower.states() == ["RESOLVED"]


async def test_7_time_of_being_down_counts_for_no_hold_however_often(towers: Towers) -> None:
    tower = towers(rule(for_us=6 * SECOND))
    await tower.open()
    for _ in range(5):
        await tower.tick(11)
        await tower.restart(down=1000)
        await tower.tick(11)
        await tower.restart(down=1000)
    # Of each second of evaluation between two slots nothing is seen: only slots of one engine follow each other.
    assert await tower.states() == ["PENDING"]
    for _ in range(6):
        await tower.tick(11)
    assert await tower.states() == ["PENDING"]
    await tower.tick(11)
    assert await tower.states() == ["FIRING"]


CHANGES: list[tuple[str, Callable[[Rule], Rule], bool]] = [
    ("threshold", lambda r: replace(r, condition=over(10.5)), True),
    ("scope", lambda r: replace(r, condition=replace(r.first, dimension=Dimension.STAGE)), True),
    ("labels", lambda r: replace(r, labels={"team": "core"}), True),
    ("nothing", lambda r: r, False),
    ("name", lambda r: replace(r, name="Another"), False),
    ("for", lambda r: replace(r, for_us=SECOND), False),
    ("annotations", lambda r: replace(r, annotations={"a": "b"}), False),
]


@pytest.mark.parametrize(
    ("changed", "resets"), [each[1:] for each in CHANGES], ids=[each[0] for each in CHANGES]
)
@pytest.mark.parametrize("live", [True, False], ids=["live", "at a start"])
async def test_7_a_change_of_threshold_scope_or_labels_resets_that_rule_only(
    towers: Towers, changed: Callable[[Rule], Rule], *, resets: bool, live: bool
) -> None:
    before, other = rule(), rule(id="q", name="Q")
    tower = towers(before, other)
    await tower.open()
    await tower.tick(11)
    after = replace(changed(before), version=2, updated_by="ada")
    if live:
        tower.engine.apply([after, other], tower.clock.us)
        await tower.journal.flush()
    else:
        await tower.restart_with(after, other)
        await tower.journal.flush()
    states = {each.rule_id: each.instance.state.name for each in await tower.alerts()}
    assert states == {"r": "RESOLVED" if resets else "FIRING", "q": "FIRING"}
    (alert,) = await tower.alerts("rule = r")
    _, steps = await tower.queries.alert_with_steps(alert.id)
    said = [(each.act, each.actor, each.comment) for each in steps]
    if resets:
        assert said[1:] == [(Act.RULE_CHANGE, "ada", "the rule was changed by ada")]
        assert not alert.instance.latched


@pytest.mark.parametrize(("left", "said"), [([], "deleted"), ([rule(enabled=False)], "disabled")])
async def test_7_a_rule_that_is_gone_or_disabled_ends_its_alerts(
    towers: Towers, left: list[Rule], said: str
) -> None:
    tower = towers(rule(), rule(id="p", name="P", for_us=10 * SECOND))
    await tower.open()
    await tower.tick(11)
    tower.engine.apply(left, tower.clock.us)
    await tower.tick(11)
    (alert,) = await tower.alerts()
    assert alert.instance.state == AlertState.RESOLVED
    _, steps = await tower.queries.alert_with_steps(alert.id)
    assert steps[-1].comment == f"the rule was {said}"
    assert await tower.told() == ["firing", "resolved"]


async def test_8_slots_missed_are_counted_and_not_replayed(towers: Towers) -> None:
    tower = towers(rule(for_us=6 * SECOND))
    await tower.open()
    await tower.tick(11)
    await tower.tick(11, seconds=5)
    meters = tower.engine.meters()["r"]
    assert (meters.run, meters.missed) == (2, 4)
    (alert,) = await tower.alerts()
    assert len((await tower.queries.alert_with_steps(alert.id))[1]) == 1
    await tower.tick(11)
    assert await tower.states() == ["FIRING"], "time in which it ran counts, looked or not"


@pytest.mark.parametrize("restart", [False, True], ids=["", "and a restart"])
async def test_8_a_wall_put_forward_by_an_hour_makes_nothing_fire_or_resolve(
    towers: Towers, *, restart: bool
) -> None:
    tower = towers(rule(for_us=5 * SECOND), rule(id="k", name="K", keep_firing_us=5 * SECOND))
    await tower.open()
    await tower.tick(11)
    await tower.tick(9)
    await tower.tick(11)
    tower.clock.stepped_us += 3600 * SECOND
    await tower.tick(9 if restart else 11, seconds=3601)
    by_rule = {each.rule_id: each for each in await tower.alerts()}
    if restart:
        assert by_rule["k"].instance.state == AlertState.RECOVERING
        await tower.restart()
        await tower.tick(9, seconds=100)
        for _ in range(4):
            await tower.tick(9)
        assert (await tower.alerts("rule = k"))[0].instance.state == AlertState.RECOVERING
        await tower.tick(9)
        assert (await tower.alerts("rule = k"))[0].instance.state == AlertState.RESOLVED
        return
    assert by_rule["r"].instance.state == AlertState.PENDING
    assert by_rule["r"].instance.active_us == tower.clock.us - SECOND, "moved along"
    assert by_rule["k"].instance.state == AlertState.FIRING
    for _ in range(4):
        await tower.tick(11)
    assert (await tower.alerts("rule = r"))[0].instance.state == AlertState.FIRING


@pytest.mark.parametrize("restart", [False, True], ids=["", "and a restart"])
async def test_8_a_grid_that_is_an_hour_behind_moves_the_times_back(
    towers: Towers, *, restart: bool
) -> None:
    """As when another replica leads whose wall is behind."""
    tower = towers(rule(for_us=5 * SECOND))
    await tower.open()
    await tower.tick(11)
    await tower.tick(11, seconds=2)
    await tower.restart(down=-3600)
    await tower.tick(11, seconds=0)
    assert (await tower.alerts())[0].instance.active_us == tower.clock.us - 2 * SECOND
    if restart:
        await tower.restart()
        await tower.tick(11, seconds=100)
    await tower.tick(11, seconds=2)
    assert await tower.states() == ["PENDING"]
    await tower.tick(11)
    assert await tower.states() == ["FIRING"]
    (alert,) = await tower.alerts()
    _, steps = await tower.queries.alert_with_steps(alert.id)
    assert [each.to_state for each in steps] == [AlertState.PENDING, AlertState.FIRING]


async def test_9_a_transition_its_event_and_its_intent_are_there_together_or_not_at_all(
    towers: Towers,
) -> None:
    tower = towers(rule())
    await tower.open()

    async def rows() -> list[int | None]:
        tables = (ALERTS, ALERT_TRANSITIONS, OUTBOX, NOTIFICATION_INTENTS)
        return [
            await tower.database.read(
                lambda c, one=table: c.execute(select(func.count()).select_from(one)).scalar()  # type: ignore[misc]
            )
            for table in tables
        ]

    tower.store.refuse = 1
    await tower.tick(11, save=False)
    with pytest.raises(Unavailable):
        await tower.journal.flush()
    assert await rows() == [0, 0, 0, 0]
    await tower.journal.flush()
    assert await rows() == [1, 1, 1, 1]


async def test_9_a_resolve_is_told_wherever_a_firing_was_and_nowhere_else(towers: Towers) -> None:
    tower = towers(rule(for_us=2 * SECOND, keep_firing_us=2 * SECOND))
    await tower.open()
    for waiting in (11, 9, 11, 11, 11, 9, 11, 9, 9, 9, 11, 9):
        await tower.tick(waiting)
    assert await tower.told() == ["firing", "resolved"]
    assert await intents(tower) == [1, 2]


async def test_a_tree_is_judged_for_each_instance_and_shown_by_what_decided(towers: Towers) -> None:
    waits = over(5, dimension=Dimension.STAGE)
    tower = towers(rule(condition=AnyOf((AllOf((FAILS, over(3))), waits))))
    await tower.open()

    def shown(fleet: int, **stages: tuple[int, int]) -> MetricsSnapshot:
        each = [
            series(Dimension.STAGE, name, depth=waiting, windows=(window(1, 1, failed),))
            for name, (waiting, failed) in stages.items()
        ]
        return snapshot(series(depth=fleet), *each)

    await tower.tick(shown(0, a=(9, 0), b=(0, 1), c=(0, 0)))
    by_name = {each.name: each for each in await tower.alerts()}
    assert {name: each.instance.value for name, each in by_name.items()} == {"a": 9.0}
    await tower.tick(shown(4, a=(9, 0), b=(0, 1), c=(0, 0)))
    alerts: dict[str, Alert] = {each.name: each for each in await tower.alerts()}
    assert {name: each.instance.value for name, each in alerts.items()} == {"a": 9.0, "b": 0.5}
    assert [each.value for each in alerts["b"].evidence] == [0.5, 4.0, 0.0]
    await tower.tick(shown(0, a=(9, 0), b=(0, 1), c=(0, 0)))
    assert {each.name: each.instance.state.name for each in await tower.alerts()} == {
        "a": "FIRING",
        "b": "RESOLVED",
    }


async def test_a_rule_that_takes_too_long_goes_on_in_the_next_slot_and_delays_no_other(
    towers: Towers,
) -> None:
    slow = replace(STAGES, id="slow", name="A")
    tower = towers(slow, rule(), limits=replace(UNHURRIED, rule_ns=0))
    await tower.open()
    names = [f"stage-{number:03}" for number in range(200)]
    fired: list[int] = []
    for _ in range(5):
        await tower.tick(snapshot(series(depth=11), *failing(*names)))
        fired.append(len(await tower.alerts("rule = slow")))
    assert fired[0] < 100, "a part of them"
    assert fired[-1] == 200, "all of them had their turn"
    assert tower.engine.meters()["slow"].cut >= 3
    assert tower.engine.meters()["r"].run == 5


async def test_rules_for_which_a_slot_has_no_time_come_first_in_the_next(towers: Towers) -> None:
    rules = [rule(id=f"r{number}", name=f"R{number}") for number in range(3)]
    tower = towers(*rules, limits=replace(UNHURRIED, slot_ns=0))
    await tower.open()
    for _ in range(3):
        await tower.tick(11)
    assert {each.rule_id for each in await tower.alerts()} == {"r0", "r1", "r2"}
    meters = tower.engine.meters()
    assert [meters[each.id].run for each in rules] == [1, 1, 1]
    assert [meters[each.id].missed for each in rules] == [0, 1, 2]
