"""What a target needs next, as tables: facts in, verdict out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from pilothouse_server.domain.commands import Command, CommandState
from pilothouse_server.domain.events import EventError
from pilothouse_server.domain.stops import (
    MOST_ATTEMPTS,
    PATIENCE_US,
    Counts,
    Facts,
    Kind,
    Scope,
    Stage,
    Stop,
    StopState,
    Target,
    TargetState,
    asked,
    backoff_us,
    quiet,
    releasing,
    stopping,
)
from pilothouse_server.domain.workflows import Action
from tests.control.build import SECOND, command

NOW = 2_000 * SECOND
T = TargetState
CANNOT = EventError("UNSUPPORTED_BY_ENGINE", "it cannot")
AWAY = EventError("NO_EXECUTOR", "it is away", retryable=True)
STOP = Stop("s", Stage.PAUSE_ALL, Scope(), StopState.ACTIVE, "fire", "ana", NOW, NOW)
HELD = Target(
    Kind.WORKFLOW, "w", T.OBEYED, NOW, NOW, command_id="ours", hold_id="ours", hold_sequence=5
)


def of(action: Action, sequence: int = 5, **fields: Any) -> Command:
    return command(action, **({"id": "ours", "sequence": sequence, "stop_id": "s"} | fields))


def done(action: Action, sequence: int = 5, **fields: Any) -> Command:
    return of(action, sequence, state=CommandState.EFFECTIVE, end_us=NOW, **fields)


class Case(NamedTuple):
    facts: Facts
    state: TargetState | None
    ask: Action | None = None
    target: Target | None = None
    stage: Stage = Stage.PAUSE_ALL
    kind: Kind = Kind.WORKFLOW


PEOPLE = "theirs"
STOPPING = {
    "it runs": Case(Facts(), T.ASKED, Action.PAUSE),
    "it ended before anybody asked": Case(Facts(ended=True), None),
    "it ended": Case(Facts(ended=True), T.ENDED, target=HELD),
    "it was paused": Case(Facts(stopped=True), T.WAS_SO),
    "people's pause is on its way": Case(
        Facts(pending=of(Action.PAUSE, id=PEOPLE, stop_id="")), T.ASKED
    ),
    "people's pause took effect": Case(
        Facts(stopped=True, last=done(Action.PAUSE, id=PEOPLE)), T.WAS_SO
    ),
    "people's resume is on its way": Case(
        Facts(stopped=True, pending=of(Action.RESUME, id=PEOPLE)), T.ASKED
    ),
    "it runs and people's cancel is on its way": Case(Facts(pending=of(Action.CANCEL)), T.ASKED),
    "ours took effect": Case(
        Facts(stopped=True, last=done(Action.PAUSE), hold=done(Action.PAUSE)),
        T.OBEYED, target=replace(HELD, state=T.ASKED),
    ),
    "people paused it after ours had failed": Case(
        Facts(
            stopped=True, last=done(Action.PAUSE, 6, id=PEOPLE),
            hold=of(Action.PAUSE, state=CommandState.FAILED),
        ),
        T.WAS_SO, target=replace(HELD, state=T.REFUSED),
    ),
    "ours was never taken, and it is paused": Case(
        Facts(stopped=True, hold=of(Action.PAUSE, state=CommandState.EXPIRED)),
        T.WAS_SO, target=replace(HELD, state=T.ASKED),
    ),
    "ours was taken, expired, and took effect all the same": Case(
        Facts(stopped=True, hold=of(Action.PAUSE, state=CommandState.EXPIRED, accept_us=NOW)),
        T.OBEYED, target=replace(HELD, state=T.ASKED),
    ),
    "the engine cannot": Case(Facts(unable=CANNOT), T.REFUSED),
    "the engine is away": Case(Facts(unable=AWAY), T.REFUSED),
    "the engine is away and it is paused": Case(Facts(stopped=True, unable=AWAY), T.WAS_SO),
    "it is paused, to be cancelled": Case(
        Facts(stopped=True), T.ASKED, Action.CANCEL, stage=Stage.CANCEL_ALL
    ),
    "a pause is on its way, to be cancelled": Case(
        Facts(pending=of(Action.PAUSE)), T.ASKED, Action.CANCEL, stage=Stage.CANCEL_ALL
    ),
    "a cancel is on its way, to be cancelled": Case(
        Facts(pending=of(Action.CANCEL)), T.ASKED, stage=Stage.CANCEL_ALL
    ),
    "an agent works": Case(Facts(idle=False), T.ASKED, Action.DRAIN, kind=Kind.AGENT),
    "an agent drains and has work": Case(Facts(stopped=True, idle=False), T.ASKED, kind=Kind.AGENT),
    "an agent drains": Case(Facts(stopped=True), T.WAS_SO, kind=Kind.AGENT),
    "an agent is being restarted": Case(
        Facts(pending=of(Action.RESTART)), T.ASKED, kind=Kind.AGENT
    ),
    "an engine starts what comes": Case(Facts(), T.ASKED, Action.PAUSE, kind=Kind.ENGINE),
    "an engine holds": Case(Facts(stopped=True), T.WAS_SO, kind=Kind.ENGINE),
    "it was asked a moment ago": Case(
        Facts(newest=of(Action.PAUSE, state=CommandState.FAILED, error=CANNOT)),
        T.REFUSED, target=replace(HELD, state=T.ASKED, asked_us=NOW, attempts=1),
    ),
    "it is time to ask again": Case(
        Facts(newest=of(Action.PAUSE, state=CommandState.FAILED, error=CANNOT)),
        T.REFUSED, Action.PAUSE,
        target=replace(HELD, state=T.REFUSED, asked_us=NOW - backoff_us(3), attempts=3),
    ),
    "it was asked too often": Case(
        Facts(newest=of(Action.PAUSE, state=CommandState.FAILED, error=CANNOT)),
        T.REFUSED,
        target=replace(HELD, state=T.REFUSED, asked_us=1, attempts=MOST_ATTEMPTS),
    ),
    "it was asked too often, and its engine came back": Case(
        Facts(connect_us=NOW), T.REFUSED, Action.PAUSE,
        target=replace(HELD, state=T.REFUSED, asked_us=NOW - 1, attempts=MOST_ATTEMPTS),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STOPPING)
def test_what_a_stop_in_force_does(name: str) -> None:
    facts, state, ask, target, stage, kind = STOPPING[name]
    stop = replace(STOP, stage=stage)
    verdict = stopping(stop, (kind, "w"), target, facts, NOW)
    assert (verdict.target and verdict.target.state, verdict.ask) == (state, ask)


RUNNING = Facts(last=done(Action.RESUME, 9))
PAUSED = Facts(stopped=True, last=done(Action.PAUSE), hold=done(Action.PAUSE))
RELEASING = {
    "it holds it": Case(PAUSED, T.OBEYED, Action.RESUME),
    "it ended": Case(Facts(ended=True), T.ENDED),
    "people let it go": Case(RUNNING, T.RELEASED),
    "people let it go and paused it again": Case(
        PAUSED._replace(last=done(Action.PAUSE, 9, id=PEOPLE)), T.WAS_SO
    ),
    "it was paused in another attempt": Case(PAUSED._replace(attempt=2), T.WAS_SO),
    "our resume is on its way": Case(PAUSED._replace(pending=of(Action.RESUME, 8)), T.OBEYED),
    "people's resume is on its way": Case(
        PAUSED._replace(pending=of(Action.RESUME, 8, stop_id="")), T.OBEYED
    ),
    "our pause is still on its way": Case(
        Facts(pending=of(Action.PAUSE)), T.ASKED, target=replace(HELD, state=T.ASKED)
    ),
    "it never paused it": Case(Facts(), T.RELEASED, target=replace(HELD, state=T.REFUSED)),
    "another stop keeps it": Case(PAUSED._replace(heir="other"), T.RELEASED),
    "the engine cannot resume": Case(PAUSED._replace(unable=CANNOT), T.NOT_RELEASED),
    "the engine is away": Case(PAUSED._replace(unable=AWAY), T.NOT_RELEASED),
    "it was so before": Case(PAUSED, T.WAS_SO, target=replace(HELD, state=T.WAS_SO)),
    "it was asked too often": Case(
        PAUSED._replace(newest=of(Action.RESUME, 8, state=CommandState.FAILED, error=CANNOT)),
        T.NOT_RELEASED, target=replace(HELD, asked_us=1, attempts=MOST_ATTEMPTS),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RELEASING)
def test_what_a_release_does(name: str) -> None:
    facts, state, ask, target, _, _ = RELEASING[name]
    stop = replace(STOP, state=StopState.RELEASING, release_us=NOW)
    verdict = releasing(stop, target or HELD, facts, NOW)
    assert verdict.target is not None
    assert (verdict.target.state, verdict.ask) == (state, ask)


def test_a_release_waits_for_an_engine_that_is_away_and_not_for_ever() -> None:
    stop = replace(STOP, state=StopState.RELEASING, release_us=NOW)
    waits = releasing(stop, HELD, PAUSED._replace(unable=AWAY), NOW).target
    assert waits is not None
    assert waits.retry_us == NOW + PATIENCE_US
    over = releasing(stop, waits, PAUSED._replace(unable=AWAY), NOW + PATIENCE_US).target
    assert over is not None
    assert (over.state, over.retry_us) == (T.NOT_RELEASED, None)


QUIET: list[tuple[Stage, Counts, bool]] = [
    (Stage.HOLD_NEW, {}, True),
    (Stage.HOLD_NEW, {(Kind.ENGINE, T.OBEYED): 1, (Kind.ENGINE, T.WAS_SO): 1}, True),
    (Stage.HOLD_NEW, {(Kind.ENGINE, T.ASKED): 1}, False),
    (Stage.HOLD_NEW, {(Kind.ENGINE, T.REFUSED): 1}, False),
    (Stage.HOLD_NEW, {(Kind.AGENT, T.ASKED): 1, (Kind.WORKFLOW, T.REFUSED): 1}, True),
    (Stage.DRAIN, {(Kind.AGENT, T.OBEYED): 1, (Kind.AGENT, T.ENDED): 1}, True),
    (Stage.DRAIN, {(Kind.AGENT, T.ASKED): 1}, False),
    (Stage.DRAIN, {(Kind.AGENT, T.REFUSED): 1}, False),
    (Stage.DRAIN, {(Kind.ENGINE, T.REFUSED): 1}, False),
    (Stage.PAUSE_ALL, {(Kind.WORKFLOW, T.OBEYED): 9, (Kind.WORKFLOW, T.ENDED): 1}, True),
    (Stage.PAUSE_ALL, {(Kind.WORKFLOW, T.ASKED): 1}, False),
    (Stage.PAUSE_ALL, {(Kind.WORKFLOW, T.REFUSED): 1}, False),
    (Stage.PAUSE_ALL, {(Kind.ENGINE, T.REFUSED): 1}, True),
    (Stage.PAUSE_ALL, {(Kind.ENGINE, T.ASKED): 1}, False),
    (Stage.PAUSE_ALL, {(Kind.AGENT, T.REFUSED): 1}, True),
    (Stage.CANCEL_ALL, {(Kind.WORKFLOW, T.ENDED): 9}, True),
    (Stage.CANCEL_ALL, {(Kind.WORKFLOW, T.ASKED): 1}, False),
    (Stage.CANCEL_ALL, {(Kind.ENGINE, T.REFUSED): 1}, True),
]


@pytest.mark.parametrize(("stage", "counts", "expected"), QUIET)
def test_when_it_is_quiet(stage: Stage, counts: Counts, expected: bool) -> None:
    assert quiet(stage, counts) is expected


def test_each_try_waits_longer_than_the_one_before_up_to_a_minute() -> None:
    waits = [backoff_us(attempts) // SECOND for attempts in range(1, 9)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_since_when_it_disobeys_is_not_forgotten_while_it_is_asked_again() -> None:
    target = replace(HELD, state=T.REFUSED, since_us=1, update_us=1)
    again = asked(target, Action.PAUSE, of(Action.PAUSE, 8), NOW)
    assert (again.state, again.since_us, again.update_us) == (T.ASKED, 1, NOW)
    assert (again.hold_id, again.hold_sequence, again.asks) == ("ours", 8, 1)
