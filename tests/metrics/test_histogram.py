"""Percentiles within 1.1 % of the exact ones, whatever the durations, and exact sums."""

from __future__ import annotations

from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from pilothouse_server.domain.histogram import (
    MAX_RELATIVE_ERROR,
    Histogram,
    index_of,
    representative,
)

DURATIONS = st.one_of(
    st.integers(0, 100), st.integers(0, 10_000_000), st.integers(0, 10 * 365 * 86_400 * 1_000_000)
)


def filled(durations: list[int]) -> Histogram:
    histogram = Histogram()
    for duration in durations:
        histogram.add(duration)
    return histogram


def test_the_bound_is_under_what_is_promised() -> None:
    assert MAX_RELATIVE_ERROR < 0.011


@given(st.integers(1, 1 << 60))
def test_a_representative_is_near_every_duration_of_its_bucket(duration: int) -> None:
    off = abs(representative(index_of(duration)) - duration)
    assert off <= duration * MAX_RELATIVE_ERROR * (1 + 1e-9)


@given(st.lists(DURATIONS, min_size=1), st.sampled_from([0.01, 0.5, 0.9, 0.95, 0.99, 1.0]))
def test_percentiles_are_within_the_bound_of_the_exact_ones(
    durations: list[int], fraction: float
) -> None:
    exact = sorted(durations)[max(1, ceil(fraction * len(durations))) - 1]
    found = filled(durations).quantile(fraction)
    assert found is not None
    assert abs(found - exact) <= 0.011 * exact


@given(st.lists(DURATIONS, min_size=1))
def test_count_and_mean_are_exact(durations: list[int]) -> None:
    histogram = filled(durations)
    assert histogram.count == len(durations)
    assert histogram.mean_us == sum(durations) / len(durations)


@given(st.lists(DURATIONS), st.lists(DURATIONS))
def test_merging_is_adding_and_can_be_taken_back(one: list[int], two: list[int]) -> None:
    merged = filled(one)
    merged.merge(filled(two))
    assert merged == filled(one + two)
    merged.merge_packed(filled(two).pack(), -1)
    assert merged == filled(one)


@given(st.lists(DURATIONS))
def test_a_difference_may_be_negative_in_between(durations: list[int]) -> None:
    difference = Histogram()
    for duration in durations:
        difference.add(duration, -1)
    difference.merge(filled(durations))
    assert difference == Histogram()


@given(st.lists(DURATIONS))
def test_the_compact_form_says_it_all(durations: list[int]) -> None:
    assert Histogram.unpack(filled(durations).pack()) == filled(durations)


def test_nothing_has_no_percentile_and_no_mean() -> None:
    assert Histogram().quantile(0.5) is None
    assert Histogram().mean_us is None
    assert Histogram().pack() == ()
