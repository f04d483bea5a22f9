"""Traces side by side: what is what, and what differs."""

from __future__ import annotations

import pytest

from pilothouse_server.domain.projection.spans import WorkState
from pilothouse_server.domain.traces.alignment import Piece, pieces_of, stable
from pilothouse_server.domain.traces.analysis import analyse
from pilothouse_server.domain.traces.comparison import Difference, Row, compare, told_time
from pilothouse_server.domain.traces.model import Span, SpanKind, Trace
from pilothouse_server.domain.traces.summary import median_of, placed, summary_of
from tests.trace_analysis.builders import NOW, span, trace

SECOND = 1_000_000
STAGE = SpanKind.STAGE


def run(*tasks: Span, id: str = "run-1", seconds: int = 60) -> Trace:
    """A workflow with a stage `lint`, and tasks in it."""
    of = trace(
        span("workflow", "", 0, seconds * SECOND, SpanKind.WORKFLOW),
        span("lint", "workflow", 0, seconds * SECOND, STAGE, stage="lint"),
        *tasks,
    )
    of.id = of.workflow_id = id
    return of


def task(
    id: str, start: int, end: int, state: WorkState = WorkState.COMPLETED, attempt: int = 1
) -> Span:
    """In seconds."""
    return span(
        f"task:{id}:{attempt}", "lint", start * SECOND, end * SECOND,
        stage="lint", task_id=id, attempt=attempt, state=state,
    )  # fmt: skip


def rows(*traces: Trace) -> list[Row]:
    return list(compare([placed(analyse(each, NOW)) for each in traces]))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("lint", "lint"),
        ("run-1-lint", "lint"),
        ("task-2", "task-2"),
        ("lint-5f0a8d1b-9b53-4f0a-8d1b-3f2f6f1f7c11", "lint-#"),
        ("5f0a8d1b-9b53-4f0a-8d1b-3f2f6f1f7c11", ""),
        ("build 1732320000", "build #"),
        ("reviewers", "reviewers"),
    ],
)
def test_names_leave_out_what_differs_from_run_to_run(text: str, kept: str) -> None:
    assert stable(text, "run-1") == kept


def test_tasks_align_whatever_their_runs_called_them() -> None:
    one = run(task("run-1-lint", 0, 10), task("run-1-test", 10, 60))
    other = run(task("run-2-test", 12, 60), task("run-2-lint", 0, 12), id="run-2")
    assert pieces_of(one).keys() == pieces_of(other).keys() == {
        Piece("lint", "", 1, 1),
        Piece("lint", "lint", 1, 1),
        Piece("lint", "test", 1, 1),
    }  # fmt: skip


def test_tasks_of_one_name_are_told_apart_by_their_order() -> None:
    ids = ["5f0a8d1b-9b53-4f0a-8d1b-3f2f6f1f7c11", "6f0a8d1b-9b53-4f0a-8d1b-3f2f6f1f7c12"]
    of = run(task(f"x-{ids[0]}", 5, 10), task(f"x-{ids[1]}", 0, 10))
    found = {
        of.spans[place].task_id[2:]: piece.which
        for piece, place in pieces_of(of).items()
        if piece.task
    }
    assert found == {ids[1]: 1, ids[0]: 2}


def test_differences_are_ranked_and_named() -> None:
    before = run(task("lint", 0, 10), task("scan", 10, 15), task("same", 15, 20))
    after = run(task("lint", 0, 40), task("same", 40, 45), task("new", 45, 47), id="run-2")
    assert [(row.piece.task, row.words) for row in rows(before, after)] == [
        ("lint", "30 s longer, 4.0 times as long"),
        ("scan", "only in the first, where it took 5 s"),
        ("new", "not in the first, took 2 s"),
        ("", "no difference"),
        ("same", "no difference"),
    ]


def test_ends_that_differ_are_named_first_of_all() -> None:
    failed = run(task("lint", 0, 10, WorkState.FAILED), id="run-2")
    (row, _) = rows(run(task("lint", 0, 10)), failed)
    assert row.spans[1].difference == Difference.STATE
    assert row.words == "failed instead of completed, as long"


def test_less_than_a_hundredth_is_no_difference() -> None:
    row = next(each for each in rows(run(seconds=1000), run(seconds=1009)) if not each.piece.task)
    assert row.spans[1].difference == Difference.SAME


def test_a_stage_that_is_named_in_the_id_is_named_once() -> None:
    of = run(task("lint/imports", 0, 5), task("run-1:lint:types", 0, 5))
    assert {piece.task for piece in pieces_of(of)} == {"", "imports", "types"}


def test_attempts_are_rows_of_their_own() -> None:
    twice = run(task("lint", 0, 10, WorkState.FAILED), task("lint", 10, 30, attempt=2), id="run-2")
    labels = [
        row.piece.label(numbered=row.numbered) for row in rows(run(task("lint", 0, 10)), twice)
    ]
    assert "lint / lint, attempt 2" in labels
    assert "lint / lint, attempt 1" in labels


def test_what_has_not_ended_differs_only_once_it_took_longer() -> None:
    before = run(task("lint", 0, 10), task("test", 10, 60))
    after = run(task("lint", 0, 40), id="run-2")
    after.end_us = after.spans[0].end_us = None
    after.spans[2].end_us, after.spans[2].state = None, WorkState.RUNNING
    found = [placed(analyse(before, NOW)), placed(analyse(after, 30 * SECOND))]
    told = {row.piece.task: row.words for row in compare(found, [False, True])}
    assert told == {
        "lint": "20 s longer, 3.0 times as long",
        "test": "no difference",
        "": "no difference",
    }
    found = [placed(analyse(before, NOW)), placed(analyse(after, 5 * SECOND))]
    assert all(row.words == "no difference" for row in compare(found, [False, True]))


def test_what_is_critical_of_a_stage_is_what_is_critical_in_it() -> None:
    found = placed(analyse(run(task("lint", 0, 50)), NOW))
    assert found[Piece("lint", "", 1, 1)].critical_us == 60 * SECOND
    assert found[Piece("lint", "lint", 1, 1)].critical_us == 50 * SECOND


def test_several_are_told_by_their_place() -> None:
    words = [
        row.words
        for row in rows(run(task("a", 0, 10)), run(task("a", 0, 20)), run(task("a", 0, 5)))
    ]
    assert words[0] == "2nd: 10 s longer, 2.0 times as long; 3rd: 5 s less"


def test_a_median_has_what_half_of_the_runs_have() -> None:
    runs = [
        run(task("lint", 0, end), *([task("rare", 0, 1)] if end == 10 else []))
        for end in (10, 20, 60)
    ]
    found = median_of([summary_of(analyse(each, NOW)).pieces for each in runs])
    assert {piece.task: each.duration_us for piece, each in found.items()} == {
        "": 60 * SECOND,
        "lint": 20 * SECOND,
    }


def test_opentelemetrys_spans_align_by_their_names() -> None:
    of = trace(
        span("root", "", 0, 9, SpanKind.SPAN),
        span("query", "root", 0, 2, SpanKind.SPAN),
        span("other", "root", 2, 4, SpanKind.SPAN),
    )
    of.spans[2].name = "query"
    assert list(pieces_of(of)) == [
        Piece("", "root > query", 1, 1),
        Piece("", "root > query", 2, 1),
    ]


def test_times_are_told_as_people_say_them() -> None:
    assert [told_time(us) for us in (7, 12_300, 3_400_000, 125_000_000, 11_040_000_000)] == [
        "7 µs", "12.3 ms", "3.4 s", "2 min 5 s", "3 h 4 min",
    ]  # fmt: skip
