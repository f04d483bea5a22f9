"""Snapshots and history of metrics → the contract. A snapshot becomes bytes once, however many ask for it.

A message is the concatenation of its fields, so a snapshot is its head and the bytes of its series; a series
that has not changed since the snapshot before is the same object there, and its bytes are used again.
"""

from __future__ import annotations

from collections.abc import Generator

from google.protobuf.duration_pb2 import Duration

from pilothouse.v1 import metrics_pb2 as pb
from pilothouse_server.domain.metrics.history import MetricPoint
from pilothouse_server.domain.metrics.snapshot import (
    Dimension,
    LatencySummary,
    MetricsSnapshot,
    SeriesMetrics,
    StateCounts,
    WindowMetrics,
)
from pilothouse_server.services.metric_history import History
from pilothouse_server.wire.times import duration, optional_duration, timestamp

_SERIES = pb.MetricsSnapshot.DESCRIPTOR.fields_by_name["series"].number
_SNAPSHOT = pb.GetMetricsResponse.DESCRIPTOR.fields_by_name["snapshot"].number
_LENGTH_DELIMITED = 2
BILLION = 1_000_000_000


class SnapshotEncoder:
    """Bytes of a response with the newest snapshot: GetMetricsResponse and SubscribeMetricsResponse are the
    same on the wire.
    """

    def __init__(self) -> None:
        self._encoded: tuple[str, int, int, bytes] = ("", 0, 0, b"")
        """Epoch, sequence, slot, bytes."""
        self._series: dict[tuple[Dimension, str], tuple[SeriesMetrics, bytes]] = {}

    def known(self, snapshot: MetricsSnapshot) -> bytes | None:
        """The bytes of this snapshot, when they have been made and no newer since."""
        epoch, sequence, _, encoded = self._encoded
        return encoded if (epoch, sequence) == (snapshot.epoch, snapshot.sequence) else None

    def nearly(self, snapshot: MetricsSnapshot, within_us: int) -> bytes | None:
        """The newest bytes that were made, when they are of a slot at most that much before this snapshot's."""
        epoch, _, slot_us, encoded = self._encoded
        near = epoch == snapshot.epoch and snapshot.as_of_us - slot_us <= within_us
        return encoded if near else None

    def steps(self, snapshot: MetricsSnapshot) -> Generator[None, None, bytes]:
        """Makes the bytes, yielding after each series that changed."""
        made: dict[tuple[Dimension, str], tuple[SeriesMetrics, bytes]] = {}
        parts = [head_to_proto(snapshot).SerializeToString()]
        for key, series in snapshot.by_key.items():
            before = self._series.get(key)
            if before is not None and before[0] is series:
                made[key] = before
            else:
                encoded = series_to_proto(series).SerializeToString()
                made[key] = (series, _tagged(_SERIES, encoded))
                yield
            parts.append(made[key][1])
        response = _tagged(_SNAPSHOT, b"".join(parts))
        self._series = made
        if snapshot.epoch != self._encoded[0] or snapshot.sequence > self._encoded[1]:
            self._encoded = (snapshot.epoch, snapshot.sequence, snapshot.as_of_us, response)
        return response


def _tagged(field: int, encoded: bytes) -> bytes:
    return _varint(field << 3 | _LENGTH_DELIMITED) + _varint(len(encoded)) + encoded


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def head_to_proto(snapshot: MetricsSnapshot) -> pb.MetricsSnapshot:
    """Everything but the series."""
    state, reasons, score = snapshot.health
    return pb.MetricsSnapshot(
        sequence=snapshot.sequence,
        epoch=snapshot.epoch,
        as_of_time=timestamp(snapshot.as_of_us),
        cursor=snapshot.cursor,
        reader_lag=optional_duration(snapshot.reader_lag_us),
        health=pb.FleetHealth(state=pb.HealthState.ValueType(state), reasons=reasons, score=score),
        totals=pb.MetricTotals(**snapshot.totals._asdict()),
        agents=pb.AgentCounts(
            online=snapshot.agents.online,
            busy=snapshot.agents.busy,
            draining=snapshot.agents.draining,
            known=snapshot.agents.known,
        ),
        reader=pb.ReaderCounters(**snapshot.reader._asdict()),
        tick_interval=duration(snapshot.tick_interval_us),
        start_time=timestamp(snapshot.start_us),
        events_per_second=snapshot.events_per_second,
    )


def snapshot_to_proto(snapshot: MetricsSnapshot) -> pb.MetricsSnapshot:
    """All of it as a message."""
    message = head_to_proto(snapshot)
    message.series.extend(series_to_proto(series) for series in snapshot.series)
    return message


def series_to_proto(series: SeriesMetrics) -> pb.MetricSeries:
    """The windows of one series."""
    return pb.MetricSeries(
        dimension=pb.MetricDimension.ValueType(series.dimension),
        name=series.name,
        states=states_to_proto(series.states),
        windows=[_window(window) for window in series.windows],
    )


def _window(window: WindowMetrics) -> pb.WindowMetrics:
    return pb.WindowMetrics(
        window=duration(window.window_us),
        started=max(window.started, 0),
        completed=max(window.completed, 0),
        failed=max(window.failed, 0),
        cancelled=max(window.cancelled, 0),
        throughput=window.throughput,
        error_rate=window.error_rate,
        success_rate=window.success_rate,
        latency=latency_to_proto(window.latency),
    )


def states_to_proto(states: StateCounts | None) -> pb.StateCounts | None:
    """How many workflows are in each state; absent for None."""
    return None if states is None else pb.StateCounts(**states._asdict())


def latency_to_proto(latency: LatencySummary | None) -> pb.LatencySummary | None:
    """Percentiles and mean, to the nanosecond; absent for None."""
    if latency is None:
        return None
    return pb.LatencySummary(
        count=latency.count,
        p50=_precise(latency.p50_us),
        p95=_precise(latency.p95_us),
        p99=_precise(latency.p99_us),
        mean=_precise(latency.mean_us),
    )


def _precise(us: float) -> Duration:
    seconds, nanos = divmod(round(us * 1000), BILLION)
    return Duration(seconds=seconds, nanos=nanos)


def history_to_proto(history: History) -> pb.QueryMetricsResponse:
    """The answer to a question about the past."""
    return pb.QueryMetricsResponse(
        points=[_point(point) for point in history.points],
        step=duration(history.range.step_us),
        start_time=timestamp(history.range.start_us),
        end_time=timestamp(history.range.end_us),
    )


def _point(point: MetricPoint) -> pb.MetricPoint:
    return pb.MetricPoint(
        start_time=timestamp(point.start_us),
        started=point.started,
        completed=point.completed,
        failed=point.failed,
        cancelled=point.cancelled,
        throughput=point.throughput,
        error_rate=point.error_rate,
        latency=latency_to_proto(point.latency),
        states=states_to_proto(point.states),
        agents_online=point.agents_online,
        agents_known=point.agents_known,
    )
