"""The alert state machine: each line of its rules, and what holds whatever comes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse_server.domain.alerts.conditions import Comparison, Observation
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.alerts.states import (
    RETENTION_US,
    AlertState,
    Instance,
    down,
    resolve_by_hand,
    shifted,
    step,
)
from tests.alerts.build import SECOND, T0, rule

S = AlertState
PLAIN = rule()
FOR = rule(for_us=10 * SECOND)
KEEP = rule(keep_firing_us=10 * SECOND)
BOTH = rule(for_us=10 * SECOND, keep_firing_us=10 * SECOND)


def run(tested: Rule, values: str, *, every: int = 5, at: Instance | None = None) -> list[str]:
    """The states after slots `every` seconds apart: T is over the threshold, F is not, a dot is no value."""
    seen: list[str] = []
    for number, letter in enumerate(values):
        value = {"T": 11.0, "F": 9.0, ".": None}[letter]
        at = step(at, [Observation(value, 100)], T0 + number * every * SECOND, tested)
        seen.append("-" if at is None else at.state.name[:3].lower())
    return seen


@pytest.mark.parametrize(
    ("tested", "values", "states"),
    [
        (PLAIN, "T", "fir"),
        (PLAIN, "F", "-"),
        (PLAIN, "TFT", "fir res fir"),
        (FOR, "TTTT", "pen pen fir fir"),
        (FOR, "TF", "pen -"),
        (FOR, "TTFTTT", "pen pen - pen pen fir"),
        (FOR, "TTTF", "pen pen fir res"),
        (KEEP, "TFFF", "fir rec rec res"),
        (KEEP, "TFTFFF", "fir rec fir rec rec res"),
        (BOTH, "TTTFT", "pen pen fir rec fir"),
        (BOTH, "TTTFFFT", "pen pen fir rec rec res pen"),
        (PLAIN, ".", "-"),
        (PLAIN, "T.F", "fir fir res"),
        (FOR, "T.T", "pen pen fir"),
        (KEEP, "TF.F", "fir rec rec res"),
    ],
)
def test_each_line_of_the_rules(tested: Rule, values: str, states: str) -> None:
    assert run(tested, values) == states.split()


def test_a_hold_is_over_exactly_when_its_time_is() -> None:
    assert run(FOR, "T" * 11, every=1)[9:] == ["pen", "fir"]
    assert run(KEEP, "TF" + "F" * 10, every=1)[10:] == ["rec", "res"]


def test_the_slots_of_a_life_are_kept() -> None:
    at: Instance | None = None
    for seconds, value in ((0, 11.0), (10, 12.0), (20, 9.0), (30, 8.0)):
        at = step(at, [Observation(value)], T0 + seconds * SECOND, BOTH)
    assert at is not None
    assert (at.active_us, at.fire_us) == (T0, T0 + 10 * SECOND)
    assert (at.false_us, at.resolve_us) == (T0 + 20 * SECOND, T0 + 30 * SECOND)
    assert at.value == 8.0


def test_too_few_samples_are_no_value() -> None:
    few = rule(min_samples=20)
    assert step(None, [Observation(99.0, 19)], T0, few) is None
    assert step(None, [Observation(99.0, 20)], T0, few) is not None


def test_what_was_resolved_is_remembered_for_fifteen_minutes() -> None:
    over = Instance(S.RESOLVED, T0, fire_us=T0, resolve_us=T0)
    assert step(over, [Observation(9.0)], T0 + RETENTION_US - 1, PLAIN) is over
    assert step(over, [Observation(9.0)], T0 + RETENTION_US, PLAIN) is None
    assert step(over, [Observation(None)], T0 + RETENTION_US, PLAIN) is None


def test_resolved_by_hand_begins_nothing_until_the_condition_was_false_once() -> None:
    firing = Instance(S.FIRING, T0, fire_us=T0)
    ended = resolve_by_hand(firing, T0 + SECOND)
    assert ended.state == S.RESOLVED
    assert run(PLAIN, "TT.TT", at=ended) == ["res"] * 5
    assert run(PLAIN, "TFT", at=ended) == ["res", "res", "fir"]


def test_a_latch_does_not_age() -> None:
    ended = resolve_by_hand(Instance(S.FIRING, T0, fire_us=T0), T0)
    later = step(ended, [Observation(11.0)], T0 + 10 * RETENTION_US, PLAIN)
    assert later is not None
    assert later.latched


@pytest.mark.parametrize(
    ("comparison", "held"),
    [
        (Comparison.GREATER_THAN, "  x"),
        (Comparison.GREATER_OR_EQUAL, " xx"),
        (Comparison.LESS_THAN, "x  "),
        (Comparison.LESS_OR_EQUAL, "xx "),
    ],
)
def test_comparisons(comparison: Comparison, held: str) -> None:
    assert [comparison.holds(v, 10.0) for v in (9.0, 10.0, 11.0)] == [c == "x" for c in held]
    assert not comparison.holds(float("nan"), 10.0)


rules = st.builds(
    rule,
    for_us=st.integers(0, 5).map(lambda s: s * SECOND),
    keep_firing_us=st.integers(0, 5).map(lambda s: s * SECOND),
)
values = st.lists(st.sampled_from([11.0, 9.0, None]), max_size=40)


@given(rules, values, st.lists(st.integers(1, 40), max_size=2))
def test_what_holds_whatever_comes(
    tested: Rule, seen: list[float | None], by_hand: list[int]
) -> None:
    """Nothing resolves that did not fire, times only grow, and a live alert is followed by no other before its end."""
    at: Instance | None = None
    for number, value in enumerate(seen):
        before, ts = at, T0 + number * SECOND
        if before is not None and before.live and number in by_hand:
            at = before = resolve_by_hand(before, ts)
        at = step(before, [Observation(value)], ts, tested)
        if at is None:
            assert before is None or before.state in (S.PENDING, S.RESOLVED)
            continue
        if before is not None and before.live:
            assert at.active_us == before.active_us, "the same alert"
        if at.state == S.RESOLVED and not at.latched and before is not at:
            assert at.fire_us is not None or (before is not None and before.latched)
        times = [t for t in (at.active_us, at.fire_us, at.false_us, at.resolve_us) if t is not None]
        assert times == sorted(times)
        assert times[-1] <= ts
        assert (at.resolve_us is None) == at.live
        if value is None:
            assert before == at


@given(rules, values, st.integers(0, 40), st.integers(1, 10_000))
def test_a_restart_changes_nothing_but_that_its_time_does_not_count(
    tested: Rule, seen: list[float | None], cut: int, gap: int
) -> None:
    def states(*, restart: bool) -> list[str]:
        at: Instance | None = None
        path: list[str] = []
        for number, value in enumerate(seen):
            ts = T0 + number * SECOND
            if restart and number >= cut:
                ts += gap * SECOND
                if number == cut and at is not None:
                    at = down(at, gap * SECOND)
            at = step(at, [Observation(value)], ts, tested)
            # What is over may have aged away meanwhile.
            path.append(at.state.name if at is not None and at.live else "-")
        return path

    assert states(restart=True) == states(restart=False)


@given(rules, values, st.integers(0, 40), st.integers(-10_000, -1))
def test_a_grid_that_is_moved_back_moves_the_times_along(
    tested: Rule, seen: list[float | None], cut: int, by: int
) -> None:
    at: Instance | None = None
    moved: Instance | None = None
    for number, value in enumerate(seen):
        ts = T0 + number * SECOND
        late = number >= cut
        if number == cut and moved is not None:
            moved = shifted(moved, by * SECOND)
        at = step(at, [Observation(value)], ts, tested)
        moved = step(moved, [Observation(value)], ts + by * SECOND * late, tested)
        expected = at if not late or at is None else shifted(at, by * SECOND)
        assert moved == expected


def test_down_time_counts_for_no_hold_and_for_nothing_else() -> None:
    pending = Instance(S.PENDING, T0)
    assert down(pending, 5).down_us == 5
    assert down(pending, -5) is pending
    over = replace(pending, state=S.RESOLVED)
    assert down(over, 5) is over
