"""What is told of workflows that an emergency stop stopped: the stop that holds them now, and nothing of one that is
over."""

from __future__ import annotations

from pilothouse_server.adapters.sql.workflow_views import SqlWorkflowViews
from pilothouse_server.domain.events import EventType
from pilothouse_server.domain.stops import Scope, Stage, StopState
from pilothouse_server.domain.waiting import WaitCause, Waiting
from pilothouse_server.domain.workflows import Action
from tests.stops.conftest import Fleet, fleet

__all__ = ["fleet"]


async def told(fleet: Fleet) -> Waiting:
    found = (await SqlWorkflowViews(fleet.database, fleet.clock).get("w")).view.waiting
    assert found is not None
    return found


async def test_the_stop_that_keeps_it_is_told_and_not_the_one_that_let_go(fleet: Fleet) -> None:
    await fleet.works("w")
    first = await fleet.stop(reason="fire")
    await fleet.all_obey()
    second = await fleet.stop(reason="flood", actor="eve")
    await fleet.all_obey()
    found = await told(fleet)
    assert (found.cause, found.subject) == (WaitCause.EMERGENCY_STOP, first.id)
    await fleet.release(first)
    await fleet.all_obey()
    assert (await fleet.now(first)).state == StopState.RELEASED
    found = await told(fleet)
    assert (found.cause, found.subject) == (WaitCause.EMERGENCY_STOP, second.id)
    assert "eve" in found.reason
    assert "flood" in found.reason


async def test_what_a_stop_that_is_over_could_not_let_go_is_resumed_by_hand(fleet: Fleet) -> None:
    await fleet.works("w")
    stop = await fleet.stop()
    await fleet.all_obey()
    await fleet.engine(connected=False)
    await fleet.release(stop)
    await fleet.carry()
    fleet.step(3601)
    await fleet.carry()
    assert (await fleet.now(stop)).state == StopState.RELEASED
    await fleet.engine()
    found = await told(fleet)
    assert (found.cause, found.action) == (WaitCause.PAUSED, Action.RESUME)
    assert found.reason == "paused by ana: emergency stop PAUSE ALL: fire"


async def test_what_an_engine_holds_is_told_with_the_stop_that_keeps_it(fleet: Fleet) -> None:
    await fleet.told(EventType.WORKFLOW_CREATED, workflow_id="w", workflow_type="t", attempt=1)
    first = await fleet.stop(Stage.HOLD_NEW)
    await fleet.all_obey()
    narrow = await fleet.stop(Stage.HOLD_NEW, Scope("t"), reason="only these")
    second = await fleet.stop(Stage.HOLD_NEW, reason="flood", actor="eve")
    await fleet.all_obey()
    await fleet.release(first)
    await fleet.all_obey()
    found = await told(fleet)
    assert (found.cause, found.subject) == (WaitCause.EMERGENCY_STOP, second.id)
    assert "flood" in found.reason
    await fleet.release(second)
    await fleet.all_obey()
    assert (await told(fleet)).subject == narrow.id
