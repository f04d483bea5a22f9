"""What is told of groups of alerts, and when: tables of what happens and what is told of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pilothouse_server.domain.alerts.matchers import Matcher, MatchType
from pilothouse_server.domain.alerts.suppression import LOUD, Suppression
from pilothouse_server.domain.events import Severity
from pilothouse_server.domain.notifications import gathering, grouping
from pilothouse_server.domain.notifications.channels import (
    Apprise,
    Escalation,
    EscalationStep,
    Webhook,
)
from pilothouse_server.domain.notifications.gathering import Wanted
from pilothouse_server.domain.notifications.notification import Notification
from tests.notifications.build import (
    FLAPPING,
    HOUR,
    INHIBITED,
    SECOND,
    SILENCED,
    channel,
)
from tests.notifications.desk import Desk


def test_an_alert_is_told_at_once_and_its_end_after_the_interval() -> None:
    desk = Desk()
    desk.fire("a")
    assert desk.told() == ["a"]
    desk.wait(1)
    desk.resolve("a")
    assert desk.told() == []
    desk.wait(3.999)
    assert desk.told() == []
    desk.wait(0.001)
    assert desk.told() == ["-a"]


def test_a_group_waits_for_more_before_it_is_told_first() -> None:
    desk = Desk([channel(group_wait_us=10 * SECOND)])
    desk.fire("a")
    desk.wait(6)
    desk.fire("b")
    assert desk.told() == []
    desk.wait(4)
    assert desk.told() == ["a b"]


def test_what_began_and_ended_before_it_was_told_is_not_told() -> None:
    desk = Desk([channel(group_wait_us=10 * SECOND)])
    desk.fire("a")
    desk.wait(6)
    desk.resolve("a")
    desk.wait(60)
    assert desk.told() == []
    assert desk.gatherer.groups == {}


def test_a_change_shows_all_that_fires_and_what_ended() -> None:
    desk = Desk()
    desk.fire("a", "b")
    desk.wait(10)
    desk.resolve("a")
    desk.fire("c")
    assert desk.told() == ["a b", "b -a c"]
    desk.wait(10)
    desk.resolve("b", "c")
    assert desk.told() == ["-b -c"]


def test_changes_are_told_so_far_apart_as_the_channel_wants() -> None:
    desk = Desk([channel(group_interval_us=30 * SECOND)])
    desk.fire("a")
    desk.wait(1)
    desk.fire("b")
    desk.wait(1)
    desk.fire("c")
    assert desk.told() == ["a"]
    desk.wait(28)
    assert desk.told() == ["a b c"]


def test_a_new_alert_of_a_group_that_just_ended_waits_for_the_interval_too() -> None:
    desk = Desk()
    desk.fire("a")
    desk.wait(5)
    desk.resolve("a")
    assert desk.told() == ["a", "-a"]
    desk.fire("b")
    assert desk.told() == []
    desk.wait(5)
    assert desk.told() == ["b"]
    desk.wait(5)
    desk.resolve("b")
    desk.wait(10)
    assert desk.told() == ["-b"]
    assert desk.gatherer.groups == {}


def test_an_unchanged_group_is_told_again_after_the_repeat_interval() -> None:
    desk = Desk([channel(repeat_interval_us=HOUR)])
    desk.fire("a")
    desk.wait(3599)
    assert desk.told() == ["a"]
    desk.wait(1)
    assert desk.told() == ["repeat a"]
    desk.wait(2 * 3600)
    assert desk.told() == ["repeat a", "repeat a"]


def test_only_acknowledged_alerts_do_not_repeat_until_one_is_not_any_more() -> None:
    desk = Desk([channel(repeat_interval_us=HOUR)])
    desk.fire("a", "b")
    desk.acknowledge("a")
    desk.wait(3600)
    assert desk.told() == ["a b", "repeat a b"]
    desk.acknowledge("b")
    desk.wait(3 * 3600)
    assert desk.told() == []
    desk.unacknowledge("a")
    assert desk.told() == ["repeat a b"]
    desk.resolve("b")
    desk.wait(5)
    assert desk.told() == ["a -b"]


@pytest.mark.parametrize("quiet", [SILENCED, INHIBITED])
def test_what_is_kept_quiet_is_told_once_it_is_not_any_more(quiet: Suppression) -> None:
    desk = Desk()
    desk.fire("a", suppression=quiet)
    desk.fire("b")
    desk.wait(60)
    assert desk.told() == ["b"]
    desk.suppress("a", LOUD)
    assert desk.told() == ["a b"]


def test_an_end_is_told_of_an_alert_that_was_silenced_after_it_was_told() -> None:
    desk = Desk()
    desk.fire("a")
    desk.wait(10)
    desk.suppress("a", SILENCED)
    desk.wait(10)
    desk.resolve("a")
    assert desk.told() == ["a", "-a"]


def test_an_end_is_not_told_of_an_alert_that_was_silenced_all_the_time() -> None:
    desk = Desk()
    desk.fire("a", suppression=SILENCED)
    desk.wait(10)
    desk.resolve("a")
    desk.wait(60)
    assert desk.told() == []


def test_a_silenced_alert_is_left_out_of_what_is_told_and_told_anew_afterwards() -> None:
    desk = Desk()
    desk.fire("a", "b")
    desk.wait(10)
    desk.suppress("a", SILENCED)
    desk.fire("c")
    desk.wait(10)
    desk.suppress("a", LOUD)
    assert desk.told() == ["a b", "b c", "a b c"]


def test_a_channel_that_skips_ends_is_told_them_beside_others_only() -> None:
    desk = Desk([channel(skip_resolved=True)])
    desk.fire("a", "b")
    desk.wait(10)
    desk.resolve("a")
    desk.wait(60)
    desk.fire("c")
    assert desk.told() == ["a b", "b -a c"]
    desk.wait(10)
    desk.resolve("b", "c")
    desk.wait(60)
    assert desk.told() == []
    assert desk.gatherer.groups == {}


def test_a_channel_that_is_disabled_is_told_nothing_of_what_happens_meanwhile() -> None:
    desk = Desk()
    desk.fire("a", "b")
    desk.wait(10)
    desk.channels = [channel(enabled=False)]
    desk.resolve("a")
    desk.fire("c")
    desk.wait(60)
    desk.channels = [channel()]
    desk.wait(60)
    assert desk.told() == ["a b"]
    desk.resolve("b", "c")
    desk.wait(10)
    assert desk.told() == ["-b"]


def test_nothing_more_is_told_while_a_notification_is_on_its_way() -> None:
    desk = Desk(arrives=False)
    desk.fire("a")
    desk.wait(60)
    desk.resolve("a")
    desk.fire("b")
    desk.wait(60)
    assert desk.told() == ["a"]
    desk.arrive()
    assert desk.told() == ["-a b"]


def test_flapping_is_told_when_it_begins_and_when_it_ends() -> None:
    desk = Desk()
    desk.fire("a1", labels={"agent": "a"})
    desk.wait(10)
    desk.flap("a1", begins=True)
    assert desk.told() == ["a1", "flapping a1"]
    desk.wait(10)
    desk.resolve("a1")
    assert desk.told() == ["-a1"]
    for number in range(2, 6):
        desk.fire(f"a{number}", labels={"agent": "a"}, suppression=FLAPPING)
        desk.wait(10)
        desk.resolve(f"a{number}")
        desk.wait(10)
    desk.fire("a9", labels={"agent": "a"}, suppression=FLAPPING)
    desk.wait(60)
    assert desk.told() == []
    desk.flap("a9", begins=False)
    assert desk.told() == ["flapping a9"]
    desk.wait(60)
    desk.resolve("a9")
    assert desk.told() == ["-a9"]


def test_flapping_that_ends_before_it_was_told_is_not_told() -> None:
    desk = Desk(arrives=False)
    desk.fire("a")
    desk.wait(60)
    desk.flap("a", begins=True)
    desk.wait(1)
    desk.flap("a", begins=False)
    desk.arrive()
    assert desk.told() == ["a"]


def test_the_end_of_flapping_of_what_is_resolved_is_its_only_notification() -> None:
    desk = Desk()
    desk.fire("a", suppression=FLAPPING)
    desk.resolve("a")
    desk.wait(60)
    desk.flap("a", begins=False)
    desk.wait(60)
    assert desk.told() == ["flapping -a"]
    assert desk.gatherer.groups == {}


def test_alerts_are_gathered_by_the_labels_that_the_channel_says() -> None:
    desk = Desk([channel(group_by=("alertname", "team"))])
    desk.fire("a", rule="one", labels={"team": "x"})
    desk.fire("b", rule="one", labels={"team": "y"})
    desk.fire("c", rule="two", labels={"team": "x"})
    desk.fire("d", rule="two", labels={"team": "x", "agent": "d"})
    desk.fire("e", rule="two", labels={})
    assert sorted(desk.told()) == ["a", "b", "c d", "e"]
    keys = {group.text for group in desk.gatherer.groups.values()}
    assert 'hook:{alertname="One", team="x"}' in keys
    assert 'hook:{alertname="Two"}' in keys


def test_an_alert_goes_where_its_rule_says_and_by_default_to_the_default_ones() -> None:
    desk = Desk([channel(), channel("other", is_default=False), channel("third")])
    desk.wanted = {"a": Wanted(("other",)), "b": Wanted()}
    desk.fire("a", "b")
    assert sorted(desk.told()) == ["a to other", "b", "b to third"]


def test_a_channel_gets_what_matches_and_is_severe_enough() -> None:
    matchers = (Matcher("team", MatchType.REGEX, "x|y"),)
    desk = Desk([channel(matchers=matchers, min_severity=Severity.ERROR)])
    desk.fire("a", labels={"team": "x"}, severity=Severity.ERROR)
    desk.fire("b", labels={"team": "x"}, severity=Severity.WARNING)
    desk.fire("c", labels={"team": "z"}, severity=Severity.CRITICAL)
    assert desk.told() == ["a"]


def test_an_end_goes_where_its_beginning_went_whatever_the_channel_says_by_then() -> None:
    desk = Desk([channel(), channel("other")])
    desk.fire("a")
    desk.wait(10)
    desk.channels = [channel(is_default=False, group_by=("agent",)), channel("other")]
    desk.resolve("a")
    assert sorted(desk.told()) == ["-a", "-a to other", "a", "a to other"]


def test_what_begins_is_listed_before_all_else_when_not_everything_can_be() -> None:
    desk = Desk([channel(target=Webhook("http://127.0.0.1:9/", max_alerts=2))])
    desk.fire("a", "b", "c")
    desk.wait(10)
    desk.resolve("a")
    desk.wait(1)
    desk.fire("d")
    desk.wait(60)
    desk.fire("e", "f", "g")
    assert desk.told() == ["a b and 1", "b -a and 1", "b d and 1", "e f and 4"]


def test_each_end_of_what_was_listed_is_listed_if_need_be_with_a_later_notification() -> None:
    desk = Desk([channel(target=Webhook("http://127.0.0.1:9/", max_alerts=2))])
    for id in "abcde":
        desk.fire(id)
        desk.wait(10)
    desk.fire("f", "g", "h")
    desk.wait(10)
    assert desk.told()[-1] == "f g and 6"
    desk.resolve(*"abcdefgh")
    desk.wait(60)
    assert desk.told() == ["-a -b and 6", "-c -d and 3", "-e -f and 1", "-g"]
    assert desk.gatherer.groups == {}


def test_people_are_told_once_that_so_many_are_over() -> None:
    desk = Desk([channel(target=Apprise(("Slack",)))])
    ids = [f"a{number:03}" for number in range(150)]
    for start in (0, 75):
        desk.fire(*ids[start : start + 75])
        desk.wait(10)
    desk.resolve(*ids)
    desk.wait(60)
    assert [told.truncated for _, told in desk.log] == [0, 50, 50]


def test_a_group_that_is_full_counts_what_it_cannot_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "MOST_MEMBERS", 2)
    desk = Desk()
    desk.fire("a", "b", "c", "d")
    assert desk.told() == ["a b and 2"]
    desk.resolve("c", "a", "b")
    desk.wait(10)
    assert desk.told() == ["-a -b"]


def test_groups_beyond_the_limit_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "MOST_GROUPS", 2)
    desk = Desk([channel(group_by=("agent",))])
    desk.fire("a", "b", "c", "d")
    assert sorted(desk.told()) == ["a", "b", "c d"]


LADDER = Escalation(
    "ladder",
    "Ladder",
    (
        EscalationStep(60 * SECOND, ("second",)),
        EscalationStep(120 * SECOND, ("second", "third")),
    ),
    repeat_us=300 * SECOND,
)


def climbing() -> Desk:
    others = [channel(name, is_default=False) for name in ("second", "third")]
    return Desk([channel(), *others], [LADDER], {"a": Wanted((), "ladder")})


def test_an_escalation_takes_its_steps_and_repeats_the_last() -> None:
    desk = climbing()
    desk.fire("a")
    desk.wait(59)
    assert desk.told() == ["a"]
    desk.wait(1)
    assert desk.told() == ["escalation a to second"]
    desk.wait(60)
    assert sorted(desk.told()) == ["escalation a to second", "escalation a to third"]
    desk.wait(299)
    assert desk.told() == []
    desk.wait(1)
    assert len(desk.told()) == 2


def test_acknowledging_stops_an_escalation_and_its_end_lets_it_go_on() -> None:
    desk = climbing()
    desk.fire("a")
    desk.wait(50)
    desk.acknowledge("a")
    desk.wait(3600)
    assert desk.told() == ["a"]
    desk.unacknowledge("a")
    desk.wait(9)
    assert desk.told() == []
    desk.wait(1)
    assert desk.told() == ["escalation a to second"]


def test_a_silence_holds_an_escalation() -> None:
    desk = climbing()
    desk.fire("a")
    desk.wait(50)
    desk.suppress("a", SILENCED)
    desk.acknowledge("a")
    desk.wait(100)
    desk.suppress("a", LOUD)
    desk.wait(100)
    assert desk.told() == ["a"]
    desk.unacknowledge("a")
    desk.wait(10)
    assert desk.told() == ["escalation a to second"]


def test_an_end_is_told_to_those_whom_the_escalation_told_and_to_nobody_else() -> None:
    desk = climbing()
    desk.fire("a")
    desk.wait(70)
    desk.resolve("a")
    desk.wait(3600)
    assert sorted(desk.told()) == ["-a", "-a to second", "a", "escalation a to second"]
    assert desk.gatherer.runs == {}
    assert desk.gatherer.groups == {}


def test_an_escalated_alert_does_not_repeat_where_only_the_escalation_told_it() -> None:
    desk = climbing()
    desk.channels = [replace(each, repeat_interval_us=200 * SECOND) for each in desk.channels]
    desk.escalations = [replace(LADDER, steps=LADDER.steps[:1], repeat_us=None)]
    desk.fire("a")
    desk.wait(1000)
    assert [line for line in desk.told() if "second" in line] == ["escalation a to second"]


def test_a_silence_alone_holds_an_escalation_too() -> None:
    desk = climbing()
    desk.fire("a")
    desk.wait(50)
    desk.suppress("a", SILENCED)
    desk.wait(3600)
    assert desk.told() == ["a"]
    desk.suppress("a", LOUD)
    desk.wait(10)
    assert desk.told() == ["escalation a to second"]


def test_an_escalated_alert_makes_nobody_repeat_or_hear_of_a_change() -> None:
    desk = climbing()
    second = channel("second", repeat_interval_us=HOUR)
    desk.channels = [channel(repeat_interval_us=99 * HOUR), second, desk.channels[2]]
    desk.escalations = [replace(LADDER, steps=LADDER.steps[:1], repeat_us=None)]
    desk.wanted |= {
        "a": Wanted(("hook",), "ladder"),
        "b": Wanted(("second",)),
        "c": Wanted(("second",)),
    }
    desk.fire("a", "b")
    desk.acknowledge("b")
    desk.wait(2 * 3600)
    assert desk.told() == ["a", "b to second", "escalation a to second"]
    desk.suppress("a", SILENCED)
    desk.fire("c")
    desk.acknowledge("c")
    desk.wait(60)
    desk.suppress("a", LOUD)
    desk.wait(2 * 3600)
    assert desk.told() == ["b c to second"]


def test_nobody_hears_that_a_silenced_alert_flaps() -> None:
    desk = Desk()
    desk.fire("a")
    desk.wait(10)
    desk.suppress("a", SILENCED)
    desk.flap("a", begins=True, silenced=True)
    desk.wait(10)
    assert desk.told() == ["a"]
    desk.resolve("a")
    assert desk.told() == ["-a"]


def test_a_notification_says_what_it_is_about() -> None:
    desk = Desk([channel(group_by=("alertname",))])
    desk.fire("a", "b")
    desk.wait(0)
    (_, told), *_ = desk.log
    assert told.group_key == 'hook:{alertname="Depth"}'
    assert told.group_labels == {"alertname": "Depth"}
    assert told.reason == "2 alerts fire"
    assert told.common_labels == {"alertname": "Depth", "rule_id": "depth", "severity": "warning"}
    assert told.alerts[0].annotations == {"summary": "a is wrong", "clears_when": "a is right"}
    assert told.alerts[0].generator_url == "/alerts/a"
    assert Notification.from_json(told.to_json()) == told
