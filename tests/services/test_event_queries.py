"""Events as callers ask for them: lists that begin somewhere, one event, counts."""

from __future__ import annotations

import grpc
import pytest

from pilothouse.v1 import events_pb2 as pb
from pilothouse.v1 import events_pb2_grpc
from pilothouse_server.domain.events import EventType, Severity
from tests.projection.build import event
from tests.services.conftest import Station

_T = EventType


async def test_one_event_its_neighbours_and_how_many_are_like_it(
    station: Station, channel: grpc.aio.Channel
) -> None:
    stub: events_pb2_grpc.EventServiceAsyncStub = events_pb2_grpc.EventServiceStub(channel)
    await station.report(
        event(_T.WORKFLOW_STARTED, id="e0", message="Begun"),
        event(_T.LOG, id="e1", at=1, message="Cache refused", severity=Severity.ERROR),
        event(_T.LOG, id="e2", at=2, message="Cache warm"),
    )
    one = await stub.GetEvent(pb.GetEventRequest(event_id="e1"))
    assert (one.event.message, one.event.HasField("receive_time")) == ("Cache refused", True)
    before = await stub.ListEvents(pb.ListEventsRequest(start_event_id="e2", filter="cache"))
    assert [each.id for each in before.events] == ["e1"]
    assert not before.HasField("looked_time")
    counted = await stub.CountEvents(pb.CountEventsRequest(filter="severity = ERROR"))
    assert (counted.total, counted.exact) == (1, True)
    assert {each.severity: each.count for each in counted.severities} == {4: 1, 2: 2}
    assert {each.type: each.count for each in counted.types} == {32: 1}


async def test_what_is_not_there_is_named(channel: grpc.aio.Channel) -> None:
    stub: events_pb2_grpc.EventServiceAsyncStub = events_pb2_grpc.EventServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.GetEvent(pb.GetEventRequest(event_id="nothing"))
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.ListEvents(pb.ListEventsRequest(start_event_id="nothing"))
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.CountEvents(pb.CountEventsRequest(filter="words ="))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
