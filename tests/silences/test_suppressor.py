"""What keeps alerts quiet, judged as a whole and in parts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import pytest

from pilothouse_server.domain.alerts.matchers import Matcher, MatchType
from pilothouse_server.domain.alerts.records import Alert
from pilothouse_server.domain.alerts.rules import Inhibition, Rule
from pilothouse_server.domain.alerts.silences import Recurrence, Silence, Standing, standing
from pilothouse_server.domain.alerts.states import AlertState, Instance
from pilothouse_server.domain.alerts.suppression import Suppression
from pilothouse_server.domain.events import Severity
from pilothouse_server.services.alerts import suppressor
from pilothouse_server.services.alerts.suppressor import Silenced
from tests.alerts.build import rule

SECOND = 1_000_000
NOW = 1_800_000_000 * SECOND
HOUR = 3600 * SECOND


def alert(alert_id: str, rule_id: str = "r", **labels: str) -> Alert:
    return Alert(
        id=alert_id,
        rule_id=rule_id,
        rule_name="Rule",
        name=alert_id,
        labels=labels,
        severity=Severity.WARNING,
        threshold=1,
        instance=Instance(AlertState.FIRING, NOW, NOW),
        summary="",
        clears_when="",
        update_us=NOW,
    )


def silence(
    silence_id: str, name: str = "agent", value: str = "7", kind: MatchType = MatchType.EQUAL
) -> Silence:
    matchers = (Matcher(name, kind, value),)
    return Silence(silence_id, matchers, NOW, NOW + HOUR, "", "", NOW, NOW)


def test_alerts_that_match_are_quiet_while_the_silence_holds() -> None:
    quiet = Silenced()
    quiet.load([silence("s"), silence("t", "severity", "warn.*", MatchType.REGEX)])
    alerts = [alert("a", agent="7"), alert("b", agent="8")]
    assert quiet.judge(alerts, NOW - 1) == {}
    assert quiet.next_change_us == NOW
    assert quiet.judge(alerts, NOW) == {
        "a": Suppression(silenced_by=("s", "t")),
        "b": Suppression(silenced_by=("t",)),
    }
    assert quiet.next_change_us == NOW + HOUR
    assert quiet.judge(alerts, NOW + HOUR) == {}
    assert not quiet.next_change_us
    assert quiet.judge(alerts, NOW) != {}, "the clock was put back"


def test_the_version_changes_with_what_there_is_and_only_then() -> None:
    quiet = Silenced()
    versions = [quiet.version]
    inhibition = Inhibition((Matcher("rule_id", MatchType.EQUAL, "x"),))
    for _ in range(2):
        quiet.load([silence("s")])
        versions.append(quiet.version)
    for rules in ([rule()], [rule(inhibited_by=(inhibition,))], []):
        quiet.apply(rules)
        versions.append(quiet.version)
    quiet.load([])
    versions.append(quiet.version)
    assert versions == [0, 1, 1, 1, 2, 3, 4]


def test_a_silence_that_is_gone_or_ended_keeps_nothing_quiet() -> None:
    quiet = Silenced()
    some = [alert("a", agent="7")]
    quiet.load([silence("s")])
    assert quiet.judge(some, NOW)
    quiet.load([replace(silence("s"), expire_us=NOW)])
    assert quiet.judge(some, NOW) == {}
    quiet.load([silence("u"), silence("s")])
    assert quiet.judge(some, NOW) == {"a": Suppression(silenced_by=("s", "u"))}


def test_many_silences_that_come_and_go_leave_nothing_behind() -> None:
    quiet = Silenced()
    for turn in range(400):
        quiet.load([silence(f"s{turn}")])
        found = quiet.judge([alert(f"a{turn}", agent="7")], NOW)
        assert found == {f"a{turn}": Suppression(silenced_by=(f"s{turn}",))}
    assert len(quiet._order) < 200  # pyright: ignore[reportPrivateUsage]
    assert len(quiet._known) < 200  # pyright: ignore[reportPrivateUsage]


def test_inhibited_alerts_are_named_with_those_that_inhibit_them() -> None:
    quiet = Silenced()
    inhibition = Inhibition((Matcher("rule_id", MatchType.EQUAL, "big"),), ("zone",))
    quiet.apply([rule(inhibited_by=(inhibition,))])
    quiet.load([silence("s", "rule_id", "big")])
    alerts = [alert("a", zone="eu"), alert("b", zone="us"), alert("c", "big", zone="eu")]
    assert quiet.judge(alerts, NOW) == {
        "a": Suppression(inhibited_by=("c",)),
        "c": Suppression(silenced_by=("s",)),
    }, "a source counts though it is silenced itself"


def judged_to_the_end(
    quiet: Silenced, alerts: list[Alert]
) -> tuple[Mapping[str, Suppression], int]:
    """What comes of it in the end, and in how many parts."""
    ts_us, parts = NOW, 1
    found = quiet.judge(alerts, ts_us)
    while (following := quiet.next_change_us) is not None and following < NOW + HOUR:
        ts_us, parts = following, parts + 1
        found = quiet.judge(alerts, ts_us)
    return found, parts


def test_what_does_not_fit_follows_and_nothing_is_told_meanwhile() -> None:
    silences = [silence(f"s{at}", "agent", f"{at}|x", MatchType.REGEX) for at in range(30)]
    alerts = [alert(f"a{at}", agent=str(at % 30)) for at in range(60)]
    whole = Silenced()
    whole.load(silences)
    expected, parts = judged_to_the_end(whole, alerts)
    assert parts == 1
    restored = [replace(each, suppression=expected[each.id]) for each in alerts]
    some = Silenced(at_once=100)
    some.load(silences)
    assert set(some.judge(restored, NOW)) == set(expected), "as quiet as before, until it is known"
    found, parts = judged_to_the_end(some, restored)
    assert (found, parts > 10) == (expected, True)


def rules_of(count: int) -> list[Rule]:
    inhibition = Inhibition((Matcher("severity", MatchType.EQUAL, "critical"),), ("agent",))
    return [rule(id=f"r{at}", name=f"R{at}", inhibited_by=(inhibition,)) for at in range(count)]


@pytest.mark.parametrize("kind", [MatchType.EQUAL, MatchType.REGEX])
def test_ten_thousand_alerts_and_a_thousand_silences_hold_up_nobody(kind: MatchType) -> None:
    quiet = Silenced()
    quiet.load([silence(f"s{at}", "agent", str(at), kind) for at in range(1000)])
    quiet.apply(rules_of(20))
    alerts = [alert(f"a{at}", f"r{at % 20}", agent=str(at % 1000)) for at in range(10_000)]
    begin = time.thread_time()
    quiet.judge(alerts, NOW)
    assert time.thread_time() - begin < 1, "one part"
    alone = Silenced()
    alone.load([silence(f"s{at}", "agent", str(at)) for at in range(1000)])
    judged_to_the_end(alone, alerts)
    begin = time.thread_time()
    found = alone.judge(alerts, NOW)
    assert time.thread_time() - begin < 0.5
    assert found["a1001"] == Suppression(silenced_by=("s1",))


def test_one_that_recurs_is_looked_at_again_when_it_changes() -> None:
    quiet = Silenced()
    nightly = replace(
        silence("s"), end_us=None, recurrence=Recurrence("0 * * * *", "", HOUR // 2), start_us=0
    )
    quiet.load([nightly])
    at_us = NOW - NOW % HOUR
    states: list[bool] = []
    for _ in range(4):
        states.append(bool(quiet.judge([alert("a", agent="7")], at_us)))
        assert quiet.next_change_us == at_us + HOUR // 2
        at_us += HOUR // 2
    assert states == [True, False, True, False]


def test_a_silence_that_is_made_has_no_other_one_worked_out_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worked_out: list[str] = []

    def noted(of: Silence, ts_us: int) -> Standing:
        worked_out.append(of.id)
        return standing(of, ts_us)

    monkeypatch.setattr(suppressor, "standing", noted)
    quiet = Silenced()
    some = [replace(silence(f"s{number}"), start_us=0) for number in range(20)]
    quiet.load(some)
    quiet.judge([alert("a", agent="7")], NOW)
    quiet.load([*some[1:], replace(some[0], end_us=NOW), silence("new")])
    assert quiet.judge([alert("a", agent="7")], NOW)["a"].silenced_by[0] == "new"
    assert sorted(worked_out[20:]) == ["new", "s0"]
