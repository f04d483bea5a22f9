"""What serves each service of the contract, made of what callers turn to."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from pilothouse_server.adapters.sql.agent_views import SqlAgentViews
from pilothouse_server.adapters.sql.audit_views import SqlAudit
from pilothouse_server.adapters.sql.backtest_store import SqlBacktestStore
from pilothouse_server.adapters.sql.batch_store import SqlBatches
from pilothouse_server.adapters.sql.budget_store import SqlBudgets
from pilothouse_server.adapters.sql.control_queries import SqlControlQueries
from pilothouse_server.adapters.sql.delivery_queries import SqlDeliveries
from pilothouse_server.adapters.sql.escalation_store import SqlEscalations
from pilothouse_server.adapters.sql.event_views import SqlEventViews
from pilothouse_server.adapters.sql.heartbeat_store import SqlHeartbeats
from pilothouse_server.adapters.sql.queue_views import SqlQueueViews
from pilothouse_server.adapters.sql.rule_store import SqlRules
from pilothouse_server.adapters.sql.rule_views import SqlRuleViews
from pilothouse_server.adapters.sql.silence_store import SqlSilences
from pilothouse_server.adapters.sql.stop_store import SqlStops
from pilothouse_server.adapters.sql.trace_summaries import SqlTraceSummaries
from pilothouse_server.adapters.sql.workflow_views import SqlWorkflowViews
from pilothouse_server.desks import Desks
from pilothouse_server.rulefiles import formats
from pilothouse_server.services.alerts.backtest import Backtests
from pilothouse_server.services.alerts.rulebook import Rulebook
from pilothouse_server.services.alerts.ruleviews import RuleViews
from pilothouse_server.services.alerts.silencing import Silences
from pilothouse_server.services.audit import Audit
from pilothouse_server.services.batches import Batches
from pilothouse_server.services.budgets import Budgets
from pilothouse_server.services.escalations import Escalations
from pilothouse_server.services.heartbeats import Heartbeats
from pilothouse_server.services.ids import uuid7
from pilothouse_server.services.notifications.log import DeliveryLog
from pilothouse_server.services.standing import Standing
from pilothouse_server.services.stops import EmergencyStops
from pilothouse_server.services.trace_analysis import TraceAnalysis
from pilothouse_server.transport.agents import AgentServicer
from pilothouse_server.transport.alerts import AlertServicer
from pilothouse_server.transport.audit import AuditServicer
from pilothouse_server.transport.backtest import BacktestCalls
from pilothouse_server.transport.batches import BatchServicer
from pilothouse_server.transport.budgets import BudgetServicer
from pilothouse_server.transport.channels import ChannelServicer
from pilothouse_server.transport.commands import CommandServicer
from pilothouse_server.transport.config import ConfigServicer
from pilothouse_server.transport.contract import Servicers
from pilothouse_server.transport.dead_events import DeadEventServicer
from pilothouse_server.transport.deliveries import DeliveryServicer
from pilothouse_server.transport.emergency_stops import EmergencyStopServicer
from pilothouse_server.transport.escalations import EscalationServicer
from pilothouse_server.transport.event_watch import EventWatch
from pilothouse_server.transport.events import EventServicer
from pilothouse_server.transport.heartbeats import HeartbeatServicer
from pilothouse_server.transport.otlp import OtlpMeters, OtlpServicer
from pilothouse_server.transport.platform import PlatformServicer
from pilothouse_server.transport.queues import QueueServicer
from pilothouse_server.transport.rules import RuleServicer
from pilothouse_server.transport.silences import SilenceServicer
from pilothouse_server.transport.trace_analysis import TraceAnalysisCalls
from pilothouse_server.transport.traces import TraceServicer
from pilothouse_server.transport.watching import Watching
from pilothouse_server.transport.workflows import WorkflowServicer


def servicers(desks: Desks, standing: Standing, registry: CollectorRegistry) -> Servicers:
    """What serves each service of the contract."""
    database, clock, told = desks.world.database, desks.clock, desks.world.signals
    projected, configured = Watching(told.projected, clock), desks.configuration.current
    queries = SqlControlQueries(database, clock)
    return Servicers(
        agents=AgentServicer(SqlAgentViews(database, clock, configured), projected, desks.control),
        alerts=AlertServicer(desks.alerts, queries, Watching(told.alerted, clock)),
        audit=AuditServicer(Audit(SqlAudit(database, clock), clock)),
        batches=_batches(desks),
        budgets=BudgetServicer(Budgets(SqlBudgets(database), clock, uuid7)),
        channels=ChannelServicer(desks.channels),
        config=ConfigServicer(desks.configuration),
        commands=CommandServicer(desks.control, desks.executors, queries, clock),
        dead_events=DeadEventServicer(desks.world.dead),
        deliveries=DeliveryServicer(DeliveryLog(SqlDeliveries(database), clock, told.deliveries)),
        emergency_stops=_stops(desks),
        escalations=EscalationServicer(Escalations(SqlEscalations(database), clock, told.channels)),
        events=EventServicer(
            desks.ingest, SqlEventViews(database, clock), EventWatch(desks.event_tail, projected)
        ),
        heartbeats=HeartbeatServicer(Heartbeats(SqlHeartbeats(database), clock, told.heartbeats)),
        metrics=desks.metrics,
        otlp=OtlpServicer(desks.ingest, clock, OtlpMeters(registry)),
        platform=PlatformServicer(standing),
        queues=QueueServicer(SqlQueueViews(database), desks.control),
        rules=RuleServicer(
            Rulebook(SqlRules(database), clock, told.rules),
            RuleViews(SqlRuleViews(database), clock, lambda: desks.alerts.engine),
            formats,
            _backtests(desks),
        ),
        silences=SilenceServicer(Silences(SqlSilences(database), clock, told.silences, uuid7)),
        traces=TraceServicer(desks.traces, _analyses(desks), projected),
        workflows=WorkflowServicer(
            SqlWorkflowViews(database, clock, configured), projected, desks.control, desks.closer
        ),
    )


def _backtests(desks: Desks) -> BacktestCalls:
    store = SqlBacktestStore(desks.world.database)
    backtests = Backtests(store, desks.clock, configured=desks.configuration.current)
    return BacktestCalls(backtests, formats.read)


def _batches(desks: Desks) -> BatchServicer:
    told, store = desks.world.signals, SqlBatches(desks.world.database, desks.clock)
    batches = Batches(
        store,
        desks.clock,
        desks.signals,
        told.batches,
        new_id=uuid7,
        configured=desks.configuration.current,
    )
    return BatchServicer(batches, desks.clock)


def _analyses(desks: Desks) -> TraceAnalysisCalls:
    past = SqlTraceSummaries(desks.world.database)
    return TraceAnalysisCalls(TraceAnalysis(desks.traces, past, desks.clock), desks.clock)


def _stops(desks: Desks) -> EmergencyStopServicer:
    told, store = desks.world.signals, SqlStops(desks.world.database)
    stops = EmergencyStops(
        store,
        store.follow,
        desks.clock,
        changes=told.stops,
        told=desks.signals.notify,
        new_id=uuid7,
        configured=desks.configuration.current,
    )
    return EmergencyStopServicer(stops, Watching(told.stops, desks.clock))
