"""What is wrong with what was reported is told, and everything else is shown all the same."""

from __future__ import annotations

from pilothouse_server.domain.events import EventError
from pilothouse_server.domain.traces.build import trace
from pilothouse_server.domain.traces.facts import TraceFacts
from pilothouse_server.domain.traces.model import ProblemKind
from tests.projection.build import event
from tests.traces.build import E, by_id, kinds, made, otel, task, us

P = ProblemKind
HOUR = 3600


def test_spans_that_name_each_other_hang_under_the_root() -> None:
    found = made(
        [
            *otel("root", 0, 9),
            *otel("a", 1, 2, "b"),
            *otel("b", 1, 2, "a"),
            *otel("c", 1, 2, "c"),
            *otel("below", 1, 2, "a"),
        ],
        workflow_id="",
    )
    spans = by_id(found)
    assert kinds(found) == {P.CYCLE: 3}
    assert {spans[each].parent_id for each in "abc"} == {"root"}
    assert spans["below"].parent_id == "a"
    assert found.problems[0].span_ids == ("a", "b", "c")


def test_a_cycle_through_a_task_leaves_the_task_in_its_stage() -> None:
    found = made(
        [
            event(E.STAGE_STARTED, stage="build"),
            task("t", E.TASK_STARTED, 1, span_id="t", parent_span_id="x"),
            *otel("x", 0, None, "t", trace_id=""),
        ]
    )
    assert by_id(found)["task:t:1"].parent_id == "stage:build:1"
    assert kinds(found)[P.CYCLE] == 2


def test_orphans_hang_under_the_root() -> None:
    found = made([*otel("root", 0, 9), *otel("a", 1, 2, "never reported")], workflow_id="")
    assert (by_id(found)["a"].parent_id, kinds(found)) == ("root", {P.ORPHAN: 1})


def test_spans_that_end_before_they_begin_have_no_length() -> None:
    found = made(
        [
            *otel("root", 0, 9),
            *otel("a", 5, 3, "root"),
            *otel("b", 5, None, "root"),
            *otel("b", 4, 4, "root", duration_us=None, id="b-end"),
        ],
        workflow_id="",
    )
    spans = by_id(found)
    assert kinds(found) == {P.NEGATIVE: 2}
    assert (spans["a"].start_us, spans["a"].end_us) == (us(5), us(5))
    task_too = made([task("t", E.TASK_STARTED, 5), task("t", E.TASK_COMPLETED, 3)])
    assert kinds(task_too) == {P.NEGATIVE: 1}


def test_spans_that_reach_beyond_the_one_above_them_are_told_and_not_bent() -> None:
    found = made(
        [*otel("root", 0, 9), *otel("a", 8, 12, "root"), *otel("b", 8, 9.0005, "root")],
        workflow_id="",
    )
    assert kinds(found) == {P.OUTSIDE_PARENT: 1}
    assert by_id(found)["a"].end_us == us(12)


def test_a_task_that_was_queued_before_its_stage_began_is_nothing_wrong() -> None:
    found = made(
        [
            task("t", E.TASK_QUEUED, 1),
            event(E.STAGE_STARTED, at=2, stage="build"),
            task("t", E.TASK_STARTED, 2),
        ]
    )
    assert kinds(found) == {}


def test_of_one_id_for_different_spans_the_first_stands() -> None:
    found = made(
        [
            *otel("root", 0, 9),
            *otel("a", 1, 2, "root", receive_us=us(2)),
            *otel("a", 3, 4, "", id="another", message="other", receive_us=us(4)),
        ],
        workflow_id="",
    )
    assert kinds(found) == {P.DUPLICATE: 1}
    assert (by_id(found)["a"].name, by_id(found)["a"].end_us) == ("a", us(2))


def test_more_spans_than_are_shown_are_counted() -> None:
    events = [each for n in range(10) for each in otel(f"{n}", n, n + 1)]
    events += [task(f"t{n}", E.TASK_COMPLETED, n) for n in range(10)]
    found = made(events, limit=8)
    assert kinds(found) == {P.TOO_MANY_SPANS: 12}
    assert len(found.spans) == 9


def test_events_that_were_removed_are_told() -> None:
    facts = TraceFacts("w")
    facts.apply(event(E.WORKFLOW_STARTED))
    assert kinds(trace(facts, removed=True)) == {P.REMOVED: 1}


def test_a_clock_an_hour_behind_shows_by_parts_that_begin_before_the_whole() -> None:
    found = made(
        [*otel("root", 0, 9), *otel("a", 1 - HOUR, 2 - HOUR, "root", source="late")], workflow_id=""
    )
    (skew,) = found.skews
    assert (skew.source, skew.against, skew.offset_us) == ("late", "svc", -(HOUR - 1) * 1_000_000)
    assert skew.evidence == "a begins 60 min before what it is part of"
    assert kinds(found) == {P.OUTSIDE_PARENT: 1, P.CLOCK_SKEW: 1}
    assert by_id(found)["a"].start_us == us(1 - HOUR), "told, and not bent"


def test_a_clock_that_is_ahead_shows_by_what_was_received_before_it_happened() -> None:
    events = [*otel("a", 1, 30, receive_us=us(20)), *otel("b", 1, 2, receive_us=us(3))]
    (skew,) = made(events, workflow_id="").skews
    assert (skew.source, skew.against, skew.offset_us) == ("svc", "pilothouse", 10_000_000)


def test_a_clock_that_is_too_far_ahead_to_be_believed_is_told() -> None:
    (skew,) = made(otel("a", 1, 2, future=True), workflow_id="").skews
    assert (skew.offset_us, skew.against) == (60_000_000, "pilothouse")


def test_a_source_all_of_whose_parts_come_after_the_whole_is_told() -> None:
    found = made(
        [*otel("root", 0, 9), *otel("a", 1 + HOUR, 2 + HOUR, "root", source="early")],
        workflow_id="",
    )
    assert [(skew.source, skew.offset_us) for skew in found.skews] == [
        ("early", (HOUR - 8) * 1_000_000)
    ]


def test_clocks_that_agree_within_a_second_are_not_told() -> None:
    events = [*otel("root", 0, 9), *otel("a", -0.9, 2, "root", source="other")]
    assert made(events, workflow_id="").skews == ()


def test_a_chain_of_fifty_thousand_spans_is_no_deeper_than_any_other() -> None:
    count = 50_000
    events = [
        each
        for n in range(count)
        for each in otel(f"{n}", n / 1000, 100 + n / 1000, f"{n - 1}" if n else "")
    ]
    found = made(events, workflow_id="")
    assert [span.id for span in found.spans[:3]] == ["0", "1", "2"]
    assert len(found.spans) == count


def test_text_stays_as_it_was_reported() -> None:
    name = "\u202eright to left\u0001\t"
    found = made(otel("a", 0, 1, message=name, error=EventError("E", name)), workflow_id="")
    assert (found.name, found.spans[0].error) == (name, EventError("E", name))
