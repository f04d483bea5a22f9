"""Ways by which rows find the filters that may want them: none that wants a row is passed by."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse_server.domain.event_fields import EVENT_FIELDS, WORDS
from pilothouse_server.domain.events import EventType, Severity
from pilothouse_server.domain.filter_routes import MOST, Crossroads, Route, routes
from pilothouse_server.domain.filter_text import parse
from pilothouse_server.domain.filters import (
    And,
    Compare,
    Contains,
    Filter,
    Not,
    OneOf,
    Or,
    Stated,
    Words,
    matches,
    words_of,
)

TEXTS = st.sampled_from(["", "a", "ab", "b w", "Abc"])
NUMBERS = st.sampled_from([0, 1, 2, 3, 4, 5, 99])
OPERATORS = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])

TERMS = st.one_of(
    st.builds(Compare, st.sampled_from(["id", "workflow_id", "stage"]), OPERATORS, TEXTS),
    st.builds(Compare, st.sampled_from(["type", "severity", "occur_time"]), OPERATORS, NUMBERS),
    st.builds(OneOf, st.sampled_from(["type", "severity"]), st.frozensets(NUMBERS)),
    st.builds(Words, st.just(WORDS), st.tuples(st.sampled_from(["a", "ab", "b", "w"]))),
    st.builds(Contains, st.just(("message",)), TEXTS),
    st.builds(Stated, st.sampled_from(["id", "severity"])),
)
TREES: st.SearchStrategy[Filter] = st.recursive(
    TERMS,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    row: dict[str, Any] = {name: draw(TEXTS) for name in ("id", "workflow_id", "stage", "message")}
    row |= {name: draw(NUMBERS) for name in ("type", "severity", "occur_time")}
    return row | {WORDS: " ".join(words_of(row["message"]))}


@given(st.lists(TREES, max_size=12), st.lists(rows(), max_size=6), st.integers(0, 12))
def test_whoever_wants_a_row_is_asked_about_it(
    trees: list[Filter], some: list[dict[str, Any]], gone: int
) -> None:
    crossroads = Crossroads[int](EVENT_FIELDS)
    for who, tree in enumerate(trees):
        crossroads.add(who, routes(tree, EVENT_FIELDS))
    for who, tree in enumerate(trees[:gone]):
        crossroads.remove(who, routes(tree, EVENT_FIELDS))
    there = dict(list(enumerate(trees))[gone:])
    for row in some:
        asked = set(crossroads.wanting(row))
        assert asked <= there.keys()
        assert {who for who, tree in there.items() if matches(tree, row.get)} <= asked


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("workflow_id = w1 severity >= WARNING", {Route("workflow_id", "w1")}),
        ("workflow_id = w1 OR agent_id = a1", {Route("workflow_id", "w1"), Route("agent_id", "a1")}),
        ("type = LOG trace_id = abc", {Route("trace_id", "abc")}),
        ("conn timeout", {Route(WORDS, "timeout")}),
        ("severity >= CRITICAL", {Route("severity", int(Severity.CRITICAL)), Route("severity", None)}),
        ("type = LOG", {Route("type", int(EventType.LOG))}),
        ("NOT type = LOG", None),
        ("workflow_id = w1 OR message:x", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_narrowest_way_is_taken(text: str, found: set[Route] | None) -> None:
    assert routes(parse(text, EVENT_FIELDS, 0), EVENT_FIELDS) == found


def test_a_filter_with_too_many_ways_is_asked_about_everything() -> None:
    many = Or(tuple(Compare("id", "=", str(n)) for n in range(MOST + 1)))
    assert routes(many, EVENT_FIELDS) is None
