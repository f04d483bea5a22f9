"""MetricsService over a real channel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from pilothouse.v1 import metrics_pb2 as pb
from pilothouse.v1 import metrics_pb2_grpc
from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql.metrics_store import SqlMetricsStore
from pilothouse_server.adapters.sqlite_log import SqliteLog
from pilothouse_server.domain.events import EventType
from pilothouse_server.domain.metrics.snapshot import Dimension
from pilothouse_server.services.aggregate import Aggregator
from pilothouse_server.services.metric_history import MetricHistory
from pilothouse_server.services.snapshot_desk import SnapshotDesk
from pilothouse_server.transport.metrics import MetricsServicer
from pilothouse_server.wire.events import decode_signals
from pilothouse_server.wire.metrics import SnapshotEncoder, snapshot_to_proto
from tests.metrics.test_aggregate import event, publish, snapshot_of
from tests.support import wait_until

CLOCK = SystemClock()


@dataclass
class Served:
    aggregator: Aggregator
    stub: metrics_pb2_grpc.MetricsServiceAsyncStub
    servicer: MetricsServicer
    task: asyncio.Task[None] | None = None

    def run(self) -> None:
        self.task = asyncio.create_task(self.aggregator.run())


@pytest.fixture
async def served(log: SqliteLog, store: SqlMetricsStore) -> AsyncIterator[Served]:
    aggregator = Aggregator(log, store, decode_signals, CLOCK, epoch="e1")
    desk = SnapshotDesk(SnapshotEncoder(), CLOCK)
    desk.lead(aggregator)
    servicer = MetricsServicer(desk, MetricHistory(desk, store, CLOCK), CLOCK)
    server = grpc.aio.server()
    servicer.add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        served = Served(aggregator, metrics_pb2_grpc.MetricsServiceStub(channel), servicer)
        yield served
        if served.task is not None:
            served.task.cancel()
            await asyncio.gather(served.task, return_exceptions=True)
    await server.stop(0)


async def test_the_bytes_are_those_of_the_message(log: SqliteLog, served: Served) -> None:
    served.run()
    await publish(
        log,
        event(EventType.WORKFLOW_STARTED, 5, workflow_type="build"),
        event(EventType.WORKFLOW_FAILED, 0, workflow_type="build"),
    )
    snapshot = await snapshot_of(served.aggregator, 2)
    encoder = SnapshotEncoder()
    steps = encoder.steps(snapshot)
    for _ in steps:
        pass
    encoded = encoder.known(snapshot)
    assert encoded is not None
    assert pb.GetMetricsResponse.FromString(encoded).snapshot == snapshot_to_proto(snapshot)
    answer = await served.stub.GetMetrics(pb.GetMetricsRequest())
    assert answer.snapshot.totals.failed == 1
    assert answer.snapshot.series[0].windows[0].error_rate == 1
    assert not answer.snapshot.series[0].windows[0].HasField("throughput")
    assert [window.window.seconds for window in answer.snapshot.series[0].windows] == [
        60,
        300,
        900,
        3600,
    ]


async def test_a_subscription_shows_the_newest_on_its_grid(log: SqliteLog, served: Served) -> None:
    served.run()
    await snapshot_of(served.aggregator, 0)
    begun = time.monotonic()
    call = served.stub.SubscribeMetrics(
        pb.SubscribeMetricsRequest(interval=Duration(nanos=250_000_000))
    )
    sequences: list[int] = []
    async for answer in call:
        sequences.append(answer.snapshot.sequence)
        await publish(log, event(EventType.LOG))
        if len(sequences) >= 5 and sequences[-1] > sequences[0]:
            break
    call.cancel()
    assert time.monotonic() - begun >= 1.0
    assert sequences == sorted(sequences)


class HandClock(SystemClock):
    """Seconds pass while somebody sleeps, and when a test says so."""

    at = 100.0

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


async def test_the_grid_begins_with_the_call_and_points_that_were_missed_are_left_out(
    log: SqliteLog, store: SqlMetricsStore, served: Served
) -> None:
    served.run()
    await snapshot_of(served.aggregator, 0)
    clock, desk = HandClock(), SnapshotDesk(SnapshotEncoder(), CLOCK)
    desk.lead(served.aggregator)
    servicer = MetricsServicer(desk, MetricHistory(desk, store, CLOCK), clock)
    answers = servicer.SubscribeMetrics(
        pb.SubscribeMetricsRequest(interval=Duration(nanos=250_000_000)),
        None,  # type: ignore[arg-type]
    )
    came: list[float] = []
    for late in (0.0, 0.0, 0.1, 0.6, 0.25):
        await anext(answers)
        came.append(clock.at - 100.0)
        clock.at += late
    await anext(answers)
    assert [*came, clock.at - 100.0] == [0.0, 0.25, 0.5, 0.75, 1.5, 2.0]
    await answers.aclose()  # type: ignore[attr-defined]


async def test_a_slow_reader_is_shown_the_newest(log: SqliteLog, served: Served) -> None:
    served.run()
    await snapshot_of(served.aggregator, 0)
    answers = served.servicer.SubscribeMetrics(
        pb.SubscribeMetricsRequest(interval=Duration(nanos=250_000_000)),
        None,  # type: ignore[arg-type]
    )
    await anext(answers)
    for number in range(3):
        await publish(log, event(EventType.LOG, number))
        await snapshot_of(served.aggregator, number + 1)
    newest = pb.SubscribeMetricsResponse.FromString(await anext(answers)).snapshot
    assert newest.totals.events == 3
    await answers.aclose()  # type: ignore[attr-defined]


async def test_history_is_answered(log: SqliteLog, served: Served) -> None:
    served.run()
    await publish(log, event(EventType.WORKFLOW_STARTED, 1), event(EventType.WORKFLOW_COMPLETED))
    await snapshot_of(served.aggregator, 2)
    await wait_until(lambda: served.aggregator.gauges.of(Dimension.FLEET, ""))
    answer = await served.stub.QueryMetrics(pb.QueryMetricsRequest(step=Duration(seconds=60)))
    assert answer.step.seconds == 60
    assert sum(point.completed for point in answer.points) == 1
    # A minute may have begun since.
    assert [point.latency.count for point in answer.points if point.completed] == [1]
    assert answer.points[-1].states.running == 0
    assert answer.points[-1].HasField("agents_known")
