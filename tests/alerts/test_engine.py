"""The engine on a real database: what is stored, what is told, and what a restart leaves of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import update

from pilothouse_server.adapters.sql.tables_control import ALERT_RULES
from pilothouse_server.domain.alerts.conditions import AlertMetric, Comparison, Observation
from pilothouse_server.domain.alerts.documents import rule_to_document
from pilothouse_server.domain.alerts.observing import Observer, Subject, View
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.alerts.shipped import SHIPPED
from pilothouse_server.domain.alerts.states import AlertState
from pilothouse_server.domain.errors import AlertResolved, EtagMismatch, NotFound, Unavailable
from pilothouse_server.domain.events import Severity
from pilothouse_server.domain.metrics.snapshot import (
    MINUTE_US,
    Dimension,
    SeriesMetrics,
)
from tests.alerts.build import SECOND, agent, depth, rule, series, snapshot, window
from tests.alerts.conftest import Watchtower
from tests.support import wait_until

Towers = Callable[..., Watchtower]
PLAIN = rule()
FOR = rule(for_us=5 * SECOND)
KEEP = rule(keep_firing_us=5 * SECOND)
SILENT = rule(
    id="s",
    name="Silent",
    metric=AlertMetric.AGENT_SILENCE,
    dimension=Dimension.AGENT,
    comparison=Comparison.GREATER_OR_EQUAL,
    threshold=120.0,
)


async def test_a_new_database_has_the_shipped_rules_and_keeps_its_own(towers: Towers) -> None:
    tower = towers()
    await tower.open()
    rules = tower.engine.rules()
    assert {each.id for each in rules} == {each.id for each in SHIPPED}
    assert {each.create_us for each in rules} == {tower.clock.us}
    document = rule_to_document(replace(rules[2], description="Ours"))
    changed = update(ALERT_RULES).where(ALERT_RULES.c.id == rules[2].id).values(document=document)
    await tower.database.write(lambda connection: connection.execute(changed))
    await tower.restart()
    assert tower.engine.rules()[2] == replace(rules[2], description="Ours")
    assert tower.engine.rules()[1] == rules[1]


async def test_an_alert_fires_and_resolves_once_with_its_events(towers: Towers) -> None:
    tower = towers(PLAIN)
    await tower.open()
    await tower.tick(11)
    (alert,) = await tower.alerts()
    assert (alert.instance.state, alert.instance.fire_us) == (AlertState.FIRING, tower.clock.us)
    assert alert.summary == "Queue depth 11, fleet; limit 10"
    assert tower.engine.firing == (0, 1)
    await tower.tick(11)
    await tower.tick(9)
    (alert,) = await tower.alerts()
    assert alert.instance.resolve_us == tower.clock.us
    assert await tower.told() == ["firing", "resolved"]
    assert await tower.path_of(alert) == ["FIRING", "RESOLVED"]
    assert tower.engine.firing == (0, 0)


async def test_a_breach_after_the_end_is_a_new_alert(towers: Towers) -> None:
    tower = towers(PLAIN)
    await tower.open()
    for waiting in (11, 9, 12):
        await tower.tick(waiting)
    newer, older = await tower.alerts()
    assert newer.id != older.id
    assert await tower.states() == ["FIRING", "RESOLVED"]


async def test_an_end_and_a_new_beginning_in_one_write_are_two_alerts(towers: Towers) -> None:
    tower = towers(PLAIN)
    await tower.open()
    await tower.tick(11)
    for waiting in (9, 12, 9, 13):
        await tower.tick(waiting, save=False)
    await tower.journal.flush()
    assert await tower.states() == ["FIRING", "RESOLVED", "RESOLVED"]
    assert await tower.told() == ["firing", "resolved"] * 2 + ["firing"]


async def test_a_pending_alert_that_goes_leaves_no_history_and_no_event(towers: Towers) -> None:
    tower = towers(FOR)
    await tower.open()
    await tower.tick(11)
    (pending,) = await tower.alerts()
    assert pending.instance.state == AlertState.PENDING
    await tower.tick(9)
    assert await tower.alerts() == []
    assert await tower.told() == []
    assert (await tower.store.find(pending.id)) is not None, "its watchers have to hear of it"
    await tower.tick(9, seconds=16 * 60)
    assert (await tower.store.find(pending.id)) is None


async def test_a_pending_alert_that_came_and_went_unseen_is_never_stored(towers: Towers) -> None:
    tower = towers(FOR)
    await tower.open()
    seen = tower.changes.version
    await tower.tick(11, save=False)
    await tower.tick(9)
    assert tower.changes.version == seen


async def test_the_value_of_a_firing_alert_is_stored_at_most_every_five_seconds(
    towers: Towers,
) -> None:
    tower = towers(PLAIN)
    await tower.open()
    stored: list[float | None] = []
    for waiting in range(11, 23):
        await tower.tick(waiting)
        stored.append((await tower.alerts())[0].instance.value)
    assert stored == [11] * 5 + [16] * 5 + [21] * 2
    assert (await tower.alerts())[0].etag == (await tower.alerts())[0].etag


RESTARTS = [
    # seconds before the restart, seconds of being down, slots after it, and where it then stands
    (FOR, [11, 11, 11], 100, [11, 11], "PENDING"),
    (FOR, [11, 11, 11], 100, [11, 11, 11, 11], "FIRING"),
    (FOR, [11] * 8, 100, [11], "FIRING"),
    (FOR, [11] * 8, 100, [9], "RESOLVED"),
    (KEEP, [11, 9, 9], 100, [9, 9], "RECOVERING"),
    (KEEP, [11, 9, 9], 100, [9, 9, 9, 9, 9], "RESOLVED"),
    (KEEP, [11, 9, 9], 100, [11], "FIRING"),
    (PLAIN, [11, 9], 100, [9], "RESOLVED"),
]


@pytest.mark.parametrize(("tested", "before", "down", "after", "state"), RESTARTS)
async def test_every_state_survives_a_restart_and_down_time_does_not_count(
    towers: Towers, tested: Rule, before: list[int], down: int, after: list[int], state: str
) -> None:
    tower = towers(tested)
    await tower.open()
    for waiting in before:
        await tower.tick(waiting)
    await tower.restart(down=down)
    for waiting in after:
        await tower.tick(waiting)
    assert await tower.states() == [state], "one alert, as if nothing had happened"


async def test_nothing_is_judged_before_the_log_was_read_to_its_end(towers: Towers) -> None:
    tower = towers(PLAIN)
    await tower.open()
    await tower.tick(11)
    await tower.restart(down=60)
    await tower.tick(replace(depth(0), caught_up=False))
    assert await tower.states() == ["FIRING"]
    await tower.tick(0)
    assert await tower.states() == ["RESOLVED"]


async def test_each_silent_agent_has_its_own_alert_until_it_is_heard_or_says_goodbye(
    towers: Towers,
) -> None:
    tower = towers(SILENT)
    await tower.open()
    begin = tower.clock.us
    agents = [agent("a", begin + SECOND), agent("b", begin + SECOND), agent("c", begin + SECOND)]
    await tower.tick(snapshot(agents=tuple(agents)))
    await tower.tick(snapshot(agents=tuple(agents)), seconds=119)
    assert await tower.alerts() == []
    await tower.tick(snapshot(agents=tuple(agents)))
    alerts = await tower.alerts()
    assert {alert.labels["agent_id"] for alert in alerts} == {"a", "b", "c"}
    assert {alert.summary for alert in alerts} >= {"Agent a silent for 2 min; limit 2 min"}
    heard = [agents[0]._replace(last_seen_us=tower.clock.us), agents[1]._replace(deregistered=True)]
    await tower.tick(snapshot(agents=tuple(heard)))
    assert await tower.states() == ["RESOLVED"] * 3, "c is not known any more"


async def test_agents_that_could_not_be_heard_while_the_server_was_down_raise_no_storm(
    towers: Towers,
) -> None:
    tower = towers(SILENT)
    await tower.open()
    begin = tower.clock.us
    old = agent("old", begin - 200 * SECOND)
    await tower.tick(snapshot(agents=(old,)))
    await tower.tick(snapshot(agents=(old,)), seconds=120)
    assert await tower.states() == ["FIRING"]
    await tower.restart(down=600)
    both = (old, agent("new", begin + SECOND))
    await tower.tick(snapshot(agents=both))
    assert await tower.states() == ["FIRING"], "neither resolved nor joined by another"
    await tower.tick(snapshot(agents=both), seconds=120)
    assert await tower.states() == ["FIRING", "FIRING"]


async def test_over_the_limit_those_that_exist_stay_and_one_alert_says_so(towers: Towers) -> None:
    tower = towers(
        rule(
            metric=AlertMetric.ERROR_RATE,
            dimension=Dimension.STAGE,
            window_us=MINUTE_US,
            threshold=0.1,
            instance_limit=3,
        )
    )
    await tower.open()

    def failing(*names: str) -> list[SeriesMetrics]:
        return [series(Dimension.STAGE, name, windows=(window(1, 0, 1),)) for name in names]

    await tower.tick(snapshot(*failing("a", "b")))
    await tower.tick(snapshot(*failing(*"abcde")))
    names = {(alert.rule_id, alert.name) for alert in await tower.alerts()}
    assert names == {("r", "a"), ("r", "b"), ("r", "c"), ("rule-over-limit", "r")}
    assert tower.engine.meters()["r"].refused == 2
    over = next(a for a in await tower.alerts() if a.rule_id == "rule-over-limit")
    assert over.summary == "Rule r: 2 instances over the limit were refused"
    await tower.tick(snapshot(*failing("a", "b", "c")))
    assert (await tower.alerts("rule = rule-over-limit"))[0].instance.state == AlertState.RESOLVED


async def test_a_rule_that_fails_keeps_its_state_and_stops_no_other(
    towers: Towers, monkeypatch: pytest.MonkeyPatch
) -> None:
    tower = towers(PLAIN, rule(id="q", name="Other"))
    await tower.open()
    await tower.tick(11)
    whole = Observer.observe

    def observe(
        self: Observer, name: str, subject: Subject, view: View
    ) -> tuple[Observation, ...] | None:
        if self.rule_id == "r":
            raise ZeroDivisionError("0 / 0")
        return whole(self, name, subject, view)

    monkeypatch.setattr(Observer, "observe", observe)
    await tower.tick(9)
    states = {alert.rule_id: alert.instance.state for alert in await tower.alerts()}
    assert states == {"r": AlertState.FIRING, "q": AlertState.RESOLVED}
    meters = tower.engine.meters()["r"]
    assert (meters.errors, meters.error) == (1, "ZeroDivisionError: 0 / 0")
    monkeypatch.undo()
    await tower.tick(9)
    assert meters.error == ""


async def test_slots_run_and_seconds_missed_are_counted(towers: Towers) -> None:
    tower = towers(PLAIN)
    await tower.open()
    for seconds in (1, 1, 5, 1):
        await tower.tick(0, seconds=seconds)
    meters = tower.engine.meters()["r"]
    assert (meters.run, meters.missed) == (4, 4)


async def test_a_wall_that_is_put_back_moves_the_alerts_along(towers: Towers) -> None:
    tower = towers(FOR)
    await tower.open()
    await tower.tick(11)
    await tower.tick(11, seconds=3)
    tower.clock.us -= 3600 * SECOND
    await tower.tick(11, seconds=0)
    await tower.tick(11)
    assert await tower.states() == ["PENDING"]
    await tower.tick(11)
    assert await tower.states() == ["FIRING"]
    (alert,) = await tower.alerts()
    assert alert.instance.fire_us == tower.clock.us
    assert alert.instance.active_us <= tower.clock.us - 5 * SECOND


async def test_a_wall_that_is_put_forward_does_not_make_alerts_fire(towers: Towers) -> None:
    tower = towers(FOR, SILENT)
    await tower.open()
    first = tower.clock.us
    shown = depth(11)
    heard = agent("a", first)

    async def tick(seconds: int) -> None:
        await tower.tick(replace(shown, agents_seen={"a": heard}), seconds=seconds)

    await tick(1)
    await tick(3)
    tower.clock.stepped_us += 3600 * SECOND
    await tick(3601)
    assert await tower.states() == ["PENDING"]
    assert tower.engine.meters()["r"].missed == 2
    await tick(1)
    assert await tower.states() == ["FIRING"]


async def test_a_database_that_refuses_stops_no_tick_and_loses_no_step(towers: Towers) -> None:
    tower = towers(PLAIN)
    await tower.open()
    tower.store.refuse = 3
    running = asyncio.create_task(tower.journal.run())
    for waiting in (11, 9, 12, 9, 13):
        await tower.tick(waiting, save=False)

    async def told() -> bool:
        return len(await tower.told()) == 5

    await wait_until(told, what="every step to be stored")
    assert await tower.states() == ["FIRING", "RESOLVED", "RESOLVED"]
    assert tower.journal.failures == 3
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_health_counts_what_fires_by_severity(towers: Towers) -> None:
    tower = towers(
        PLAIN, rule(id="q", name="Other", severity=Severity.CRITICAL, keep_firing_us=9 * SECOND)
    )
    await tower.open()
    await tower.tick(11)
    assert (tower.engine.firing.critical, tower.engine.firing.warning) == (1, 1)
    await tower.tick(9)
    assert (tower.engine.firing.critical, tower.engine.firing.warning) == (1, 0)
    await tower.restart()
    assert tower.engine.firing.critical == 1


async def acted(tower: Watchtower, act: str, alert_id: str, **fields: str) -> object:
    """An act by hand, with the journal running beside it."""
    running = asyncio.create_task(tower.journal.run())
    given = {
        "actor": "ada",
        "etag": "",
        "comment" if act == "acknowledge" else "reason": "",
    } | fields
    try:
        return await getattr(tower.engine, act)(alert_id, **given)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_acknowledging_is_recorded_once(towers: Towers) -> None:
    tower = towers(PLAIN)
    await tower.open()
    await tower.tick(11)
    (alert,) = await tower.alerts()
    await acted(tower, "acknowledge", alert.id, comment="on it", etag=alert.etag)
    await acted(tower, "acknowledge", alert.id, actor="eve", comment="me too", etag="stale")
    (after,) = await tower.alerts()
    assert (after.acknowledged_by, after.acknowledge_comment) == ("ada", "on it")
    assert after.instance.state == AlertState.FIRING
    assert after.etag != alert.etag
    assert await tower.path_of(alert) == ["FIRING", "FIRING"]
    assert [each.id for each in await tower.alerts("acknowledged = true")] == [alert.id]
    assert await tower.alerts("acknowledged = false") == []
    await tower.tick(9)
    with pytest.raises(AlertResolved):
        await acted(tower, "acknowledge", alert.id)


async def test_resolving_by_hand_begins_nothing_until_the_condition_was_false_once(
    towers: Towers,
) -> None:
    tower = towers(PLAIN)
    await tower.open()
    await tower.tick(11)
    (alert,) = await tower.alerts()
    await acted(tower, "resolve", alert.id, reason="known")
    await acted(tower, "resolve", alert.id, actor="eve")
    assert tower.engine.firing == (0, 0)
    await tower.tick(11)
    await tower.restart()
    await tower.tick(12)
    (after,) = await tower.alerts()
    assert (after.instance.state, after.resolved_by) == (AlertState.RESOLVED, "ada")
    assert await tower.told() == ["firing", "resolved"]
    await tower.tick(9)
    await tower.tick(11)
    assert await tower.states() == ["FIRING", "RESOLVED"]


async def test_an_act_on_a_stale_etag_or_an_unknown_alert_is_refused(towers: Towers) -> None:
    tower = towers(PLAIN)
    await tower.open()
    await tower.tick(11)
    (alert,) = await tower.alerts()
    for act in ("acknowledge", "resolve"):
        with pytest.raises(EtagMismatch) as refused:
            await acted(tower, act, alert.id, etag="0123")
        assert refused.value.etag == alert.etag
        with pytest.raises(NotFound, match="alert 'nothing'"):
            await acted(tower, act, "nothing")


async def test_an_act_that_cannot_be_stored_says_so_and_is_stored_later(towers: Towers) -> None:
    tower = towers(PLAIN)
    await tower.open()
    await tower.tick(11)
    (alert,) = await tower.alerts()
    tower.store.refuse = 1
    with pytest.raises(Unavailable):
        await acted(tower, "acknowledge", alert.id)
    await tower.journal.flush()
    assert (await tower.alerts())[0].acknowledged_by == "ada"
