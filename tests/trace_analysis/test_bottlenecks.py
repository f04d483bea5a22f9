"""What removing a bottleneck saves is what the definition gives when its time is taken out."""

from __future__ import annotations

from hypothesis import given, settings

from pilothouse_server.domain.traces.analysis import analyse
from pilothouse_server.domain.traces.bottlenecks import Grouping
from pilothouse_server.domain.traces.model import SpanKind, TimeKind, Trace, Wait
from pilothouse_server.domain.traces.own_time import OwnTime
from tests.trace_analysis.builders import NOW, causes, span, trace, traces
from tests.trace_analysis.oracle import Oracle


@settings(max_examples=300)
@given(traces(most=7))
def test_a_saving_is_by_how_much_sooner_it_ends_without_that_time(of: Trace) -> None:
    oracle, found = Oracle(of, NOW), causes(of)
    own_time, grouping = OwnTime(found), Grouping(found)
    whole = oracle.length_with(0, 0)
    for each in analyse(of, NOW).bottlenecks:

        def left(place: int, low: int, high: int, again: bool, group: object = each.group) -> int:
            steps = own_time.of(place, low, high, again=again)
            kept = [
                one for one in steps if grouping.groups[grouping.of(one.span, one.kind)] != group
            ]
            return sum(one.length_us for one in kept)

        assert each.saving_us == whole - oracle.length_with(0, 0, left)
        assert 0 <= each.saving_us <= each.critical_us


@given(traces())
def test_all_bottlenecks_together_are_the_critical_path(of: Trace) -> None:
    analysis = analyse(of, NOW)
    critical = sum(each.critical_us for each in analysis.bottlenecks)
    assert critical == analysis.until_us - of.start_us
    savings = [each.saving_us for each in analysis.bottlenecks]
    assert savings == sorted(savings, reverse=True)


def test_removing_one_of_two_that_run_beside_each_other_saves_only_the_difference() -> None:
    of = trace(
        span("run", "", 0, 30, SpanKind.WORKFLOW),
        span("review", "run", 0, 30, SpanKind.STAGE, stage="review"),
        span("tests", "run", 0, 20, SpanKind.STAGE, stage="tests"),
        span("a", "review", 0, 30, stage="review", agent_type="coder", waits=[Wait(TimeKind.QUEUE, 0, 4)]),
        span("b", "tests", 0, 20, stage="tests"),
    )  # fmt: skip
    told = [
        (each.group.label, each.critical_us, each.saving_us, each.span_ids)
        for each in analyse(of, NOW).bottlenecks
    ]
    assert told == [
        ("tasks of stage review", 26, 10, ["a"]),
        ("queue for agents of type coder", 4, 4, ["a"]),
    ]


def test_labels_say_what_the_time_was() -> None:
    of = trace(
        span("run", "", 0, 60, SpanKind.WORKFLOW, waits=[Wait(TimeKind.QUEUE, 0, 5), Wait(TimeKind.PAUSE, 42, 50)]),
        span("lint", "run", 10, 40, SpanKind.STAGE, stage="lint"),
        span("a", "lint", 12, 20, stage="lint"),
        span("a2", "lint", 22, 38, stage="lint", retries="a"),
        span("db", "run", 52, 58, SpanKind.SPAN),
    )  # fmt: skip
    assert {each.group.label: each.critical_us for each in analyse(of, NOW).bottlenecks} == {
        "queue before the start": 5,
        "between stages": 11,
        "stage lint beside its tasks": 4,
        "retries of stage lint": 10,
        "tasks of stage lint": 16,
        "pauses of the workflow": 8,
        "spans named db": 6,
    }


def test_what_is_in_no_stage_goes_by_its_name_where_that_is_not_its_id() -> None:
    of = trace(
        span("run", "", 0, 50, SpanKind.WORKFLOW),
        span("1a", "run", 0, 10, task_id="1a", name="chat"),
        span("2b", "run", 10, 12, task_id="2b", name="tool"),
        span("3c", "run", 12, 30, task_id="3c", name="chat"),
        span("4d", "run", 30, 35, task_id="4d"),
        span("6f", "run", 40, 44, SpanKind.SPAN, name="GET /orders/48151623"),
        span("7a", "run", 44, 50, SpanKind.SPAN, name="GET /orders/42108815"),
        span("5e", "run", 35, 40, task_id="5e"),
    )  # fmt: skip
    told = analyse(of, NOW)
    named = {"tasks named chat": 28, "tasks named tool": 2, "spans named GET /orders/#": 10}
    assert {each.group.label: each.critical_us for each in told.bottlenecks} == named | {
        "tasks": 10
    }
    assert told.critical_by_stage == named | {"": 10}
