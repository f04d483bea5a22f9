"""The reason on what is listed, got and followed, from what really is in the database."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse_server.adapters.sql.task_rows import needs
from pilothouse_server.adapters.sql.workflow_rows import load
from pilothouse_server.adapters.sql.workflow_views import SqlWorkflowViews
from pilothouse_server.domain.commands import Capability, Executor, Scope
from pilothouse_server.domain.events import AgentLoad, EventType
from pilothouse_server.domain.waiting import WaitCause, Waiting
from pilothouse_server.domain.workflows import Action
from pilothouse_server.services.asking import ControlRequest
from pilothouse_server.services.views import PageRequest
from tests.control.build import SECOND, event
from tests.control.conftest import Plant

T, C = EventType, WaitCause


async def told(plant: Plant, workflow_id: str = "w") -> Waiting | None:
    views = SqlWorkflowViews(plant.database, plant.clock)
    got = (await views.get(workflow_id)).view.waiting
    page = await views.page(PageRequest(10, filter=f'id = "{workflow_id}"'))
    read = await views.follow(f'id = "{workflow_id}"').after(0, 10)
    assert [page.workflows[0].waiting, read.items[-1][1].waiting] == [got, got]
    return got


async def say(plant: Plant, kind: EventType, **fields: Any) -> None:
    """An event of engine e, now."""
    plant.clock.us += SECOND
    at = {"occur_us": plant.clock.us, "receive_us": plant.clock.us, "id": f"{plant.clock.us}"}
    await plant.report(event(kind, **(at | fields)))


async def test_a_pause_is_its_command_until_the_engine_moves_by_itself(plant: Plant) -> None:
    asked = await plant.ask(Action.PAUSE, actor="ana", reason="deploy freeze")
    await say(plant, T.WORKFLOW_PAUSED, command_id=asked.id)
    # An engine may say twice that it is paused.
    await say(plant, T.WORKFLOW_PAUSED)
    found = await told(plant)
    assert found is not None
    assert (found.cause, found.reason) == (C.PAUSED, "paused by ana: deploy freeze")
    assert (found.action, found.subject) == (Action.RESUME, asked.id)
    await say(plant, T.WORKFLOW_RESUMED)
    assert await told(plant) is None
    await say(plant, T.WORKFLOW_PAUSED)
    found = await told(plant)
    assert found is not None
    assert found.reason == "paused by the engine e itself"


async def test_tasks_wait_for_agents_that_are_not_there_drain_or_have_no_room(plant: Plant) -> None:
    await say(plant, T.TASK_QUEUED, task_id="t", agent_type="coder")
    assert (found := await told(plant)) is not None
    assert found.cause == C.NO_AGENT
    coder: dict[str, Any] = {"workflow_id": "", "agent_id": "a", "agent_type": "coder"}
    await say(plant, T.AGENT_REGISTERED, load=AgentLoad(0, 1), **coder)
    assert await told(plant) is None
    await say(plant, T.AGENT_HEARTBEAT, load=AgentLoad(1, 1), **coder)
    assert (found := await told(plant)) is not None
    assert found.cause == C.POOL_FULL
    await say(plant, T.AGENT_DRAINING, **coder)
    assert (found := await told(plant)) is not None
    assert found.cause == C.AGENTS_DRAINING
    await say(plant, T.TASK_STARTED, task_id="t", agent_id="a", agent_type="coder")
    assert await told(plant) is None
    plant.clock.us += 40 * SECOND
    await say(plant, T.TASK_RETRYING, task_id="t", attempt=2)
    assert (found := await told(plant)) is not None
    assert (found.cause, found.subject) == (C.NO_AGENT, "coder")


async def test_a_queue_that_is_paused_holds_what_waits_in_it(plant: Plant) -> None:
    await say(plant, T.TASK_QUEUED, task_id="t", queue="slow")
    assert await told(plant) is None
    await say(plant, T.QUEUE_PAUSED, workflow_id="", queue="slow")
    assert (found := await told(plant)) is not None
    assert (found.cause, found.subject) == (C.HELD, "slow")
    await say(plant, T.QUEUE_ACTIVE, workflow_id="", queue="slow")
    assert await told(plant) is None


async def test_a_hold_of_the_engine_is_told_with_who_asked_for_it(plant: Plant) -> None:
    await plant.begin("new", T.WORKFLOW_CREATED)
    await plant.store.write(_able)
    asked = await plant.control.request(
        ControlRequest("", Action.PAUSE, "maintenance", actor="ana", scope=Scope.FLEET, source="e")
    )
    await say(plant, T.QUEUE_PAUSED, workflow_id="", command_id=asked.id)
    assert (found := await told(plant, "new")) is not None
    assert found.cause == C.HELD
    assert found.reason == "the engine e starts nothing new, paused by ana: maintenance"
    assert await told(plant) is None


async def test_an_engine_that_falls_silent_says_so_of_what_it_runs(plant: Plant) -> None:
    heard = plant.clock.us + SECOND
    await say(plant, T.STAGE_STARTED, stage="build")
    plant.clock.us += 50 * SECOND
    assert await told(plant) is None
    plant.clock.us += 20 * SECOND
    assert (found := await told(plant)) is not None
    assert (found.cause, found.since_us, found.subject) == (C.ENGINE_SILENT, heard, "e")


async def test_what_a_workflow_waits_for_is_what_its_engine_said(plant: Plant) -> None:
    await say(plant, T.WORKFLOW_WAITING, message="approve the release")
    assert (found := await told(plant)) is not None
    assert (found.cause, found.since_us) == (C.INPUT, plant.clock.us)
    assert found.reason.endswith("approve the release")


async def test_tasks_are_counted_anew_where_a_row_was_stored_before_they_were(plant: Plant) -> None:
    await say(plant, T.TASK_QUEUED, task_id="t", agent_type="coder")
    counted = await plant.database.read(lambda c: needs(c, "w"))
    record = (await plant.database.read(lambda c: load(c, ("w",))))["w"]
    assert record.needs is not None
    assert counted.dump() == record.needs.dump() == [0, [["coder", "", 1]]]


def _able(transaction: Any) -> None:
    can = (Capability(Action.PAUSE, Scope.FLEET),)
    transaction.put_executor(Executor("e", can, connected=True))


@pytest.fixture(autouse=True)
def _moved(plant: Plant) -> None:
    plant.clock.us += 10 * SECOND
