"""Alerts over gRPC: listed, followed, acknowledged, resolved."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable

import grpc
import pytest
from prometheus_client import CollectorRegistry

from pilothouse.v1 import alerts_pb2 as pb
from pilothouse.v1 import alerts_pb2_grpc
from pilothouse_server.adapters.sql.alert_desk_store import SqlAlertDesk
from pilothouse_server.services.alerts.desk import AlertDesk
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.ids import uuid7
from pilothouse_server.transport.alerts import AlertServicer
from pilothouse_server.transport.interceptor import CallMeters
from pilothouse_server.transport.server import RpcServer, Service
from pilothouse_server.transport.watching import Watching
from tests.alerts.conftest import Watchtower


@pytest.fixture
async def tower(towers: Callable[..., Watchtower]) -> Watchtower:
    """The shipped rules."""
    tower = towers()
    await tower.open()
    return tower


@pytest.fixture
async def alerts(tower: Watchtower) -> AsyncIterator[alerts_pb2_grpc.AlertServiceAsyncStub]:
    desk = AlertDesk(SqlAlertDesk(tower.database), tower.clock, Changes(), uuid7)
    servicer = AlertServicer(desk, tower.queries, Watching(tower.changes, tower.clock))
    service = Service(
        pb.DESCRIPTOR.services_by_name["AlertService"],
        lambda server: alerts_pb2_grpc.add_AlertServiceServicer_to_server(servicer, server),
    )
    server = RpcServer([service], CallMeters(CollectorRegistry()))
    port = await server.start("127.0.0.1", 0)
    journal = asyncio.create_task(tower.journal.run())
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with desk.leading(tower.engine):
            yield alerts_pb2_grpc.AlertServiceStub(channel)
    await server.drain(0)
    journal.cancel()
    await asyncio.gather(journal, return_exceptions=True)


async def breach(tower: Watchtower) -> None:
    """More waits than may, for long enough."""
    for _ in range(2):
        await tower.tick(2000, seconds=60, save=False)


async def test_an_alert_is_followed_acknowledged_and_resolved(
    tower: Watchtower, alerts: alerts_pb2_grpc.AlertServiceAsyncStub
) -> None:
    stream = alerts.WatchAlerts(pb.WatchAlertsRequest())
    # A slow machine is told meanwhile that nothing changed.
    messages = aiter(each async for each in stream if not each.HasField("heartbeat"))
    assert (await anext(messages)).HasField("caught_up")
    await breach(tower)
    while True:
        message = await anext(messages)
        if message.alert.state == pb.ALERT_STATE_FIRING:
            break
    alert = message.alert
    assert alert.summary == "Queue depth 2,000, fleet; limit 1,000"
    assert (alert.value, alert.threshold, alert.rule_name) == (2000, 1000, "Queue depth")
    assert alert.fire_time.seconds - alert.active_time.seconds == 60

    acknowledged = await alerts.AcknowledgeAlert(
        pb.AcknowledgeAlertRequest(alert_id=alert.id, comment="on it", etag=alert.etag)
    )
    assert acknowledged.alert.acknowledged_by == "anonymous"
    assert (await anext(messages)).alert == acknowledged.alert
    resolved = await alerts.ResolveAlert(pb.ResolveAlertRequest(alert_id=alert.id, reason="known"))
    assert resolved.alert.state == pb.ALERT_STATE_RESOLVED
    got = await alerts.GetAlert(pb.GetAlertRequest(alert_id=alert.id))
    assert got.alert == resolved.alert
    firing = pb.ALERT_STATE_FIRING
    assert [step.to_state for step in got.transitions][-3:] == [
        firing,
        firing,
        pb.ALERT_STATE_RESOLVED,
    ]
    assert [step.comment for step in got.transitions][-2:] == ["on it", "known"]
    listed = await alerts.ListAlerts(pb.ListAlertsRequest(filter="state = resolved"))
    assert list(listed.alerts) == [resolved.alert]
    with pytest.raises(grpc.aio.AioRpcError, match="already resolved") as error:
        await alerts.AcknowledgeAlert(pb.AcknowledgeAlertRequest(alert_id=alert.id))
    assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    stream.cancel()


@pytest.mark.parametrize(
    "name", ["Get", "Acknowledge", "Unacknowledge", "Assign", "Comment", "Resolve"]
)
async def test_an_unknown_alert_is_not_found(
    alerts: alerts_pb2_grpc.AlertServiceAsyncStub, name: str
) -> None:
    request = getattr(pb, f"{name}AlertRequest")(alert_id="no")
    if name == "Comment":
        request.comment = "hm"
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await getattr(alerts, f"{name}Alert")(request)
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


async def firing(tower: Watchtower, alerts: alerts_pb2_grpc.AlertServiceAsyncStub) -> pb.Alert:
    """An alert that fires, stored."""
    await breach(tower)
    await tower.journal.flush()
    (alert,) = (await alerts.ListAlerts(pb.ListAlertsRequest(filter="state = FIRING"))).alerts
    return alert


async def timeline(
    alerts: alerts_pb2_grpc.AlertServiceAsyncStub, alert_id: str
) -> list[tuple[str, str]]:
    """What was done by hand, and what was said."""
    got = await alerts.GetAlert(pb.GetAlertRequest(alert_id=alert_id))
    return [
        (pb.AlertAct.Name(step.act).removeprefix("ALERT_ACT_"), step.comment)
        for step in got.transitions
        if step.act
    ]


async def test_an_alert_is_assigned_commented_and_given_back(
    tower: Watchtower, alerts: alerts_pb2_grpc.AlertServiceAsyncStub
) -> None:
    alert = await firing(tower, alerts)
    acknowledge = pb.AcknowledgeAlertRequest(alert_id=alert.id, comment="mine")
    acknowledge.expire_after.seconds = 600
    seen = (await alerts.AcknowledgeAlert(acknowledge)).alert
    assert seen.acknowledge_expire_time.seconds - seen.acknowledge_time.seconds == 600
    assign = pb.AssignAlertRequest(
        alert_id=alert.id, assignee="bob", comment="yours", etag=seen.etag
    )
    seen = (await alerts.AssignAlert(assign)).alert
    assert seen.assignee == "bob"
    assign.assignee = "eve"
    with pytest.raises(grpc.aio.AioRpcError, match="changed since") as error:
        await alerts.AssignAlert(assign)
    assert error.value.code() == grpc.StatusCode.ABORTED
    comment = pb.CommentAlertRequest(alert_id=alert.id, comment="hm", etag=seen.etag)
    seen = (await alerts.CommentAlert(comment)).alert
    assert seen.etag == comment.etag, "what is said changes nothing that was decided"
    unacknowledge = pb.UnacknowledgeAlertRequest(alert_id=alert.id, comment="not me")
    for _ in range(2):
        seen = (await alerts.UnacknowledgeAlert(unacknowledge)).alert
    assert not seen.HasField("acknowledge_time")
    assert not seen.HasField("acknowledge_expire_time")
    assert not seen.acknowledged_by
    seen = (await alerts.AssignAlert(pb.AssignAlertRequest(alert_id=alert.id))).alert
    assert not seen.assignee
    assert await timeline(alerts, alert.id) == [
        ("ACKNOWLEDGE", "mine"),
        ("ASSIGN", "to bob: yours"),
        ("COMMENT", "hm"),
        ("UNACKNOWLEDGE", "not me"),
        ("ASSIGN", "to nobody"),
    ]


async def test_an_act_is_done_once_for_its_request_id(
    tower: Watchtower, alerts: alerts_pb2_grpc.AlertServiceAsyncStub
) -> None:
    alert = await firing(tower, alerts)
    request_id = str(uuid.uuid4())
    comment = pb.CommentAlertRequest(alert_id=alert.id, comment="once", request_id=request_id)
    await asyncio.gather(*(alerts.CommentAlert(comment) for _ in range(5)))
    ids = [str(uuid.uuid4()) for _ in range(2)]
    to_ada = pb.AssignAlertRequest(alert_id=alert.id, assignee="ada", request_id=ids[0])
    to_bob = pb.AssignAlertRequest(alert_id=alert.id, assignee="bob", request_id=ids[1])
    for assign in (to_ada, to_bob):
        await alerts.AssignAlert(assign)
    to_ada.request_id = ids[0].upper()
    again = (await alerts.AssignAlert(to_ada)).alert
    assert again.assignee == "bob", "a repeat undoes nothing that came after it"
    with pytest.raises(grpc.aio.AioRpcError, match="other content") as error:
        await alerts.UnacknowledgeAlert(
            pb.UnacknowledgeAlertRequest(alert_id=alert.id, request_id=request_id)
        )
    assert error.value.code() == grpc.StatusCode.ALREADY_EXISTS
    assert await timeline(alerts, alert.id) == [
        ("COMMENT", "once"),
        ("ASSIGN", "to ada"),
        ("ASSIGN", "to bob"),
    ]


async def test_history_is_commented_and_nothing_else(
    tower: Watchtower, alerts: alerts_pb2_grpc.AlertServiceAsyncStub
) -> None:
    alert = await firing(tower, alerts)
    for _ in range(5):
        await tower.tick(0, seconds=1000, save=False)
        await tower.journal.stored()
    assert tower.engine.held(alert.id) is None, "the engine forgot it"
    said = [f"number {number}" for number in range(5)]
    commented = await asyncio.gather(
        *(alerts.CommentAlert(pb.CommentAlertRequest(alert_id=alert.id, comment=c)) for c in said)
    )
    assert all(each.alert.state == pb.ALERT_STATE_RESOLVED for each in commented)
    assert sorted(await timeline(alerts, alert.id)) == [("COMMENT", each) for each in said]
    for refused in (
        alerts.AssignAlert(pb.AssignAlertRequest(alert_id=alert.id, assignee="ada")),
        alerts.UnacknowledgeAlert(pb.UnacknowledgeAlertRequest(alert_id=alert.id)),
    ):
        with pytest.raises(grpc.aio.AioRpcError, match="already resolved"):
            await refused
