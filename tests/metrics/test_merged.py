"""However the log is divided, the merged snapshot is that of one reader; and what is missing is said."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pilothouse_server.domain.events import EventType, Signal
from pilothouse_server.domain.metrics.fold import MetricsState
from pilothouse_server.domain.metrics.limits import SECOND_US, Limits
from pilothouse_server.domain.metrics.merged import PartMerger
from pilothouse_server.domain.metrics.part import PartMaker
from pilothouse_server.domain.metrics.part_codec import NotAPart, PartDecoder, PartEncoder
from pilothouse_server.domain.metrics.snapshot import OTHER, Dimension, HealthState
from tests.metrics.parts import gathering, merged, part_of, split
from tests.metrics.streams import untidy_log
from tests.metrics.support import T0, folded, made, run, signal, signals

E = EventType
MANY = settings(max_examples=60, deadline=None)
pytestmark = pytest.mark.timeout(300)


def assert_the_same(events: list[Signal], shards: int, after: float = 0.0) -> None:
    whole = folded(*events)
    expected = made(whole, after=after)
    states = [folded(*part) for part in split(events, shards)]
    shown = merged(states, expected.as_of_us)
    cursors = ",".join(f"{shard}:c{shard}" for shard in range(shards))
    assert shown == replace(expected, cursor=cursors, tick_interval_us=100_000)


@MANY
@given(st.lists(signals(), max_size=40), st.integers(1, 4), st.integers(0, 4000))
def test_parts_of_any_events_merge_to_the_snapshot_of_the_whole(
    events: list[Signal], shards: int, after: int
) -> None:
    assert_the_same(events, shards, after)


@pytest.mark.parametrize("shards", [2, 3, 5])
def test_a_long_untidy_log_merges_to_the_snapshot_of_the_whole(shards: int) -> None:
    log = untidy_log(shards, workflows=60, minutes=10)
    assert_the_same(log, shards)


def test_parts_made_one_after_another_are_those_made_at_once() -> None:
    log = untidy_log(7, workflows=60, minutes=20)
    whole, states = MetricsState(), [MetricsState() for _ in range(3)]
    makers = [PartMaker(shard, 0) for shard in range(3)]
    merger = PartMerger("epoch", 0)
    for place in range(0, len(log), 150):
        piece = log[place : place + 150]
        whole.fold(piece)
        for state, mine in zip(states, split(piece, 3), strict=True):
            state.fold(mine)
        expected = made(whole)
        parts = [
            part_of(state, shard, expected.as_of_us, makers[shard])
            for shard, state in enumerate(states)
        ]
        shown = run(merger.steps(gathering(parts)))
        assert shown.series == expected.series
        assert (shown.agents, shown.agents_seen) == (expected.agents, expected.agents_seen)
        assert shown.totals == expected.totals


def test_what_did_not_change_is_the_same_object_and_the_same_bytes() -> None:
    state = folded(signal(E.WORKFLOW_STARTED, 0, kind="build"))
    maker, encoder, decoder = PartMaker(1, 0), PartEncoder(), PartDecoder()
    merger = PartMerger("epoch", 0)

    def shown() -> tuple[object, object]:
        part = part_of(state, 1, state.clock_us, maker)
        sent = run(decoder.steps(run(encoder.steps(part))))
        snapshot = run(merger.steps(replace(gathering([sent]), shards=1)))
        key = Dimension.WORKFLOW_TYPE, "build"
        return sent.series[key], snapshot.by_key[key]

    before = shown()
    state.fold([signal(E.WORKFLOW_STARTED, 1, "w2", kind="deploy")])
    after = shown()
    assert after[0] is before[0]
    assert after[1] is before[1]


def names(prefix: str, count: int, at: float = 0) -> list[Signal]:
    return [
        signal(E.STAGE_COMPLETED, at, f"{prefix}{number}", stage=f"{prefix}{number:03}")
        for number in range(count)
    ]


def stages(snapshot_of: list[list[Signal]], limits: Limits) -> dict[str, int]:
    """Stages that completed in the last hour, by the name under which they are shown."""
    states: list[MetricsState] = []
    for mine in snapshot_of:
        state = MetricsState(limits)
        state.fold(mine)
        states.append(state)
    shown = merged(states, max(state.clock_us for state in states), limits)
    return {
        series.name: series.windows[-1].completed
        for series in shown.series
        if series.dimension == Dimension.STAGE
    }


FIVE = Limits(names=dict.fromkeys(list(Dimension)[1:], 5))


def test_names_over_the_limit_are_counted_together() -> None:
    counted = stages([names("a", 4), names("b", 4)], FIVE)
    assert counted == {"a000": 1, "a001": 1, "a002": 1, "a003": 1, "b000": 1, OTHER: 3}


def test_a_name_that_a_shard_refused_is_not_shown_in_part() -> None:
    common = [signal(E.STAGE_COMPLETED, 1, "w", stage="common")]
    counted = stages([[*common, *names("a", 2)], [*names("b", 5), *common]], FIVE)
    assert "common" not in counted
    assert counted[OTHER] >= 2
    assert sum(counted.values()) == 2 + 2 + 5
    assert len(counted) == 5 + 1


@MANY
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), max_size=80))
@example([(n % 13, n % 3) for n in range(80)])
def test_a_dimension_adds_up_and_a_shown_name_is_complete(seen: list[tuple[int, int]]) -> None:
    logs: list[list[Signal]] = [[], [], []]
    expected: dict[str, int] = {}
    for number, (name, shard) in enumerate(seen):
        stage = f"s{name}"
        logs[shard].append(signal(E.STAGE_COMPLETED, 1, f"w{number}", stage=stage))
        expected[stage] = expected.get(stage, 0) + 1
    counted = stages(logs, FIVE) if seen else {}
    other = counted.pop(OTHER, 0)
    assert len(counted) <= 5
    assert all(expected[name] == count for name, count in counted.items())
    assert sum(counted.values()) + other == len(seen)


def test_a_name_that_is_shown_stays_when_others_come() -> None:
    one, two = MetricsState(FIVE), MetricsState(FIVE)
    merger = PartMerger("epoch", 0, FIVE)

    def shown() -> set[str]:
        at = max(one.clock_us, two.clock_us)
        parts = [part_of(one, 0, at), part_of(two, 1, at)]
        snapshot = run(merger.steps(gathering(parts)))
        return {name for dimension, name in snapshot.by_key if dimension == Dimension.STAGE}

    one.fold(names("m", 5))
    assert len(before := shown()) == 5
    two.fold(names("a", 3, 1))
    assert shown() == {*before, OTHER}


def test_a_late_shard_is_named_and_counts_where_it_still_reaches() -> None:
    early = folded(signal(E.WORKFLOW_COMPLETED, 0, "w0"), signal(E.AGENT_HEARTBEAT, 0, agent="a1"))
    late = part_of(early, 1, early.clock_us)
    now = T0 + 90 * SECOND_US
    timely = part_of(folded(signal(E.WORKFLOW_COMPLETED, 90, "w1")), 0, now)
    shown = run(PartMerger("e", 0).steps(gathering([timely, late], now_us=now)))
    assert [window.completed for window in shown.fleet.windows] == [1, 2, 2, 2]
    assert shown.totals.completed == 2
    assert not shown.caught_up
    assert shown.health.state is HealthState.UNHEALTHY
    assert shown.health.reasons == ("nothing was heard of shard 1 of the log for 90 s",)
    assert shown.reader_lag_us == 90 * SECOND_US
    assert shown.agents.online == 1, "nobody could hear the agent, so it is not silent"


def test_a_shard_that_reads_old_entries_is_behind_by_its_own_word() -> None:
    state = folded(signal(E.WORKFLOW_COMPLETED, 0, "w0"))
    late = part_of(state, 1, state.clock_us)
    late = replace(late, moment=replace(late.moment, caught_up=False, reader_lag_us=12 * SECOND_US))
    now = T0 + 12 * SECOND_US
    timely = part_of(folded(signal(E.WORKFLOW_STARTED, 12, "w1")), 0, now)
    shown = run(PartMerger("e", 0).steps(gathering([timely, late], now_us=now)))
    assert shown.health.state is HealthState.DEGRADED
    assert shown.health.reasons == ("the reader of shard 1 is 12 s behind the log",)


def test_a_shard_that_nobody_reads_is_named() -> None:
    state = folded(signal(E.WORKFLOW_COMPLETED, 0, "w0"))
    given_parts = gathering([part_of(state, 0, state.clock_us)], shards=2)
    merger = PartMerger("e", 0)
    for waited, health in ((1, HealthState.DEGRADED), (31, HealthState.UNHEALTHY)):
        later = replace(given_parts, now_us=given_parts.now_us + waited * SECOND_US)
        shown = run(merger.steps(later))
        assert shown.health == (health, ("shard 1 of the log is read by nobody yet",), 1.0)
        assert shown.reader_lag_us == waited * SECOND_US
        assert not shown.caught_up


@given(st.binary(max_size=60), st.integers(0, 400))
def test_nonsense_is_not_a_part(nonsense: bytes, cut: int) -> None:
    state = folded(*untidy_log(1, workflows=2, minutes=1))
    encoded = run(PartEncoder().steps(part_of(state, 0, state.clock_us)))
    deep = b"PHP1" + (100_000).to_bytes(4, "big") + b"[" * 100_000
    for bad in (nonsense, encoded[:cut], b"PHP1" + nonsense, deep):
        with pytest.raises(NotAPart):
            run(PartDecoder().steps(bad))


@MANY
@given(st.lists(signals(), max_size=30))
def test_a_part_that_was_sent_is_the_part(events: list[Signal]) -> None:
    state = folded(*events)
    part = part_of(state, 2, state.clock_us)
    assert run(PartDecoder().steps(run(PartEncoder().steps(part)))) == part


def test_a_part_says_the_same_from_a_fresh_maker() -> None:
    log = untidy_log(11, workflows=40, minutes=5)
    state, maker, chance = MetricsState(), PartMaker(0, 0), random.Random(11)
    place = 0
    while place < len(log):
        state.fold(log[place : (place := place + chance.randint(1, 60))])
        grown = part_of(state, 0, state.clock_us, maker)
        fresh = part_of(state, 0, state.clock_us)
        assert (grown.series, grown.agents) == (fresh.series, fresh.agents)
