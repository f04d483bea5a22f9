"""What holds: one comparison, and trees of them."""

from __future__ import annotations

from itertools import permutations

import pytest

from pilothouse_server.domain.alerts.conditions import (
    AlertMetric,
    AllOf,
    AnyOf,
    Comparison,
    Condition,
    Observation,
    Verdict,
    decisive,
    decisive_place,
    judge,
    thresholds,
)
from pilothouse_server.domain.alerts.states import RETENTION_US, step
from pilothouse_server.domain.alerts.words import annotations_of
from tests.alerts.build import SECOND, over, rule

C, V = Comparison, Verdict
ONE = over(10.0, recovery_threshold=8.0, min_samples=20)
OF = {"T": 11.0, "B": 9.0, "F": 7.0, ".": None}


def seen(letters: str) -> list[Observation]:
    return [Observation(OF[letter], 20) for letter in letters]


@pytest.mark.parametrize(
    ("comparison", "verdicts"),
    [
        (C.GREATER_THAN, "FFBBT"),
        (C.GREATER_OR_EQUAL, "FBBTT"),
    ],
)
def test_above_a_threshold(comparison: Comparison, verdicts: str) -> None:
    one = over(10.0, comparison=comparison, recovery_threshold=8.0)
    found = [one.judge(Observation(value)) for value in (7.0, 8.0, 9.0, 10.0, 11.0)]
    assert "".join(verdict.name[0] for verdict in found) == verdicts


@pytest.mark.parametrize(
    ("comparison", "verdicts"),
    [
        (C.LESS_THAN, "TBBFF"),
        (C.LESS_OR_EQUAL, "TTBBF"),
    ],
)
def test_below_a_threshold(comparison: Comparison, verdicts: str) -> None:
    one = over(8.0, comparison=comparison, recovery_threshold=10.0)
    found = [one.judge(Observation(value)) for value in (7.0, 8.0, 9.0, 10.0, 11.0)]
    assert "".join(verdict.name[0] for verdict in found) == verdicts


def test_without_a_recovery_threshold_nothing_is_between() -> None:
    assert over(10.0).judge(Observation(10.0)) == V.FALSE
    assert over(10.0).judge(Observation(10.1)) == V.TRUE


def test_too_few_samples_or_no_value_or_no_number_say_nothing_or_do_not_hold() -> None:
    assert ONE.judge(Observation(11.0, 19)) == V.NO_DATA
    assert ONE.judge(Observation(11.0, 20)) == V.TRUE
    assert ONE.judge(Observation(None, 100)) == V.NO_DATA
    assert ONE.judge(Observation(float("nan"), 100)) == V.FALSE


@pytest.mark.parametrize(
    ("letters", "of_all", "of_any"),
    [
        ("TT", V.TRUE, V.TRUE),
        ("TF", V.FALSE, V.TRUE),
        ("FF", V.FALSE, V.FALSE),
        ("TB", V.BETWEEN, V.TRUE),
        ("BB", V.BETWEEN, V.BETWEEN),
        ("BF", V.FALSE, V.BETWEEN),
        ("T.", V.NO_DATA, V.TRUE),
        ("F.", V.FALSE, V.NO_DATA),
        ("B.", V.NO_DATA, V.NO_DATA),
        ("..", V.NO_DATA, V.NO_DATA),
        ("TBF", V.FALSE, V.TRUE),
        ("TB.", V.NO_DATA, V.TRUE),
        ("BF.", V.FALSE, V.NO_DATA),
    ],
)
def test_what_is_not_known_matters_only_where_it_could_decide(
    letters: str, of_all: Verdict, of_any: Verdict
) -> None:
    several = (ONE,) * len(letters)
    for each in permutations(letters):
        assert judge(AllOf(several), seen("".join(each))) == of_all
        assert judge(AnyOf(several), seen("".join(each))) == of_any


def test_trees_take_their_observations_in_order() -> None:
    a, b, c, d = (over(float(number)) for number in (1, 2, 3, 4))
    tree: Condition = AllOf((a, AnyOf((b, AllOf((c, d))))))
    assert list(thresholds(tree)) == [a, b, c, d]

    def verdict(*values: float) -> Verdict:
        return judge(tree, [Observation(value) for value in values])

    assert verdict(2, 3, 0, 0) == V.TRUE
    assert verdict(2, 0, 4, 5) == V.TRUE
    assert verdict(2, 0, 4, 4) == V.FALSE
    assert verdict(0, 3, 4, 5) == V.FALSE


@pytest.mark.parametrize(
    ("letters", "shown"),
    [("FT", 1), ("TT", 0), ("FF", 0), (".F", 1), (".B", 1), ("B.", 0), ("FB", 1), ("..", 0)],
)
def test_any_of_is_shown_by_what_holds_first_else_by_what_is_not_over_else_by_a_value(
    letters: str, shown: int
) -> None:
    assert decisive_place(AnyOf((ONE, ONE)), seen(letters)) == shown
    observed = [Observation(value, 20) for value in (11.0, 12.0)]
    assert decisive(AnyOf((ONE, ONE)), observed) is observed[0]


@pytest.mark.parametrize("letters", ["TT", "FT", "BT", ".T", "TF", ".."])
def test_all_of_is_shown_by_its_first_whatever_becomes_of_it(letters: str) -> None:
    assert decisive_place(AllOf((ONE, ONE)), seen(letters)) == 0


@pytest.mark.parametrize(
    ("letters", "shown"),
    [("TTTT", 0), ("FFTT", 2), ("FTTF", 0), ("FTFT", 0), ("..TF", 2), ("TFBB", 2), (".T..", 0)],
)
def test_a_tree_is_shown_by_the_branch_that_decides(letters: str, shown: int) -> None:
    tree = AnyOf((AllOf((ONE, ONE)), AllOf((AnyOf((ONE,)), ONE))))
    assert decisive_place(tree, seen(letters)) == shown


def test_an_annotation_keeps_to_the_metric_that_it_was_written_for() -> None:
    both = AllOf((over(0.05, metric=AlertMetric.ERROR_RATE), over(1000.0)))
    annotations = {"said": "{{ $value | humanizePercentage }}"}
    one = rule(condition=both, keep_firing_us=60 * SECOND, annotations=annotations)
    fires = step(None, [Observation(0.2), Observation(2000.0)], 0, one)
    recovers = step(fires, [Observation(0.01), Observation(2000.0)], SECOND, one)
    said = [annotations_of(one, {}, each.value)["said"] for each in (fires, recovers) if each]
    assert said == ["20%", "1%"]


def test_one_comparison_is_shown_by_itself() -> None:
    (alone,) = seen("F")
    assert decisive(ONE, [alone]) is alone


def test_what_is_over_is_remembered_for_fifteen_minutes() -> None:
    assert RETENTION_US == 900 * 1_000_000
