"""What a trace is made of: when work was there, waited, was done and ended, and what is in what."""

from __future__ import annotations

from pilothouse_server.domain.commands import Command, CommandState
from pilothouse_server.domain.events import EventError, Usage
from pilothouse_server.domain.projection.spans import WorkState
from pilothouse_server.domain.traces.build import trace
from pilothouse_server.domain.traces.facts import TraceFacts
from pilothouse_server.domain.traces.model import Link, LinkKind, SpanKind
from pilothouse_server.domain.workflows import Action, WorkflowState
from tests.projection.build import event
from tests.traces.build import TRACE, E, by_id, kinds, made, otel, task, us, waits

PLAN = ("build", "test")


def test_a_task_queues_fails_waits_for_another_try_and_ends() -> None:
    spans = by_id(
        made(
            [
                event(E.WORKFLOW_STARTED),
                event(E.STAGE_STARTED, stage="build"),
                task("t", E.TASK_QUEUED, 1, queue="fast"),
                task("t", E.TASK_ASSIGNED, 2, agent_id="a"),
                task("t", E.TASK_STARTED, 3, agent_id="a", agent_type="coder"),
                task(
                    "t", E.TASK_RETRYING, 5, 2, error=EventError("E"), message="flaky", agent_id="a"
                ),
                task("t", E.TASK_STARTED, 8, 2, agent_id="b"),
                task("t", E.TASK_COMPLETED, 9, 2, usage=Usage(1, 2, 3)),
            ]
        )
    )
    first, second = spans["task:t:1"], spans["task:t:2"]
    assert (first.start_us, first.end_us, first.state) == (us(1), us(5), WorkState.FAILED)
    assert (first.error, first.agent_id, first.agent_type) == (EventError("E"), "a", "coder")
    assert waits(first) == [("QUEUE", 1, 3)]
    assert first.waits[0].reason == "fast"
    assert (second.start_us, second.end_us, second.state) == (us(5), us(9), WorkState.COMPLETED)
    assert (waits(second), second.waits[0].reason) == ([("RETRY", 5, 8)], "flaky")
    assert (second.links, second.usage) == (
        [Link(LinkKind.RETRY_OF, "task:t:1")],
        Usage(1, 2, 3),
    )
    assert {first.parent_id, second.parent_id} == {"stage:build:1"}


def test_a_retry_that_is_queued_again_waits_for_both() -> None:
    found = by_id(
        made(
            [
                task("t", E.TASK_STARTED, 1),
                task("t", E.TASK_FAILED, 2),
                task("t", E.TASK_QUEUED, 4, 2),
                task("t", E.TASK_STARTED, 7, 2),
            ]
        )
    )
    assert waits(found["task:t:2"]) == [("RETRY", 2, 4), ("QUEUE", 4, 7)]
    assert found["task:t:2"].end_us is None


def test_what_still_waits_has_no_end() -> None:
    found = by_id(made([event(E.WORKFLOW_CREATED), task("t", E.TASK_QUEUED, 1)]))
    assert waits(found["task:t:1"]) == [("QUEUE", 1, None)]
    assert found["task:t:1"].state == WorkState.QUEUED
    assert waits(found["workflow"]) == [("QUEUE", 0, None)]


def test_a_beginning_that_nobody_told_is_estimated_or_follows_from_the_duration() -> None:
    found = by_id(
        made(
            [
                task("a", E.TASK_COMPLETED, 9, duration_us=4_000_000),
                task("b", E.TASK_COMPLETED, 9),
                task("c", E.TASK_CANCELLED, 9),
                task("c", E.TASK_QUEUED, 2),
            ]
        )
    )
    a, b, c = (found[f"task:{name}:1"] for name in "abc")
    assert (a.start_us, a.start_estimated) == (us(5), False)
    assert (b.start_us, b.end_us, b.start_estimated) == (us(9), us(9), True)
    assert waits(c) == [("QUEUE", 2, 9)]


def test_stages_of_the_plan_follow_one_another_when_they_do() -> None:
    found = by_id(
        made(
            [
                event(E.WORKFLOW_STARTED, stage_plan=("build", "lint", "test")),
                event(E.STAGE_STARTED, at=1, stage="build"),
                event(E.STAGE_STARTED, at=2, stage="lint"),
                event(E.STAGE_COMPLETED, at=3, stage="build"),
                event(E.STAGE_COMPLETED, at=4, stage="lint"),
                event(E.STAGE_STARTED, at=4, stage="test"),
            ]
        )
    )
    assert found["stage:lint:1"].links == []
    assert found["stage:test:1"].links == [Link(LinkKind.FOLLOWS, "stage:lint:1")]


def test_pauses_say_who_and_why_and_hang_on_the_workflow() -> None:
    facts = TraceFacts("w")
    for each in (
        event(E.WORKFLOW_CREATED),
        event(E.WORKFLOW_STARTED, at=1),
        event(E.WORKFLOW_PAUSED, at=3, command_id="c1"),
        event(E.WORKFLOW_RESUMED, at=5),
        event(E.WORKFLOW_WAITING, at=6, message="for approval"),
        event(E.WORKFLOW_PAUSED, at=7, message="engine's own"),
        event(E.WORKFLOW_RESUMED, at=8),
        event(E.WORKFLOW_COMPLETED, at=9),
    ):
        facts.apply(each)
    command = Command(
        "c1", Action.PAUSE, "w", "engine", CommandState.EFFECTIVE, 1, us(2), us(9), reason="lunch", actor="ada"
    )  # fmt: skip
    root = trace(facts, commands=[command]).spans[0]
    assert waits(root) == [("QUEUE", 0, 1), ("PAUSE", 3, 5), ("WAIT", 6, 7), ("PAUSE", 7, 8)]
    assert [(w.actor, w.reason, w.command_id) for w in root.waits[1:]] == [
        ("ada", "lunch", "c1"),
        ("", "for approval", ""),
        ("", "engine's own", ""),
    ]


def test_a_pause_in_the_queue_is_a_pause() -> None:
    root = made(
        [
            event(E.WORKFLOW_CREATED),
            event(E.WORKFLOW_PAUSED, at=2),
            event(E.WORKFLOW_RESUMED, at=4),
            event(E.WORKFLOW_STARTED, at=5),
        ]
    ).spans[0]
    assert waits(root) == [("QUEUE", 0, 2), ("PAUSE", 2, 4), ("QUEUE", 4, 5)]


def test_work_that_was_seen_ends_the_queue_of_a_workflow_that_nobody_said_was_started() -> None:
    found = made([event(E.WORKFLOW_CREATED), task("t", E.TASK_STARTED, 3)])
    assert waits(found.spans[0]) == [("QUEUE", 0, 3)]


def test_several_attempts_have_spans_of_their_own_and_tasks_are_in_those_of_their_time() -> None:
    found = made(
        [
            event(E.WORKFLOW_CREATED, attempt=1),
            event(E.WORKFLOW_STARTED, at=1, attempt=1),
            event(E.STAGE_STARTED, at=1, stage="build", attempt=1),
            task("t", E.TASK_STARTED, 2),
            task("left", E.TASK_STARTED, 2),
            task("t", E.TASK_FAILED, 3),
            event(E.STAGE_FAILED, at=3, stage="build", attempt=1),
            event(E.WORKFLOW_FAILED, at=4, attempt=1, message="no"),
            event(E.WORKFLOW_RETRIED, at=6, attempt=2),
            event(E.WORKFLOW_STARTED, at=7, attempt=2),
            event(E.STAGE_STARTED, at=7, stage="build", attempt=2),
            task("t", E.TASK_STARTED, 8),  # counted from 1 again
            task("t", E.TASK_COMPLETED, 9),
            event(E.STAGE_COMPLETED, at=9, stage="build", attempt=2),
            event(E.WORKFLOW_COMPLETED, at=10, attempt=2),
        ]
    )
    spans = by_id(found)
    assert [span.id for span in found.spans] == [
        "workflow", "attempt:1", "stage:build:1", "task:left:1", "task:t:1", "attempt:2", "stage:build:2", "task:t:1:2",
    ]  # fmt: skip
    assert (spans["attempt:1"].end_us, spans["attempt:1"].state) == (us(4), WorkState.FAILED)
    assert waits(spans["attempt:2"]) == [("QUEUE", 6, 7)]
    assert waits(spans["workflow"]) == [("RETRY", 4, 6)]
    assert spans["attempt:2"].links == [Link(LinkKind.RETRY_OF, "attempt:1")]
    assert spans["stage:build:2"].links == [Link(LinkKind.RETRY_OF, "stage:build:1")]
    assert spans["task:t:1:2"].parent_id == "stage:build:2"
    assert (spans["task:left:1"].end_us, spans["task:left:1"].state) == (us(4), WorkState.CANCELLED)
    assert (found.attempt, found.state, found.end_us) == (2, WorkflowState.COMPLETED, us(10))


def test_spans_of_opentelemetry_hang_below_the_task_that_they_name() -> None:
    found = made(
        [
            event(E.WORKFLOW_STARTED, trace_id=TRACE, span_id="root", parent_span_id="caller"),
            task("t", E.TASK_STARTED, 1, span_id="s"),
            *otel("http", 2, 3, "s", error=EventError("500")),
            *otel("sql", 2.1, 2.2, "http"),
            *otel("caller", -5, 20),
            *otel("sibling", -4, -3, "caller"),
            *otel("below", 4, None, "root"),
        ]
    )
    spans = by_id(found)
    assert spans["http"].parent_id == "task:t:1"
    assert spans["http"].state == WorkState.FAILED
    assert spans["sql"].parent_id == "http"
    assert spans["below"].parent_id == "workflow"
    assert not {"caller", "sibling"} & set(spans), "what is above the workflow is no part of it"
    assert found.trace_ids == (TRACE,)
    assert kinds(found) == {}


def test_a_task_is_below_the_span_that_it_names_if_it_ends_in_it_and_follows_it_otherwise() -> None:
    found = by_id(
        made(
            [
                task("outer", E.TASK_STARTED, 1, span_id="o"),
                task("inner", E.TASK_STARTED, 2, span_id="i", parent_span_id="o"),
                task("inner", E.TASK_COMPLETED, 3),
                task("outer", E.TASK_COMPLETED, 4),
                task("next", E.TASK_STARTED, 5, parent_span_id="o"),
                task("next", E.TASK_COMPLETED, 6),
            ]
        )
    )
    assert found["task:inner:1"].parent_id == "task:outer:1"
    assert found["task:next:1"].parent_id == "workflow"
    assert found["task:next:1"].links == [Link(LinkKind.FOLLOWS, "task:outer:1")]


def test_what_other_workflows_of_one_trace_do_is_not_shown() -> None:
    found = made(
        [
            event(E.WORKFLOW_STARTED, trace_id=TRACE, span_id="root"),
            event(E.TASK_STARTED, workflow_id="v", task_id="x", span_id="theirs", trace_id=TRACE),
            *otel("below-theirs", 1, 2, "theirs"),
            *otel("ours", 1, 2, "root"),
        ]
    )
    assert [span.id for span in found.spans] == ["workflow", "ours"]
    assert kinds(found) == {}


def test_a_trace_without_a_workflow_has_its_first_span_as_root() -> None:
    found = made([*otel("b", 1, 2, "a"), *otel("a", 0, 3)], workflow_id="")
    assert [(span.id, span.parent_id, span.kind) for span in found.spans] == [
        ("a", "", SpanKind.SPAN),
        ("b", "a", SpanKind.SPAN),
    ]
    assert (found.id, found.workflow_type, found.name) == (TRACE, "svc", "a")
    assert (found.start_us, found.end_us, found.state) == (us(0), us(3), WorkflowState.COMPLETED)


def test_spans_whose_root_is_not_known_hang_below_one_that_says_so() -> None:
    found = made([*otel("b", 1, 2, "lost"), *otel("c", 1.5, None, "lost")], workflow_id="")
    root = found.spans[0]
    assert (root.id, root.start_estimated, root.end_us) == ("trace", True, None)
    assert [span.parent_id for span in found.spans[1:]] == ["trace", "trace"]
    assert found.state == WorkflowState.RUNNING


def test_nothing_known_is_nothing_shown() -> None:
    found = made([], workflow_id="")
    assert [span.id for span in found.spans] == ["trace"]


def test_links_are_those_that_the_spans_tell_and_what_is_none_is_passed_over() -> None:
    told = '[{"trace_id":"b","span_id":"x"},{"span_id":1},7,{"missing":3}]'
    events = [
        *otel("root", 0, 9, attributes={"otel.links": told}),
        *otel("a", 1, 2, "root", attributes={"otel.links": "[" * 4000}),
        *otel("b", 1, 2, "root", attributes={"otel.links": '{"span_id":"x"}'}),
    ]
    found = by_id(made(events, workflow_id=""))
    assert found["root"].links == [Link(LinkKind.RELATED, "x", "b")]
    assert not found["a"].links
    assert not found["b"].links


def test_a_task_whose_id_is_that_of_its_span_has_the_name_of_the_span() -> None:
    found = by_id(made([task("ab", E.TASK_STARTED, 1, span_id="ab", message="chat gpt")]))
    assert found["task:ab:1"].name == "chat gpt"
