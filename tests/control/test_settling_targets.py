"""What ends a command on an agent, a queue or an engine; an engine that lies or says it twice changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse_server.domain import command_audit
from pilothouse_server.domain.commands import AGENT_LEFT, Command, CommandState, Scope
from pilothouse_server.domain.events import AgentLoad, Event, EventError, EventType
from pilothouse_server.domain.settling import event_of, settle_target
from pilothouse_server.domain.workflows import Action
from tests.control.build import DEADLINES, SECOND, command, event

A, T = Action, EventType
REQUESTED, EFFECTIVE, FAILED = CommandState.REQUESTED, CommandState.EFFECTIVE, CommandState.FAILED


def pool(action: Action, **fields: Any) -> Command:
    about = {"scope": Scope.POOL, "agent_id": "a", "workflow_id": "", "attempt": 0}
    return command(action, **(about | fields))


def fleet(action: Action, **fields: Any) -> Command:
    scope = Scope.QUEUE if fields.get("queue") else Scope.FLEET
    return command(action, **({"scope": scope, "workflow_id": "", "attempt": 0} | fields))


def said(kind: EventType, **fields: Any) -> Event:
    return event(kind, **({"workflow_id": "", "attempt": 0} | fields))


def of_agent(kind: EventType, **fields: Any) -> Event:
    return said(kind, **({"agent_id": "a"} | fields))


def after(before: Command, *events: Event) -> Command:
    return settle_target(before, events, DEADLINES)


RESIZE = pool(A.RESIZE, pool_size=8)
RIGHT, WRONG = AgentLoad(1, 8), AgentLoad(1, 4)


@pytest.mark.parametrize(
    ("before", "answer", "expected"),
    [
        (pool(A.DRAIN), of_agent(T.AGENT_DRAINING), EFFECTIVE),
        (pool(A.DRAIN), of_agent(T.AGENT_DRAINING, command_id="c1"), EFFECTIVE),
        (pool(A.DRAIN), of_agent(T.AGENT_DRAINING, command_id="another"), REQUESTED),
        (pool(A.DRAIN), of_agent(T.AGENT_DRAINING, agent_id="b", command_id="c1"), REQUESTED),
        (pool(A.DRAIN), of_agent(T.AGENT_DRAINING, source="f", command_id="c1"), REQUESTED),
        (pool(A.DRAIN), of_agent(T.AGENT_DRAINING, receive_us=999 * SECOND), REQUESTED),
        (pool(A.DRAIN), of_agent(T.AGENT_DRAINING, occur_us=499 * SECOND), REQUESTED),
        (pool(A.DRAIN), of_agent(T.AGENT_HEARTBEAT, command_id="c1"), REQUESTED),
        (pool(A.ACTIVATE), of_agent(T.AGENT_REGISTERED), EFFECTIVE),
        (pool(A.ACTIVATE), of_agent(T.AGENT_HEARTBEAT), REQUESTED),
        (pool(A.RESTART), of_agent(T.AGENT_REGISTERED), REQUESTED),
        (pool(A.RESTART), of_agent(T.AGENT_REGISTERED, command_id="c1"), EFFECTIVE),
        (pool(A.RESTART), of_agent(T.AGENT_OFFLINE), REQUESTED),
        (RESIZE, of_agent(T.AGENT_HEARTBEAT, load=RIGHT), EFFECTIVE),
        (RESIZE, of_agent(T.AGENT_HEARTBEAT, load=WRONG), REQUESTED),
        (RESIZE, of_agent(T.AGENT_HEARTBEAT, load=WRONG, command_id="c1"), REQUESTED),
        (RESIZE, of_agent(T.AGENT_HEARTBEAT, command_id="c1"), EFFECTIVE),
        (RESIZE, of_agent(T.AGENT_HEARTBEAT), REQUESTED),
        (RESIZE, of_agent(T.AGENT_OFFLINE, load=RIGHT, command_id="c1"), FAILED),
        (pool(A.DRAIN), of_agent(T.AGENT_OFFLINE), FAILED),
        (pool(A.DRAIN), of_agent(T.AGENT_OFFLINE, occur_us=499 * SECOND), REQUESTED),
    ],
)  # fmt: skip
def test_how_an_agents_events_answer(
    before: Command, answer: Event, expected: CommandState
) -> None:
    done = after(before, answer)
    assert done.state == expected
    if expected == FAILED:
        assert done.error is not None
        assert done.error.code == AGENT_LEFT
    if expected == EFFECTIVE:
        assert (done.effect_us, done.end_us) == (600 * SECOND, 1010 * SECOND)
        assert after(done, answer) is done, "a second answer changes nothing"


MAIL = fleet(A.PAUSE, queue="mail")
NIGHTLY = fleet(A.PAUSE, workflow_type="nightly")


@pytest.mark.parametrize(
    ("before", "answer", "expected"),
    [
        (MAIL, said(T.QUEUE_PAUSED, queue="mail"), EFFECTIVE),
        (MAIL, said(T.QUEUE_PAUSED, queue="mail", workflow_type="x"), EFFECTIVE),
        (MAIL, said(T.QUEUE_PAUSED, queue="post", command_id="c1"), REQUESTED),
        (MAIL, said(T.QUEUE_PAUSED, command_id="c1"), REQUESTED),
        (MAIL, said(T.QUEUE_ACTIVE, queue="mail", command_id="c1"), REQUESTED),
        (MAIL, said(T.QUEUE_PAUSED, queue="mail", source=""), REQUESTED),
        (MAIL, said(T.QUEUE_PAUSED, queue="mail", occur_us=499 * SECOND), REQUESTED),
        (fleet(A.RESUME, queue="mail"), said(T.QUEUE_ACTIVE, queue="mail"), EFFECTIVE),
        (fleet(A.PAUSE), said(T.QUEUE_PAUSED), EFFECTIVE),
        (fleet(A.PAUSE), said(T.QUEUE_PAUSED, workflow_type="nightly"), REQUESTED),
        (NIGHTLY, said(T.QUEUE_PAUSED, workflow_type="nightly"), EFFECTIVE),
        (NIGHTLY, said(T.QUEUE_PAUSED), REQUESTED),
        (NIGHTLY, said(T.QUEUE_PAUSED, workflow_type="nightly", agent_type="c"), REQUESTED),
    ],
)
def test_how_a_queues_events_answer(before: Command, answer: Event, expected: CommandState) -> None:
    assert after(before, answer).state == expected


def test_an_engine_may_say_in_an_event_that_it_took_a_command_or_cannot() -> None:
    taken = after(MAIL, said(T.COMMAND_ACCEPTED, command_id="c1"))
    assert taken.state == CommandState.ACCEPTED
    error = EventError("BUSY", "later")
    done = after(taken, said(T.COMMAND_FAILED, command_id="c1", error=error))
    assert (done.state, done.error) == (FAILED, error)
    other = said(T.COMMAND_FAILED, command_id="c1", error=error, source="f")
    assert after(MAIL, other) is MAIL


def test_the_event_of_a_command_says_what_it_is_about() -> None:
    told = event_of(fleet(A.PAUSE, agent_type="coder"))
    assert told.attributes["scope"] == "FLEET"
    assert told.attributes["agent_type"] == "coder"
    assert (event_of(RESIZE).agent_id, event_of(RESIZE).attributes["pool_size"]) == ("a", "8")
    assert event_of(MAIL).queue == "mail"
    assert "scope" not in event_of(command()).attributes


@pytest.mark.parametrize(
    ("one", "other"),
    [(("a/b", ""), ("a", "b/")), (("a%2Fb", ""), ("a/b", "")), (("", "a/"), ("", "a"))],
)
def test_types_are_told_apart_whatever_is_in_their_names(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    asked = fleet(A.PAUSE, workflow_type=one[0], agent_type=one[1])
    for types, expected in ((other, REQUESTED), (one, EFFECTIVE)):
        paused = said(T.QUEUE_PAUSED, workflow_type=types[0], agent_type=types[1])
        assert after(asked, paused).state == expected
    named = [
        f"{name}={value}"
        for name, value in zip(("workflow_type", "agent_type"), one, strict=True)
        if value
    ]
    assert (
        command_audit.ended(after(asked, said(T.COMMAND_FAILED, command_id="c1"))).target_id
        == f"e?{'&'.join(named)}"
    )
