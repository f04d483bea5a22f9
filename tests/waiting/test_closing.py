"""Ending a workflow in place of an engine that is gone: judged, marked, overruled by any later word of the engine."""

from __future__ import annotations

from itertools import permutations
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select

from pilothouse.v1 import events_pb2 as pb
from pilothouse_server.adapters.sql.outbox_store import oldest
from pilothouse_server.adapters.sql.tables_audit import AUDIT
from pilothouse_server.adapters.sql.workflow_rows import load
from pilothouse_server.adapters.sql.workflow_views import SqlWorkflowViews
from pilothouse_server.domain.commands import CommandState, etag_of
from pilothouse_server.domain.errors import (
    EngineConnected,
    EtagMismatch,
    NotFound,
    RequestIdReused,
    WrongState,
)
from pilothouse_server.domain.events import Event, EventType, Usage, signal_of
from pilothouse_server.domain.metrics.fold import MetricsState
from pilothouse_server.domain.projection.workflow import FORCED_END, WorkflowRecord
from pilothouse_server.domain.workflows import Action, WorkflowState
from pilothouse_server.services.closing import Closing
from pilothouse_server.wire.publishing import reason_against
from pilothouse_server.wire.times import timestamp
from pilothouse_server.wire.workflows import workflow_to_proto
from tests.control.build import SECOND, event
from tests.control.conftest import Plant
from tests.projection.build import fold

FAILED, CANCELLED, RUNNING = WorkflowState.FAILED, WorkflowState.CANCELLED, WorkflowState.RUNNING
T = EventType


def closing(**fields: Any) -> Closing:
    given: dict[str, Any] = {
        "workflow_id": "w",
        "state": FAILED,
        "reason": "host is scrapped",
        "actor": "ana",
    }
    return Closing(**(given | fields))


async def row(plant: Plant, workflow_id: str = "w") -> WorkflowRecord:
    return (await plant.database.read(lambda c: load(c, (workflow_id,))))[workflow_id]


async def relayed(plant: Plant) -> None:
    """What the relay and the projector do with the outbox."""
    parcels = await plant.database.read(lambda connection: oldest(connection, 100))
    await plant.report(*(parcel.event for parcel in parcels))


async def recorded(plant: Plant) -> list[tuple[str, int, str]]:
    query = select(AUDIT.c.verb, AUDIT.c.outcome, AUDIT.c.error).order_by(AUDIT.c.sequence)
    rows = await plant.database.read(lambda connection: connection.execute(query).all())
    return [(verb, outcome, error["code"] if error else "") for verb, outcome, error in rows]


async def test_a_closed_workflow_stands_ended_and_is_marked(plant: Plant) -> None:
    said = await plant.closer.close(closing())
    assert said.forced_after_us == (await row(plant)).heard_us
    await relayed(plant)
    record = await row(plant)
    assert (record.state, record.forced, record.end_us) == (FAILED, True, said.occur_us)
    assert record.error is not None
    assert record.error.code == FORCED_END
    assert "ana: host is scrapped" in record.error.message
    assert record.source[2] == "e"
    shown = await SqlWorkflowViews(plant.database, plant.clock).get("w")
    assert workflow_to_proto(shown.view).forced
    stored = pb.Event.FromString(shown.events[-1].payload)
    assert dict(stored.attributes)["forced"] == "true"
    assert stored.HasField("forced_after_time")
    assert await recorded(plant) == [("workflow.close", 1, "")]


async def test_whatever_the_engine_says_later_overrules_it(plant: Plant) -> None:
    await plant.closer.close(closing(state=CANCELLED))
    await relayed(plant)
    later = plant.clock.us + SECOND
    await plant.report(event(T.TASK_STARTED, task_id="t", occur_us=later, receive_us=later))
    record = await row(plant)
    assert (record.state, record.forced, record.end_us) == (RUNNING, False, None)
    await plant.report(event(T.WORKFLOW_COMPLETED, occur_us=later + 1, receive_us=later + 1))
    assert (await row(plant)).state == WorkflowState.COMPLETED


async def test_an_end_of_the_engine_overrules_it_even_from_before(plant: Plant) -> None:
    await plant.closer.close(closing())
    await relayed(plant)
    await plant.report(event(T.WORKFLOW_COMPLETED, occur_us=991 * SECOND))
    record = await row(plant)
    assert (record.state, record.forced, record.error) == (WorkflowState.COMPLETED, False, None)


async def test_a_command_that_has_not_ended_is_taken_over(plant: Plant) -> None:
    asked = await plant.ask(Action.PAUSE)
    await plant.closer.close(closing())
    ended = await plant.control.get(asked.id)
    assert ended.state == CommandState.FAILED
    assert ended.error is not None
    assert ended.error.code == "SUPERSEDED"
    assert [verb for verb, _, _ in await recorded(plant)] == [
        "workflow.pause",
        "workflow.pause",
        "workflow.close",
    ]


async def test_a_command_asked_for_after_it_is_not_ended_by_an_overruled_end(plant: Plant) -> None:
    await plant.closer.close(closing())
    later = plant.clock.us + SECOND
    await plant.report(event(T.WORKFLOW_RESUMED, occur_us=later, receive_us=later))
    asked = await plant.ask(Action.PAUSE)
    await relayed(plant)
    assert (await row(plant)).state == RUNNING
    assert (await plant.control.get(asked.id)).pending


async def test_while_the_engine_is_connected_it_is_refused_and_that_is_recorded(
    plant: Plant,
) -> None:
    def connect(transaction: Any) -> None:
        executor = transaction.executor("e")
        transaction.put_executor(type(executor)("e", executor.capabilities, connected=True))

    await plant.store.write(connect)
    with pytest.raises(EngineConnected, match="stop the engine first"):
        await plant.closer.close(closing())
    assert await recorded(plant) == [("workflow.close", 2, "ENGINE_CONNECTED")]


async def test_what_is_not_there_has_ended_or_changed_is_refused(plant: Plant) -> None:
    with pytest.raises(NotFound):
        await plant.closer.close(closing(workflow_id="nobody"))
    with pytest.raises(EtagMismatch):
        await plant.closer.close(closing(etag="of yesterday"))
    await plant.closer.close(closing(etag=etag_of(1, RUNNING, "")))
    await relayed(plant)
    with pytest.raises(WrongState, match="it has ended"):
        await plant.closer.close(closing())


async def test_of_two_who_close_it_at_once_the_second_is_refused_until_the_engine_speaks(
    plant: Plant,
) -> None:
    await plant.closer.close(closing())
    with pytest.raises(WrongState, match="closed it a moment ago"):
        await plant.closer.close(closing(state=CANCELLED, actor="ben"))
    assert len(await plant.said()) == 1
    assert [outcome for _, outcome, _ in await recorded(plant)] == [1, 2]
    later = plant.clock.us + SECOND
    await plant.report(event(T.WORKFLOW_RESUMED, occur_us=later, receive_us=later))
    await plant.closer.close(closing(state=CANCELLED, actor="ben"))


async def test_a_repeat_of_the_request_changes_nothing_more(plant: Plant) -> None:
    request_id = str(uuid4())
    first = await plant.closer.close(closing(request_id=request_id))
    plant.clock.us += SECOND
    assert await plant.closer.close(closing(request_id=request_id)) == first
    assert len(await plant.said()) == 1
    await relayed(plant)
    assert await plant.closer.close(closing(request_id=request_id)) == first
    with pytest.raises(RequestIdReused):
        await plant.closer.close(closing(request_id=request_id, state=CANCELLED))


def test_rows_and_numbers_agree_in_any_order() -> None:
    def history(*more: Event) -> list[Event]:
        forced = event(
            T.WORKFLOW_FAILED, id="f", occur_us=700 * SECOND, forced_after_us=600 * SECOND
        )
        return [event(T.WORKFLOW_STARTED, usage=Usage(1, 1, 1)), forced, *more]

    for more, state in (
        ((), FAILED),
        ((event(T.TASK_STARTED, task_id="t", occur_us=599 * SECOND),), FAILED),
        ((event(T.TASK_STARTED, task_id="t", occur_us=601 * SECOND),), RUNNING),
        ((event(T.WORKFLOW_PAUSED, occur_us=601 * SECOND),), WorkflowState.PAUSED),
        ((event(T.WORKFLOW_RETRIED, attempt=2, occur_us=601 * SECOND),), WorkflowState.QUEUED),
        ((event(T.WORKFLOW_CANCELLED, occur_us=500 * SECOND),), CANCELLED),
    ):
        for order in permutations(history(*more)):
            metrics = MetricsState()
            metrics.fold(map(signal_of, order))
            [numbers] = [*metrics.memory.in_flight.values(), *metrics.memory.ended.values()]
            assert (fold(order).workflows["w"].state, numbers.state) == (state, state)
            # Nobody knows how a closed workflow went: no rate counts it.
            assert metrics.totals().failed == 0


@pytest.mark.parametrize("kind", [pb.EVENT_TYPE_WORKFLOW_FAILED, pb.EVENT_TYPE_LOG])
def test_only_the_server_marks_an_end_as_forced(kind: pb.EventType.ValueType) -> None:
    published = pb.Event(type=kind, workflow_id="w", forced_after_time=timestamp(SECOND))
    assert "forced_after_time: only the server sets it" in reason_against(published)
