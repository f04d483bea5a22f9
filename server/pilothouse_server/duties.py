"""What a process does while leases are its own: the folds of a shard, and with the first one all that only one may do.

A tenure makes everything here anew. What callers turn to (desks, ingest, the verbs of control) lives in `core` as long
as the process and is told who leads.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from pilothouse_server.adapters.sql.alert_desk_store import SqlAlertRequests
from pilothouse_server.adapters.sql.alert_outbox import SqlAlertOutbox
from pilothouse_server.adapters.sql.alert_store import SqlAlerts
from pilothouse_server.adapters.sql.batch_store import SqlBatches
from pilothouse_server.adapters.sql.command_store import SqlCommands, settling
from pilothouse_server.adapters.sql.courier_store import SqlCourier
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.heartbeat_store import SqlHeartbeats
from pilothouse_server.adapters.sql.keeper_store import SqlKeeper
from pilothouse_server.adapters.sql.metrics_store import SqlMetricsStore
from pilothouse_server.adapters.sql.notifier_store import SqlNotifications
from pilothouse_server.adapters.sql.outbox_store import SqlOutbox
from pilothouse_server.adapters.sql.projection_store import SqlProjectionStore
from pilothouse_server.adapters.sql.retention_store import SqlRetention
from pilothouse_server.adapters.sql.rule_store import SqlRules
from pilothouse_server.adapters.sql.silence_store import SqlSilences
from pilothouse_server.adapters.sql.stop_store import SqlStops
from pilothouse_server.adapters.sql.trace_summaries import SqlTraceSummaries
from pilothouse_server.adapters.sql.usage_rows import noting
from pilothouse_server.adapters.sql.waiting_store import SqlWaiting
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.errors import LeaseLost, Unavailable
from pilothouse_server.domain.metrics.snapshot import FiringAlerts
from pilothouse_server.domain.notifications.composing import Link
from pilothouse_server.ports import Clock, Tenure
from pilothouse_server.services.aggregate import Aggregator
from pilothouse_server.services.alerts.desk import AlertDesk, AlertRequests
from pilothouse_server.services.alerts.engine import AlertEngine
from pilothouse_server.services.alerts.following import RuleFollower
from pilothouse_server.services.alerts.journal import AlertJournal
from pilothouse_server.services.alerts.publisher import AlertPublisher
from pilothouse_server.services.alerts.silencing import SilenceKeeper
from pilothouse_server.services.alerts.suppressor import Silenced
from pilothouse_server.services.batch_runner import BatchRunner
from pilothouse_server.services.budget_keeper import BudgetKeeper
from pilothouse_server.services.configuration import Configured
from pilothouse_server.services.control import Control, ControlSignals
from pilothouse_server.services.executors import Absence
from pilothouse_server.services.heartbeats import HeartbeatFollower
from pilothouse_server.services.ids import uuid7
from pilothouse_server.services.merging import MergedMetrics
from pilothouse_server.services.notifications.courier import Courier, Load
from pilothouse_server.services.notifications.lane import Sender
from pilothouse_server.services.notifications.notifier import Notifier
from pilothouse_server.services.posting import part_poster
from pilothouse_server.services.project import Projector, SilenceSweeper
from pilothouse_server.services.relay import Relay
from pilothouse_server.services.retention import Policy, Retention
from pilothouse_server.services.snapshot_desk import SnapshotDesk
from pilothouse_server.services.standing import Standing, reads, waits
from pilothouse_server.services.status import Look
from pilothouse_server.services.stop_runner import StopRunner
from pilothouse_server.services.tenure import Part, Parts
from pilothouse_server.services.trace_analyst import TraceAnalyst, Traces
from pilothouse_server.services.waiting import WaitingKeeper
from pilothouse_server.wire.alert_events import encode_alert_event
from pilothouse_server.wire.events import decode_signals, decode_stored, encode_events
from pilothouse_server.world import World

ALIVE_WITHIN_US = 15_000_000
"""So old at most may the newest judgement of the rules be while heartbeats say that all is well."""


@dataclass(frozen=True, slots=True)
class Common:
    """What every tenure is made of."""

    world: World
    clock: Clock
    configured: Configured
    signals: ControlSignals
    snapshots: SnapshotDesk
    alerts: AlertDesk
    alive: Callable[[], Awaitable[Collection[str]]]
    """The replicas that live."""
    traces: Traces
    policy: Callable[[], Policy]
    """What is kept, and for how long."""
    standing: Standing
    sender: Sender
    channels: Load
    link: Link
    """Where people see an alert."""


class ShardWork:
    """The folds of one shard of the log."""

    def __init__(self, common: Common, shard: int, tenure: Tenure) -> None:
        world, clock = common.world, common.clock
        database, log = world.fenced(tenure.fence), world.shards[shard]
        self.shard = shard
        self.tenure = tenure
        self.firing: Callable[[], FiringAlerts] = FiringAlerts
        self.projection = SqlProjectionStore(
            database, decode_stored, [settling(common.configured), noting(shard)], shard=shard
        )
        self.projector = Projector(log, self.projection, clock, world.signals.projected)
        self.aggregator = Aggregator(
            log,
            SqlMetricsStore(database, shard),
            decode_signals,
            clock,
            epoch=uuid7(),
            firing=self._firing,
            troubles=common.standing.troubles,
            configured=common.configured,
            shard=shard,
            shards=len(world.shards),
        )
        self._poster = part_poster(self.aggregator, world.board, tenure.fence, clock)

    def _firing(self) -> FiringAlerts:
        return self.firing()

    def parts(self) -> dict[str, Part]:
        """What runs."""
        parts: dict[str, Part] = {
            f"projector-{self.shard}": self.projector.run(),
            f"aggregator-{self.shard}": self.aggregator.run(),
        }
        if self.shard:
            parts[f"part-poster-{self.shard}"] = self._poster.run()
        return parts

    def watched(self) -> dict[str, Look]:
        """How it is, by a key for each part."""
        shard, reader = self.shard, self.aggregator
        return {
            f"lease-{shard}": waits("lease", self.tenure, shard=shard),
            f"projector-{shard}": reads("projector", self.projector, shard=shard),
            f"aggregator-{shard}": reads(
                "aggregator", reader, shard=shard, lag_us=lambda: reader.reader_lag_us
            ),
            f"checkpoints-{shard}": waits("checkpoints", reader.keeper, shard=shard),
        }


class LeadWork:
    """What only one replica may do; `first` are the folds of shard 0, which are the same tenure's."""

    def __init__(self, common: Common, first: ShardWork) -> None:
        world, clock, tenure = common.world, common.clock, first.tenure
        database, signals = world.fenced(tenure.fence), common.signals
        self.tenure = tenure
        self._shared = world.shared_database
        self.relay = Relay(SqlOutbox(database), world.intake, encode_events, clock, signals.outbox)
        self.publisher = self._publishing(common)
        alerts = SqlAlerts(database, published=self.publisher is not None)
        self.journal = AlertJournal(
            alerts,
            clock,
            world.signals.alerted,
            signals.outbox,
            world.signals.alert_requests,
            notifications=world.signals.notifications,
        )
        self._quiet = Silenced()
        self._silences = SilenceKeeper(
            SqlSilences(database),
            self._quiet,
            clock,
            world.signals.silences,
            world.signals.alerted,
        )
        self._heartbeats = HeartbeatFollower(
            SqlHeartbeats(database),
            clock,
            world.signals.heartbeats,
            alone=not world.shared_database,
        )
        self.alerts = AlertEngine(
            alerts,
            self.journal,
            clock,
            uuid7,
            heartbeats=self._heartbeats.due,
            configured=common.configured,
            suppressor=self._quiet,
        )
        self.requests = AlertRequests(
            SqlAlertRequests(database), self.alerts, clock, world.signals.alert_requests
        )
        self._rules = RuleFollower(SqlRules(database), self, clock, world.signals.rules)
        self.merged = self._merging(common, first)
        self.snapshots = self.merged or first.aggregator
        self.snapshots.subscribe_ticks(self.alerts.tick)
        self.notifier, self.courier = self._notifying(common)
        self._steer(common, database)
        self.retention = Retention(
            SqlRetention(database), dict(enumerate(world.shards)), clock, common.policy
        )
        self._analyst = TraceAnalyst(SqlTraceSummaries(database), common.traces, clock)
        self._sweeper = SilenceSweeper(
            first.projection, clock, world.signals.projected, common.configured
        )

    def _steer(self, common: Common, database: Database) -> None:
        """Who carries out what people asked of engines."""
        world, clock, signals = common.world, common.clock, common.signals
        self._commands = Control(SqlCommands(database), clock, signals, uuid7, common.configured)
        self._batches = BatchRunner(
            SqlBatches(database, clock),
            clock,
            signals,
            world.signals.batches,
            new_id=uuid7,
            configured=common.configured,
        )
        self._stops = StopRunner(
            SqlStops(database),
            clock,
            changes=world.signals.stops,
            signals=signals,
            new_id=uuid7,
            configured=common.configured,
        )
        self._waiting = WaitingKeeper(
            SqlWaiting(database), clock, world.signals.projected, common.configured
        )
        self._budgets = BudgetKeeper(SqlKeeper(database), clock, signals, common.configured)
        self._absence = Absence(SqlCommands(database), common.alive, clock, signals)

    def _publishing(self, common: Common) -> AlertPublisher | None:
        """Who tells the stream of alerts, where there is one."""
        world = common.world
        if world.alert_stream is None:
            return None
        return AlertPublisher(
            SqlAlertOutbox(world.fenced(self.tenure.fence)),
            world.alert_stream,
            encode_alert_event,
            common.clock,
            world.signals.alerted,
            fence=self.tenure.fence,
        )

    def _merging(self, common: Common, first: ShardWork) -> MergedMetrics | None:
        """Who makes one picture of all shards; a single shard is the whole of it."""
        world = common.world
        if len(world.shards) == 1:
            first.firing = lambda: self.alerts.firing
            return None
        return MergedMetrics(
            first.aggregator,
            world.board,
            common.clock,
            shards=len(world.shards),
            epoch=uuid7(),
            firing=lambda: self.alerts.firing,
            troubles=common.standing.troubles,
        )

    def _notifying(self, common: Common) -> tuple[Notifier, Courier]:
        """Who decides what is told, and who carries it out of the house."""
        world, clock = common.world, common.clock
        database, told = world.fenced(self.tenure.fence), world.signals

        def wake(channel_ids: Collection[str]) -> None:
            courier.wake(channel_ids)

        notifier = Notifier(
            SqlNotifications(database),
            clock,
            told.notifications,
            wake,
            common.link,
        )
        courier = Courier(
            SqlCourier(database),
            common.sender,
            common.channels,
            clock,
            changes=(told.deliveries, told.channels),
            alive=lambda: (
                not notifier.waiting_for
                and clock.now_us() - self.alerts.judged_us < ALIVE_WITHIN_US
            ),
            ended=lambda channel_id, key, id: notifier.ended((channel_id, key), id),
            look_again=notifier.look_again,
        )
        return notifier, courier

    async def start(self) -> None:
        """Takes up what was stored, silences too: an alert that was kept quiet by the lead before is so from the first
        slot on. Raises Unavailable."""
        await self._heartbeats.start()
        await self.alerts.start()
        self._quiet.apply(self.alerts.rules())
        await self._silences.look()

    def apply(self, rules: Sequence[Rule], ts_us: int) -> None:
        """From now on these are the rules."""
        self._quiet.apply(rules)
        self.alerts.apply(rules, ts_us)

    def parts(self) -> dict[str, Part]:
        """What runs."""
        parts: dict[str, Part] = {
            "relay": self.relay.run(),
            "heartbeats": self._heartbeats.run(),
            "alert-journal": self.journal.run(),
            "notifier": self.notifier.run(),
            "courier": self.courier.run(),
            "rule-follower": self._rules.run(),
            "silence-keeper": self._silences.run(),
            "command-sweeper": self._commands.run(),
            "batches": self._batches.run(),
            "emergency-stops": self._stops.run(),
            "silence-sweeper": self._sweeper.run(),
            "waiting-keeper": self._waiting.run(),
            "budget-keeper": self._budgets.run(),
            "retention": self.retention.run(),
            "trace-analyst": self._analyst.run(),
        }
        if self._shared:
            # Alone there is nobody who asks through the database, and nobody who could be gone.
            parts["alert-requests"] = self.requests.run()
            parts["executor-absence"] = self._absence.run()
        if self.publisher is not None:
            parts["alert-publisher"] = self.publisher.run()
        if self.merged is not None:
            parts["merger"] = self.merged.run()
        return parts

    def watched(self) -> dict[str, Look]:
        """How it is, by a key for each part."""
        looks: dict[str, Look] = {
            "relay": waits("relay", self.relay),
            "notifier": waits("notifier", self.notifier),
            "courier": waits("courier", self.courier),
            "heartbeats": waits("heartbeats", self._heartbeats),
            "retention": waits("retention", self.retention),
            "trace-analyst": waits("trace-analyst", self._analyst),
            "batches": waits("batches", self._batches),
            "emergency-stops": waits("emergency-stops", self._stops),
        }
        if self.publisher is not None:
            looks["alert-publisher"] = waits("alert-publisher", self.publisher)
        return looks


@dataclass(slots=True)
class Duties:
    """What is being done now: of each shard whose lease is ours, and of the lead."""

    common: Common
    shards: dict[int, ShardWork] = field(default_factory=dict[int, ShardWork])
    lead: LeadWork | None = None

    @asynccontextmanager
    async def of_shard(self, shard: int, tenure: Tenure) -> AsyncGenerator[Parts]:
        """One tenure of a shard."""
        work = self.shards[shard] = ShardWork(self.common, shard, tenure)
        watched = work.watched()
        for key, look in watched.items():
            self.common.standing.watch(key, look)
        try:
            if shard:
                yield work.parts()
            else:
                async with self._leading(work) as parts:
                    yield work.parts() | parts
        finally:
            for key in watched:
                self.common.standing.leave(key)
            del self.shards[shard]

    @asynccontextmanager
    async def _leading(self, first: ShardWork) -> AsyncGenerator[dict[str, Part]]:
        lead, snapshots = LeadWork(self.common, first), self.common.snapshots
        await lead.start()
        snapshots.lead(lead.snapshots, first.tenure.fence, first.tenure.surrender)
        self.lead = lead
        watched = lead.watched()
        for key, look in watched.items():
            self.common.standing.watch(key, look)
        try:
            with self.common.alerts.leading(lead.alerts):
                yield lead.parts()
        finally:
            for key in watched:
                self.common.standing.leave(key)
            self.lead = None
            snapshots.follow()
            # What cannot be stored is decided again, by whoever leads next.
            with contextlib.suppress(Unavailable, LeaseLost):
                await lead.journal.flush()
