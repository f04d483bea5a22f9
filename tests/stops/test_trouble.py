"""Stops that go further after trouble, and agents that fall silent while they are held."""

from __future__ import annotations

from pilothouse_server.domain.events import AgentLoad, EventType
from pilothouse_server.domain.stops import Scope, Stage, StopState, TargetState
from pilothouse_server.domain.workflows import Action
from tests.stops.conftest import Fleet


async def test_going_further_asks_at_once_however_often_the_stage_before_failed(
    fleet: Fleet,
) -> None:
    await fleet.works("w")
    stop = await fleet.stop()
    for _ in range(12):
        fleet.step(61)
        await fleet.carry()
        await fleet.obey(fail=["w"])
    assert await fleet.standing(stop, TargetState.REFUSED) == ["w"]
    await fleet.escalate(stop, Stage.CANCEL_ALL)
    await fleet.carry()
    assert [(each.target, each.action) for each in await fleet.pending()] == [("w", Action.CANCEL)]


async def test_a_held_agent_that_is_silent_at_the_release_is_let_go_when_it_is_heard(
    fleet: Fleet,
) -> None:
    await fleet.agent("a")
    stop = await fleet.stop(Stage.DRAIN)
    await fleet.all_obey()
    fleet.step(300)
    await fleet.carry()
    await fleet.release(stop)
    await fleet.carry()
    fleet.step(1)
    await fleet.told(EventType.AGENT_HEARTBEAT, agent_id="a", load=AgentLoad(0, 4))
    for _ in range(4):
        fleet.step(70)
        await fleet.told(EventType.AGENT_HEARTBEAT, agent_id="a", load=AgentLoad(0, 4))
        await fleet.carry()
        await fleet.obey()
        await fleet.carry()
    assert [each.action for each in await fleet.commands() if each.target == "a"] == [
        Action.DRAIN,
        Action.ACTIVATE,
    ]
    assert (await fleet.now(stop)).state == StopState.RELEASED
    assert await fleet.targets(stop) == {"e": "RELEASED", "a": "RELEASED"}


async def test_an_agent_that_drained_after_the_stop_went_further_is_not_listed_as_disobeying(
    fleet: Fleet,
) -> None:
    await fleet.agent("a")
    stop = await fleet.stop(Stage.DRAIN)
    await fleet.carry()
    await fleet.escalate(stop, Stage.PAUSE_ALL)
    await fleet.all_obey()
    view = await fleet.view(stop)
    assert view.stop.quiet_us is not None
    assert [target.id for target in view.not_obeyed] == []


async def test_what_another_stop_wants_ended_is_not_resumed_because_it_could_not_be_yet(
    fleet: Fleet,
) -> None:
    await fleet.works("w")
    first = await fleet.stop()
    await fleet.all_obey()
    other = await fleet.stop(Stage.CANCEL_ALL)
    await fleet.carry()
    await fleet.obey(fail=["w"])
    await fleet.carry()
    await fleet.release(first)
    await fleet.carry()
    assert await fleet.pending() == []
    assert (await fleet.now(first)).state == StopState.RELEASED
    assert await fleet.standing(other, TargetState.REFUSED) == ["w"]
    await fleet.release(other)
    await fleet.all_obey()
    assert await fleet.states() == {"w": "RUNNING"}


async def test_an_agent_that_tells_its_type_after_it_took_work_is_in_the_scope(
    fleet: Fleet,
) -> None:
    await fleet.works("w")
    await fleet.told(EventType.TASK_STARTED, workflow_id="w", task_id="t", agent_id="a", attempt=1)
    stop = await fleet.stop(about=Scope(agent_type="coder"))
    await fleet.all_obey()
    assert "w" not in await fleet.targets(stop)
    await fleet.agent("a", "coder", active=1)
    fleet.step(2)
    await fleet.all_obey()
    assert (await fleet.targets(stop))["w"] == "OBEYED"
