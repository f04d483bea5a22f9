"""Why a workflow does not move: every cause, and which of two is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pilothouse_server.domain.commands import Boundary, Command, CommandState
from pilothouse_server.domain.projection.needs import Need
from pilothouse_server.domain.waiting import (
    Engine,
    Facts,
    Hold,
    Pool,
    WaitCause,
    Waiting,
    waiting,
)
from pilothouse_server.domain.workflows import Action, WorkflowState
from tests.control.build import SECOND, command

NOW = 2000 * SECOND
S, C = WorkflowState, WaitCause
CODER, TESTER = Need("coder"), Need("tester", "slow")
DEMO = Engine("demo", connected=True, heard_us=NOW - SECOND)
GONE = Engine("demo", connected=False, heard_us=NOW - 300 * SECOND)
FREE, FULL, DRAINING = Pool(2, 0, 1), Pool(2, 1, 1), Pool(1, 1)


def by(**fields: Any) -> Command:
    given = {"actor": "ana", "reason": "deploy freeze", "effect_us": 1500 * SECOND}
    return command(Action.PAUSE, state=CommandState.EFFECTIVE, **(given | fields))


RESUMING = command(Action.RESUME, actor="ben", boundary=Boundary.STEP)
HELD = DEMO._replace(holds=[Hold(since_us=5, by=by())])


def facts(state: WorkflowState = S.RUNNING, engine: Engine = DEMO, **fields: Any) -> Facts:
    return Facts(state, engine, NOW, **fields)


TABLE: list[tuple[str, Facts, WaitCause | None, str, str]] = [
    # moves, or has ended
    ("works", facts(in_hand=1, needs=[CODER]), None, "", ""),
    ("says nothing of tasks", facts(), None, "", ""),
    ("room for one of its tasks", facts(needs=[CODER, TESTER], pools={"coder": FREE}), None, "", ""),
    ("nobody knows who could do it", facts(needs=[Need("")]), None, "", ""),
    ("works, a pause pending", facts(in_hand=1, pending=command(Action.PAUSE)), None, "", ""),
    ("ended", facts(S.COMPLETED, GONE), None, "", ""),
    ("failed, a retry pending", facts(S.FAILED, pending=command(Action.RETRY)), None, "", ""),
    ("another type is held", facts(S.RUNNING, DEMO._replace(holds=[Hold("", "x")])), None, "", ""),
    # a command
    (
        "a step is in hand",
        facts(S.PAUSED, pending=RESUMING, pause=by()),
        C.COMMAND_PENDING,
        "resume was asked for by ben, and the engine has not taken it yet",
        "wait: the engine acts when the step in hand is done",
    ),
    (
        "nobody takes it",
        facts(S.PAUSED, GONE, pending=replace(RESUMING, state=CommandState.ACCEPTED)),
        C.COMMAND_PENDING,
        "the engine took it but has not done it yet: the engine demo is not connected",
        "start the engine: it takes the command when it connects",
    ),
    # paused
    ("by somebody", facts(S.PAUSED, pause=by()), C.PAUSED, "paused by ana: deploy freeze", "resume it"),
    ("by itself", facts(S.PAUSED), C.PAUSED, "paused by the engine demo itself", "resume it"),
    (
        "and the engine cannot resume",
        facts(S.PAUSED, cannot_resume="it did not declare RESUME"),
        C.PAUSED,
        "paused by the engine demo itself",
        "it cannot be resumed from here: it did not declare RESUME",
    ),
    (
        "by a stop",
        facts(S.PAUSED, pause=by(stop_id="s1")),
        C.EMERGENCY_STOP,
        "held by the emergency stop of ana: deploy freeze",
        "release the emergency stop",
    ),
    (
        "by a budget",
        facts(S.PAUSED, pause=by(budget_id="b1", actor="budget:nightly", reason="1,000 of 900 tokens")),
        C.BUDGET,
        "paused by the budget nightly: 1,000 of 900 tokens",
        "resume it: this budget pauses it no second time; or raise the ceiling",
    ),
    # held
    (
        "everything",
        facts(S.QUEUED, HELD),
        C.HELD,
        "the engine demo starts nothing new, paused by ana: deploy freeze",
        "let the engine start work again",
    ),
    (
        "everything, by a stop",
        facts(S.QUEUED, DEMO._replace(holds=[Hold(by=by(stop_id="s1"))])),
        C.EMERGENCY_STOP,
        "held by the emergency stop of ana: deploy freeze",
        "release the emergency stop",
    ),
    (
        "its type",
        facts(S.QUEUED, DEMO._replace(holds=[Hold("", "build")]), workflow_type="build"),
        C.HELD,
        "the engine demo starts no workflow of type build",
        "let it start them again",
    ),
    (
        "the agents it needs",
        facts(S.RUNNING, DEMO._replace(holds=[Hold("", "", "coder")]), needs=[CODER]),
        C.HELD,
        "the engine demo gives agents of type coder nothing",
        "let it go on with them",
    ),
    (
        "the queue of its task",
        facts(S.RUNNING, DEMO._replace(holds=[Hold("slow")]), needs=[TESTER]),
        C.HELD,
        "the engine demo takes nothing from the queue slow",
        "resume the queue",
    ),
    # from outside, silent
    (
        "an answer",
        facts(S.WAITING, asked=(7, "approve the release")),
        C.INPUT,
        "waits for an answer from outside: approve the release",
        "give the answer where the engine asks for it",
    ),
    (
        "silent",
        facts(S.RUNNING, GONE, in_hand=1),
        C.ENGINE_SILENT,
        "the engine demo has not been heard of",
        "start the engine again; if it is gone for good, an admin can close the workflow",
    ),
    # agents
    ("nobody", facts(needs=[CODER]), C.NO_AGENT, "no agent of type coder is online", "start one"),
    (
        "all drain",
        facts(needs=[CODER], pools={"coder": DRAINING}),
        C.AGENTS_DRAINING,
        "the only agent of type coder is draining",
        "activate one of them, or start another",
    ),
    (
        "no room",
        facts(S.QUEUED, needs=[CODER], pools={"coder": FULL}),
        C.POOL_FULL,
        "all 2 agents of type coder have no room for more work",
        "wait, make the pool larger, or start another agent",
    ),
    ("its turn", facts(S.QUEUED), C.NOT_STARTED, "the engine demo knows of it and has not started it yet", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "cause", "reason", "remedy"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)  # fmt: skip
def test_each_cause_in_words(
    given: Facts, cause: WaitCause | None, reason: str, remedy: str
) -> None:
    told = waiting(given)
    assert (told and told.cause) == cause
    if told is not None:
        assert reason in told.reason
        assert told.remedy == remedy


def test_every_cause_is_in_the_table() -> None:
    assert {row[2] for row in TABLE} == {*WaitCause, None}


def told(given: Facts) -> Waiting:
    found = waiting(given)
    assert found is not None
    return found


def test_of_several_the_first_in_the_order_is_told() -> None:
    worst = facts(
        S.QUEUED,
        GONE._replace(holds=[Hold(by=by(stop_id="s1")), Hold("slow")]),
        needs=[CODER],
        pending=command(Action.CANCEL),
    )
    assert told(worst).cause == C.COMMAND_PENDING
    without = replace(worst, pending=None)
    assert told(without).cause == C.EMERGENCY_STOP
    unheld = replace(without, engine=GONE)
    assert told(unheld).cause == C.ENGINE_SILENT
    heard = replace(unheld, engine=DEMO)
    assert told(heard).cause == C.NO_AGENT
    assert told(replace(heard, needs=[])).cause == C.NOT_STARTED


def test_the_remedy_names_what_it_is_about_and_the_act_that_does_it() -> None:
    paused = told(facts(S.PAUSED, pause=by(id="c7"), pause_us=9))
    assert (paused.action, paused.subject, paused.since_us) == (Action.RESUME, "c7", 9)
    stopped = told(facts(S.PAUSED, pause=by(stop_id="s1")))
    assert (stopped.action, stopped.subject) == (None, "s1")
    assert told(facts(S.PAUSED, pause=by(budget_id="b1"))).subject == "b1"
    assert told(facts(needs=[CODER])).subject == "coder"
    assert told(facts(S.RUNNING, GONE)).since_us == GONE.heard_us
    assert told(facts(S.PAUSED, cannot_resume="no")).action is None
