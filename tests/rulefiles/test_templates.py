"""Templates print what Prometheus' print; the values of the tables are what promtool 2.42 showed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse_server.domain.alerts.templates import MOST_BYTES, check, check_label, expand
from pilothouse_server.domain.errors import InvalidArgument

LABELS = {"agent_id": "agent-7", "stage": "deploy to the world", "bytes": "2048"}


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("plain", "plain"),
        ("{{ $labels.agent_id }} is {{ $value }}", "agent-7 is 1.5"),
        ("{{.Labels.agent_id}}{{ .Value }}", "agent-71.5"),
        ("[{{ $labels.nothing }}]", "[]"),
        ("{{ $labels }}", "map[agent_id:agent-7 bytes:2048 stage:deploy to the world]"),
        ("a {{- $value -}} b", "a1.5b"),
        ("a {{/* {{ not }} said */}} b", "a  b"),
        ("a {{- /* said */ -}} b", "ab"),
        ('{{ "}} in quotes \\" \\n" }}', '}} in quotes " \n'),
        ("{{ `raw \\n` }}", "raw \\n"),
        ("{{ $value | humanizePercentage }}", "150%"),
        ('{{ humanize $value | printf "<%s>" }}', "<1.5>"),
        ('{{ printf "%.2f %5.1f|%-6.1f|%+.1f|%06.2f" $value $value $value $value $value }}',
         "1.50   1.5|1.5   |+1.5|001.50"),
        ('{{ printf "%d %s %v %g%%" 3 $labels.agent_id $value ($value) }}', "3 agent-7 1.5 1.5%"),
        ("{{ $labels.bytes | humanize1024 }}", "2ki"),
        ("{{ $labels.stage | toUpper }}, {{ $labels.stage | title }}",
         "DEPLOY TO THE WORLD, Deploy To The World"),
        ("{{ toLower `ABC` }}{{ -3 }}{{ 2.50 }}", "abc-32.5"),
    ],
)  # fmt: skip
def test_templates_are_filled_in(template: str, said: str) -> None:
    check(template, "annotations.x")
    assert expand(template, LABELS, 1.5) == said


NUMBERS = "{{ $value }} {{ $value | humanize }} {{ $value | humanize1024 }} {{ $value | humanizeDuration }} {{ $value | humanizePercentage }}"  # noqa: E501


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0 0 0 0s 0%"),
        (-0.5, "-0.5 -500m -0.5 -500ms -50%"),
        (0.0001, "0.0001 100u 0.0001 100us 0.01%"),
        (0.00001, "1e-05 10u 1e-05 10us 0.001%"),
        (100_000.0, "100000 100k 97.66ki 1d 3h 46m 40s 1e+07%"),
        (1_000_000.0, "1e+06 1M 976.6ki 11d 13h 46m 40s 1e+08%"),
        (1_234_567.0, "1.234567e+06 1.235M 1.177Mi 14d 6h 56m 7s 1.235e+08%"),
        (123_456_789_012.0, "1.23456789012e+11 123.5G 115Gi 1428898d 0h 30m 12s 1.235e+13%"),
        (math.nan, "NaN NaN NaN NaN NaN%"),
        (math.inf, "+Inf +Inf +Inf +Inf +Inf%"),
        (-math.inf, "-Inf -Inf -Inf -Inf -Inf%"),
    ],
)
def test_numbers_are_printed_as_prometheus_prints_them(value: float, said: str) -> None:
    assert expand(NUMBERS, {}, value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1.5, "1970-01-01 00:00:01.5 +0000 UTC"),
        (-0.5, "1969-12-31 23:59:59.5 +0000 UTC"),
        (1_234_567.0, "1970-01-15 06:56:07 +0000 UTC"),
        (math.nan, "NaN"),
        (1e20, "<error expanding template: 1e+20 seconds are beyond every calendar>"),
    ],
)
def test_times_are_printed_as_prometheus_prints_them(value: float, said: str) -> None:
    assert expand("{{ $value | humanizeTimestamp }}", {}, value) == said


def test_without_a_value_the_text_says_so() -> None:
    text = '{{ $value }}, {{ $value | humanize }}, {{ printf "%.1f" $value }}'
    assert expand(text, {}, None) == "no value, no value, no value"


@pytest.mark.parametrize(
    ("template", "named"),
    [
        ("{{ range $labels }}{{ end }}", "range"),
        ("{{ if gt $value 3.0 }}{{ end }}", "if"),
        ("{{ with $labels }}{{ end }}", "with"),
        ('{{ template "x" }}', "template"),
        ('{{ define "x" }}{{ end }}', "define"),
        ("{{ query `up` | first | value }}", "query"),
        ("{{ $x := 3 }}", "$x"),
        ("{{ $externalLabels.x }}", "$externalLabels.x"),
        ("{{ $labels.a.b }}", "$labels.a.b"),
        ("{{ humanize }}", "humanize takes one argument"),
        ("{{ humanize 3 }}", "humanize cannot take a whole number"),
        ("{{ toUpper $value }}", "toUpper cannot take a number"),
        ("{{ humanize toUpper }}", "toUpper"),
        ("{{ $value $value }}", "no function"),
        ('{{ printf "%d" $value }}', "%d"),
        ('{{ printf "%x" 3 }}', "%x"),
        ('{{ printf "%99.99999999f" $value }}', "%99.99"),
        ('{{ printf "%s %s" $labels.a }}', "takes 2 arguments"),
        ("{{ printf $labels.a }}", "format"),
        ("{{ printf `%+v` $value }}", "%+v"),
        ("{{ $labels.a", "no }}"),
        ("{{ ($value }}", ")"),
        ('{{ "a }}', "no end"),
        ('{{ "\\q" }}', "\\q"),
        ("{{ 010 }}", "010"),
        ("{{ 1e999 }}", "1e999"),
        ("{{ printf `%.3v` 7 }}", "%.3v"),
        ("{{ printf `%09v` $labels.a }}", "%09v"),
        ("{{ humanize(3.0) }}", "space"),
        ("{{ }}", "missing"),
        ("{{" + "(" * 100, "parentheses"),
        ("x" * 4097, "4,096 characters"),
    ],
)
def test_what_is_outside_the_subset_is_refused_by_name(template: str, named: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check(template, "annotations.x")
    assert refused.value.field == "annotations.x"
    assert named in refused.value.description
    assert expand(template, LABELS, 1.0).startswith("<error expanding template: ")


def test_a_label_cannot_be_made_of_the_value() -> None:
    check_label("{{ $labels.agent_id }}", "labels.x")
    with pytest.raises(InvalidArgument, match="alert of its own"):
        check_label('{{ printf "%.0f" ($value) }}', "labels.x")


def test_a_value_that_a_function_cannot_take_is_said_in_the_text() -> None:
    said = expand("{{ $labels.agent_id | humanize }}", LABELS, 1.0)
    assert said == "<error expanding template: humanize: 'agent-7' is no number>"


def test_a_text_that_blows_up_is_cut_between_two_letters() -> None:
    said = expand("{{ $labels.a }}" * 250, {"a": "ä" * 1000}, None)
    assert MOST_BYTES - 1 <= len(said.encode()) <= MOST_BYTES
    assert said.endswith("ä…")


def test_no_more_of_a_label_is_looked_at_than_can_be_shown() -> None:
    huge = {"a": "ä" * 1_000_000}
    most = expand("{{ $labels.a | toUpper }}", huge, None)
    assert (most[:2], len(most.encode())) == ("ÄÄ", MOST_BYTES - 1)
    shortened = "{{ $labels.a | title | toUpper | printf `%.1s` }}" * 80
    assert expand(shortened, huge, None) == "Ä" * 80


@given(st.text(alphabet='{}$.-|() "`%abehilmnuvz/*0123456789\n\\', max_size=60))
def test_whatever_is_written_is_answered_and_checked_alike(text: str) -> None:
    said = expand(text, LABELS, 1.5)
    try:
        check(text, "x")
    except InvalidArgument:
        assert said.startswith("<error expanding template: ")
