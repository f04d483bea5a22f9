"""What failed, and what came of it."""

from __future__ import annotations

from pilothouse_server.domain.events import EventError
from pilothouse_server.domain.projection.spans import WorkState
from pilothouse_server.domain.traces.model import Span, SpanKind, TimeKind, Trace, Wait
from pilothouse_server.domain.traces.recovery import Outcome, recoveries
from pilothouse_server.domain.workflows import WorkflowState
from tests.trace_analysis.builders import NOW, span, trace

FAILED, RUNNING, DONE = WorkState.FAILED, WorkState.RUNNING, WorkState.COMPLETED
STAGE, WORKFLOW = SpanKind.STAGE, SpanKind.WORKFLOW


def attempt(number: int, start: int, end: int | None, state: WorkState, error: str = "") -> Span:
    """Of task `a` of stage `lint`."""
    made = span(
        f"a{number}", "lint", start, end,
        stage="lint", task_id="a", attempt=number, state=state, retries=f"a{number - 1}" if number > 1 else "",
    )  # fmt: skip
    made.error = EventError(error) if error else None
    return made


def run(*spans: Span, end: int | None = 50, state: WorkState = DONE) -> Trace:
    """A workflow with stage `lint`."""
    stands = {FAILED: WorkflowState.FAILED, DONE: WorkflowState.COMPLETED}
    return trace(
        span("run", "", 0, end, WORKFLOW, state=state),
        span("lint", "run", 0, end, STAGE, stage="lint", state=state),
        *spans,
        state=stands.get(state, WorkflowState.RUNNING),
    )


def told(of: Trace) -> list[tuple[str, int, int, str, int]]:
    return [
        (each.span.id, each.failures, each.attempts, each.outcome.name, each.lost_us)
        for each in recoveries(of, NOW)
    ]


def test_a_later_attempt_that_did_it_is_a_recovery() -> None:
    third = attempt(3, 25, 50, DONE)
    third.waits.append(Wait(TimeKind.RETRY, 25, 30))
    of = run(attempt(1, 2, 10, FAILED, "oom"), attempt(2, 10, 25, FAILED, "timeout"), third)
    assert told(of) == [("a1", 2, 3, "RECOVERED", 28)]
    (found,) = recoveries(of, NOW)
    assert (found.first_error, found.last_error) == (EventError("oom"), EventError("timeout"))


def test_the_same_error_is_told_once() -> None:
    of = run(
        attempt(1, 0, 10, FAILED, "oom"),
        attempt(2, 10, 25, FAILED, "oom"),
        attempt(3, 25, 50, DONE),
    )
    (found,) = recoveries(of, NOW)
    assert (found.first_error, found.last_error) == (EventError("oom"), None)


def test_a_failure_that_nobody_tried_again_was_given_up_and_is_told_where_it_began() -> None:
    assert told(run(attempt(1, 5, 20, FAILED), state=FAILED)) == [("a1", 1, 1, "GAVE_UP", 15)]


def test_while_the_stage_runs_nothing_is_decided() -> None:
    assert told(run(attempt(1, 5, 20, FAILED), end=None, state=RUNNING)) == [
        ("a1", 1, 1, "UNDER_WAY", 15)
    ]
    again = run(attempt(1, 5, 20, FAILED), attempt(2, 30, None, RUNNING), end=None, state=RUNNING)
    assert told(again) == [("a1", 1, 2, "UNDER_WAY", NOW - 5)]


def test_an_attempt_that_was_cancelled_leaves_it_abandoned() -> None:
    of = run(attempt(1, 5, 20, FAILED), attempt(2, 20, 40, WorkState.CANCELLED))
    assert told(of) == [("a1", 1, 2, "ABANDONED", 35)]


def test_what_another_attempt_of_the_workflow_did_is_a_recovery_of_the_task_and_of_the_attempt() -> (
    None
):
    of = trace(
        span("run", "", 0, 60, WORKFLOW),
        span("attempt:1", "run", 0, 20, SpanKind.ATTEMPT, state=FAILED),
        span("lint:1", "attempt:1", 0, 20, STAGE, stage="lint", state=FAILED),
        span("a", "lint:1", 0, 20, stage="lint", task_id="a", state=FAILED),
        span("attempt:2", "run", 30, 60, SpanKind.ATTEMPT, retries="attempt:1"),
        span("lint:2", "attempt:2", 30, 60, STAGE, stage="lint"),
        span("b", "lint:2", 31, 60, stage="lint", task_id="a"),
    )
    assert told(of) == [
        ("a", 1, 2, "RECOVERED", 31),
        ("attempt:1", 1, 2, "RECOVERED", 30),
        ("lint:1", 1, 2, "RECOVERED", 30),
    ]


def test_nothing_failed_is_nothing_told() -> None:
    assert told(run(attempt(1, 0, 50, DONE))) == []
    assert Outcome.RECOVERED.value == 1
