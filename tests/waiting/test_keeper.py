"""Those who watch hear of reasons that change without an event of the workflow."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse_server.adapters.sql.waiting_store import SqlWaiting
from pilothouse_server.adapters.sql.workflow_views import SqlWorkflowViews, WorkflowFollower
from pilothouse_server.domain.events import AgentLoad, EventType
from pilothouse_server.domain.platform import PlatformConfig
from pilothouse_server.domain.waiting import WaitCause
from pilothouse_server.services.waiting import WaitingKeeper
from tests.control.build import SECOND, event
from tests.control.conftest import Plant

T, C = EventType, WaitCause


class Watcher:
    """Somebody who follows workflows, and the duty that has to wake them."""

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        self.follower: WorkflowFollower = SqlWorkflowViews(plant.database, plant.clock).follow("")
        self.mark = 0
        self.keeper = self.elected()

    def elected(self) -> WaitingKeeper:
        """A lead that has just begun."""
        plant = self.plant
        store = SqlWaiting(plant.database)
        return WaitingKeeper(store, plant.clock, plant.signals.workflows, PlatformConfig)

    async def looks(self) -> int:
        """Two looks find what is so."""
        return await self.keeper.look() + await self.keeper.look()

    async def sees(self) -> dict[str, WaitCause | None]:
        """What is sent since the last time."""
        read = await self.follower.after(self.mark, 1000)
        self.mark = read.mark
        views = [view for _, view in read.items]
        return {each.record.id: each.waiting.cause if each.waiting else None for each in views}

    async def say(self, kind: EventType, **fields: Any) -> None:
        clock = self.plant.clock
        clock.us += SECOND
        at = {"occur_us": clock.us, "receive_us": clock.us, "id": f"{clock.us}"}
        await self.plant.report(event(kind, **(at | fields)))


@pytest.fixture
async def watcher(plant: Plant) -> Watcher:
    watcher = Watcher(plant)
    await watcher.say(T.STAGE_STARTED, stage="build")
    await watcher.say(T.TASK_QUEUED, task_id="t", agent_type="coder", queue="slow")
    await watcher.looks()
    assert await watcher.sees() == {"w": C.NO_AGENT}
    return watcher


CODER: dict[str, Any] = {"workflow_id": "", "agent_id": "a", "agent_type": "coder"}


async def test_agents_that_come_fill_and_go(watcher: Watcher) -> None:
    await watcher.say(T.AGENT_REGISTERED, load=AgentLoad(0, 1), **CODER)
    assert await watcher.looks() == 1
    assert await watcher.sees() == {"w": None}
    await watcher.say(T.AGENT_HEARTBEAT, load=AgentLoad(1, 1), **CODER)
    assert await watcher.keeper.look() == 0  # a pool that is full for a moment concerns nobody
    assert await watcher.keeper.look() == 1
    assert await watcher.sees() == {"w": C.POOL_FULL}
    watcher.plant.clock.us += 40 * SECOND
    assert await watcher.looks() == 1
    assert await watcher.sees() == {"w": C.NO_AGENT}
    assert await watcher.looks() == 0
    assert await watcher.sees() == {}


async def test_an_engine_that_falls_silent_and_is_heard_again(watcher: Watcher) -> None:
    watcher.plant.clock.us += 70 * SECOND
    assert await watcher.looks() == 1
    assert await watcher.sees() == {"w": C.ENGINE_SILENT}
    await watcher.say(T.LOG, workflow_id="")
    assert await watcher.looks() == 1
    assert await watcher.sees() == {"w": C.NO_AGENT}


async def test_a_queue_that_is_paused_and_goes_on(watcher: Watcher) -> None:
    await watcher.say(T.QUEUE_PAUSED, workflow_id="", queue="slow")
    assert await watcher.looks() == 1
    assert await watcher.sees() == {"w": C.HELD}
    await watcher.say(T.QUEUE_ACTIVE, workflow_id="", queue="slow")
    assert await watcher.looks() == 1
    assert await watcher.sees() == {"w": C.NO_AGENT}


async def test_what_changed_while_nobody_led_is_told_by_the_next_lead(watcher: Watcher) -> None:
    await watcher.say(T.AGENT_REGISTERED, load=AgentLoad(0, 1), **CODER)
    watcher.keeper = watcher.elected()
    assert await watcher.looks() == 1
    assert await watcher.sees() == {"w": None}


async def test_what_moves_or_has_ended_is_left_alone(watcher: Watcher) -> None:
    await watcher.plant.begin("done", T.WORKFLOW_COMPLETED)
    await watcher.say(T.TASK_STARTED, task_id="t", agent_id="a", agent_type="coder")
    await watcher.sees()
    await watcher.say(T.AGENT_REGISTERED, load=AgentLoad(0, 1), **CODER)
    assert await watcher.looks() == 0
