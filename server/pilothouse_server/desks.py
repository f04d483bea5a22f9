"""What callers turn to, on every replica and for as long as the process: it outlives every lease."""

from __future__ import annotations

from pilothouse_server.adapters.board import MemoryBoard
from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.notifying.sealing import KEY_FILE, Sealer, keys_of
from pilothouse_server.adapters.notifying.sender import Sender
from pilothouse_server.adapters.sql.alert_desk_store import SqlAlertDesk
from pilothouse_server.adapters.sql.channel_store import SqlChannels
from pilothouse_server.adapters.sql.closing_store import SqlClosing
from pilothouse_server.adapters.sql.command_store import SqlCommands
from pilothouse_server.adapters.sql.config_store import SqlConfig
from pilothouse_server.adapters.sql.delivery_queries import SqlDeliveries
from pilothouse_server.adapters.sql.event_tail_rows import SqlEventTail
from pilothouse_server.adapters.sql.event_views import SqlEventViews
from pilothouse_server.adapters.sql.metrics_store import SqlMetricsStore
from pilothouse_server.adapters.sql.trace_views import SqlTraces
from pilothouse_server.config import Settings
from pilothouse_server.services.alerts.desk import AlertDesk
from pilothouse_server.services.channels import Channels
from pilothouse_server.services.closing import Closer
from pilothouse_server.services.configuration import Configuration
from pilothouse_server.services.control import Control, ControlSignals
from pilothouse_server.services.event_tail import EventTail
from pilothouse_server.services.executors import Executors
from pilothouse_server.services.ids import uuid7
from pilothouse_server.services.ingest import Ingest
from pilothouse_server.services.metric_history import MetricHistory
from pilothouse_server.services.snapshot_desk import SnapshotDesk
from pilothouse_server.services.traces import TraceDesk
from pilothouse_server.transport.metrics import MetricsServicer
from pilothouse_server.wire.events import decode_one, encode_stored
from pilothouse_server.wire.metrics import SnapshotEncoder
from pilothouse_server.world import World


class Desks:
    """Ingest, control, and what answers from memory. The signals say that rows changed."""

    def __init__(self, settings: Settings, world: World, clock: SystemClock) -> None:
        self.world = world
        self.clock = clock
        database, told = world.database, world.signals
        # What the projector settles goes to the outbox too, so the relay looks whenever rows changed.
        self.signals = signals = ControlSignals(
            told.commands, workflows=told.projected, outbox=told.projected
        )
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
        self.traces = TraceDesk(
            SqlTraces(database, clock), decode_one, lambda: told.projected.version
        )


def _sender(settings: Settings, clock: SystemClock) -> Sender:
    """What goes out of the house. Replicas share a database and so need one key, which only a setting can give."""
    file = None if settings.database_url else settings.data_dir / KEY_FILE
    return Sender(
        Sealer(keys_of(settings.secret_key), file),
        clock.now_us,
        hosts=settings.webhook_hosts,
        external_url=settings.external_url or bridge_url(settings),
    )


def bridge_url(settings: Settings) -> str:
    """Where a bridge of this machine is reached, as far as one replica can tell."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - read, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.http_port}"
