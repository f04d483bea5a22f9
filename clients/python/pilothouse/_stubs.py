"""The generated stubs of every service, as the attributes of the sync client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pilothouse._sync_channel import Channel
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
    from pilothouse.v1.agents_pb2_grpc import AgentServiceStub
    from pilothouse.v1.alerts_pb2_grpc import AlertServiceStub
    from pilothouse.v1.audit_pb2_grpc import AuditServiceStub
    from pilothouse.v1.batches_pb2_grpc import BatchServiceStub
    from pilothouse.v1.budgets_pb2_grpc import BudgetServiceStub
    from pilothouse.v1.channels_pb2_grpc import ChannelServiceStub
    from pilothouse.v1.commands_pb2_grpc import CommandServiceStub
    from pilothouse.v1.config_pb2_grpc import ConfigServiceStub
    from pilothouse.v1.dead_events_pb2_grpc import DeadEventServiceStub
    from pilothouse.v1.deliveries_pb2_grpc import DeliveryServiceStub
    from pilothouse.v1.emergency_stops_pb2_grpc import EmergencyStopServiceStub
    from pilothouse.v1.escalations_pb2_grpc import EscalationServiceStub
    from pilothouse.v1.events_pb2_grpc import EventServiceStub
    from pilothouse.v1.heartbeats_pb2_grpc import HeartbeatServiceStub
    from pilothouse.v1.metrics_pb2_grpc import MetricsServiceStub
    from pilothouse.v1.platform_pb2_grpc import PlatformServiceStub
    from pilothouse.v1.queues_pb2_grpc import QueueServiceStub
    from pilothouse.v1.rules_pb2_grpc import RuleServiceStub
    from pilothouse.v1.silences_pb2_grpc import SilenceServiceStub
    from pilothouse.v1.traces_pb2_grpc import TraceServiceStub
    from pilothouse.v1.workflows_pb2_grpc import WorkflowServiceStub


class AlertStubs:
    """What has to do with alerts."""

    def __init__(self, channel: Channel) -> None:
        """On this channel."""
        self.alerts: AlertServiceStub = alerts_pb2_grpc.AlertServiceStub(channel)
        """pilothouse.v1.AlertService."""
        self.rules: RuleServiceStub = rules_pb2_grpc.RuleServiceStub(channel)
        """pilothouse.v1.RuleService."""
        self.silences: SilenceServiceStub = silences_pb2_grpc.SilenceServiceStub(channel)
        """pilothouse.v1.SilenceService."""
        self.channels: ChannelServiceStub = channels_pb2_grpc.ChannelServiceStub(channel)
        """pilothouse.v1.ChannelService."""
        self.escalations: EscalationServiceStub = escalations_pb2_grpc.EscalationServiceStub(
            channel
        )
        """pilothouse.v1.EscalationService."""
        self.deliveries: DeliveryServiceStub = deliveries_pb2_grpc.DeliveryServiceStub(channel)
        """pilothouse.v1.DeliveryService."""
        self.heartbeats: HeartbeatServiceStub = heartbeats_pb2_grpc.HeartbeatServiceStub(channel)
        """pilothouse.v1.HeartbeatService."""


class Stubs(AlertStubs):
    """All of them."""

    def __init__(self, channel: Channel) -> None:
        """On this channel."""
        super().__init__(channel)
        self.events: EventServiceStub = events_pb2_grpc.EventServiceStub(channel)
        """pilothouse.v1.EventService."""
        self.metrics: MetricsServiceStub = metrics_pb2_grpc.MetricsServiceStub(channel)
        """pilothouse.v1.MetricsService."""
        self.workflows: WorkflowServiceStub = workflows_pb2_grpc.WorkflowServiceStub(channel)
        """pilothouse.v1.WorkflowService."""
        self.agents: AgentServiceStub = agents_pb2_grpc.AgentServiceStub(channel)
        """pilothouse.v1.AgentService."""
        self.commands: CommandServiceStub = commands_pb2_grpc.CommandServiceStub(channel)
        """pilothouse.v1.CommandService."""
        self.platform: PlatformServiceStub = platform_pb2_grpc.PlatformServiceStub(channel)
        """pilothouse.v1.PlatformService."""
        self.dead_events: DeadEventServiceStub = dead_events_pb2_grpc.DeadEventServiceStub(channel)
        """pilothouse.v1.DeadEventService."""
        self.audit: AuditServiceStub = audit_pb2_grpc.AuditServiceStub(channel)
        """pilothouse.v1.AuditService."""
        self.batches: BatchServiceStub = batches_pb2_grpc.BatchServiceStub(channel)
        """pilothouse.v1.BatchService."""
        self.budgets: BudgetServiceStub = budgets_pb2_grpc.BudgetServiceStub(channel)
        """pilothouse.v1.BudgetService."""
        self.config: ConfigServiceStub = config_pb2_grpc.ConfigServiceStub(channel)
        """pilothouse.v1.ConfigService."""
        self.emergency_stops: EmergencyStopServiceStub = (
            emergency_stops_pb2_grpc.EmergencyStopServiceStub(channel)
        )
        """pilothouse.v1.EmergencyStopService."""
        self.queues: QueueServiceStub = queues_pb2_grpc.QueueServiceStub(channel)
        """pilothouse.v1.QueueService."""
        self.traces: TraceServiceStub = traces_pb2_grpc.TraceServiceStub(channel)
        """pilothouse.v1.TraceService."""
