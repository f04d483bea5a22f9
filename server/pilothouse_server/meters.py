"""What the server says of itself at `/metrics`: counters that its parts keep, read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pilothouse_server.adapters.sql.sqlite import SqliteDatabase
from pilothouse_server.services.aggregate import Aggregator
from pilothouse_server.services.alerting import AlertEngine
from pilothouse_server.services.ingest import Ingest
from pilothouse_server.services.project import Projector
from pilothouse_server.services.relay import Relay


@dataclass(frozen=True, slots=True)
class PartsCollector(Collector):
    """The parts of one server as metrics. Names of rules are the only label, and rules are few."""

    ingest: Ingest
    projector: Projector
    relay: Relay
    database: SqliteDatabase
    aggregator: Aggregator
    alerts: AlertEngine

    def collect(self) -> Iterator[Metric]:
        """Every metric, as it is now."""
        yield from self._events()
        yield from self._reader()
        yield from self._rules()

    def _events(self) -> Iterator[Metric]:
        ingest, projector = self.ingest.counts, self.projector.counts
        yield _counter("events_accepted", "Events that were made durable.", ingest.accepted)
        yield _counter("events_rejected", "Events that were refused.", ingest.rejected)
        yield _counter(
            "projector_events", "Events that were new to the database.", projector.events
        )
        yield _counter("projector_duplicates", "Events it had before.", projector.duplicates)
        yield _counter("projector_batches", "Transactions of the projector.", projector.batches)
        yield _counter("projector_failures", "Transactions that failed.", projector.failures)
        yield _counter("projector_undecodable", "Entries passed over.", projector.undecodable)
        yield _counter("outbox_published", "Events from outbox to log.", self.relay.published)
        yield _counter("outbox_failures", "Times the log refused them.", self.relay.failures)
        yield _gauge(
            "database_waiting",
            "Transactions that wait for the writer.",
            self.database.waiting,
        )

    def _reader(self) -> Iterator[Metric]:
        snapshot = self.aggregator.latest
        if snapshot is None:
            return
        yield _counter("reader_events", "Events folded into metrics.", snapshot.totals.events)
        for name, count in snapshot.reader._asdict().items():
            yield _counter(f"reader_{name}", "As in ReaderCounters of the contract.", count)
        if snapshot.reader_lag_us is not None:
            lag = snapshot.reader_lag_us / 1_000_000
            yield _gauge("reader_lag_seconds", "How far the reader is behind the log.", lag)
        yield _gauge(
            "tick_interval_seconds",
            "Time between snapshots.",
            snapshot.tick_interval_us / 1_000_000,
        )

    def _rules(self) -> Iterator[Metric]:
        slots = CounterMetricFamily("pilothouse_rule_slots", "Evaluations.", labels=["rule"])
        missed = CounterMetricFamily("pilothouse_rule_missed", "Seconds missed.", labels=["rule"])
        errors = CounterMetricFamily("pilothouse_rule_errors", "Failures.", labels=["rule"])
        alerts = GaugeMetricFamily("pilothouse_rule_alerts", "Alerts not over.", labels=["rule"])
        for rule_id, meters in self.alerts.meters().items():
            slots.add_metric([rule_id], meters.run)
            missed.add_metric([rule_id], meters.missed)
            errors.add_metric([rule_id], meters.errors)
            alerts.add_metric([rule_id], self.alerts.live_count(rule_id))
        yield from (slots, missed, errors, alerts)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"pilothouse_{name}", text, value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"pilothouse_{name}", text, value=value)
