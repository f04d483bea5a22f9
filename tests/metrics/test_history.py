"""History: the grid of a question, and how minutes and buckets are joined."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql.metrics_store import SqlMetricsStore
from pilothouse_server.adapters.sqlite_log import SqliteLog
from pilothouse_server.domain.events import EventType
from pilothouse_server.domain.metrics.checkpoint import BucketRow, Checkpoint, pack
from pilothouse_server.domain.metrics.history import MAX_POINTS, Gauges, Slice, join, plan
from pilothouse_server.domain.metrics.limits import BUCKET_US, SECOND_US
from pilothouse_server.domain.metrics.snapshot import MINUTE_US, Dimension
from pilothouse_server.services.metric_history import MetricHistory
from tests.metrics.support import T0
from tests.metrics.test_aggregate import event, leading, made, publish, running, snapshot_of

DAY_US = 24 * 60 * MINUTE_US
SPANS = st.integers(1, 40 * DAY_US)


@given(st.integers(0, T0), SPANS, st.one_of(st.none(), st.integers(1, DAY_US)), st.integers(0, T0))
def test_a_range_lies_on_its_grid_and_has_few_points(
    start: int, span: int, step: int | None, memory: int
) -> None:
    wanted = plan(start, start + span, step, memory)
    assert wanted.step_us % (BUCKET_US if start >= memory else MINUTE_US) == 0
    assert wanted.start_us % wanted.step_us == wanted.end_us % wanted.step_us == 0
    assert wanted.start_us <= start
    assert wanted.end_us >= start + span
    assert 1 <= (wanted.end_us - wanted.start_us) // wanted.step_us <= MAX_POINTS
    assert step is None or wanted.step_us >= step


def test_steps_are_sums_and_unknown_ones_are_left_out() -> None:
    wanted = plan(T0, T0 + 30 * SECOND_US, 10 * SECOND_US, T0)
    cell = (2, 1, 1, 0, ())
    seen = Gauges(0, 3, 0, 0, 0, 1, 2)
    slices = [
        Slice(T0, cell, None, covered=True),
        Slice(T0 + BUCKET_US, cell, seen, covered=True),
        Slice(T0 + 2 * BUCKET_US, (0, 0, 0, 0, ()), None, covered=False),
        Slice(T0 + 4 * BUCKET_US, (0, 0, 0, 0, ()), None, covered=True),
    ]
    points = join(slices, wanted)
    assert [point.start_us - T0 for point in points] == [0, 20 * SECOND_US]
    first, last = points
    assert (first.started, first.completed, first.failed, first.error_rate) == (4, 2, 2, 0.5)
    assert first.throughput == 0.2
    assert first.states is not None
    assert (first.states.running, first.agents_online, first.agents_known) == (3, 1, 2)
    assert (last.completed, last.error_rate, last.states) == (0, None, None)


async def test_rollups_and_memory_are_joined(log: SqliteLog, store: SqlMetricsStore) -> None:
    clock = SystemClock()
    minute = clock.now_us() // MINUTE_US
    rows = [
        BucketRow(Dimension.FLEET, "", minute - age, *pack((age, 0, 0, 0, ()), None))
        for age in (90, 100, 200)
    ]
    rows.append(BucketRow(Dimension.STAGE, "plan", minute - 100, *pack((7, 0, 0, 0, ()), None)))
    await store.save(Checkpoint("", '{"nothing": 0}', minutes=rows))
    aggregator = made(log, store)
    history = MetricHistory(leading(aggregator), store, clock)
    aggregator.keeper.recover = _nothing  # type: ignore[method-assign]
    async with running(aggregator):
        await publish(log, event(EventType.WORKFLOW_STARTED))
        await snapshot_of(aggregator, 1)
        start = (minute - 120) * MINUTE_US
        fleet = await history.query(Dimension.FLEET, "", start_us=start, step_us=MINUTE_US)
        stage = await history.query(Dimension.STAGE, "plan", start_us=start, step_us=MINUTE_US)
    assert [point.started for point in fleet.points if point.started] == [100, 90, 1]
    assert [point.started for point in stage.points[:2]] == [7, 0]


async def _nothing() -> str:
    return ""
