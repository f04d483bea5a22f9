"""What alerts mean, line by line, of states in tables.

In the tables a slot is a letter: T the condition holds, B it is between threshold and recovery threshold, F it does not
hold, a dot is no value. Slots are five seconds apart, `for` and `keep_firing_for` are ten seconds.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pilothouse_server.domain.alerts.conditions import AnyOf, Observation
from pilothouse_server.domain.alerts.rules import NoDataPolicy, Rule
from pilothouse_server.domain.alerts.states import (
    RETENTION_US,
    AlertState,
    Instance,
    down,
    resolve_by_hand,
    step,
    step_no_data,
)
from tests.alerts.build import SECOND, T0, over, rule
from tests.alerts.conftest import Watchtower

Towers = Callable[..., Watchtower]
P = NoDataPolicy
HOLD = 10 * SECOND
VALUES = {"T": 11.0, "B": 9.0, "F": 7.0, ".": None}


def of(*, holds: int = 0, keeps: int = 0, policy: NoDataPolicy = P.KEEP) -> Rule:
    """Queue depth over 10, that has recovered at 8."""
    return rule(recovery_threshold=8.0, for_us=holds, keep_firing_us=keeps, no_data_policy=policy)


PLAIN, FOR, KEEP = of(), of(holds=HOLD), of(keeps=HOLD)
BOTH = of(holds=HOLD, keeps=HOLD)


def run(tested: Rule, letters: str, *, no_data: bool = False) -> list[str]:
    """The states after the slots, shortened; - is none."""
    seen: list[str] = []
    at: Instance | None = None
    stepped = step_no_data if no_data else step
    for number, letter in enumerate(letters):
        observed = [Observation(VALUES[letter], 100)]
        at = stepped(at, observed, T0 + number * 5 * SECOND, tested)
        seen.append("-" if at is None else at.state.name[:3].lower())
    return seen


LINES = [
    ("1: true where there is nothing is PENDING", FOR, "T", "pen"),
    ("1: true after an end is PENDING again", BOTH, "TTTFFFT", "pen pen fir rec rec res pen"),
    ("1: false where there is nothing is nothing", FOR, "F", "-"),
    ("1: no value where there is nothing is nothing", FOR, ".", "-"),
    ("1: between where there is nothing is nothing", FOR, "B", "-"),
    ("2: PENDING for as long as `for` is FIRING", FOR, "TTT", "pen pen fir"),
    ("2: without `for` the same slot fires", PLAIN, "T", "fir"),
    ("3: false while PENDING is gone at once", FOR, "TTF", "pen pen -"),
    ("3: and begins from the start", FOR, "TTFTTT", "pen pen - pen pen fir"),
    ("3: false while FIRING is RECOVERING", KEEP, "TF", "fir rec"),
    ("3: and RESOLVED after keep_firing_for", KEEP, "TFFF", "fir rec rec res"),
    ("3: true while RECOVERING is FIRING, never PENDING", BOTH, "TTTFT", "pen pen fir rec fir"),
    ("3: and the clock is cleared", KEEP, "TFTFFF", "fir rec fir rec rec res"),
    ("3: without keep_firing_for RESOLVED at once", FOR, "TTTF", "pen pen fir res"),
    ("3: a new true makes a new one", PLAIN, "TFT", "fir res fir"),
    ("4: FIRING stays between", PLAIN, "TBBF", "fir fir fir res"),
    ("4: PENDING stays between and does not fire", FOR, "TBBBB", "pen pen pen pen pen"),
    ("4: but its clock goes on", FOR, "TBBT", "pen pen pen fir"),
    ("4: RECOVERING stays between and is not over", KEEP, "TFBBBB", "fir rec rec rec rec rec"),
    ("4: and is not reset", KEEP, "TFBBF", "fir rec rec rec res"),
    ("4: only the recovery condition is false", KEEP, "TBFFF", "fir fir rec rec res"),
    ("5: KEEP leaves PENDING", FOR, "T..", "pen pen pen"),
    ("5: KEEP leaves FIRING", PLAIN, "T..", "fir fir fir"),
    ("5: KEEP leaves RECOVERING", KEEP, "TF...", "fir rec rec rec rec"),
    ("5: ALERT leaves the instance too", of(policy=P.ALERT), "T..F", "fir fir fir res"),
    ("5: RESOLVE ends at once what fires", of(policy=P.RESOLVE), "T.", "fir res"),
    ("5: RESOLVE keeps firing for", of(keeps=HOLD, policy=P.RESOLVE), "T...", "fir rec rec res"),
    ("5: RESOLVE drops what is PENDING", of(holds=HOLD, policy=P.RESOLVE), "T.", "pen -"),
]


@pytest.mark.parametrize(
    ("tested", "letters", "states"), [each[1:] for each in LINES], ids=[each[0] for each in LINES]
)
def test_states(tested: Rule, letters: str, states: str) -> None:
    assert run(tested, letters) == states.split()


ABSENCES = [
    ("5: ALERT makes an alert of no value", of(policy=P.ALERT), "T.F", "- fir res"),
    ("5: which obeys `for`", of(holds=HOLD, policy=P.ALERT), "....", "pen pen fir fir"),
    ("5: and keep_firing_for", of(keeps=HOLD, policy=P.ALERT), ".TTT", "fir rec rec res"),
    ("5: between is a value", of(policy=P.ALERT), ".B", "fir res"),
    ("5: KEEP makes none", of(), "...", "- - -"),
    ("5: RESOLVE makes none", of(policy=P.RESOLVE), "...", "- - -"),
]


@pytest.mark.parametrize(
    ("tested", "letters", "states"),
    [line[1:] for line in ABSENCES],
    ids=[line[0] for line in ABSENCES],
)
def test_absences(tested: Rule, letters: str, states: str) -> None:
    assert run(tested, letters, no_data=True) == states.split()


def test_1_active_time_is_the_slot_of_the_first_true() -> None:
    begun = step(None, [Observation(11.0)], T0, FOR)
    assert begun is not None
    assert (begun.active_us, begun.fire_us) == (T0, None)


@pytest.mark.parametrize(("after_us", "state"), [(HOLD - 1, "PENDING"), (HOLD, "FIRING")])
def test_2_it_fires_exactly_when_for_is_over(after_us: int, state: str) -> None:
    pending = Instance(AlertState.PENDING, T0)
    after = step(pending, [Observation(11.0)], T0 + after_us, FOR)
    assert after is not None
    assert after.state.name == state


@pytest.mark.parametrize(("after_us", "state"), [(HOLD - 1, "RECOVERING"), (HOLD, "RESOLVED")])
def test_3_it_resolves_exactly_when_keep_firing_for_is_over(after_us: int, state: str) -> None:
    recovering = Instance(AlertState.RECOVERING, T0, fire_us=T0, false_us=T0)
    after = step(recovering, [Observation(7.0)], T0 + after_us, KEEP)
    assert after is not None
    assert after.state.name == state


@pytest.mark.parametrize(("after_us", "kept"), [(RETENTION_US - 1, True), (RETENTION_US, False)])
@pytest.mark.parametrize("letter", "FB.")
def test_3_what_is_resolved_is_kept_for_fifteen_minutes(
    letter: str, after_us: int, *, kept: bool
) -> None:
    over = Instance(AlertState.RESOLVED, T0, fire_us=T0, resolve_us=T0)
    after = step(over, [Observation(VALUES[letter], 100)], T0 + after_us, PLAIN)
    assert (after is not None) is kept


def test_4_the_value_between_is_shown() -> None:
    firing = Instance(AlertState.FIRING, T0, fire_us=T0, value=11.0)
    between = step(firing, [Observation(9.0)], T0 + SECOND, PLAIN)
    assert between is not None
    assert (between.state, between.value) == (AlertState.FIRING, 9.0)


AT = T0 + 100 * SECOND


@pytest.mark.parametrize(
    ("before", "letter", "expected"),
    [
        (
            Instance(AlertState.RECOVERING, T0, fire_us=T0, false_us=T0, down_us=5),
            "T",
            Instance(AlertState.FIRING, T0, fire_us=T0, value=11.0),
        ),
        (
            Instance(AlertState.PENDING, T0, down_us=5),
            "T",
            Instance(AlertState.FIRING, T0, fire_us=AT, value=11.0),
        ),
        (
            Instance(AlertState.FIRING, T0, fire_us=T0, down_us=5),
            "F",
            Instance(AlertState.RECOVERING, T0, fire_us=T0, false_us=AT, value=7.0),
        ),
        (
            Instance(AlertState.RECOVERING, T0, fire_us=T0, false_us=T0, down_us=5),
            "F",
            Instance(AlertState.RESOLVED, T0, fire_us=T0, false_us=T0, resolve_us=AT, value=7.0),
        ),
    ],
)
def test_3_each_step_begins_its_own_clock(
    before: Instance, letter: str, expected: Instance
) -> None:
    assert step(before, [Observation(VALUES[letter])], AT, BOTH) == expected


@pytest.mark.parametrize("state", [AlertState.PENDING, AlertState.RECOVERING])
@pytest.mark.parametrize(("counted_us", "over"), [(HOLD - 1, False), (HOLD, True)])
def test_7_down_time_counts_for_neither_hold(
    state: AlertState, counted_us: int, *, over: bool
) -> None:
    """However often nobody looked."""
    pending = state == AlertState.PENDING
    at = Instance(state, T0) if pending else Instance(state, T0, fire_us=T0, false_us=T0)
    at = down(down(at, 20 * SECOND), 30 * SECOND)
    assert at.down_us == 50 * SECOND
    letter = "T" if pending else "F"
    after = step(at, [Observation(VALUES[letter])], T0 + 50 * SECOND + counted_us, BOTH)
    assert after is not None
    assert (after.state != state) is over


def test_7_what_does_not_wait_has_no_down_time() -> None:
    for state in (AlertState.FIRING, AlertState.RESOLVED):
        at = Instance(state, T0, fire_us=T0)
        assert down(at, 5) is at


@pytest.mark.parametrize(
    ("at", "resolve_us"),
    [
        (Instance(AlertState.FIRING, T0, fire_us=T0 - 1), T0),
        (Instance(AlertState.FIRING, T0, fire_us=T0 + 3), T0 + 3),
        (Instance(AlertState.PENDING, T0 + 2), T0 + 2),
        (Instance(AlertState.RECOVERING, T0, fire_us=T0 + 3, false_us=T0 + 4, down_us=7), T0 + 4),
    ],
)
def test_an_end_by_hand_is_never_before_what_came_before(at: Instance, resolve_us: int) -> None:
    ended = resolve_by_hand(at, T0)
    assert (ended.state, ended.resolve_us) == (AlertState.RESOLVED, resolve_us)
    assert (ended.latched, ended.down_us) == (True, 0)


@pytest.mark.parametrize("letter", "TB.")
def test_what_was_resolved_by_hand_is_not_forgotten_before_it_was_false(letter: str) -> None:
    ended = resolve_by_hand(Instance(AlertState.FIRING, T0, fire_us=T0), T0)
    assert step(ended, [Observation(VALUES[letter])], T0 + 10 * RETENTION_US, PLAIN) is ended


def test_what_does_not_change_is_the_same_object() -> None:
    """So that nobody has to compare."""
    for letter in "TB.":
        firing = Instance(AlertState.FIRING, T0, fire_us=T0, value=VALUES[letter])
        assert step(firing, [Observation(VALUES[letter])], AT, PLAIN) is firing


def test_5_an_alert_of_no_value_never_has_one() -> None:
    absent = step_no_data(None, [Observation(None)], T0, of(policy=P.ALERT))
    assert absent is not None
    assert absent.value is None


def test_the_value_of_a_tree_is_that_of_what_decided() -> None:
    tested = rule(condition=AnyOf((over(10.0), over(5.0))))
    begun = step(None, [Observation(1.0), Observation(6.0)], T0, tested)
    assert begun is not None
    assert begun.value == 6.0


# On the engine.
