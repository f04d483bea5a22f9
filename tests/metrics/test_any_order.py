"""Whatever way events take to the reader, the numbers are those of the events once and in order."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse_server.domain.events import Signal
from pilothouse_server.domain.metrics.fold import MetricsState
from pilothouse_server.domain.metrics.merge import absorb
from tests.metrics.support import canonical, folded, settle, shown, signals

MANY = settings(max_examples=60, deadline=None)
pytestmark = pytest.mark.timeout(300)


def assert_same(one: MetricsState, two: MetricsState) -> None:
    assert canonical(one) == canonical(two)
    assert shown(one) == shown(two)


def in_order(events: list[Signal]) -> MetricsState:
    return folded(*sorted(events, key=lambda s: (s.receive_us, s.occur_us, s.type)))


@MANY
@given(st.lists(signals(), max_size=40), st.randoms(use_true_random=False))
def test_any_order_gives_the_same_state(events: list[Signal], chance: random.Random) -> None:
    shuffled = list(events)
    chance.shuffle(shuffled)
    assert_same(folded(*shuffled), in_order(events))


@MANY
@given(st.lists(signals(), max_size=30), st.randoms(use_true_random=False))
def test_any_duplicates_give_the_same_state(events: list[Signal], chance: random.Random) -> None:
    repeated = [event for event in events for _ in range(chance.randint(1, 3))]
    chance.shuffle(repeated)
    state = folded(*repeated)
    assert_same(state, in_order(events))
    assert state.totals().events == len(repeated)


@MANY
@given(st.lists(signals(), max_size=40), st.randoms(use_true_random=False), st.integers(2, 4))
def test_any_split_into_shards_merges_to_the_same_state(
    events: list[Signal], chance: random.Random, shards: int
) -> None:
    shuffled = list(events)
    chance.shuffle(shuffled)
    homes = {key: chance.randrange(shards) for key in ("", "w1", "w2", "w3")}
    states = [folded(*(s for s in shuffled if homes[s.workflow_id] == n)) for n in range(shards)]
    merged = states[0]
    for state in states[1:]:
        absorb(merged, state)
    assert_same(merged, in_order(events))
    assert merged.totals() == in_order(events).totals()


@MANY
@given(st.lists(signals(), max_size=40), st.randoms(use_true_random=False))
def test_settling_in_between_changes_nothing(events: list[Signal], chance: random.Random) -> None:
    state = MetricsState()
    for event in events:
        state.fold([event])
        if chance.random() < 0.3:
            settle(state)
    assert_same(state, folded(*events))


@MANY
@given(st.lists(signals(seconds=800), max_size=40), st.randoms(use_true_random=False))
def test_late_events_give_the_same_states_and_totals(
    events: list[Signal], chance: random.Random
) -> None:
    """All are received at the end, so most are too late for buckets; what is remembered makes the rest exact."""
    end = max((event.receive_us for event in events), default=0)
    late = [event._replace(receive_us=end) for event in events for _ in range(chance.randint(1, 2))]
    chance.shuffle(late)
    one, two = canonical(folded(*late)), canonical(in_order(late))
    for part in ("totals", "agents", "working", "skewed"):
        assert one[part] == two[part]
    assert one["workflows"].keys() == two["workflows"].keys()
    live = {key: value[1] for key, value in one["series"].items() if any(value[1])}
    assert live == {key: value[1] for key, value in two["series"].items() if any(value[1])}
