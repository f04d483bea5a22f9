"""Where a command may stand, and what may be asked for."""

from __future__ import annotations

import pytest

from pilothouse_server.domain.commands import (
    PENDING,
    TRANSITIONS,
    Boundary,
    Capability,
    CommandState,
    Executor,
    Scope,
    accept,
    availability,
    etag_of,
    expire,
    fail,
    owned,
    supersede,
)
from pilothouse_server.domain.errors import CommandEnded, NotCommandOwner
from pilothouse_server.domain.events import EventError
from pilothouse_server.domain.workflows import LEGAL_ACTIONS, Action, WorkflowState
from tests.control.build import DEADLINES, SECOND, command

ALL = Executor("e", tuple(Capability(action) for action in Action))
ERROR = EventError("BUSY", "not now")


def available(
    state: WorkflowState, executor: Executor | None = ALL, pending: Action | None = None
) -> set[Action]:
    before = command(pending) if pending else None
    return {a.action for a in availability(state, before, executor, "e") if a.available}


@pytest.mark.parametrize("state", list(WorkflowState))
def test_what_is_legal_in_a_state_is_offered(state: WorkflowState) -> None:
    assert available(state) == LEGAL_ACTIONS[state]


def test_what_is_not_offered_says_why() -> None:
    refused = availability(
        WorkflowState.PAUSED, None, Executor("e", (Capability(Action.CANCEL),)), "e"
    )
    reasons = {answer.action: answer.reason for answer in refused}
    assert reasons[Action.CANCEL] == ""
    assert "PAUSED" in reasons[Action.PAUSE]
    assert "legal now: CANCEL, RESUME" in reasons[Action.PAUSE]
    assert "did not declare" in reasons[Action.RESUME]


def test_without_an_executor_nothing_is_offered() -> None:
    assert available(WorkflowState.RUNNING, None) == set()


def test_a_capability_for_a_queue_is_none_for_one_run() -> None:
    queue = Executor("e", (Capability(Action.PAUSE, Scope.QUEUE), Capability(Action.CANCEL)))
    assert available(WorkflowState.RUNNING, queue) == {Action.CANCEL}


def test_an_unstated_scope_is_one_run() -> None:
    executor = Executor("e", (Capability(Action.PAUSE, Scope.UNSTATED, Boundary.STEP),))
    assert available(WorkflowState.RUNNING, executor) == {Action.PAUSE}


def test_only_a_cancel_overtakes_a_pending_command_and_no_other_cancel() -> None:
    assert available(WorkflowState.RUNNING, pending=Action.PAUSE) == {Action.CANCEL}
    assert available(WorkflowState.RUNNING, pending=Action.CANCEL) == set()


def test_the_etag_changes_with_attempt_state_and_pending_command_only() -> None:
    etags = {
        etag_of(1, WorkflowState.RUNNING, ""),
        etag_of(2, WorkflowState.RUNNING, ""),
        etag_of(1, WorkflowState.PAUSED, ""),
        etag_of(1, WorkflowState.RUNNING, "c1"),
    }
    assert len(etags) == 4
    assert etag_of(1, WorkflowState.RUNNING, "") in etags


def test_accepting_opens_the_time_for_the_effect() -> None:
    accepted = accept(command(), 1010 * SECOND, DEADLINES)
    assert accepted.state == CommandState.ACCEPTED
    assert accepted.accept_us == 1010 * SECOND
    assert accepted.expire_us == 4610 * SECOND


def test_accepting_twice_changes_nothing() -> None:
    accepted = accept(command(), 1010 * SECOND, DEADLINES)
    assert accept(accepted, 1020 * SECOND, DEADLINES) is accepted


def test_accepting_by_a_clock_that_went_back_is_not_before_the_request() -> None:
    assert accept(command(), 0, DEADLINES).accept_us == 1000 * SECOND


def test_failing_twice_changes_nothing() -> None:
    failed = fail(command(), ERROR, 1010 * SECOND)
    assert (failed.state, failed.error) == (CommandState.FAILED, ERROR)
    assert fail(failed, EventError("OTHER"), 1020 * SECOND) is failed


@pytest.mark.parametrize("state", [CommandState.FAILED, CommandState.EXPIRED])
def test_what_failed_or_expired_is_not_accepted(state: CommandState) -> None:
    with pytest.raises(CommandEnded, match=state.name):
        accept(command(state=state), 1010 * SECOND, DEADLINES)


def test_an_engine_that_did_it_may_still_say_that_it_takes_it() -> None:
    done = command(state=CommandState.EFFECTIVE)
    assert accept(done, 1010 * SECOND, DEADLINES) is done


@pytest.mark.parametrize("state", [CommandState.EFFECTIVE, CommandState.EXPIRED])
def test_what_was_effective_or_expired_does_not_fail_any_more(state: CommandState) -> None:
    with pytest.raises(CommandEnded, match=state.name):
        fail(command(state=state), ERROR, 1010 * SECOND)


def test_a_command_expires_at_its_deadline_and_says_what_was_missing() -> None:
    assert expire(command(), 1060 * SECOND - 1).pending
    untaken = expire(command(), 1060 * SECOND)
    assert untaken.error is not None
    assert (untaken.state, untaken.error.code) == (CommandState.EXPIRED, "NOT_ACCEPTED")
    taken = expire(accept(command(), 1001 * SECOND, DEADLINES), 9999 * SECOND)
    assert taken.error is not None
    assert (taken.state, taken.error.code) == (CommandState.EXPIRED, "NO_EFFECT")


def test_a_superseded_command_failed_and_names_what_took_over() -> None:
    before = supersede(command(), "c2", 1010 * SECOND)
    assert before.state == CommandState.FAILED
    assert before.error is not None
    assert before.error.code == "SUPERSEDED"
    assert "c2" in before.error.message


def test_a_command_of_another_engine_is_not_given_away() -> None:
    assert owned(command(), "e").id == "c1"
    with pytest.raises(NotCommandOwner):
        owned(command(), "stranger")


def test_ends_are_never_left() -> None:
    assert {state for state, after in TRANSITIONS.items() if not after} == set(
        CommandState
    ) - PENDING
