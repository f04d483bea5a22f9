"""The generated stubs of every service, as the attributes of the asyncio client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pilothouse._aio_channel import Channel
from pilothouse.v1 import (
    agents_pb2_grpc,
    alerts_pb2_grpc,
    audit_pb2_grpc,
    batches_pb2_grpc,
    budgets_pb2_grpc,
    channels_pb2_grpc,
    commands_pb2_grpc,
    config_pb2_grpc,
    dead_events_pb2_grpc,
    deliveries_pb2_grpc,
    emergency_stops_pb2_grpc,
    escalations_pb2_grpc,
    events_pb2_grpc,
    heartbeats_pb2_grpc,
    metrics_pb2_grpc,
    platform_pb2_grpc,
    queues_pb2_grpc,
    rules_pb2_grpc,
    silences_pb2_grpc,
    traces_pb2_grpc,
    workflows_pb2_grpc,
)

if TYPE_CHECKING:
    from pilothouse.v1.agents_pb2_grpc import AgentServiceAsyncStub
    from pilothouse.v1.alerts_pb2_grpc import AlertServiceAsyncStub
    from pilothouse.v1.audit_pb2_grpc import AuditServiceAsyncStub
    from pilothouse.v1.batches_pb2_grpc import BatchServiceAsyncStub
    from pilothouse.v1.budgets_pb2_grpc import BudgetServiceAsyncStub
    from pilothouse.v1.channels_pb2_grpc import ChannelServiceAsyncStub
    from pilothouse.v1.commands_pb2_grpc import CommandServiceAsyncStub
    from pilothouse.v1.config_pb2_grpc import ConfigServiceAsyncStub
    from pilothouse.v1.dead_events_pb2_grpc import DeadEventServiceAsyncStub
    from pilothouse.v1.deliveries_pb2_grpc import DeliveryServiceAsyncStub
    from pilothouse.v1.emergency_stops_pb2_grpc import EmergencyStopServiceAsyncStub
    from pilothouse.v1.escalations_pb2_grpc import EscalationServiceAsyncStub
    from pilothouse.v1.events_pb2_grpc import EventServiceAsyncStub
    from pilothouse.v1.heartbeats_pb2_grpc import HeartbeatServiceAsyncStub
    from pilothouse.v1.metrics_pb2_grpc import MetricsServiceAsyncStub
    from pilothouse.v1.platform_pb2_grpc import PlatformServiceAsyncStub
    from pilothouse.v1.queues_pb2_grpc import QueueServiceAsyncStub
    from pilothouse.v1.rules_pb2_grpc import RuleServiceAsyncStub
    from pilothouse.v1.silences_pb2_grpc import SilenceServiceAsyncStub
    from pilothouse.v1.traces_pb2_grpc import TraceServiceAsyncStub
    from pilothouse.v1.workflows_pb2_grpc import WorkflowServiceAsyncStub


class AlertStubs:
    """What has to do with alerts."""

    def __init__(self, channel: Channel) -> None:
        """On this channel."""
        self.alerts: AlertServiceAsyncStub = alerts_pb2_grpc.AlertServiceStub(channel)
        """pilothouse.v1.AlertService."""
        self.rules: RuleServiceAsyncStub = rules_pb2_grpc.RuleServiceStub(channel)
        """pilothouse.v1.RuleService."""
        self.silences: SilenceServiceAsyncStub = silences_pb2_grpc.SilenceServiceStub(channel)
        """pilothouse.v1.SilenceService."""
        self.channels: ChannelServiceAsyncStub = channels_pb2_grpc.ChannelServiceStub(channel)
        """pilothouse.v1.ChannelService."""
        self.escalations: EscalationServiceAsyncStub = escalations_pb2_grpc.EscalationServiceStub(
            channel
        )
        """pilothouse.v1.EscalationService."""
        self.deliveries: DeliveryServiceAsyncStub = deliveries_pb2_grpc.DeliveryServiceStub(channel)
        """pilothouse.v1.DeliveryService."""
        self.heartbeats: HeartbeatServiceAsyncStub = heartbeats_pb2_grpc.HeartbeatServiceStub(
            channel
        )
        """pilothouse.v1.HeartbeatService."""


class Stubs(AlertStubs):
    """All of them."""

    def __init__(self, channel: Channel) -> None:
        """On this channel."""
        super().__init__(channel)
        self.events: EventServiceAsyncStub = events_pb2_grpc.EventServiceStub(channel)
        """pilothouse.v1.EventService."""
        self.metrics: MetricsServiceAsyncStub = metrics_pb2_grpc.MetricsServiceStub(channel)
        """pilothouse.v1.MetricsService."""
        self.workflows: WorkflowServiceAsyncStub = workflows_pb2_grpc.WorkflowServiceStub(channel)
        """pilothouse.v1.WorkflowService."""
        self.agents: AgentServiceAsyncStub = agents_pb2_grpc.AgentServiceStub(channel)
        """pilothouse.v1.AgentService."""
        self.commands: CommandServiceAsyncStub = commands_pb2_grpc.CommandServiceStub(channel)
        """pilothouse.v1.CommandService."""
        self.platform: PlatformServiceAsyncStub = platform_pb2_grpc.PlatformServiceStub(channel)
        """pilothouse.v1.PlatformService."""
        self.dead_events: DeadEventServiceAsyncStub = dead_events_pb2_grpc.DeadEventServiceStub(
            channel
        )
        """pilothouse.v1.DeadEventService."""
        self.audit: AuditServiceAsyncStub = audit_pb2_grpc.AuditServiceStub(channel)
        """pilothouse.v1.AuditService."""
        self.batches: BatchServiceAsyncStub = batches_pb2_grpc.BatchServiceStub(channel)
        """pilothouse.v1.BatchService."""
        self.budgets: BudgetServiceAsyncStub = budgets_pb2_grpc.BudgetServiceStub(channel)
        """pilothouse.v1.BudgetService."""
        self.config: ConfigServiceAsyncStub = config_pb2_grpc.ConfigServiceStub(channel)
        """pilothouse.v1.ConfigService."""
        self.emergency_stops: EmergencyStopServiceAsyncStub = (
            emergency_stops_pb2_grpc.EmergencyStopServiceStub(channel)
        )
        """pilothouse.v1.EmergencyStopService."""
        self.queues: QueueServiceAsyncStub = queues_pb2_grpc.QueueServiceStub(channel)
        """pilothouse.v1.QueueService."""
        self.traces: TraceServiceAsyncStub = traces_pb2_grpc.TraceServiceStub(channel)
        """pilothouse.v1.TraceService."""
