"""Steering agents on a real database: a request is a command, a refusal is recorded, the engine's events decide."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import pytest

from pilothouse_server.adapters.sql.agent_views import SqlAgentViews
from pilothouse_server.adapters.sql.audit_views import SqlAudit
from pilothouse_server.domain.audit import Outcome
from pilothouse_server.domain.commands import Capability, Command, CommandState, Executor, Scope
from pilothouse_server.domain.errors import (
    CommandPending,
    EtagMismatch,
    InvalidArgument,
    NoExecutor,
    NotCommandOwner,
    NotFound,
    RequestIdReused,
    UnsupportedByEngine,
    WrongState,
)
from pilothouse_server.domain.events import AgentLoad, Event, EventError, EventType
from pilothouse_server.domain.projection.agent import AgentState
from pilothouse_server.domain.targets import AGENT_ACTIONS
from pilothouse_server.domain.workflows import Action
from pilothouse_server.services.control import ControlRequest
from pilothouse_server.services.views import AgentDetail, AgentView, PageRequest
from pilothouse_server.wire.agents import agent_to_proto
from tests.control.build import SECOND, event
from tests.control.conftest import Plant, plant

__all__ = ["plant"]

A, T = Action, EventType


async def engine(plant: Plant, actions: Sequence[Action] = AGENT_ACTIONS) -> None:
    """Engine e can do this to its agents, of which a is one."""
    executor = Executor("e", tuple(Capability(action, Scope.POOL) for action in actions))
    await plant.store.write(lambda transaction: transaction.put_executor(executor))
    await plant.report(said(plant, T.AGENT_REGISTERED, load=AgentLoad(0, 4)))


def said(plant: Plant, kind: EventType, **fields: Any) -> Event:
    """What engine e says of agent a now."""
    now_us = plant.clock.us
    given: dict[str, Any] = {
        "id": uuid.uuid4().hex, "agent_id": "a", "workflow_id": "", "attempt": 0, "occur_us": now_us,
        "receive_us": now_us,
    }  # fmt: skip
    return event(kind, **(given | fields))


async def ask(plant: Plant, action: Action, **fields: Any) -> Command:
    given: dict[str, Any] = {"scope": Scope.POOL, "agent_id": "a", "actor": "ada"}
    return await plant.control.request(ControlRequest("", action, **(given | fields)))


async def look(plant: Plant, agent_id: str = "a") -> AgentDetail:
    return await SqlAgentViews(plant.database, plant.clock).get(agent_id)


async def etag(plant: Plant) -> str:
    return agent_to_proto((await look(plant)).view).etag


async def entries(plant: Plant) -> list[tuple[str, str, str, Outcome, str, str]]:
    """(verb, target kind, target, outcome, actor, error's code) of each record, oldest first."""
    page = await SqlAudit(plant.database, plant.clock).page(PageRequest(100), ascending=True)
    return [
        (
            each.verb, each.target_kind, each.target_id, each.outcome, each.actor,
            "" if each.error is None else each.error.code,
        )
        for each in page.items
    ]  # fmt: skip


def offers(view: AgentView) -> set[Action]:
    return {each.action for each in view.actions if each.available}


async def test_a_drain_from_the_request_to_the_engines_event(plant: Plant) -> None:
    await engine(plant)
    asked = await ask(plant, A.DRAIN, reason="deploy", etag=await etag(plant))
    assert (asked.state, asked.source, asked.agent_id) == (CommandState.REQUESTED, "e", "a")
    shown = (await look(plant)).view
    assert (shown.pending, shown.state, offers(shown)) == (asked, AgentState.ONLINE, set())
    await plant.report(said(plant, T.AGENT_DRAINING, command_id=asked.id))
    shown = (await look(plant)).view
    assert (shown.pending, shown.state) == (None, AgentState.DRAINING)
    assert offers(shown) == {A.ACTIVATE, A.RESTART, A.RESIZE}
    back = await ask(plant, A.ACTIVATE)
    plant.clock.us += SECOND
    await plant.report(said(plant, T.AGENT_REGISTERED))
    assert (await plant.control.get(back.id)).state == CommandState.EFFECTIVE
    assert [each.id for each in (await look(plant)).commands] == [back.id, asked.id]
    assert await entries(plant) == [
        ("agent.drain", "agent", "a", Outcome.ACCEPTED, "ada", ""),
        ("agent.drain", "agent", "a", Outcome.EFFECTIVE, "e", ""),
        ("agent.activate", "agent", "a", Outcome.ACCEPTED, "ada", ""),
        ("agent.activate", "agent", "a", Outcome.EFFECTIVE, "e", ""),
    ]


async def test_a_pending_command_and_its_end_reach_those_who_watch_agents(plant: Plant) -> None:
    await engine(plant)
    views = SqlAgentViews(plant.database, plant.clock)
    start = await views.start(0)
    await ask(plant, A.DRAIN)
    read = await views.after(start.newest, 10)
    assert [view.pending is not None for _, view in read.items] == [True]
    await plant.report(said(plant, T.AGENT_DRAINING))
    assert [view.pending for _, view in (await views.after(read.mark, 10)).items] == [None]


async def test_what_an_engine_can_do_reaches_those_who_watch_its_agents(plant: Plant) -> None:
    await engine(plant)
    views = SqlAgentViews(plant.database, plant.clock)
    start = await views.start(0)
    await engine(plant, [A.DRAIN])
    read = await views.after(start.newest, 10)
    assert [offers(view) for _, view in read.items] == [{A.DRAIN}]


async def test_a_size_is_there_when_the_engine_reports_it_and_no_other(plant: Plant) -> None:
    await engine(plant)
    asked = await ask(plant, A.RESIZE, pool_size=8)
    wrong = said(plant, T.AGENT_HEARTBEAT, load=AgentLoad(0, 6), command_id=asked.id)
    await plant.report(wrong)
    assert (await plant.control.get(asked.id)).pending
    await plant.report(said(plant, T.AGENT_HEARTBEAT, load=AgentLoad(0, 8)))
    assert (await plant.control.get(asked.id)).state == CommandState.EFFECTIVE
    await plant.report(said(plant, T.AGENT_HEARTBEAT, load=AgentLoad(0, 8), command_id=asked.id))
    assert [each[3] for each in await entries(plant)] == [Outcome.ACCEPTED, Outcome.EFFECTIVE]


async def test_each_refusal_is_named_and_recorded(plant: Plant) -> None:
    await engine(plant, [A.DRAIN, A.ACTIVATE, A.RESIZE])
    before = await etag(plant)
    with pytest.raises(NotFound, match="no agent 'b'"):
        await ask(plant, A.DRAIN, agent_id="b")
    with pytest.raises(UnsupportedByEngine, match="RESTART an agent"):
        await ask(plant, A.RESTART)
    with pytest.raises(WrongState, match="it is ONLINE; legal now: DRAIN"):
        await ask(plant, A.ACTIVATE)
    with pytest.raises(InvalidArgument, match="pool_size"):
        await ask(plant, A.RESIZE)
    with pytest.raises(InvalidArgument, match="pool_size"):
        await ask(plant, A.DRAIN, pool_size=3)
    first = await ask(plant, A.DRAIN, etag=before)
    with pytest.raises(CommandPending, match=first.id):
        await ask(plant, A.RESIZE, pool_size=2)
    with pytest.raises(EtagMismatch, match="agent"):
        await ask(plant, A.RESIZE, pool_size=2, etag=before)
    refused = [each[5] for each in await entries(plant) if each[3] == Outcome.REFUSED]
    assert refused == [
        "AGENT_NOT_FOUND", "UNSUPPORTED_BY_ENGINE", "WRONG_STATE", "INVALID_ARGUMENT", "INVALID_ARGUMENT",
        "COMMAND_PENDING", "ETAG_MISMATCH",
    ]  # fmt: skip


async def test_of_two_operators_at_once_one_is_told_who_was_first(plant: Plant) -> None:
    await engine(plant)
    seen = await etag(plant)
    await ask(plant, A.DRAIN, etag=seen, actor="ada")
    with pytest.raises(EtagMismatch) as refused:
        await ask(plant, A.RESTART, etag=seen, actor="bob")
    assert refused.value.etag == await etag(plant), "what to decide on instead"


async def test_a_repeat_is_the_same_command_and_other_content_is_refused(plant: Plant) -> None:
    await engine(plant)
    request_id = str(uuid.uuid4())
    first = await ask(plant, A.RESIZE, pool_size=2, request_id=request_id)
    assert (await ask(plant, A.RESIZE, pool_size=2, request_id=request_id)).id == first.id
    for other in ({"pool_size": 3}, {"pool_size": 2, "actor": "bob"}):
        with pytest.raises(RequestIdReused):
            await ask(plant, A.RESIZE, request_id=request_id, **other)
    with pytest.raises(RequestIdReused):
        await plant.ask(A.PAUSE, request_id=request_id)


async def test_an_agent_that_is_offline_can_be_begun_again_and_nothing_else(plant: Plant) -> None:
    await engine(plant)
    plant.clock.us += 31 * SECOND
    with pytest.raises(WrongState, match="OFFLINE"):
        await ask(plant, A.DRAIN)
    assert offers((await look(plant)).view) == {A.RESTART}
    asked = await ask(plant, A.RESTART)
    await plant.report(said(plant, T.AGENT_REGISTERED))
    assert (await plant.control.get(asked.id)).pending, "it may have come back by itself"
    await plant.report(said(plant, T.AGENT_REGISTERED, command_id=asked.id))
    assert (await plant.control.get(asked.id)).state == CommandState.EFFECTIVE


async def test_an_engine_that_never_connected_steers_no_agent(plant: Plant) -> None:
    await plant.report(said(plant, T.AGENT_REGISTERED, source="unheard"))
    with pytest.raises(NoExecutor, match="'unheard'"):
        await ask(plant, A.DRAIN)


async def test_a_command_for_an_engine_that_is_gone_expires_with_a_record(plant: Plant) -> None:
    await engine(plant)
    asked = await ask(plant, A.DRAIN)
    await plant.control.sweep()
    plant.clock.us = asked.expire_us
    await plant.store.write(lambda transaction: transaction.note_swept(plant.clock.us))
    await plant.control.sweep()
    assert (await plant.control.get(asked.id)).state == CommandState.EXPIRED
    assert (await entries(plant))[-1] == (
        "agent.drain", "agent", "a", Outcome.EXPIRED, "e", "NOT_ACCEPTED",
    )  # fmt: skip


async def test_only_the_agents_own_engine_answers(plant: Plant) -> None:
    await engine(plant)
    asked = await ask(plant, A.DRAIN)
    with pytest.raises(NotCommandOwner):
        await plant.control.accept(asked.id, "f")
    error = EventError("BUSY", "in a transaction")
    failed = said(plant, T.COMMAND_FAILED, agent_id="", command_id=asked.id, error=error)
    await plant.report(failed)
    assert (await plant.control.get(asked.id)).error == error
    assert (await entries(plant))[-1][3:] == (Outcome.FAILED, "e", "BUSY")


async def test_an_agent_is_shown_with_what_it_does_and_did(plant: Plant) -> None:
    await engine(plant)
    began = plant.clock.us
    for number, seconds in ((1, 2), (2, 4), (3, 0)):
        task = {"workflow_id": "w", "task_id": f"t{number}", "attempt": 1}
        await plant.report(said(plant, T.TASK_STARTED, occur_us=began + number, **task))
        if seconds:
            end_us = began + number + seconds * SECOND
            await plant.report(said(plant, T.TASK_COMPLETED, occur_us=end_us, **task))
    detail = await look(plant)
    assert [(each.task.id, each.task.workflow_id) for each in detail.current] == [("t3", "w")]
    assert [each.task.id for each in detail.recent] == ["t2", "t1"]
    shown = agent_to_proto(detail.view)
    assert (shown.completed_tasks, shown.success_rate) == (2, 1.0)
    assert shown.mean_task_duration.ToMicroseconds() == 3 * SECOND
