"""Alerts over gRPC: listed, followed, acknowledged, resolved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import grpc
import pytest
from prometheus_client import CollectorRegistry

from pilothouse.v1 import alerts_pb2 as pb
from pilothouse.v1 import alerts_pb2_grpc, enums_pb2
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
    messages = aiter(stream)
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


async def test_the_rules_are_listed_with_what_they_watch(
    tower: Watchtower, alerts: alerts_pb2_grpc.AlertServiceAsyncStub
) -> None:
    await breach(tower)
    rules = (await alerts.ListAlertRules(pb.ListAlertRulesRequest())).rules
    assert [rule.name for rule in rules] == sorted(rule.name for rule in rules)
    assert {rule.id: rule.instance_count for rule in rules} == {
        "agent-offline": 0,
        "error-rate": 0,
        "latency-p95": 0,
        "queue-depth": 1,
        "success-rate-sla": 0,
    }
    rule = (await alerts.GetAlertRule(pb.GetAlertRuleRequest(rule_id="latency-p95"))).rule
    assert (rule.window.seconds, rule.for_duration.seconds, rule.threshold) == (300, 300, 0.5)
    assert rule.severity == enums_pb2.SEVERITY_WARNING
    assert rule.enabled
    assert not rule.evaluation_error


@pytest.mark.parametrize("name", ["GetAlert", "AcknowledgeAlert", "ResolveAlert"])
async def test_an_unknown_alert_is_not_found(
    alerts: alerts_pb2_grpc.AlertServiceAsyncStub, name: str
) -> None:
    request = {
        "GetAlert": pb.GetAlertRequest(alert_id="no"),
        "AcknowledgeAlert": pb.AcknowledgeAlertRequest(alert_id="no"),
        "ResolveAlert": pb.ResolveAlertRequest(alert_id="no"),
    }[name]
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await getattr(alerts, name)(request)
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


async def test_an_unknown_rule_is_not_found(alerts: alerts_pb2_grpc.AlertServiceAsyncStub) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="no rule 'no'"):
        await alerts.GetAlertRule(pb.GetAlertRuleRequest(rule_id="no"))
