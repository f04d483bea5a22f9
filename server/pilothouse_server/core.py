"""The one composition root: what callers turn to, wired to the surroundings that the settings choose.

What lives as long as the process is made here; what belongs to a lease is made by `duties` for each tenure.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Self

from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import Connection, text

from pilothouse_server import world as surroundings
from pilothouse_server.adapters.board import MemoryBoard
from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.notifying.sealing import KEY_FILE, Sealer, keys_of
from pilothouse_server.adapters.notifying.sender import Sender
from pilothouse_server.adapters.redis_log import RedisLog
from pilothouse_server.adapters.sql.agent_views import SqlAgentViews
from pilothouse_server.adapters.sql.alert_desk_store import SqlAlertDesk
from pilothouse_server.adapters.sql.audit_views import SqlAudit
from pilothouse_server.adapters.sql.backtest_store import SqlBacktestStore
from pilothouse_server.adapters.sql.batch_store import SqlBatches
from pilothouse_server.adapters.sql.budget_store import SqlBudgets
from pilothouse_server.adapters.sql.channel_store import SqlChannels
from pilothouse_server.adapters.sql.closing_store import SqlClosing
from pilothouse_server.adapters.sql.command_store import SqlCommands
from pilothouse_server.adapters.sql.config_store import SqlConfig
from pilothouse_server.adapters.sql.control_queries import SqlControlQueries
from pilothouse_server.adapters.sql.delivery_queries import SqlDeliveries
from pilothouse_server.adapters.sql.escalation_store import SqlEscalations
from pilothouse_server.adapters.sql.event_tail_rows import SqlEventTail
from pilothouse_server.adapters.sql.event_views import SqlEventViews
from pilothouse_server.adapters.sql.heartbeat_store import SqlHeartbeats
from pilothouse_server.adapters.sql.metrics_store import SqlMetricsStore
from pilothouse_server.adapters.sql.others import SqlOthers
from pilothouse_server.adapters.sql.queue_views import SqlQueueViews
from pilothouse_server.adapters.sql.rule_store import SqlRules
from pilothouse_server.adapters.sql.rule_views import SqlRuleViews
from pilothouse_server.adapters.sql.silence_store import SqlSilences
from pilothouse_server.adapters.sql.stop_store import SqlStops
from pilothouse_server.adapters.sql.trace_summaries import SqlTraceSummaries
from pilothouse_server.adapters.sql.trace_views import SqlTraces
from pilothouse_server.adapters.sql.workflow_views import SqlWorkflowViews
from pilothouse_server.adapters.sqlite_log import SqliteLog
from pilothouse_server.config import Settings
from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.domain.notifications.composing import Link
from pilothouse_server.duties import Common, Duties
from pilothouse_server.meters import PartsCollector
from pilothouse_server.rulefiles import formats
from pilothouse_server.services.alerts.backtest import Backtests
from pilothouse_server.services.alerts.desk import AlertDesk
from pilothouse_server.services.alerts.rulebook import Rulebook
from pilothouse_server.services.alerts.ruleviews import RuleViews
from pilothouse_server.services.alerts.silencing import Silences
from pilothouse_server.services.audit import Audit
from pilothouse_server.services.batches import Batches
from pilothouse_server.services.budgets import Budgets
from pilothouse_server.services.channels import Channels
from pilothouse_server.services.closing import Closer
from pilothouse_server.services.configuration import Configuration
from pilothouse_server.services.control import Control, ControlSignals
from pilothouse_server.services.escalations import Escalations
from pilothouse_server.services.event_tail import EventTail
from pilothouse_server.services.executors import Executors
from pilothouse_server.services.heartbeats import Heartbeats
from pilothouse_server.services.ids import uuid7
from pilothouse_server.services.ingest import Ingest
from pilothouse_server.services.metric_history import MetricHistory
from pilothouse_server.services.notifications.log import DeliveryLog
from pilothouse_server.services.snapshot_desk import SnapshotDesk
from pilothouse_server.services.standing import Alone, Asked, Identity, Others, Standing, waits
from pilothouse_server.services.status import ComponentState, LogShard
from pilothouse_server.services.stops import EmergencyStops
from pilothouse_server.services.tenure import Part, serve
from pilothouse_server.services.trace_analysis import TraceAnalysis
from pilothouse_server.services.traces import TraceDesk
from pilothouse_server.transport.agents import AgentServicer
from pilothouse_server.transport.alerts import AlertServicer
from pilothouse_server.transport.audit import AuditServicer
from pilothouse_server.transport.backtest import BacktestCalls
from pilothouse_server.transport.batches import BatchServicer
from pilothouse_server.transport.budgets import BudgetServicer
from pilothouse_server.transport.channels import ChannelServicer
from pilothouse_server.transport.commands import CommandServicer
from pilothouse_server.transport.config import ConfigServicer
from pilothouse_server.transport.contract import Servicers, services
from pilothouse_server.transport.dead_events import DeadEventServicer
from pilothouse_server.transport.deliveries import DeliveryServicer
from pilothouse_server.transport.emergency_stops import EmergencyStopServicer
from pilothouse_server.transport.escalations import EscalationServicer
from pilothouse_server.transport.event_watch import EventWatch
from pilothouse_server.transport.events import EventServicer
from pilothouse_server.transport.health import HealthKeeper
from pilothouse_server.transport.heartbeats import HeartbeatServicer
from pilothouse_server.transport.interceptor import CallMeters
from pilothouse_server.transport.metrics import MetricsServicer
from pilothouse_server.transport.otlp import OtlpMeters, OtlpServicer
from pilothouse_server.transport.platform import PlatformServicer
from pilothouse_server.transport.queues import QueueServicer
from pilothouse_server.transport.rules import RuleServicer
from pilothouse_server.transport.server import RpcServer
from pilothouse_server.transport.silences import SilenceServicer
from pilothouse_server.transport.trace_analysis import TraceAnalysisCalls
from pilothouse_server.transport.traces import TraceServicer
from pilothouse_server.transport.watching import Watching
from pilothouse_server.transport.workflows import WorkflowServicer
from pilothouse_server.wire.events import decode_one, encode_stored
from pilothouse_server.wire.metrics import SnapshotEncoder
from pilothouse_server.world import World


class Core:
    """Everything of one server. `opened` makes it, `serve` lets callers in, `parts` are what runs
    beside."""

    def __init__(self, settings: Settings, world: World, clock: SystemClock) -> None:
        self.registry = CollectorRegistry()
        self._world = world
        self._clock = clock
        self._rpc: RpcServer | None = None
        database, told = world.database, world.signals
        # What the projector settles goes to the outbox too, so the relay looks whenever rows changed.
        signals = ControlSignals(told.commands, workflows=told.projected, outbox=told.projected)
        self.configuration = Configuration(
            SqlConfig(database), clock, told.config, settings.platform
        )
        configured = self.configuration.current
        self.ingest = Ingest(world.intake, clock)
        commands = SqlCommands(database)
        self.control = Control(commands, clock, signals, uuid7, configured)
        self.closer = Closer(SqlClosing(database), clock, signals, uuid7)
        self.executors = Executors(
            commands, clock, signals, replica=world.replica, configured=configured
        )
        self.event_tail = EventTail(
            SqlEventTail(database),
            SqlEventViews(database, clock),
            told.projected,
            clock,
            encode_stored,
        )
        self.alerts = AlertDesk(SqlAlertDesk(database), clock, told.alert_requests, uuid7)
        self.sender = _sender(settings, clock)
        self.channels = Channels(
            SqlChannels(database),
            self.sender.sealing,
            self.sender,
            clock,
            told.channels,
            uuid7,
            SqlDeliveries(database).healths,
        )
        # A process that is alone encodes a snapshot only when somebody asks for it.
        board = None if isinstance(world.board, MemoryBoard) else world.board
        self.snapshots = SnapshotDesk(SnapshotEncoder(), clock, board)
        history = MetricHistory(self.snapshots, SqlMetricsStore(database), clock)
        self.metrics = MetricsServicer(self.snapshots, history, clock, configured)
        self._log = Asked(world.shards[0].tail, clock)
        self._database = Asked(lambda: database.read(_looked), clock)
        self.traces = TraceDesk(
            SqlTraces(database, clock), decode_one, lambda: told.projected.version
        )
        self.standing = self._standing()
        self.duties = Duties(
            Common(
                world=world,
                clock=clock,
                configured=configured,
                signals=signals,
                snapshots=self.snapshots,
                alerts=self.alerts,
                alive=self._alive,
                traces=self.traces,
                policy=lambda: settings.retention.configured(configured()),
                standing=self.standing,
                sender=self.sender,
                channels=self.channels.load,
                link=_link(settings),
            )
        )
        self.registry.register(PartsCollector(self.ingest, self.duties, world, self.event_tail))

    @classmethod
    @asynccontextmanager
    async def opened(cls, settings: Settings) -> AsyncGenerator[Self]:
        """The server in its surroundings, the schema brought up to date. Raises Unavailable, DataDirInUse."""
        clock = SystemClock()
        async with surroundings.opened(settings, clock) as world:
            core = cls(settings, world, clock)
            await core.configuration.start()
            await core.executors.start(alone=not world.shared_database)
            try:
                yield core
            finally:
                await core.sender.close()
                with contextlib.suppress(Unavailable):  # others notice soon that we are gone
                    await core.executors.stop()

    def parts(self) -> dict[str, Part]:
        """What runs until it is cancelled, by name."""
        world = self._world
        shards: dict[str, Part] = {
            f"shard-{shard}": serve(
                world.leases, f"shard-{shard}", partial(self.duties.of_shard, shard), self._clock
            )
            for shard in range(len(world.shards))
        }
        return shards | {
            "snapshot-desk": self.snapshots.run(),
            "event-tail": self.event_tail.run(),
            "executors": self.executors.run(),
            "configuration": self.configuration.run(),
            "log-asked": self._log.run(),
            "database-asked": self._database.run(),
            "health": self._keep_health(),
        }

    @property
    def place(self) -> str:
        """Where log and database are, for people."""
        world = self._world
        return f"log in {world.log_address}, state in {world.database_address}"

    def connections(self) -> dict[str, Part]:
        """What has to run for as long as the parts do, and until they have ended."""
        return {name: run() for name, run in self._world.parts.items()}

    async def serve(self, host: str, port: int) -> int:
        """Lets callers in; returns the port. Raises PortTaken."""
        self._rpc = RpcServer(services(self._services()), CallMeters(self.registry))
        bound = await self._rpc.start(host, port)
        self.standing.serving = True
        return bound

    async def drain(self, grace: float) -> None:
        """Lets nobody in any more, and calls under way end."""
        self.standing.serving = False
        if self._rpc is not None:
            await self._rpc.drain(grace)

    def meters(self) -> bytes:
        """The server's own metrics, in the text form of Prometheus."""
        return generate_latest(self.registry)

    async def _keep_health(self) -> None:
        await HealthKeeper(self.standing, self._set_serving, self._clock).run()

    async def _set_serving(self, serving: bool) -> None:
        if self._rpc is not None:
            await self._rpc.set_serving(serving)

    def _standing(self) -> Standing:
        world = self._world
        others: Others = Alone()
        if world.shared_database:
            others = SqlOthers(world.database, world.replicas)
        standing = Standing(
            Identity(
                version=version("pilothouse-server"),
                replica_id=world.replica,
                log_address=world.log_address,
                database_address=world.database_address,
            ),
            self._clock,
            others=others,
            log_shards=self._log_shards,
            leads=lambda: self.duties.lead is not None,
        )
        down = ComponentState.DOWN
        standing.watch("log", waits("log", self._log, without=down))
        standing.watch("database", waits("database", self._database, without=down))
        for name, part in world.watched.items():
            standing.watch(name, waits(name, part))
        standing.watch("snapshots", waits("snapshots", self.snapshots))
        return standing

    async def _log_shards(self) -> Sequence[LogShard]:
        logs = [log for log in self._world.shards if isinstance(log, RedisLog | SqliteLog)]
        return await asyncio.gather(*(log.status() for log in logs))

    async def _alive(self) -> Collection[str]:
        leases = self._world.watched.get("leases")
        if leases is not None and leases.waiting_for:
            raise Unavailable("database", leases.waiting_for)
        return self._world.replicas()

    def _backtests(self) -> BacktestCalls:
        store = SqlBacktestStore(self._world.database)
        backtests = Backtests(store, self._clock, configured=self.configuration.current)
        return BacktestCalls(backtests, formats.read)

    def _batches(self) -> BatchServicer:
        told, store = self._world.signals, SqlBatches(self._world.database, self._clock)
        batches = Batches(
            store,
            self._clock,
            self.duties.common.signals,
            told.batches,
            new_id=uuid7,
            configured=self.configuration.current,
        )
        return BatchServicer(batches, self._clock)

    def _analyses(self) -> TraceAnalysisCalls:
        past = SqlTraceSummaries(self._world.database)
        return TraceAnalysisCalls(TraceAnalysis(self.traces, past, self._clock), self._clock)

    def _stops(self) -> EmergencyStopServicer:
        told, store = self._world.signals, SqlStops(self._world.database)
        stops = EmergencyStops(
            store,
            store.follow,
            self._clock,
            changes=told.stops,
            told=self.duties.common.signals.notify,
            new_id=uuid7,
            configured=self.configuration.current,
        )
        return EmergencyStopServicer(stops, Watching(told.stops, self._clock))

    def _services(self) -> Servicers:
        """What serves each service of the contract."""
        database, clock, told = self._world.database, self._clock, self._world.signals
        projected, configured = Watching(told.projected, clock), self.configuration.current
        queries = SqlControlQueries(database, clock)
        return Servicers(
            agents=AgentServicer(
                SqlAgentViews(database, clock, configured), projected, self.control
            ),
            alerts=AlertServicer(self.alerts, queries, Watching(told.alerted, clock)),
            audit=AuditServicer(Audit(SqlAudit(database, clock), clock)),
            batches=self._batches(),
            budgets=BudgetServicer(Budgets(SqlBudgets(database), clock, uuid7)),
            channels=ChannelServicer(self.channels),
            config=ConfigServicer(self.configuration),
            commands=CommandServicer(self.control, self.executors, queries, clock),
            dead_events=DeadEventServicer(self._world.dead),
            deliveries=DeliveryServicer(
                DeliveryLog(SqlDeliveries(database), clock, told.deliveries)
            ),
            emergency_stops=self._stops(),
            escalations=EscalationServicer(
                Escalations(SqlEscalations(database), clock, told.channels)
            ),
            events=EventServicer(
                self.ingest, SqlEventViews(database, clock), EventWatch(self.event_tail, projected)
            ),
            heartbeats=HeartbeatServicer(
                Heartbeats(SqlHeartbeats(database), clock, told.heartbeats)
            ),
            metrics=self.metrics,
            otlp=OtlpServicer(self.ingest, clock, OtlpMeters(self.registry)),
            platform=PlatformServicer(self.standing),
            queues=QueueServicer(SqlQueueViews(database), self.control),
            rules=RuleServicer(
                Rulebook(SqlRules(database), clock, told.rules),
                RuleViews(SqlRuleViews(database), clock, lambda: self.alerts.engine),
                formats,
                self._backtests(),
            ),
            silences=SilenceServicer(Silences(SqlSilences(database), clock, told.silences, uuid7)),
            traces=TraceServicer(self.traces, self._analyses(), projected),
            workflows=WorkflowServicer(
                SqlWorkflowViews(database, clock, configured), projected, self.control, self.closer
            ),
        )


def _sender(settings: Settings, clock: SystemClock) -> Sender:
    """What goes out of the house. Replicas share a database and so need one key, which only a setting can give."""
    file = None if settings.database_url else settings.data_dir / KEY_FILE
    return Sender(
        Sealer(keys_of(settings.secret_key), file),
        clock.now_us,
        hosts=settings.webhook_hosts,
        external_url=settings.external_url or _bridge_url(settings),
    )


def _link(settings: Settings) -> Link:
    """Where people see an alert."""
    base = settings.external_url or _bridge_url(settings)
    return lambda alert_id: f"{base.rstrip('/')}/#/alerts?open={alert_id}"


def _bridge_url(settings: Settings) -> str:
    """Where a bridge of this machine is reached, as far as one replica can tell."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - read, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.http_port}"


def _looked(connection: Connection) -> None:
    connection.execute(text("SELECT 1"))
