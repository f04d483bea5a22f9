"""What the server says of itself at `/metrics`: counters that its parts keep, read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pilothouse_server.adapters.redis_log import RedisLog
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.postgres import PostgresDatabase
from pilothouse_server.adapters.sqlite_log import SqliteLog
from pilothouse_server.domain.metrics.snapshot import MetricsSnapshot
from pilothouse_server.duties import Duties, LeadWork, ShardWork
from pilothouse_server.ports import ShardLog
from pilothouse_server.services.alerts.limits import RuleMeters
from pilothouse_server.services.event_tail import EventTail
from pilothouse_server.services.ingest import Ingest
from pilothouse_server.world import World


@dataclass(frozen=True, slots=True, eq=False)
class PartsCollector(Collector):
    """The parts of one server as metrics. Labels are the shards of the log and the names of rules: both are few. What
    another replica does is not here: ask that one."""

    ingest: Ingest
    duties: Duties
    world: World
    tail: EventTail

    def collect(self) -> Iterator[Metric]:
        """Every metric, as it is now."""
        ingest, lead = self.ingest.counts, self.duties.lead
        yield _counter("events_accepted", "Events that were made durable.", ingest.accepted)
        yield _counter("events_rejected", "Events that were refused.", ingest.rejected)
        yield _gauge(
            "database_waiting",
            "Transactions that wait for the writer.",
            self.world.database.waiting,
        )
        yield from _connections(self.world.database)
        yield _gauge("leading", "Whether this replica leads.", int(lead is not None))
        yield _gauge("replicas", "Replicas that live.", len(self.world.replicas()))
        yield from _watchers(self.tail)
        yield from _shards(self.duties.shards)
        yield from _logs(self.world.shards)
        if lead is not None:
            yield from _lead(lead)
            yield from _rules(lead)
            yield from _notifications(lead)


def _connections(database: Database) -> Iterator[Metric]:
    if not isinstance(database, PostgresDatabase):
        return
    counts = database.counts
    yield _counter("database_refused", "Calls when too many were waiting.", counts.refused)
    yield _counter("database_repeated", "Transactions that lost against others.", counts.repeated)
    yield _counter("database_broken", "Connections that broke in use.", counts.broken)
    yield _counter("database_cut", "Connections cut for want of an answer.", counts.cut)


def _watchers(tail: EventTail) -> Iterator[Metric]:
    (kept, kept_bytes), counts = tail.kept, tail.counts
    yield _gauge("event_watchers", "Watches of events.", tail.watchers)
    yield _gauge("event_tail_events", "Newest events kept for them.", kept)
    yield _gauge("event_tail_bytes", "What those take, nearly.", kept_bytes)
    yield _counter("event_tail_read", "Events read for them.", counts.events)
    yield _counter("event_tail_asked", "Filters asked about one of these.", counts.asked)
    yield _counter("event_watchers_behind", "Times that one fell behind.", counts.behind)
    yield _counter("event_tail_failures", "Times that reading failed.", counts.failures)


_SHARD = (
    ("projector_events", "Events that were new to the database.", "events"),
    ("projector_duplicates", "Events it had before.", "duplicates"),
    ("projector_batches", "Transactions of the projector.", "batches"),
    ("projector_failures", "Transactions that failed.", "failures"),
    ("projector_undecodable", "Entries passed over.", "undecodable"),
    ("projector_beyond_horizon", "Events older than those that are kept.", "beyond_horizon"),
)


def _shards(shards: dict[int, ShardWork]) -> Iterator[Metric]:
    """Of each shard whose lease is ours."""
    for name, text, field in _SHARD:
        counter = CounterMetricFamily(f"pilothouse_{name}", text, labels=["shard"])
        for shard, work in shards.items():
            counter.add_metric([str(shard)], getattr(work.projector.counts, field))
        yield counter
    lag = GaugeMetricFamily(
        "pilothouse_shard_lag_seconds", "How far the reader is behind the log.", labels=["shard"]
    )
    for shard, work in shards.items():
        if (lag_us := work.aggregator.reader_lag_us) is not None:
            lag.add_metric([str(shard)], lag_us / 1_000_000)
    yield lag


_LOG = (
    ("entries", "Entries read from the log."),
    ("foreign", "Those among them that other producers wrote."),
    ("dead", "Entries that could not be read, wholly or in part."),
    ("forwarded", "Entries passed on to other shards."),
    ("reconnects", "Times that the log could not be read."),
    ("rewound", "Times that the log had lost what was read from it."),
    ("gaps", "Gaps that a reader met: entries removed unread."),
    ("missed", "Entries missing in them."),
    ("unread", "Entries removed unread because the log was over its cap."),
)


def _logs(logs: Sequence[ShardLog]) -> Iterator[Metric]:
    """Of each shard of the log, what its reader in this process met."""
    for name, text in _LOG:
        counter = CounterMetricFamily(f"pilothouse_log_{name}", text, labels=["shard"])
        for shard, log in enumerate(logs):
            if isinstance(log, RedisLog | SqliteLog) and hasattr(log.counts, name):
                counter.add_metric([str(shard)], getattr(log.counts, name))
        if counter.samples:
            yield counter


def _lead(lead: LeadWork) -> Iterator[Metric]:
    yield _counter("outbox_published", "Events from outbox to log.", lead.relay.published)
    yield _counter("outbox_failures", "Times the log refused them.", lead.relay.failures)
    if lead.publisher is not None:
        yield _counter("alert_steps_published", "In alerts:events.", lead.publisher.published)
        yield _counter("alert_steps_dropped", "Waited too long.", lead.publisher.dropped)
    counts = lead.retention.counts
    removed = CounterMetricFamily(
        "pilothouse_retention_removed", "Rows that were too old.", labels=["kind"]
    )
    for kind, number in counts.removed.items():
        removed.add_metric([str(kind)], number)
    yield removed
    yield _counter("retention_trimmed", "Entries of the log that were too old.", counts.trimmed)
    yield _counter("retention_failures", "Times that removing failed.", counts.failures)
    if counts.last_run_us:
        last_run = counts.last_run_us / 1_000_000
        yield _gauge("retention_last_run_seconds", "When it last did all it had to.", last_run)
    kept = lead.retention.kept
    if kept is not None and kept.oldest_event_us is not None:
        oldest = kept.oldest_event_us / 1_000_000
        yield _gauge("events_kept", "Events in the database.", kept.events)
        yield _gauge("oldest_event_seconds", "When the oldest of them was received.", oldest)
    snapshot = lead.snapshots.latest
    if snapshot is not None:
        yield from _reader(snapshot)


def _reader(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    yield _counter("reader_events", "Events folded into metrics.", snapshot.totals.events)
    for name, count in snapshot.reader._asdict().items():
        yield _counter(f"reader_{name}", "As in ReaderCounters of the contract.", count)
    if snapshot.reader_lag_us is not None:
        lag = snapshot.reader_lag_us / 1_000_000
        yield _gauge("reader_lag_seconds", "How far the reader is behind the log.", lag)
    yield _gauge(
        "tick_interval_seconds", "Time between snapshots.", snapshot.tick_interval_us / 1_000_000
    )


def _notifications(lead: LeadWork) -> Iterator[Metric]:
    """By channel, of which there are at most a few hundred."""
    yield _counter("notifications_gathered", "Intents gathered.", lead.notifier.gathered)
    yield _counter("notifications_store_failures", "Times it failed.", lead.notifier.failures)
    yield _gauge("notification_groups", "Groups of alerts.", lead.notifier.groups)
    delivered, failed, dead = (
        CounterMetricFamily(f"pilothouse_notifications_{name}", text, labels=["channel"])
        for name, text in (
            ("delivered", "Notifications that arrived."),
            ("failed", "Tries that failed."),
            ("dead", "Notifications that were given up."),
        )
    )
    waiting = GaugeMetricFamily(
        "pilothouse_notifications_waiting", "Notifications to be sent.", labels=["channel"]
    )
    for channel_id, meters in lead.courier.meters().items():
        delivered.add_metric([channel_id], meters.delivered)
        failed.add_metric([channel_id], meters.failed)
        dead.add_metric([channel_id], meters.dead)
    for channel_id, count in lead.notifier.waiting().items():
        waiting.add_metric([channel_id], count)
    yield from (delivered, failed, dead, waiting)


def _rules(lead: LeadWork) -> Iterator[Metric]:
    """As many series as there are rules."""
    counters = [
        CounterMetricFamily(f"pilothouse_rule_{name}", text, labels=["rule"])
        for name, text, _ in _OF_RULES
    ]
    alerts = GaugeMetricFamily("pilothouse_rule_alerts", "Alerts not over.", labels=["rule"])
    seen = GaugeMetricFamily("pilothouse_rule_instances", "Instances seen.", labels=["rule"])
    last = GaugeMetricFamily(
        "pilothouse_rule_last_duration_seconds", "The newest evaluation.", labels=["rule"]
    )
    for rule_id, meters in lead.alerts.meters().items():
        for counter, (_, _, value) in zip(counters, _OF_RULES, strict=True):
            counter.add_metric([rule_id], value(meters))
        alerts.add_metric([rule_id], lead.alerts.live_count(rule_id))
        seen.add_metric([rule_id], meters.instances)
        last.add_metric([rule_id], meters.last_us / 1_000_000)
    yield from (*counters, alerts, seen, last)


_OF_RULES: tuple[tuple[str, str, Callable[[RuleMeters], float]], ...] = (
    ("slots", "Evaluations.", lambda meters: meters.run),
    ("missed", "Seconds missed.", lambda meters: meters.missed),
    ("errors", "Failures.", lambda meters: meters.errors),
    ("refused", "Instances over the limit that were refused.", lambda meters: meters.refused),
    ("cut", "Evaluations that took too long for one slot.", lambda meters: meters.cut),
    ("duration_seconds", "Time spent on it.", lambda meters: meters.total_us / 1_000_000),
)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"pilothouse_{name}", text, value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"pilothouse_{name}", text, value=value)
