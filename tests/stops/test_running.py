"""A stop carried out by looks, on each database: what is asked of whom, when it is quiet, what is let go."""

from __future__ import annotations

import pytest

from pilothouse_server.domain.commands import Capability, CommandState, Scope
from pilothouse_server.domain.events import AgentLoad, EventType
from pilothouse_server.domain.stops import Scope as About
from pilothouse_server.domain.stops import Stage, StopState, TargetState
from pilothouse_server.domain.workflows import Action
from pilothouse_server.services.asking import ControlRequest
from tests.stops.conftest import ABLE, Fleet


def without(*wishes: tuple[Scope, Action]) -> list[Capability]:
    return [each for each in ABLE if (each.scope, each.action) not in wishes]


async def test_pausing_everything_asks_each_once_and_is_quiet_when_the_last_obeyed(
    fleet: Fleet,
) -> None:
    await fleet.works("a", "b")
    stop = await fleet.stop()
    await fleet.carry()
    asked = [(each.scope.name, each.target, each.stop_id) for each in await fleet.pending()]
    assert sorted(asked) == [("FLEET", "/", stop.id), ("RUN", "a", stop.id), ("RUN", "b", stop.id)]
    await fleet.obey(but=["b"])
    await fleet.carry()
    assert (await fleet.now(stop)).quiet_us is None
    assert [target.id for target in (await fleet.view(stop)).not_obeyed] == ["b"]
    fleet.step(2)
    await fleet.obey()
    await fleet.carry()
    quiet = await fleet.now(stop)
    assert quiet.quiet_us is not None
    assert quiet.quiet_us - quiet.stage_us >= 2_000_000
    assert await fleet.states() == {"a": "PAUSED", "b": "PAUSED"}
    assert len(await fleet.commands()) == 3


async def test_what_appears_while_it_is_in_force_is_stopped_too(fleet: Fleet) -> None:
    stop = await fleet.stop()
    await fleet.all_obey()
    assert (await fleet.now(stop)).quiet_us is not None
    await fleet.works("late")
    await fleet.carry()
    assert (await fleet.now(stop)).quiet_us is None
    await fleet.all_obey()
    assert await fleet.states() == {"late": "PAUSED"}
    assert (await fleet.now(stop)).quiet_us is not None


async def test_a_release_resumes_what_it_paused_and_nothing_that_people_paused(
    fleet: Fleet,
) -> None:
    await fleet.works("before", "pending", "stopped")
    await fleet.ask(Action.PAUSE, "before")
    await fleet.obey()
    await fleet.ask(Action.PAUSE, "pending")
    stop = await fleet.stop()
    await fleet.all_obey()
    assert await fleet.targets(stop) == {
        "e": "OBEYED", "before": "WAS_SO", "pending": "WAS_SO", "stopped": "OBEYED",
    }  # fmt: skip
    await fleet.release(stop)
    await fleet.all_obey()
    assert await fleet.states() == {"before": "PAUSED", "pending": "PAUSED", "stopped": "RUNNING"}
    over = await fleet.now(stop)
    assert (over.state, over.released_by) == (StopState.RELEASED, "ben")
    assert over.end_us is not None


async def test_a_pending_resume_is_waited_for_and_then_stopped(fleet: Fleet) -> None:
    await fleet.works("w")
    await fleet.ask(Action.PAUSE, "w")
    await fleet.obey()
    resume = await fleet.ask(Action.RESUME, "w")
    stop = await fleet.stop()
    await fleet.carry()
    assert [each.id for each in await fleet.pending() if each.target == "w"] == [resume.id]
    assert await fleet.standing(stop, TargetState.ASKED) == ["e", "w"]
    await fleet.all_obey()
    assert await fleet.targets(stop) == {"e": "OBEYED", "w": "OBEYED"}
    assert await fleet.states() == {"w": "PAUSED"}


async def test_who_resumes_meanwhile_is_stopped_again_and_let_go_with_the_rest(
    fleet: Fleet,
) -> None:
    await fleet.works("w")
    stop = await fleet.stop()
    await fleet.all_obey()
    fleet.step(5)
    await fleet.ask(Action.RESUME, "w")
    await fleet.all_obey()
    assert await fleet.states() == {"w": "PAUSED"}
    await fleet.release(stop)
    await fleet.all_obey()
    assert await fleet.states() == {"w": "RUNNING"}


async def test_what_people_paused_again_after_it_stays_paused(fleet: Fleet) -> None:
    await fleet.works("w")
    stop = await fleet.stop()
    await fleet.all_obey()
    for action in (Action.RESUME, Action.PAUSE):
        await fleet.ask(action, "w")
        await fleet.obey()
    await fleet.release(stop)
    await fleet.all_obey()
    assert await fleet.states() == {"w": "PAUSED"}
    assert (await fleet.targets(stop))["w"] == "WAS_SO"
    assert (await fleet.now(stop)).state == StopState.RELEASED


async def test_a_cancel_overtakes_what_is_pending_and_cannot_be_let_go(fleet: Fleet) -> None:
    await fleet.works("w", "v")
    pause = await fleet.ask(Action.PAUSE, "w")
    stop = await fleet.stop(Stage.CANCEL_ALL)
    await fleet.carry()
    assert (await fleet.control.get(pause.id)).state == CommandState.FAILED
    await fleet.all_obey()
    assert await fleet.states() == {"w": "CANCELLED", "v": "CANCELLED"}
    assert (await fleet.now(stop)).quiet_us is not None
    await fleet.release(stop)
    await fleet.all_obey()
    assert await fleet.targets(stop) == {"e": "RELEASED", "v": "ENDED", "w": "ENDED"}


async def test_draining_waits_until_agents_have_nothing_in_hand(fleet: Fleet) -> None:
    await fleet.agent("busy", active=1)
    await fleet.agent("drained")
    await fleet.control.request(
        ControlRequest("", Action.DRAIN, scope=Scope.POOL, agent_id="drained")
    )
    await fleet.obey()
    stop = await fleet.stop(Stage.DRAIN)
    await fleet.all_obey()
    assert await fleet.targets(stop) == {"e": "OBEYED", "busy": "ASKED", "drained": "WAS_SO"}
    await fleet.told(EventType.AGENT_HEARTBEAT, agent_id="busy", load=AgentLoad(0, 4))
    fleet.step(1)
    await fleet.carry()
    assert (await fleet.now(stop)).quiet_us is not None
    await fleet.release(stop)
    await fleet.all_obey()
    assert await fleet.targets(stop) == {"e": "RELEASED", "busy": "RELEASED", "drained": "WAS_SO"}


async def test_an_engine_that_cannot_is_listed_and_it_is_not_quiet_while_it_works(
    fleet: Fleet,
) -> None:
    await fleet.engine("stubborn", without((Scope.RUN, Action.PAUSE), (Scope.FLEET, Action.PAUSE)))
    await fleet.works("w", source="stubborn")
    stop = await fleet.stop()
    await fleet.all_obey()
    view = await fleet.view(stop)
    assert view.stop.quiet_us is None
    refused = {target.id: target.error.code for target in view.not_obeyed if target.error}
    assert refused == {"w": "UNSUPPORTED_BY_ENGINE", "stubborn": "UNSUPPORTED_BY_ENGINE"}
    await fleet.told(EventType.WORKFLOW_COMPLETED, "stubborn", workflow_id="w", attempt=1)
    await fleet.carry()
    # It starts nothing that goes on, so nothing in scope is active.
    assert (await fleet.now(stop)).quiet_us is not None


async def test_an_engine_that_is_away_is_asked_when_it_connects(fleet: Fleet) -> None:
    await fleet.works("w")
    await fleet.engine(connected=False)
    stop = await fleet.stop()
    await fleet.carry()
    assert await fleet.pending() == []
    assert await fleet.standing(stop, TargetState.REFUSED) == ["e", "w"]
    fleet.step(10)
    await fleet.engine()
    await fleet.all_obey()
    assert await fleet.targets(stop) == {"e": "OBEYED", "w": "OBEYED"}


async def test_what_failed_is_asked_again_later_and_not_for_ever(fleet: Fleet) -> None:
    await fleet.works("w")
    stop = await fleet.stop()
    await fleet.carry()
    await fleet.obey(fail=["w"])
    await fleet.carry()
    assert await fleet.pending() == []
    (target,) = (await fleet.view(stop)).not_obeyed
    assert (target.state.name, target.error and target.error.code) == ("REFUSED", "BROKEN")
    for _ in range(20):
        fleet.step(61)
        await fleet.carry()
        await fleet.obey(fail=["w"])
    asked = [each for each in await fleet.commands() if each.target == "w"]
    assert len(asked) == 8
    assert len({each.request_id for each in asked}) == 8
    await fleet.engine()
    await fleet.all_obey()
    assert await fleet.states() == {"w": "PAUSED"}


async def test_whoever_leads_next_goes_on_and_asks_nobody_twice(fleet: Fleet) -> None:
    await fleet.works(*(f"w{n}" for n in range(20)))
    stop = await fleet.stop()
    await fleet.carry()
    fleet.lead()
    await fleet.all_obey()
    fleet.lead()
    await fleet.carry()
    assert len(await fleet.commands()) == 21
    assert set((await fleet.states()).values()) == {"PAUSED"}
    await fleet.release(stop)
    await fleet.carry()
    fleet.lead()
    await fleet.all_obey()
    assert len(await fleet.commands()) == 42
    assert set((await fleet.states()).values()) == {"RUNNING"}


async def test_of_two_stops_each_lets_go_only_its_own_and_what_the_other_holds_stays(
    fleet: Fleet,
) -> None:
    await fleet.works("x", kind="bugfix")
    await fleet.works("y", kind="feature")
    whole = await fleet.stop()
    await fleet.all_obey()
    narrow = await fleet.stop(about=About(workflow_type="bugfix"))
    await fleet.all_obey()
    assert (await fleet.targets(narrow))["x"] == "WAS_SO"
    await fleet.release(whole)
    await fleet.all_obey()
    assert await fleet.states() == {"x": "PAUSED", "y": "RUNNING"}
    assert (await fleet.targets(narrow))["x"] == "OBEYED"
    assert (await fleet.now(whole)).state == StopState.RELEASED
    await fleet.release(narrow)
    await fleet.all_obey()
    assert await fleet.states() == {"x": "RUNNING", "y": "RUNNING"}
    assert (await fleet.now(narrow)).state == StopState.RELEASED


async def test_two_stops_of_everything_hold_an_engine_until_both_let_go(fleet: Fleet) -> None:
    first = await fleet.stop(Stage.HOLD_NEW)
    await fleet.all_obey()
    second = await fleet.stop(Stage.HOLD_NEW)
    await fleet.all_obey()
    await fleet.release(first)
    await fleet.all_obey()
    assert [each.action.name for each in await fleet.commands()] == ["PAUSE"]
    await fleet.release(second)
    await fleet.all_obey()
    assert [each.action.name for each in await fleet.commands()] == ["PAUSE", "RESUME"]


async def test_a_narrow_stop_leaves_the_rest_alone(fleet: Fleet) -> None:
    await fleet.works("x", kind="bugfix")
    await fleet.works("y", kind="feature")
    await fleet.engine("other", without((Scope.FLEET, Action.PAUSE)))
    await fleet.works("z", source="other", kind="feature")
    stop = await fleet.stop(about=About(workflow_type="bugfix"))
    await fleet.all_obey()
    assert await fleet.targets(stop) == {"e": "OBEYED", "x": "OBEYED"}
    (hold,) = [each for each in await fleet.commands() if each.scope == Scope.FLEET]
    assert (hold.workflow_type, hold.agent_type) == ("bugfix", "")
    assert (await fleet.now(stop)).quiet_us is not None


async def test_a_stop_of_an_agent_type_stops_what_its_agents_work_on(fleet: Fleet) -> None:
    await fleet.agent("builder", "build")
    await fleet.agent("tester", "test")
    await fleet.works("w", "v")
    for workflow, agent in (("w", "builder"), ("v", "tester")):
        await fleet.told(
            EventType.TASK_STARTED, workflow_id=workflow, task_id="t", agent_id=agent, attempt=1
        )
    stop = await fleet.stop(about=About(agent_type="build"))
    await fleet.all_obey()
    assert await fleet.targets(stop) == {"e": "OBEYED", "w": "OBEYED"}
    await fleet.told(
        EventType.TASK_STARTED, workflow_id="v", task_id="u", agent_id="builder", attempt=1
    )
    await fleet.all_obey()
    assert (await fleet.targets(stop))["v"] == "OBEYED"


@pytest.mark.parametrize("stage", [Stage.DRAIN, Stage.PAUSE_ALL, Stage.CANCEL_ALL])
async def test_going_further_asks_for_the_rest(fleet: Fleet, stage: Stage) -> None:
    await fleet.works("w")
    await fleet.agent("a")
    stop = await fleet.stop(Stage.HOLD_NEW)
    await fleet.all_obey()
    assert await fleet.targets(stop) == {"e": "OBEYED"}
    further = await fleet.escalate(stop, stage)
    assert (further.quiet_us, further.stage) == (None, stage)
    await fleet.all_obey()
    assert (await fleet.now(stop)).quiet_us is not None
    expected = {
        Stage.DRAIN: {"e": "OBEYED", "a": "OBEYED"},
        Stage.PAUSE_ALL: {"e": "OBEYED", "w": "OBEYED"},
        Stage.CANCEL_ALL: {"e": "OBEYED", "w": "ENDED"},
    }
    assert await fleet.targets(stop) == expected[stage]


async def test_a_release_lets_go_of_every_stage_that_there_was(fleet: Fleet) -> None:
    await fleet.works("w")
    await fleet.agent("a")
    stop = await fleet.stop(Stage.DRAIN)
    await fleet.all_obey()
    await fleet.escalate(stop, Stage.PAUSE_ALL)
    await fleet.all_obey()
    await fleet.release(stop)
    await fleet.all_obey()
    assert await fleet.targets(stop) == {"e": "RELEASED", "a": "RELEASED", "w": "RELEASED"}


async def test_a_release_while_a_pause_is_on_its_way_waits_for_it(fleet: Fleet) -> None:
    await fleet.works("w")
    stop = await fleet.stop()
    await fleet.carry()
    await fleet.release(stop)
    await fleet.carry()
    assert {each.action for each in await fleet.pending()} == {Action.PAUSE}
    await fleet.all_obey()
    assert await fleet.states() == {"w": "RUNNING"}
    assert (await fleet.now(stop)).state == StopState.RELEASED


async def test_a_release_waits_an_hour_for_an_engine_that_is_away(fleet: Fleet) -> None:
    await fleet.works("w")
    stop = await fleet.stop()
    await fleet.all_obey()
    await fleet.engine(connected=False)
    await fleet.release(stop)
    await fleet.carry()
    assert await fleet.standing(stop, TargetState.NOT_RELEASED) == ["e", "w"]
    assert (await fleet.now(stop)).state == StopState.RELEASING
    fleet.step(3601)
    await fleet.carry()
    over = await fleet.view(stop)
    assert over.stop.state == StopState.RELEASED
    assert [target.id for target in over.not_obeyed] == ["e", "w"]


async def test_an_engine_that_comes_back_in_time_is_let_go(fleet: Fleet) -> None:
    await fleet.works("w")
    stop = await fleet.stop()
    await fleet.all_obey()
    await fleet.engine(connected=False)
    await fleet.release(stop)
    await fleet.carry()
    fleet.step(60)
    await fleet.engine()
    await fleet.all_obey()
    assert await fleet.states() == {"w": "RUNNING"}
    assert (await fleet.now(stop)).state == StopState.RELEASED


async def test_what_ends_meanwhile_is_none_of_its_business(fleet: Fleet) -> None:
    await fleet.works("w")
    stop = await fleet.stop()
    await fleet.carry()
    await fleet.told(EventType.WORKFLOW_COMPLETED, workflow_id="w", attempt=1)
    await fleet.obey(but=["w"])
    await fleet.carry()
    assert (await fleet.targets(stop))["w"] == "ENDED"
    assert (await fleet.now(stop)).quiet_us is not None
