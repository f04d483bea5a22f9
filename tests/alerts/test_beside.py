"""What the engine does beside judging conditions: acknowledgements that expire, what keeps alerts quiet, heartbeats
from outside, and what it counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import select

from pilothouse_server.adapters.sql.tables_notifications import NOTIFICATION_INTENTS
from pilothouse_server.domain.alerts.observing import HeartbeatDue
from pilothouse_server.domain.alerts.records import Act, Alert, acknowledge
from pilothouse_server.domain.alerts.states import AlertState
from pilothouse_server.domain.alerts.suppression import Suppression
from pilothouse_server.domain.events import Severity
from pilothouse_server.domain.notifications.intents import IntentKind
from tests.alerts.build import SECOND, rule
from tests.alerts.conftest import Watchtower

Towers = Callable[..., Watchtower]
K = IntentKind


async def intents(tower: Watchtower) -> list[IntentKind]:
    table = NOTIFICATION_INTENTS.c
    query = select(table.kind).order_by(table.position)
    rows = await tower.database.read(lambda connection: connection.execute(query).scalars().all())
    return [IntentKind(kind) for kind in rows]


async def steps(tower: Watchtower, alert: Alert) -> list[tuple[Act, str]]:
    _, found = await tower.queries.alert_with_steps(alert.id)
    return [(each.act, each.comment) for each in found]


async def take_for(tower: Watchtower, seconds: int) -> Alert:
    """Somebody takes care of the only alert for so long."""
    (alert,) = await tower.alerts()
    until_us = tower.clock.us + seconds * SECOND
    tower.engine.take(acknowledge(alert, "ada", "on it", tower.clock.us, until_us))
    await tower.journal.flush()
    return alert


async def test_an_acknowledgement_is_taken_back_when_its_time_is_over(towers: Towers) -> None:
    tower = towers(rule())
    await tower.open()
    await tower.tick(11)
    await take_for(tower, 10)
    await tower.tick(11, seconds=9)
    (alert,) = await tower.alerts()
    assert alert.acknowledged_by == "ada"
    await tower.restart()
    await tower.tick(11)
    (alert,) = await tower.alerts()
    assert (alert.acknowledge_us, alert.acknowledged_by, alert.acknowledge_expire_us) == (
        None,
        "",
        None,
    )
    await tower.tick(11)
    assert await intents(tower) == [K.FIRING, K.ACKNOWLEDGED, K.UNACKNOWLEDGED]
    said = await steps(tower, alert)
    assert said[-1] == (Act.UNACKNOWLEDGE, "the time of the acknowledgement was over")


async def test_what_is_over_keeps_who_took_care_of_it(towers: Towers) -> None:
    tower = towers(rule())
    await tower.open()
    await tower.tick(11)
    await take_for(tower, 10)
    await tower.tick(9)
    await tower.tick(9, seconds=20)
    (alert,) = await tower.alerts()
    assert alert.acknowledged_by == "ada"


@dataclass
class Quiet:
    """Keeps alerts of these rules quiet, and notes when it was asked."""

    rules: dict[str, Suppression] = field(default_factory=dict[str, Suppression])
    version: int = 0
    next_change_us: int | None = None
    asked: list[list[str]] = field(default_factory=list[list[str]])

    def judge(self, alerts: Iterable[Alert], ts_us: int) -> Mapping[str, Suppression]:
        alerts = list(alerts)
        self.asked.append(sorted(each.rule_id for each in alerts))
        return {each.id: self.rules[each.rule_id] for each in alerts if each.rule_id in self.rules}


async def test_what_keeps_alerts_quiet_is_asked_only_when_the_answer_may_be_another(
    towers: Towers,
) -> None:
    tower = towers(rule(keep_firing_us=2 * SECOND), rule(id="q", name="Q", threshold=20.0))
    tower.suppressor = quiet = Quiet()
    await tower.open()
    await tower.tick(0)
    quiet.asked.clear()
    await tower.tick(11)
    assert quiet.asked == [["r"]], "one began to fire"
    await tower.tick(12)
    assert len(quiet.asked) == 1, "another value changes nothing"
    await tower.tick(9)
    assert len(quiet.asked) == 1, "nor does a recovery"
    await tower.tick(21)
    assert quiet.asked[1:] == [["q", "r"]]
    quiet.version += 1
    await tower.tick(21)
    assert len(quiet.asked) == 3, "a silence was made"
    quiet.next_change_us = tower.clock.us + 3 * SECOND
    quiet.version += 1
    await tower.tick(21)
    await tower.tick(21)
    assert len(quiet.asked) == 4
    await tower.tick(21)
    assert len(quiet.asked) == 5, "a silence begins now"
    quiet.next_change_us = None


async def test_what_begins_or_ends_to_keep_an_alert_quiet_is_a_step_of_its_own(
    towers: Towers,
) -> None:
    tower = towers(rule())
    tower.suppressor = quiet = Quiet({"r": Suppression(("s1", "s2"), ("a1",))})
    await tower.open()
    await tower.tick(11)
    (alert,) = await tower.alerts()
    assert alert.suppression == Suppression(("s1", "s2"), ("a1",))
    assert await tower.told() == ["firing"], "its state goes on"
    quiet.rules.clear()
    quiet.version += 1
    await tower.restart()
    await tower.tick(11)
    (alert,) = await tower.alerts()
    assert not alert.suppression.quiet
    assert await steps(tower, alert) == [
        (Act.CONDITION, ""),
        (Act.SUPPRESSION, "silenced by s1, s2; inhibited by a1"),
        (Act.SUPPRESSION, "nothing keeps it quiet any more"),
    ]
    assert await intents(tower) == [K.FIRING, K.SUPPRESSION, K.SUPPRESSION]


async def test_an_overdue_heartbeat_is_an_alert_of_its_own_severity_until_it_is_heard(
    towers: Towers,
) -> None:
    tower = towers()
    await tower.open()
    begin = tower.clock.us + 5 * SECOND
    beats = HeartbeatDue("backup", begin, begin + 60 * SECOND, Severity.CRITICAL)
    tower.due = [beats, beats._replace(id="other", severity=Severity.WARNING)]
    await tower.tick(0)
    await tower.tick(0, seconds=63)
    assert await tower.alerts() == []
    tower.due[1] = beats._replace(id="other", since_us=begin + 1, due_us=begin + 60 * SECOND + 1)
    await tower.tick(0)
    (alert,) = await tower.alerts()
    assert (alert.rule_id, alert.labels) == ("heartbeat-missed", {"heartbeat": "backup"})
    assert (alert.severity, alert.threshold, alert.instance.value) == (Severity.CRITICAL, 60, 60)
    assert alert.summary == "Heartbeat backup not heard for 1 min; limit 1 min"
    await tower.restart(down=1)
    assert tower.engine.firing.critical == 1, "a rule that is built in is never another one"
    now = tower.clock.us
    tower.due = [beats._replace(since_us=now, due_us=now + 60 * SECOND)]
    await tower.tick(0)
    assert await tower.states() == ["RESOLVED"]


async def test_a_heartbeat_that_is_deleted_is_missed_no_more(towers: Towers) -> None:
    tower = towers()
    await tower.open()
    await tower.tick(0)
    since = tower.clock.us
    tower.due = [HeartbeatDue("b", since, since + 9 * SECOND, Severity.WARNING)]
    await tower.tick(0, seconds=9)
    assert await tower.states() == ["FIRING"]
    tower.due = []
    await tower.tick(0)
    assert await tower.states() == ["RESOLVED"]


async def test_a_heartbeat_has_the_time_that_is_said_with_it_after_a_restart_too(
    towers: Towers,
) -> None:
    tower = towers()
    await tower.open()
    await tower.tick(0)
    since = tower.clock.us
    await tower.restart(down=3600)
    due = tower.clock.us + 60 * SECOND
    tower.due = [HeartbeatDue("b", since, due, Severity.WARNING)]
    await tower.tick(0)
    await tower.tick(0, seconds=58)
    assert await tower.alerts() == []
    await tower.tick(0, seconds=2)
    assert await tower.states() == ["FIRING"]


async def test_heartbeats_that_cannot_be_read_stop_no_rule(towers: Towers) -> None:
    tower = towers(rule())
    await tower.open()
    tower.due = None  # type: ignore[assignment]
    await tower.tick(11)
    assert await tower.states() == ["FIRING"]
    assert "TypeError" in tower.engine.meters()["heartbeat-missed"].error


async def test_each_rule_counts_its_slots_its_time_and_its_instances(towers: Towers) -> None:
    tower = towers(rule())
    await tower.open()
    for _ in range(3):
        await tower.tick(11)
    meters = tower.engine.meters()["r"]
    assert (meters.run, meters.instances, meters.errors, meters.cut) == (3, 1, 0, 0)
    assert meters.total_us >= meters.last_us > 0


async def test_a_rule_that_did_not_change_goes_on_with_what_it_knows(towers: Towers) -> None:
    tower = towers(rule(), rule(id="q", name="Q"))
    await tower.open()
    await tower.tick(11)
    tower.engine.apply([rule(description="Said better", version=2)], tower.clock.us)
    await tower.tick(11)
    assert [each.description for each in tower.engine.rules()] == ["Said better"]
    assert tower.engine.meters()["r"].run == 2
    assert "q" not in tower.engine.meters()
    assert tower.engine.live_count("r") == 1
    assert tower.engine.live_count("q") == 0


async def test_a_restart_in_the_middle_of_an_act_asks_for_it_again(towers: Towers) -> None:
    """What was not stored was not done: who asked is told so, and may ask again."""
    tower = towers(rule())
    await tower.open()
    await tower.tick(11)
    (alert,) = await tower.alerts()
    asking = asyncio.create_task(
        tower.engine.acknowledge(alert.id, actor="ada", comment="", etag="")
    )
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await tower.restart()
    (alert,) = await tower.alerts()
    assert (alert.instance.state, alert.acknowledge_us) == (AlertState.FIRING, None)
