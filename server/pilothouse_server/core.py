"""The one composition root: the server's parts on one data directory, wired.

Log and database, the folds over them, and the services that show them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Self

import grpc
from google.protobuf.descriptor import FileDescriptor
from prometheus_client import CollectorRegistry, generate_latest

from pilothouse.v1 import agents_pb2, alerts_pb2, commands_pb2, events_pb2, workflows_pb2
from pilothouse.v1.agents_pb2_grpc import add_AgentServiceServicer_to_server as add_agents
from pilothouse.v1.alerts_pb2_grpc import add_AlertServiceServicer_to_server as add_alerts
from pilothouse.v1.commands_pb2_grpc import add_CommandServiceServicer_to_server as add_commands
from pilothouse.v1.events_pb2_grpc import add_EventServiceServicer_to_server as add_events
from pilothouse.v1.workflows_pb2_grpc import add_WorkflowServiceServicer_to_server as add_workflows
from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql import migrate
from pilothouse_server.adapters.sql.agent_views import SqlAgentViews
from pilothouse_server.adapters.sql.alert_desk_store import SqlAlertDesk
from pilothouse_server.adapters.sql.alert_store import SqlAlerts
from pilothouse_server.adapters.sql.command_store import SqlCommands, settling
from pilothouse_server.adapters.sql.control_queries import SqlControlQueries
from pilothouse_server.adapters.sql.event_views import SqlEventViews
from pilothouse_server.adapters.sql.metrics_store import SqlMetricsStore
from pilothouse_server.adapters.sql.outbox_store import SqlOutbox
from pilothouse_server.adapters.sql.projection_store import SqlProjectionStore
from pilothouse_server.adapters.sql.sqlite import SqliteDatabase
from pilothouse_server.adapters.sql.workflow_views import SqlWorkflowViews
from pilothouse_server.adapters.sqlite_log import SqliteLog
from pilothouse_server.config import Settings
from pilothouse_server.domain.commands import Deadlines
from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.meters import PartsCollector
from pilothouse_server.services.aggregate import Aggregator, AggregatorSettings
from pilothouse_server.services.alert_desk import AlertDesk
from pilothouse_server.services.alert_journal import AlertJournal
from pilothouse_server.services.alerting import AlertEngine
from pilothouse_server.services.control import Control, ControlSignals
from pilothouse_server.services.executors import Executors
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.ids import uuid7
from pilothouse_server.services.ingest import Ingest
from pilothouse_server.services.metric_history import MetricHistory
from pilothouse_server.services.project import Projector, SilenceSweeper
from pilothouse_server.services.relay import Relay
from pilothouse_server.services.snapshot_desk import SnapshotDesk
from pilothouse_server.transport.agents import AgentServicer
from pilothouse_server.transport.alerts import AlertServicer
from pilothouse_server.transport.commands import CommandServicer
from pilothouse_server.transport.events import EventServicer
from pilothouse_server.transport.interceptor import CallMeters
from pilothouse_server.transport.metrics import SERVICE as METRICS_SERVICE
from pilothouse_server.transport.metrics import MetricsServicer
from pilothouse_server.transport.server import RpcServer, Service
from pilothouse_server.transport.watching import Watching
from pilothouse_server.transport.workflows import WorkflowServicer
from pilothouse_server.wire.events import decode_signals, decode_stored, encode_events
from pilothouse_server.wire.metrics import SnapshotEncoder


class Core:
    """Everything of one server. `opened` makes it, `serve` lets callers in, `parts` are what runs
    beside."""

    def __init__(self, settings: Settings, log: SqliteLog, database: SqliteDatabase) -> None:
        self._clock = clock = SystemClock()
        self.registry = CollectorRegistry()
        self.log = log
        self.database = database
        self._rpc: RpcServer | None = None
        self._projected, self._alerted = Changes(), Changes()
        # What the projector settles goes to the outbox too, so the relay looks whenever rows changed.
        signals = ControlSignals(workflows=self._projected, outbox=self._projected)
        deadlines = Deadlines(
            accept_us=_micros(settings.accept_deadline), effect_us=_micros(settings.effect_deadline)
        )
        self._offline_after_us = offline_after_us = _micros(settings.agent_offline_after)
        self.ingest = Ingest(log, clock)
        self.projection = projection = SqlProjectionStore(
            database, decode_stored, [settling(deadlines)]
        )
        self.projector = Projector(log, projection, clock, self._projected)
        self.sweeper = SilenceSweeper(projection, clock, self._projected, offline_after_us)
        self.relay = Relay(SqlOutbox(database), log, encode_events, clock, signals.outbox)
        commands = SqlCommands(database)
        self.control = Control(commands, clock, signals, uuid7, deadlines)
        self.executors = Executors(commands, clock, signals)
        self.journal = AlertJournal(SqlAlerts(database), clock, self._alerted, signals.outbox)
        self.alerts = AlertEngine(
            SqlAlerts(database), self.journal, clock, uuid7, offline_after_us=offline_after_us
        )
        self.desk = AlertDesk(SqlAlertDesk(database), clock, Changes(), uuid7)
        self.aggregator = Aggregator(
            log,
            SqlMetricsStore(database),
            decode_signals,
            clock,
            epoch=uuid7(),
            firing=lambda: self.alerts.firing,
            settings=AggregatorSettings(offline_after_us=offline_after_us),
        )
        self.aggregator.subscribe_ticks(self.alerts.tick)
        self.snapshots = SnapshotDesk(SnapshotEncoder(), clock)
        self.snapshots.lead(self.aggregator)
        history = MetricHistory(self.snapshots, SqlMetricsStore(database), clock)
        self.metrics = MetricsServicer(self.snapshots, history, clock)
        self.registry.register(
            PartsCollector(
                self.ingest, self.projector, self.relay, database, self.aggregator, self.alerts
            )
        )

    @classmethod
    @asynccontextmanager
    async def opened(cls, settings: Settings) -> AsyncGenerator[Self]:
        """The parts on the settings' data directory, its schema brought up to date. Raises
        Unavailable."""
        state = settings.data_dir / "state.sqlite3"
        await asyncio.to_thread(migrate.upgrade, state)
        log = SqliteLog(settings.data_dir / "log.sqlite3")
        try:
            database = SqliteDatabase(state)
            try:
                core = cls(settings, log, database)
                await core.check_log()
                await core.executors.start()
                await core.alerts.start()
                with core.desk.leading(core.alerts):
                    yield core
                await core.journal.flush()
            finally:
                await database.close()
        finally:
            await log.close()

    async def check_log(self) -> None:
        """Whether the database was made from this log. Raises Unavailable: going on would count events twice, or
        never."""
        head = await SqlMetricsStore(self.database).head()
        for cursor in (await self.projection.cursor(), head[0] if head else ""):
            try:
                await self.log.read(cursor, limit=1)
            except ValueError as error:
                told = (
                    f"{self.log.path} is not the log that {self.database.path} was made from ({error}). "
                    "Put that one back; or set the database aside, and a new one is made from the log"
                )
                raise Unavailable("log", told) from error

    def parts(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What runs until it is cancelled, by name."""
        return {
            "projector": self.projector.run(),
            "silence-sweeper": self.sweeper.run(),
            "aggregator": self.aggregator.run(),
            "snapshot-desk": self.snapshots.run(),
            "relay": self.relay.run(),
            "command-sweeper": self.control.run(),
            "executors": self.executors.run(),
            "alert-journal": self.journal.run(),
        }

    async def serve(self, host: str, port: int) -> int:
        """Lets callers in; returns the port. Raises PortTaken."""
        self._rpc = RpcServer(self._services(), CallMeters(self.registry))
        bound = await self._rpc.start(host, port)
        await self._rpc.set_serving(True)
        return bound

    async def drain(self, grace: float) -> None:
        """Lets nobody in any more, and calls under way end."""
        if self._rpc is not None:
            await self._rpc.drain(grace)

    def meters(self) -> bytes:
        """The server's own metrics, in the text form of Prometheus."""
        return generate_latest(self.registry)

    def _services(self) -> list[Service]:
        """Every service of the contract."""
        database, clock = self.database, self._clock
        projected = Watching(self._projected, clock)
        queries = SqlControlQueries(database, clock)
        events = EventServicer(self.ingest, SqlEventViews(database, clock), projected)
        workflows = WorkflowServicer(SqlWorkflowViews(database, clock), projected, self.control)
        agents = AgentServicer(SqlAgentViews(database, clock, self._offline_after_us), projected)
        commands = CommandServicer(self.control, self.executors, queries, clock)
        alerts = AlertServicer(self.desk, queries, Watching(self._alerted, clock))

        def served(
            file: FileDescriptor, name: str, add: Callable[[grpc.aio.Server], None]
        ) -> Service:
            return Service(file.services_by_name[name], add)

        return [
            Service(METRICS_SERVICE, self.metrics.add_to),
            served(events_pb2.DESCRIPTOR, "EventService", partial(add_events, events)),
            served(workflows_pb2.DESCRIPTOR, "WorkflowService", partial(add_workflows, workflows)),
            served(agents_pb2.DESCRIPTOR, "AgentService", partial(add_agents, agents)),
            served(commands_pb2.DESCRIPTOR, "CommandService", partial(add_commands, commands)),
            served(alerts_pb2.DESCRIPTOR, "AlertService", partial(add_alerts, alerts)),
        ]


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)
