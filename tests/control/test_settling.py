"""What ends a command: the engine's own events, and nothing that only looks like them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse_server.domain.commands import (
    TRANSITIONS,
    Command,
    CommandState,
    accept,
    expire,
    fail,
)
from pilothouse_server.domain.errors import CommandEnded
from pilothouse_server.domain.events import Event, EventError, EventType
from pilothouse_server.domain.projection.workflow import WorkflowRecord
from pilothouse_server.domain.settling import SERVER_SOURCE, Facts, event_of, settle
from pilothouse_server.domain.workflows import WORKFLOW_ACTIONS, Action, WorkflowState
from tests.control.build import DEADLINES, SECOND, command, event

T = EventType
S = WorkflowState
EFFECTIVE, FAILED, REQUESTED = CommandState.EFFECTIVE, CommandState.FAILED, CommandState.REQUESTED


def after(before: Command, *events: Event, state: S = S.RUNNING, attempt: int = 1) -> Command:
    return settle(before, events, Facts(state, attempt), DEADLINES)


@pytest.mark.parametrize(
    ("action", "kind", "state"),
    [
        (Action.PAUSE, T.WORKFLOW_PAUSED, S.PAUSED),
        (Action.RESUME, T.WORKFLOW_RESUMED, S.RUNNING),
        (Action.RESUME, T.WORKFLOW_STARTED, S.RUNNING),
        (Action.CANCEL, T.WORKFLOW_CANCELLED, S.CANCELLED),
    ],
)
def test_the_engines_event_makes_it_effective(action: Action, kind: EventType, state: S) -> None:
    done = after(command(action), event(kind), state=state)
    assert done.state == EFFECTIVE
    assert done.effect_us == 600 * SECOND, "the engine's time"
    assert done.accept_us == done.end_us == 1010 * SECOND, (
        "the accept is implied; the server's time"
    )


def test_a_retry_is_effective_when_a_later_attempt_is_open() -> None:
    retried = event(T.WORKFLOW_RETRIED, attempt=2)
    assert after(command(Action.RETRY), retried, state=S.QUEUED, attempt=2).state == EFFECTIVE


def test_an_unnumbered_retry_is_judged_by_where_the_workflow_stands() -> None:
    retried = event(T.WORKFLOW_RETRIED, attempt=0)
    assert after(command(Action.RETRY), retried, state=S.QUEUED, attempt=2).state == EFFECTIVE
    assert after(command(Action.RETRY), retried, state=S.FAILED, attempt=1).state == REQUESTED


def test_work_on_the_next_attempt_shows_the_retry_before_its_opening_arrives() -> None:
    started = event(T.WORKFLOW_STARTED, attempt=2)
    assert after(command(Action.RETRY), started, state=S.RUNNING, attempt=2).state == EFFECTIVE


def test_the_failure_that_is_retried_does_not_end_the_retry() -> None:
    again = event(T.WORKFLOW_FAILED)
    assert after(command(Action.RETRY), again, state=S.FAILED).state == REQUESTED


def test_a_retry_of_what_turns_out_completed_fails() -> None:
    earlier = event(T.WORKFLOW_COMPLETED, occur_us=499 * SECOND)
    done = after(command(Action.RETRY), earlier, state=S.COMPLETED)
    assert done.state == FAILED
    assert done.error is not None
    assert done.error.code == "WORKFLOW_ENDED"


def test_a_workflow_that_ends_otherwise_fails_the_command() -> None:
    done = after(command(Action.PAUSE), event(T.WORKFLOW_COMPLETED), state=S.COMPLETED)
    assert done.error is not None
    assert (done.state, done.error.code) == (FAILED, "WORKFLOW_ENDED")
    assert "COMPLETED" in done.error.message


def test_an_end_that_was_received_before_the_request_fails_it_too() -> None:
    late = event(T.WORKFLOW_COMPLETED, receive_us=999 * SECOND)
    assert after(command(Action.CANCEL), late, state=S.COMPLETED).state == FAILED


def test_an_end_of_an_earlier_attempt_does_not_matter() -> None:
    old = event(T.WORKFLOW_FAILED, attempt=1)
    assert after(command(attempt=2), old, attempt=2).state == REQUESTED


def test_a_retry_by_the_engine_itself_fails_a_pause_of_the_attempt_before() -> None:
    assert after(command(), event(T.WORKFLOW_RETRIED, attempt=2), attempt=2).state == FAILED


def test_an_event_that_names_the_command_answers_it_whatever_the_clocks_say() -> None:
    labelled = event(T.WORKFLOW_PAUSED, command_id="c1", occur_us=1, receive_us=1, attempt=0)
    assert after(command(), labelled, state=S.PAUSED).state == EFFECTIVE


def test_an_event_that_names_another_command_answers_nothing() -> None:
    other = event(T.WORKFLOW_PAUSED, command_id="c0")
    assert after(command(), other, state=S.PAUSED).state == REQUESTED


def test_a_report_from_before_the_request_answers_nothing() -> None:
    earlier = event(T.WORKFLOW_PAUSED, receive_us=999 * SECOND)
    assert after(command(), earlier).state == REQUESTED


def test_an_old_report_that_arrives_late_answers_nothing() -> None:
    stale = event(T.WORKFLOW_PAUSED, occur_us=499 * SECOND)
    assert after(command(), stale).state == REQUESTED


def test_an_engine_whose_clock_is_an_hour_behind_is_believed() -> None:
    behind = event(T.WORKFLOW_PAUSED, occur_us=501 * SECOND)
    assert after(command(), behind, state=S.PAUSED).state == EFFECTIVE


def test_another_sources_report_is_not_the_engines_own() -> None:
    assert after(command(), event(T.WORKFLOW_PAUSED, source="x")).state == REQUESTED
    assert after(command(), event(T.WORKFLOW_PAUSED, source="")).state == EFFECTIVE


def test_an_engine_may_accept_and_fail_by_event() -> None:
    accepted = after(command(), event(T.COMMAND_ACCEPTED, command_id="c1"))
    assert accepted.state == CommandState.ACCEPTED
    failed = after(accepted, event(T.COMMAND_FAILED, command_id="c1", message="no such run"))
    assert failed.error == EventError("ENGINE_FAILED", "no such run")


def test_the_servers_own_events_about_a_command_do_not_move_it() -> None:
    told = event_of(fail(command(), EventError("X"), 1))._replace(workflow_id="w")
    assert told.source == SERVER_SOURCE
    assert after(command(), told).state == REQUESTED


def test_a_failure_after_the_effect_changes_nothing() -> None:
    paused = event(T.WORKFLOW_PAUSED, command_id="c1")
    lie = event(T.COMMAND_FAILED, command_id="c1")
    assert after(command(), paused, lie, paused, state=S.PAUSED).state == EFFECTIVE


def test_the_events_of_a_command_have_ids_that_follow_from_its_states() -> None:
    accepted = accept(command(), 1010 * SECOND, DEADLINES)
    assert event_of(command()).id == "c1:requested"
    assert event_of(accepted) == event_of(accepted)
    assert {event_of(each).type for each in (command(), accepted)} == {
        T.COMMAND_REQUESTED,
        T.COMMAND_ACCEPTED,
    }


KINDS = [
    T.WORKFLOW_STARTED, T.WORKFLOW_PAUSED, T.WORKFLOW_RESUMED, T.WORKFLOW_WAITING, T.WORKFLOW_COMPLETED,
    T.WORKFLOW_FAILED, T.WORKFLOW_CANCELLED, T.WORKFLOW_RETRIED, T.COMMAND_ACCEPTED, T.COMMAND_FAILED, T.STAGE_STARTED,
]  # fmt: skip

events_of_w = st.lists(
    st.builds(
        event,
        st.sampled_from(KINDS),
        id=st.uuids().map(str),
        occur_us=st.integers(400, 700).map(lambda s: s * SECOND),
        receive_us=st.integers(990, 1100).map(lambda s: s * SECOND),
        attempt=st.integers(0, 3),
        source=st.sampled_from(["e", "", "x"]),
        command_id=st.sampled_from(["", "", "c1", "c0"]),
        stage=st.just("s"),
    ),
    max_size=12,
)
VERBS = ("settle", "accept", "fail", "expire")


BEGUN = {
    Action.PAUSE: T.WORKFLOW_STARTED,
    Action.RESUME: T.WORKFLOW_PAUSED,
    Action.CANCEL: T.WORKFLOW_STARTED,
    Action.RETRY: T.WORKFLOW_FAILED,
}


def begun(action: Action) -> WorkflowRecord:
    """The workflow as it stood when the command was asked for."""
    record = WorkflowRecord("w")
    record.apply(event(BEGUN[action], occur_us=500 * SECOND, receive_us=990 * SECOND))
    return record


def facts_of(record: WorkflowRecord) -> Facts:
    return Facts(record.state, record.attempt)


@given(
    st.sampled_from(WORKFLOW_ACTIONS),
    events_of_w,
    st.lists(st.tuples(st.sampled_from(VERBS), st.integers(990, 9000)), max_size=20),
)
def test_a_command_ends_at_most_once_and_never_leaves_its_end(
    action: Action, events: list[Event], acts: list[tuple[str, int]]
) -> None:
    """Whatever comes, in whatever order: answers, lies, repeats, deadlines."""
    now, record, left = command(action), begun(action), list(events)
    path = [now]
    for verb, seconds in acts:
        now_us = seconds * SECOND
        try:
            if verb == "accept":
                now = accept(now, now_us, DEADLINES)
            elif verb == "fail":
                now = fail(now, EventError("X"), now_us)
            elif verb == "expire":
                now = expire(now, now_us)
            elif left:
                record.apply(left[0])
                now = settle(now, [left.pop(0)], facts_of(record), DEADLINES)
        except CommandEnded:
            assert not now.pending
        path.append(now)
    for before, later in itertools.pairwise(path):
        assert later == before or later.state in TRANSITIONS[before.state]
        assert (later.end_us is None) == later.pending
        assert later.end_us is None or later.end_us >= (later.accept_us or later.request_us)


@given(st.sampled_from(WORKFLOW_ACTIONS), events_of_w, st.data())
def test_how_events_are_cut_into_batches_does_not_matter(
    action: Action, events: list[Event], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(events)), max_size=4)) | {0, len(events)})

    def run(edges: list[int]) -> CommandState:
        now, record = command(action), begun(action)
        for begin, end in itertools.pairwise(edges):
            for each in events[begin:end]:
                record.apply(each)
            now = settle(now, events[begin:end], facts_of(record), DEADLINES)
        return now.state

    one_by_one = run(list(range(len(events) + 1)))
    assert run(cuts) == one_by_one


@given(st.sampled_from(WORKFLOW_ACTIONS), events_of_w)
def test_a_repeated_event_changes_nothing(action: Action, events: list[Event]) -> None:
    facts = Facts(S.RUNNING, 1)
    once = settle(command(action), events, facts, DEADLINES)
    assert settle(once, events, facts, DEADLINES) == once or once.pending
