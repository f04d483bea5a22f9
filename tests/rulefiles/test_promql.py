"""The part of PromQL that conditions are written in, and what is refused of the rest by its name and place."""

from __future__ import annotations

import math

import pytest

from pilothouse_server.domain.alerts.matchers import Matcher, MatchType
from pilothouse_server.rulefiles.promql import And, Compared, Expression, NotInSubset, Or, parse


def named(expression: Expression) -> str:
    """The tree with every group in parentheses."""
    match expression:
        case And(operands):
            return f"({' and '.join(map(named, operands))})"
        case Or(operands):
            return f"({' or '.join(map(named, operands))})"
        case Compared():
            return expression.metric


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a > 1", "a"),
        ("a > 1 and b > 1 or c > 1", "((a and b) or c)"),
        ("a > 1 or b > 1 and c > 1", "(a or (b and c))"),
        ("(a > 1 or b > 1) and c > 1", "((a or b) and c)"),
        ("a > 1 AND b > 1 and c > 1", "(a and b and c)"),
        ("(a > 1 and b > 1) and c > 1", "((a and b) and c)"),
        ("((a > 1))", "a"),
        ("a > 1\n  or # or else\n b > 1", "(a or b)"),
    ],
)
def test_and_binds_closer_than_or_and_parentheses_are_kept(text: str, tree: str) -> None:
    assert named(parse(text)) == tree


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1), ("+1", 1), ("-1.5", -1.5), ("- 2", -2), (".5", 0.5), ("5.", 5), ("1e3", 1000), ("1E-2", 0.01),
     ("0x1F", 31), ("010", 8), ("08", 8), ("inf", math.inf), ("-Inf", -math.inf), ("--2", 2),
     ("0x7FFFFFFFFFFFFFFF", 2**63), ("02000000000000000000000", 2e21), ("1e-999", 0)],
)  # fmt: skip
def test_numbers_are_read_as_prometheus_reads_them(text: str, number: float) -> None:
    parsed = parse(f"m >= {text}")
    assert isinstance(parsed, Compared)
    assert (parsed.sign, parsed.number) == (">=", number)


def test_matchers_are_read_in_all_three_quotes() -> None:
    parsed = parse("""a:b{x="\\"q\\"", y!='\\u00e9', z=~`\\d+`, w!~"a|b",} != NaN""")
    assert isinstance(parsed, Compared)
    assert parsed.matchers == (
        Matcher("x", MatchType.EQUAL, '"q"'),
        Matcher("y", MatchType.NOT_EQUAL, "é"),
        Matcher("z", MatchType.REGEX, "\\d+"),
        Matcher("w", MatchType.NOT_REGEX, "a|b"),
    )
    assert math.isnan(parsed.number)


@pytest.mark.parametrize(
    ("text", "position", "named"),
    [
        ("sum(a) > 1", 0, "the aggregation sum"),
        ("sum by (x) (a) > 1", 0, "the aggregation sum"),
        ("a > 1 and rate(b[5m]) > 1", 10, "the function rate"),
        ("a[5m] > 1", 1, "a range"),
        ("a offset 5m > 1", 2, "offset"),
        ("a @ 3 > 1", 2, "@"),
        ("a > 1 unless b > 1", 6, "unless"),
        ("a > 1 and on(x) b > 1", 10, "on(…)"),
        ("a > 1 or ignoring (x) b > 1", 9, "ignoring(…)"),
        ("a > bool 1", 4, "bool"),
        ("a > b", 4, "not with b"),
        ("a / 2 > 1", 2, "arithmetic (/)"),
        ("a > 2 * 3", 6, "arithmetic (*)"),
        ("1 < a", 0, "on the left"),
        ("-a > 1", 0, "on the left"),
        ("a", 1, "compared with a number"),
        ("a > 1 and b", 11, "compared with a number"),
        ("a > 1 > 2", 6, "not compared again"),
        ("(a > 1) > 2", 8, "not compared again"),
        ("a > 5m", 4, "duration"),
        ("a > 1_000", 4, "no number"),
        ("a > 1e999", 4, "greater than any number"),
        ("a > 0xFFFFFFFFFFFFFFFF", 4, "64 bits"),
        ("a > # 1\n2 # 3\r4", 14, "the end"),
        ("a\f> 1", 1, "is not known"),
        (r'a{x=~"\\C"} > 1', 5, "one byte"),
        ('{__name__="a"} > 1', 0, "before {"),
        ('a{__name__="b"} > 1', 2, "once"),
        ('a{x="b} > 1', 4, "no end"),
        ('a{x=~"("} > 1', 5, "regular expression"),
        ('a{x="\\q"} > 1', 4, "\\q"),
        ("a{x} > 1", 3, "one of"),
        ("a{x=1} > 1", 4, "in quotes"),
        ("a{x:y='b'} > 1", 2, "name of a label"),
        ("ALERTS > 0", 0, "alerts about alerts"),
        ("(a > 1", 6, "expected )"),
        ("a > 1)", 5, "the end"),
        ("a >", 3, "this is the end"),
        ("a > ; 1", 4, "';'"),
        ("", 0, "the name of a metric"),
        ("(" * 21 + "a > 1" + ")" * 21, 20, "parentheses"),
        ("a > " + "1" * 70_000, 0, "characters"),
    ],
)  # fmt: skip
def test_what_is_outside_the_subset_is_refused_by_name_and_place(
    text: str, position: int, named: str
) -> None:
    with pytest.raises(NotInSubset) as refused:
        parse(text)
    assert named in refused.value.description
    assert refused.value.position == position
