"""The notation of input series, as promtool 2.42 expands it."""

from __future__ import annotations

import math

import pytest

from pilothouse_server.rulefiles.promql import NotInSubset
from pilothouse_server.rulefiles.series import Gap, Sample, Series, parse_series, parse_values

MINUTE = 60_000_000
GAP, STALE = Gap.OMITTED, Gap.STALE


@pytest.mark.parametrize(
    ("text", "samples"),
    [
        ("1 2  3 ", [1, 2, 3]),
        ("1x3", [1, 1, 1, 1]),
        ("1x0 7", [1, 7]),
        ("0x2", [0, 0, 0]),
        ("1+2x3", [1, 3, 5, 7]),
        ("1-2x2", [1, -1, -3]),
        ("-1e1+.5x1", [-10, -9.5]),
        ("0.1+0.1x2", [0.1, 0.2, 0.1 + 0.1 + 0.1]),
        ("_ 5 stale", [GAP, 5, STALE]),
        ("_x2 _x0 5", [GAP, GAP, 5]),
        ("010 08 5.", [8, 8, 5]),
        ("+5 Inf -inf", [5, math.inf, -math.inf]),
        ("", []),
    ],
)
def test_values_are_expanded(text: str, samples: list[Sample]) -> None:
    assert parse_values(text) == samples


@pytest.mark.parametrize(
    "text",
    ["1+-2x3", "1x-1", "stalex2", "STALE", "1_0", "__", "1 x3", "1,2", "0x1x2 a", "1+2", "Infx3", "1 # no", "1x2.5",
     "1e999", "1+1e999x2"],
)  # fmt: skip
def test_what_promtool_refuses_is_refused(text: str) -> None:
    with pytest.raises(NotInSubset):
        parse_values(text)


def test_what_cannot_be_kept_or_is_not_a_number_is_refused_by_name() -> None:
    with pytest.raises(NotInSubset, match="more than 1,000,000 samples"):
        parse_values("0x999999999999999999999")
    with pytest.raises(NotInSubset, match="histograms"):
        parse_values("{{schema:1}}")
    with pytest.raises(NotInSubset, match="one line"):
        parse_values("1\n2")


def test_a_sample_counts_for_five_minutes_or_until_the_series_is_stale() -> None:
    series = Series({"__name__": "m"}, parse_values("_ 1 _x9 2 stale"), MINUTE)
    values = [series.at(minute * MINUTE) for minute in range(13)]
    assert values == [None, 1, 1, 1, 1, 1, 1, None, None, None, None, 2, None]
    assert series.at(6 * MINUTE + 1) is None
    assert Series({}, parse_values("3"), MINUTE).at(5 * MINUTE) == 3
    assert Series({}, parse_values("3"), MINUTE).at(6 * MINUTE) is None
    assert Series({}, [], MINUTE).at(0) is None


def test_series_are_labels_with_a_name() -> None:
    assert parse_series("a:b{x=\"1\",y='2',}") == {"__name__": "a:b", "x": "1", "y": "2"}
    assert parse_series("{x=`1`, empty=''}") == {"x": "1"}
    assert parse_series("m") == {"__name__": "m"}
    assert parse_series("by{on='#'} ") == {"__name__": "by", "on": "#"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "expected a metric"),
        ("m{", "name of a label"),
        ("m{x", "expected ="),
        ("m{x=", "expected ="),
        ("m{x='1'", "expected , or }"),
        ("m{x='1' y='2'}", "expected , or }"),
        ("m{x!='1'}", "expected ="),
        ("m{x='1',x='2'}", "twice"),
        ("m{x='\\q'}", "\\q"),
        ("m 3", "not expected"),
        ("m {x='1'}", "not expected"),
        ("m{x='1'} # why", "comment"),
        ("m{x='1' # why\n}", "comment"),
        ("m # why", "comment"),
        ("{}", "a name or a label"),
        ("{x=''}", "a name or a label"),
        ("inf", "expected a metric"),
        ("On{x='1'}", "expected a metric"),
    ],
)
def test_what_is_no_series_is_refused(text: str, named: str) -> None:
    with pytest.raises(NotInSubset) as refused:
        parse_series(text)
    assert named in refused.value.description
