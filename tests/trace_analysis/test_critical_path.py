"""Critical path and slack against their definitions, on random traces and on those that a person would draw."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings

from pilothouse_server.domain.traces.causes import MAX_SPANS, Unanalysable, causes_of
from pilothouse_server.domain.traces.critical_path import (
    Basis,
    CriticalPath,
    condensed,
    critical_path,
    split,
)
from pilothouse_server.domain.traces.model import (
    Problem,
    ProblemKind,
    SpanKind,
    TimeKind,
    Trace,
    Wait,
)
from pilothouse_server.domain.traces.own_time import OwnTime
from pilothouse_server.domain.traces.slack import slack_of
from tests.trace_analysis.builders import NOW, causes, span, trace, traces
from tests.trace_analysis.oracle import Oracle

WORK, QUEUE, RETRY = TimeKind.WORK, TimeKind.QUEUE, TimeKind.RETRY
WAIT, PAUSE = TimeKind.WAIT, TimeKind.PAUSE


def path_of(of: Trace, now_us: int = NOW) -> CriticalPath:
    found = causes(of, now_us)
    return critical_path(found, OwnTime(found))


def told(of: Trace, now_us: int = NOW) -> list[tuple[str, int, int, TimeKind]]:
    return [
        (of.spans[step.span].id, step.start_us, step.end_us, step.kind)
        for step in path_of(of, now_us).steps
    ]


@settings(max_examples=400)
@given(traces())
def test_the_steps_are_the_trace_to_the_microsecond(of: Trace) -> None:
    steps = path_of(of).steps
    whole = (NOW if of.end_us is None else of.end_us) - of.start_us
    assert sum(step.length_us for step in steps) == whole
    assert all(one.end_us == next.start_us for one, next in pairwise(steps))
    assert all(step.length_us > 0 for step in steps)
    assert sum(split(steps).values()) == whole


@settings(max_examples=400)
@given(traces())
def test_each_instant_is_answered_for_by_the_span_that_the_definition_names(of: Trace) -> None:
    """But for time in which something above held it: that one answers then."""
    oracle = Oracle(of, NOW)
    above = {each.id: each.parent_id for each in of.spans}
    for step in path_of(of).steps:
        for instant in range(step.start_us, step.end_us):
            named = of.spans[oracle.answering(instant)].id
            if step.kind in {WAIT, PAUSE}:
                lineage = [named]
                while lineage[-1]:
                    lineage.append(above[lineage[-1]])
                assert of.spans[step.span].id in lineage
            else:
                assert of.spans[step.span].id == named


@settings(max_examples=400)
@given(traces(most=7))
def test_slack_is_how_much_longer_a_span_can_take(of: Trace) -> None:
    oracle = Oracle(of, NOW)
    whole = oracle.length_with(0, 0)
    for place, slack in enumerate(slack_of(causes(of))):
        if slack is None:
            assert place not in oracle.interval
        else:
            assert oracle.length_with(place, slack) == whole
            assert oracle.length_with(place, slack + 1) == whole + 1


@settings(max_examples=200)
@given(traces())
def test_there_is_no_slack_on_the_critical_path(of: Trace) -> None:
    slack = slack_of(causes(of))
    assert {slack[step.span] for step in path_of(of).steps} <= {0}


@settings(max_examples=200)
@given(traces())
def test_a_trace_that_is_solved_again_as_it_was_takes_as_long(of: Trace) -> None:
    found = causes(of)
    assert found.duration_with(found.gaps(), found.tails()) == found.length_us


def test_the_path_goes_back_from_the_task_that_ended_last() -> None:
    of = trace(
        span("run", "", 0, 50, SpanKind.WORKFLOW),
        span("a", "run", 0, 20),
        span("b", "run", 5, 30),
        span("c", "run", 32, 48),
        span("d", "run", 31, 40),
    )
    assert told(of) == [
        ("run", 0, 5, WORK),
        ("b", 5, 30, WORK),
        ("run", 30, 32, WORK),
        ("c", 32, 48, WORK),
        ("run", 48, 50, WORK),
    ]
    assert path_of(of).basis == Basis.MIXED
    assert slack_of(causes(of)) == [0, 10, 0, 0, 8]


def test_a_known_cause_counts_more_than_what_ended_last() -> None:
    of = trace(
        span("run", "", 0, 50, SpanKind.WORKFLOW),
        span("a", "run", 0, 20),
        span("b", "run", 0, 30),
        span("c", "run", 30, 50, after=["a"]),
    )
    assert told(of) == [("a", 0, 20, WORK), ("run", 20, 30, WORK), ("c", 30, 50, WORK)]
    assert path_of(of).basis == Basis.KNOWN


def test_opentelemetrys_spans_alone_are_estimated_from_nesting() -> None:
    of = trace(
        span("root", "", 0, 10, SpanKind.SPAN),
        span("a", "root", 0, 4, SpanKind.SPAN),
        span("b", "root", 4, 10, SpanKind.SPAN),
    )
    assert path_of(of).basis == Basis.NESTING


def test_attempts_that_were_tried_again_are_retry_and_so_is_the_time_between() -> None:
    of = trace(
        span("run", "", 0, 40, SpanKind.WORKFLOW),
        span("a1", "run", 0, 10, waits=[Wait(QUEUE, 0, 4)]),
        span("a2", "run", 15, 40, retries="a1", waits=[Wait(RETRY, 15, 20)]),
    )
    assert told(of) == [
        ("a1", 0, 10, RETRY),
        ("run", 10, 15, RETRY),
        ("a2", 15, 20, RETRY),
        ("a2", 20, 40, WORK),
    ]


def test_what_is_queued_while_the_workflow_is_paused_is_paused() -> None:
    of = trace(
        span("run", "", 0, 40, SpanKind.WORKFLOW, waits=[Wait(PAUSE, 10, 30)]),
        span("stage", "run", 0, 40, SpanKind.STAGE),
        span("a", "stage", 0, 12),
        span("b", "stage", 20, 40, waits=[Wait(QUEUE, 20, 35)]),
    )
    assert told(of) == [
        ("a", 0, 12, WORK),
        ("run", 12, 30, PAUSE),
        ("b", 30, 35, QUEUE),
        ("b", 35, 40, WORK),
    ]


def test_what_runs_is_on_the_path_until_now() -> None:
    of = trace(
        span("run", "", 0, None, SpanKind.WORKFLOW),
        span("a", "run", 0, 10),
        span("b", "run", 12, None),
    )
    assert told(of, 30) == [("a", 0, 10, WORK), ("run", 10, 12, WORK), ("b", 12, 30, WORK)]


def test_a_million_spans_are_refused_by_name() -> None:
    spans = [span("run", "", 0, 10, SpanKind.WORKFLOW)]
    spans += [span(str(each), "run", 0, 1) for each in range(MAX_SPANS)]
    refused = causes_of(trace(*spans), NOW)
    assert refused == Unanalysable("it has 100,001 spans; at most 100,000 are looked at")


@pytest.mark.parametrize(
    ("of", "why"),
    [
        (Trace("t", "", "", "", "", trace(span("a", "", 0, 1)).state, 0, (), 0, 1, []), "no spans"),
        (trace(span("a", "gone", 0, 1)), "root is not known"),
        (trace(span("a", "", 0, 9), span("b", "", 0, 1)), "root is not known"),
        (trace(span("a", "", 0, 9), span("b", "c", 0, 1), span("c", "b", 0, 1)), "root is not known"),
    ],
)  # fmt: skip
def test_a_trace_that_cannot_be_analysed_says_why(of: Trace, why: str) -> None:
    refused = causes_of(of, NOW)
    assert isinstance(refused, Unanalysable)
    assert why in refused.reason


def test_a_trace_of_which_spans_are_missing_says_so() -> None:
    of = trace(span("run", "", 0, 10, SpanKind.WORKFLOW))
    of.problems = (Problem(ProblemKind.TOO_MANY_SPANS, "100,000 of 1,000,000 are kept"),)
    refused = causes_of(of, NOW)
    assert isinstance(refused, Unanalysable)
    assert "100,000 of 1,000,000 are kept" in refused.reason


def test_fifty_thousand_spans_below_each_other_are_no_problem() -> None:
    deep = [span("0", "", 0, 200_000, SpanKind.WORKFLOW)]
    deep += [span(str(n), str(n - 1), n, 200_000 - n, SpanKind.SPAN) for n in range(1, 50_000)]
    steps = path_of(trace(*deep)).steps
    assert sum(step.length_us for step in steps) == 200_000
    assert len(steps) == 99_999
    few = condensed(steps, 10_000)
    assert len(few) <= 10_000
    assert few[0].start_us == 0
    assert few[-1].end_us == 200_000
    assert all(one.end_us == next.start_us for one, next in pairwise(few))
