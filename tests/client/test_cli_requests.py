"""Options for the fields of messages in a request, and what has a form in words: rules read from the contract."""

from __future__ import annotations

import datetime as dt
import io
from typing import Any

import click
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from pilothouse.cli import contract, messages, params, phrases, places, requests
from pilothouse.cli.columns import columns_of
from pilothouse.cli.output import Tables
from pilothouse.cli.tables import Screen, Table
from pilothouse.v1 import (
    alerts_pb2,
    channels_pb2,
    deliveries_pb2,
    heartbeats_pb2,
    trace_analysis_pb2,
)
from pilothouse.v1.enums_pb2 import SEVERITY_CRITICAL
from pilothouse.v1.escalations_pb2 import Escalation
from pilothouse.v1.matchers_pb2 import MATCH_TYPE_REGEX, Matcher
from pilothouse.v1.rules_pb2 import AlertRule, Condition, CreateRuleResponse, ListRulesResponse
from pilothouse.v1.silences_pb2 import ListSilencesResponse, Silence


def method_of(group: str, name: str) -> MethodDescriptor:
    return contract.groups()[group][name].method


def request_of(group: str, name: str, *typed: str) -> dict[str, Any]:
    """The request that is made of what is typed."""
    method = method_of(group, name)
    command = click.Command("x", params=params.parameters(method))
    with command.make_context("x", list(typed)) as context:
        found: Message = requests.made(method, context.params)
    made = MessageToDict(found, preserving_proto_field_name=True)
    if "update_mask" in made:
        made["update_mask"] = ",".join(getattr(found, "update_mask").paths)  # noqa: B009
    return made


def refused(group: str, name: str, *typed: str) -> str:
    with pytest.raises(click.UsageError) as raised:
        request_of(group, name, *typed)
    return raised.value.format_message()


def test_a_resource_is_made_of_options() -> None:
    before = dt.datetime.now(dt.UTC)
    silence = request_of(
        "silences", "create", "--matcher", 'alertname="Deep queue"', "--matcher", "stage=~b.*",
        "--end-time", "+2h", "--comment", "known", "--recurrence-duration", "1h",
    )["silence"]  # fmt: skip
    assert silence["matchers"] == [
        {"name": "alertname", "type": "MATCH_TYPE_EQUAL", "value": "Deep queue"},
        {"name": "stage", "type": "MATCH_TYPE_REGEX", "value": "b.*"},
    ]
    assert dt.datetime.fromisoformat(silence["end_time"]) - before > dt.timedelta(hours=1.99)
    assert (silence["comment"], silence["recurrence"]) == ("known", {"duration": "3600s"})
    assert request_of("heartbeats", "set", "nightly", "--interval", "1d", "--grace", "1h") == {
        "heartbeat": {"id": "nightly", "interval": "86400s", "grace": "3600s"}
    }
    url = ("--webhook-url", "http://a/", "--webhook-header", "A=b", "--is-default")
    assert request_of("channels", "create", "--name", "Hook", *url)["channel"] == {
        "name": "Hook",
        "is_default": True,
        "webhook": {"url": "http://a/", "headers": {"A": "b"}},
    }
    steps = ("--step", "after=5m channels=a,b", "--step", '{"after": "1h", "channels": ["c"]}')
    assert request_of("escalations", "create", "--name", "On", *steps)["escalation"]["steps"] == [
        {"after": "300s", "channels": ["a", "b"]},
        {"after": "3600s", "channels": ["c"]},
    ]


def test_what_options_say_wins_over_json_and_a_list_replaces_a_list() -> None:
    rule = '{"name": "N", "forDuration": "1m", "channels": ["a"], "condition": "queue_depth > 5"}'
    typed = ("--rule", rule, "--for-duration", "2m", "--channel", "b", "--channel", "c")
    made = request_of("rules", "create", *typed)["rule"]
    assert (made["name"], made["for_duration"], made["channels"]) == ("N", "120s", ["b", "c"])
    assert made["condition"]["threshold"]["metric"] == "ALERT_METRIC_QUEUE_DEPTH"


def test_a_change_is_of_what_the_options_name() -> None:
    assert request_of("rules", "update", "error-rate", "--for-duration", "2m") == {
        "rule": {"id": "error-rate", "for_duration": "120s"},
        "update_mask": "for_duration",
    }
    hook = request_of("channels", "update", "hook", "--webhook-url", "http://b/", "--no-enabled")
    assert hook["update_mask"] == "enabled,webhook.url"
    emptied = request_of("rules", "update", "r", "--channel", "", "--for-duration", "")
    assert emptied == {"rule": {"id": "r"}, "update_mask": "for_duration,channels"}
    whole = request_of("rules", "update", "--rule", '{"id": "r", "name": "N"}', "--escalation", "e")
    assert whole == {"rule": {"id": "r", "name": "N", "escalation": "e"}}, "JSON is all of it"
    masked = ("r", "--update-mask", "name", "--rule", '{"name": "N"}', "--severity", "critical")
    assert request_of("rules", "update", *masked)["update_mask"] == "name,severity"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("rules update error-rate", "Nothing to change"),
        ("rules update --for-duration 2m", "Missing argument 'RULE_ID'"),
        ("rules create --name N", "Missing option '--condition'"),
        ("rules create --rule {\"name\":\"N\"}", "Missing option '--condition'"),
        ("rules create --severity bad", "'bad' is not one of debug, info, warning"),
        ("rules create --condition x>1", "'x' is not one of latency_p50"),
        ("rules create --condition error_rate", "is no condition, such as: error_rate 5m > 0.05"),
        ("rules create --condition (queue_depth>1", "parenthesis is not closed"),
        ("silences create --matcher a=b", "Missing option '--comment'"),
        ("silences create --comment c", "Missing option '--matchers'"),
        ("silences create --matcher foo", "'foo' is no matcher, as agent_type="),
        ("silences create --end-time soon", "'soon' is not a time"),
        ("heartbeats set nightly", "Missing option '--interval'"),
        ("heartbeats set nightly --interval often", "'often' is not a duration"),
        ("channels create --name N", "Missing option '--webhook-url' or '--cloud-events-url'"),
        ("channels create --webhook-url http://a --apprise-url b", "exclude each other"),
        ("escalations create --name N --step later", "'later' is not understood"),
    ],
)  # fmt: skip
def test_what_is_missing_or_wrong_is_said_as_it_is_typed(typed: str, said: str) -> None:
    assert said in refused(*typed.split(" "))


def test_what_only_the_server_sets_is_no_option() -> None:
    for group, name in (("rules", "create"), ("silences", "create"), ("heartbeats", "set")):
        flags = {place.flag for place in places.places(method_of(group, name)) if place.nested}
        unwanted = {"--create-time", "--etag", "--version", "--created-by", "--state", "--count"}
        assert flags, group
        assert not flags & unwanted, group


def test_options_of_one_command_are_all_different() -> None:
    for commands in contract.groups().values():
        for command in commands.values():
            every = places.places(command.method)
            options = [place for place in every if not place.positional]
            flags = [each for place in options for each in (place.flag, *place.also)]
            assert len(flags) == len(set(flags)), command.path


@pytest.mark.parametrize(
    "text",
    [
        "queue_depth > 5",
        "error_rate 5m > 0.05 (recovery_threshold=0.03 min_samples=20)",
        'latency_p95{stage=~"build|t}e,st", stage!="a\\"b"} 15m by stage >= 2.5',
        "queue_depth > 5 and (error_rate 1m < 0.1 or agent_silence by agent > 60)",
        "queue_depth > 5 or (error_rate 1m <= 0.1 and success_rate 1h < 0.9)",
    ],
)
def test_a_condition_is_shown_as_it_is_typed(text: str) -> None:
    condition = messages.one_message(Condition.DESCRIPTOR, text)
    assert phrases.show(condition) == text


@pytest.mark.parametrize("text", ['a="b"', 'a!="b c"', 'a=~"x|y"', 'a!~""', 'a="q\\"\\\\"'])
def test_a_matcher_is_shown_as_it_is_typed(text: str) -> None:
    assert phrases.show(messages.one_message(Matcher.DESCRIPTOR, text)) == text


def test_and_binds_more_than_or() -> None:
    text = "queue_depth > 1 or queue_depth > 2 and queue_depth > 3"
    shown = phrases.show(messages.one_message(Condition.DESCRIPTOR, text))
    assert shown == "queue_depth > 1 or (queue_depth > 2 and queue_depth > 3)"


def shown(message: Message) -> list[str]:
    stream = io.StringIO()
    Tables(Screen(stream, terminal=False, colour=False), []).answer(message)
    return stream.getvalue().splitlines()


def a_rule() -> AlertRule:
    condition = messages.one_message(Condition.DESCRIPTOR, "error_rate 5m > 0.05 (min_samples=20)")
    rule = AlertRule(
        id="error-rate", name="Error rate", description="x " * 200, enabled=True, severity=SEVERITY_CRITICAL,
        updated_by="ada", instance_count=3,
    )  # fmt: skip
    rule.condition.MergeFromString(condition.SerializeToString())
    rule.for_duration.FromSeconds(60)
    rule.meters.evaluations = 7
    return rule


def test_a_list_of_rules_is_what_one_scans() -> None:
    head, row = shown(ListRulesResponse(rules=[a_rule()]))
    titles = [each.strip() for each in head.split("  ") if each.strip()]
    expected = "ID,NAME,SEVERITY,ENABLED,CONDITION,FOR,UPDATED BY,ALERTS"
    assert titles == expected.split(",")
    assert "error_rate 5m > 0.05 (min_samples=20)" in row
    assert len(row) <= 160


def test_a_text_is_cut_before_a_column_that_one_scans_is_left_out() -> None:
    alert = alerts_pb2.Alert(id="a" * 36, rule_name="Error rate", summary="s" * 60, assignee="ada")
    alert.active_time.GetCurrentTime()
    stream = io.StringIO()
    Table(
        Screen(stream, terminal=True, colour=False, width=100), columns_of(contract.kind_of(alert))
    ).rows([alert])
    head, row = stream.getvalue().splitlines()
    assert head.split() == ["ID", "RULE", "NAME", "SUMMARY", "ACTIVE", "SINCE"]
    assert "sss…" in row
    assert len(row) <= 100


def test_one_rule_is_everything_with_its_parts_under_heads() -> None:
    lines = shown(CreateRuleResponse(rule=a_rule()))
    assert "condition       error_rate 5m > 0.05 (min_samples=20)" in lines
    assert any(line.startswith("description") for line in lines)
    assert lines[lines.index("METERS") + 1].split() == ["evaluations", "7"]


def test_a_list_of_silences_says_what_they_match() -> None:
    silence = Silence(
        id="s" * 36, matchers=[Matcher(name="a", value="b"), Matcher(name="c", value="d", type=MATCH_TYPE_REGEX)],
        comment="known", created_by="ada",
    )  # fmt: skip
    silence.start_time.FromSeconds(1)
    silence.end_time.FromSeconds(2)
    head, row = shown(ListSilencesResponse(silences=[silence]))
    assert head.split() == [
        "ID",
        "MATCHERS",
        "START",
        "END",
        "COMMENT",
        "CREATED",
        "BY",
        "SILENCED",
    ]
    assert 'a="b", c=~"d"' in row
    assert len(row) <= 160


def test_a_channel_is_listed_with_where_it_goes() -> None:
    hook = channels_pb2.Channel(
        id="h", name="H", webhook=channels_pb2.WebhookChannel(url="http://a/", max_alerts=3)
    )
    mail = channels_pb2.Channel(
        id="m",
        name="M",
        is_default=True,
        apprise=channels_pb2.AppriseChannel(services=["mail", "slack"]),
    )
    head, *rows = shown(channels_pb2.ListChannelsResponse(channels=[hook, mail]))
    assert head.split() == ["ID", "NAME", "DEFAULT", "TARGET"]
    assert rows[0].split("  ")[-1].strip() == "webhook http://a/"
    assert rows[1].endswith("apprise mail, slack")


def test_columns_say_what_is_meant() -> None:
    def titles(message: type[Message]) -> list[str]:
        return [column.title for column in columns_of(contract.kind_of(message()))]

    alert = titles(alerts_pb2.Alert)
    assert "active since" in alert
    assert not {"clears when", "threshold", "rule id"} & set(alert)
    assert {"created", "ended", "next try", "firing"} <= set(titles(deliveries_pb2.Delivery))
    assert {"due", "last heard", "overdue"} <= set(titles(heartbeats_pb2.ExpectedHeartbeat))
    assert titles(Escalation) == ["id", "name", "steps", "updated by"]
    assert "occurred" in titles(alerts_pb2.AlertTransition)
    assert titles(trace_analysis_pb2.CriticalStep)[:2] == ["name", "span id"]
    assert "runs" in titles(trace_analysis_pb2.ComparedTrace)
