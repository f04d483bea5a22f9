"""Every service of the contract and OpenTelemetry's, each with what serves it: one field a service, so that none is
forgotten."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import grpc
from google.protobuf.descriptor import FileDescriptor

from pilothouse.v1 import (
    agents_pb2,
    agents_pb2_grpc,
    alerts_pb2,
    alerts_pb2_grpc,
    audit_pb2,
    audit_pb2_grpc,
    batches_pb2,
    batches_pb2_grpc,
    budgets_pb2,
    budgets_pb2_grpc,
    channels_pb2,
    channels_pb2_grpc,
    commands_pb2,
    commands_pb2_grpc,
    config_pb2,
    config_pb2_grpc,
    dead_events_pb2,
    dead_events_pb2_grpc,
    deliveries_pb2,
    deliveries_pb2_grpc,
    emergency_stops_pb2,
    emergency_stops_pb2_grpc,
    escalations_pb2,
    escalations_pb2_grpc,
    heartbeats_pb2,
    heartbeats_pb2_grpc,
    options_pb2,
    platform_pb2,
    platform_pb2_grpc,
    queues_pb2,
    queues_pb2_grpc,
    rules_pb2,
    rules_pb2_grpc,
    silences_pb2,
    silences_pb2_grpc,
    traces_pb2,
    traces_pb2_grpc,
    workflows_pb2,
    workflows_pb2_grpc,
)
from pilothouse_server.transport.events import SERVICE as EVENTS
from pilothouse_server.transport.events import EventServicer
from pilothouse_server.transport.metrics import SERVICE as METRICS
from pilothouse_server.transport.metrics import MetricsServicer
from pilothouse_server.transport.otlp import SERVICE as OTLP
from pilothouse_server.transport.otlp import OtlpServicer
from pilothouse_server.transport.server import Service

S = TypeVar("S")


@dataclass(frozen=True, kw_only=True, slots=True)
class Servicers:
    """What serves each service."""

    agents: agents_pb2_grpc.AgentServiceServicer
    alerts: alerts_pb2_grpc.AlertServiceServicer
    audit: audit_pb2_grpc.AuditServiceServicer
    batches: batches_pb2_grpc.BatchServiceServicer
    budgets: budgets_pb2_grpc.BudgetServiceServicer
    channels: channels_pb2_grpc.ChannelServiceServicer
    commands: commands_pb2_grpc.CommandServiceServicer
    config: config_pb2_grpc.ConfigServiceServicer
    dead_events: dead_events_pb2_grpc.DeadEventServiceServicer
    deliveries: deliveries_pb2_grpc.DeliveryServiceServicer
    emergency_stops: emergency_stops_pb2_grpc.EmergencyStopServiceServicer
    escalations: escalations_pb2_grpc.EscalationServiceServicer
    events: EventServicer
    heartbeats: heartbeats_pb2_grpc.HeartbeatServiceServicer
    metrics: MetricsServicer
    otlp: OtlpServicer
    platform: platform_pb2_grpc.PlatformServiceServicer
    queues: queues_pb2_grpc.QueueServiceServicer
    rules: rules_pb2_grpc.RuleServiceServicer
    silences: silences_pb2_grpc.SilenceServiceServicer
    traces: traces_pb2_grpc.TraceServiceServicer
    workflows: workflows_pb2_grpc.WorkflowServiceServicer


_agents = agents_pb2_grpc.add_AgentServiceServicer_to_server
_alerts = alerts_pb2_grpc.add_AlertServiceServicer_to_server
_audit = audit_pb2_grpc.add_AuditServiceServicer_to_server
_batches = batches_pb2_grpc.add_BatchServiceServicer_to_server
_budgets = budgets_pb2_grpc.add_BudgetServiceServicer_to_server
_channels = channels_pb2_grpc.add_ChannelServiceServicer_to_server
_commands = commands_pb2_grpc.add_CommandServiceServicer_to_server
_config = config_pb2_grpc.add_ConfigServiceServicer_to_server
_dead_events = dead_events_pb2_grpc.add_DeadEventServiceServicer_to_server
_deliveries = deliveries_pb2_grpc.add_DeliveryServiceServicer_to_server
_emergency_stops = emergency_stops_pb2_grpc.add_EmergencyStopServiceServicer_to_server
_escalations = escalations_pb2_grpc.add_EscalationServiceServicer_to_server
_heartbeats = heartbeats_pb2_grpc.add_HeartbeatServiceServicer_to_server
_platform = platform_pb2_grpc.add_PlatformServiceServicer_to_server
_queues = queues_pb2_grpc.add_QueueServiceServicer_to_server
_rules = rules_pb2_grpc.add_RuleServiceServicer_to_server
_silences = silences_pb2_grpc.add_SilenceServiceServicer_to_server
_traces = traces_pb2_grpc.add_TraceServiceServicer_to_server
_workflows = workflows_pb2_grpc.add_WorkflowServiceServicer_to_server


def services(by: Servicers) -> list[Service]:
    """What a server serves."""
    return [
        Service(METRICS, by.metrics.add_to),
        Service(OTLP, by.otlp.add_to, options_pb2.ROLE_EXECUTOR),
        _served(agents_pb2.DESCRIPTOR, _agents, by.agents),
        _served(alerts_pb2.DESCRIPTOR, _alerts, by.alerts),
        _served(audit_pb2.DESCRIPTOR, _audit, by.audit),
        _served(batches_pb2.DESCRIPTOR, _batches, by.batches),
        _served(budgets_pb2.DESCRIPTOR, _budgets, by.budgets),
        _served(channels_pb2.DESCRIPTOR, _channels, by.channels),
        _served(commands_pb2.DESCRIPTOR, _commands, by.commands),
        _served(config_pb2.DESCRIPTOR, _config, by.config),
        _served(dead_events_pb2.DESCRIPTOR, _dead_events, by.dead_events),
        _served(deliveries_pb2.DESCRIPTOR, _deliveries, by.deliveries),
        _served(emergency_stops_pb2.DESCRIPTOR, _emergency_stops, by.emergency_stops),
        _served(escalations_pb2.DESCRIPTOR, _escalations, by.escalations),
        Service(EVENTS, by.events.add_to),
        _served(heartbeats_pb2.DESCRIPTOR, _heartbeats, by.heartbeats),
        _served(platform_pb2.DESCRIPTOR, _platform, by.platform),
        _served(queues_pb2.DESCRIPTOR, _queues, by.queues),
        _served(rules_pb2.DESCRIPTOR, _rules, by.rules),
        _served(silences_pb2.DESCRIPTOR, _silences, by.silences),
        _served(traces_pb2.DESCRIPTOR, _traces, by.traces),
        _served(workflows_pb2.DESCRIPTOR, _workflows, by.workflows),
    ]


def _served(
    file: FileDescriptor, add: Callable[[S, grpc.aio.Server], None], servicer: S
) -> Service:
    (service,) = file.services_by_name.values()
    return Service(service, partial(add, servicer))
