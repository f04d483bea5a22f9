"""What can be asked of agents, queues and engines: each scope, action, state, capability and pending command."""

from __future__ import annotations

import itertools

import pytest

from pilothouse_server.domain.commands import Capability, Command, Executor, Scope
from pilothouse_server.domain.errors import (
    CommandPending,
    NoExecutor,
    PilothouseError,
    UnsupportedByEngine,
    WrongState,
)
from pilothouse_server.domain.projection.agent import AgentState
from pilothouse_server.domain.projection.queue import QueueName, QueueState
from pilothouse_server.domain.targets import (
    AGENT_ACTIONS,
    QUEUE_ACTIONS,
    AgentStand,
    QueueStand,
    agent_etag,
    agent_refusal,
    availabilities,
    queue_refusal,
    target_id,
)
from pilothouse_server.domain.workflows import Action
from tests.control.build import command

A, S, Q = Action, AgentState, QueueState

LEGAL = {
    (S.ONLINE, A.DRAIN), (S.ONLINE, A.RESTART), (S.ONLINE, A.RESIZE),
    (S.BUSY, A.DRAIN), (S.BUSY, A.RESTART), (S.BUSY, A.RESIZE),
    (S.DRAINING, A.ACTIVATE), (S.DRAINING, A.RESTART), (S.DRAINING, A.RESIZE),
    (S.OFFLINE, A.RESTART),
}  # fmt: skip
QUEUE_LEGAL = {(Q.ACTIVE, A.PAUSE), (Q.PAUSED, A.RESUME)}

PENDING = command(Action.DRAIN, scope=Scope.POOL, agent_id="a", workflow_id="")
NAMES = (
    QueueName("e", "mail"),
    QueueName("e"),
    QueueName("e", "", "nightly"),
    QueueName("e", "", "", "coder"),
)


def engine(*able: Capability) -> Executor:
    return Executor("e", able)


def declared(
    scope: Scope, action: Action, *, selective: bool = False
) -> dict[str, Executor | None]:
    """Engines by what they said of the action: that they can, that they can something like it, nothing, or never
    anything at all."""
    like = [Capability(action, other, selective=True) for other in Scope if other not in (scope, 0)]
    return {
        "can": engine(*like, Capability(action, scope, selective=selective)),
        "can with other things": engine(*like),
        "can nothing": engine(),
        "never connected": None,
    }


def kind_of(error: PilothouseError | None) -> type[PilothouseError] | None:
    return None if error is None else type(error)


@pytest.mark.parametrize(
    ("state", "action"), [*itertools.product(AgentState, [*AGENT_ACTIONS, Action.PAUSE])]
)
def test_what_can_be_asked_of_an_agent(state: AgentState, action: Action) -> None:
    agent = AgentStand("a", "e", state, 4, 1)
    for said, executor in declared(Scope.POOL, action).items():
        for pending in (None, PENDING):
            expected: type[PilothouseError] | None = None
            if said == "never connected":
                expected = NoExecutor
            elif said != "can":
                expected = UnsupportedByEngine
            elif (state, action) not in LEGAL:
                expected = WrongState
            elif pending is not None:
                expected = CommandPending
            assert kind_of(agent_refusal(action, agent, pending, executor)) is expected, said


@pytest.mark.parametrize(
    ("name", "state", "action"), [*itertools.product(NAMES, QueueState, QUEUE_ACTIONS)]
)
def test_what_can_be_asked_of_a_queue_or_an_engine(
    name: QueueName, state: QueueState, action: Action
) -> None:
    queue, narrowed = QueueStand(name, state), bool(name.workflow_type or name.agent_type)
    engines = declared(queue.scope, action, selective=True)
    engines["can with all of it only"] = engine(Capability(action, queue.scope))
    for said, executor in engines.items():
        able = said == "can" or (said == "can with all of it only" and not narrowed)
        for pending in (None, PENDING):
            expected: type[PilothouseError] | None = None
            if said == "never connected":
                expected = NoExecutor
            elif not able:
                expected = UnsupportedByEngine
            elif (state, action) not in QUEUE_LEGAL:
                expected = WrongState
            elif pending is not None:
                expected = CommandPending
            assert kind_of(queue_refusal(action, queue, pending, executor)) is expected, said


@pytest.mark.parametrize("action", Action)
def test_a_capability_is_of_one_scope_and_a_scope_left_out_is_one_workflow(action: Action) -> None:
    for declared_scope, asked in itertools.product(Scope, Scope):
        if asked == Scope.UNSTATED:
            continue
        found = engine(Capability(action, declared_scope)).capability(action, asked)
        assert (found is not None) == ((declared_scope or Scope.RUN) == asked)


def test_refusals_say_what_to_do() -> None:
    agent = AgentStand("a", "e", S.OFFLINE, 4, 1)
    able = engine(*(Capability(action, Scope.POOL) for action in AGENT_ACTIONS))
    answers = {
        each.action: each.reason
        for each in availabilities(
            AGENT_ACTIONS, lambda action: agent_refusal(action, agent, None, able)
        )
    }
    assert answers[A.RESTART] == ""
    assert answers[A.DRAIN] == "cannot DRAIN agent 'a': it is OFFLINE; legal now: RESTART"
    refused = agent_refusal(A.RESTART, agent, PENDING, able)
    assert refused is not None
    assert refused.message == "command c1 (DRAIN) on this agent has not ended; wait for it"
    assert refused.metadata == {"command_id": "c1", "action": "DRAIN"}
    narrow = QueueStand(QueueName("e", "", "nightly"), Q.ACTIVE)
    unable = queue_refusal(A.PAUSE, narrow, None, engine(Capability(A.PAUSE, Scope.FLEET)))
    assert unable is not None
    assert "what it starts of one type alone" in unable.message


def test_an_agents_etag_changes_with_what_a_control_is_decided_on_and_with_nothing_else() -> None:
    agent = AgentStand("a", "e", S.ONLINE, 4, 1)
    same = {agent_etag(agent, ""), agent_etag(agent._replace(state=S.BUSY, report_us=9), "")}
    others = {
        agent_etag(agent._replace(state=S.DRAINING), ""),
        agent_etag(agent._replace(capacity=5), ""),
        agent_etag(agent, "c1"),
    }
    assert (len(same), len(others), same & others) == (1, 3, set())


def test_the_audit_log_names_what_is_no_workflow() -> None:
    def named(one: Command) -> str:
        return target_id(one.scope, one.source, one.target)

    assert named(PENDING) == "a"
    assert named(command(scope=Scope.QUEUE, queue="mail")) == "e/mail"
    assert named(command(scope=Scope.FLEET)) == "e"
    assert named(command(scope=Scope.FLEET, workflow_type="n")) == "e?workflow_type=n"
    assert named(command(scope=Scope.FLEET, agent_type="c")) == "e?agent_type=c"
