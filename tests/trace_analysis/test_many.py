"""Many runs together, and what they say of one that has not ended."""

from __future__ import annotations

import itertools
import random
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse_server.domain.projection.spans import WorkState
from pilothouse_server.domain.traces.aggregate import OTHER, TRACKED_STAGES, Aggregate, Alike
from pilothouse_server.domain.traces.estimate import (
    Estimate,
    Past,
    Place,
    estimate,
    place_of,
    why_not,
)
from pilothouse_server.domain.traces.model import SpanKind
from pilothouse_server.domain.workflows import WorkflowState
from tests.trace_analysis.builders import span, trace

RUNS = st.lists(
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 100), max_size=3),
    min_size=1,
    max_size=30,
)


def alike(*runs: dict[str, int], length: int = 100) -> Alike:
    """Runs through the stages of the first."""
    columns = {stage: array("q", [each[stage] for each in runs]) for stage in runs[0]}
    return Alike(array("q", [length] * len(runs)), columns, {}, False)


@given(RUNS)
def test_percentiles_are_those_of_all_runs_however_they_were_taken_in(
    runs: list[dict[str, int]],
) -> None:
    together = Aggregate()
    for _, same in itertools.groupby(runs, key=sorted):
        together.add(alike(*same))
    found = {each.stage: each for each in together.together().stages}
    for stage in {name for run in runs for name in run}:
        ordered = sorted(run.get(stage, 0) for run in runs)
        p50, p95 = (ordered[-(-percent * len(runs) // 100) - 1] for percent in (50, 95))
        assert found[stage].critical == (p50, p95)
        assert (found[stage].share_p50, found[stage].share_p95) == (p50 / 100, p95 / 100)
        assert found[stage].runs == sum(stage in run for run in runs)


@pytest.mark.parametrize(
    ("percent", "runs"), [(50, 1), (50, 20), (95, 20), (95, 21), (95, 100_000)]
)
def test_a_percentile_is_the_least_that_so_many_runs_did_not_exceed(
    percent: int, runs: int
) -> None:
    together = Aggregate()
    together.add(alike(*({"a": number} for number in range(1, runs + 1))))
    (stage,) = together.together().stages
    value = stage.critical.p50 if percent == 50 else stage.critical.p95
    assert value * 100 >= percent * runs > (value - 1) * 100


def test_no_runs_are_no_numbers() -> None:
    assert Aggregate().together().duration is None


def test_names_of_stages_are_bounded() -> None:
    found = Aggregate()
    for number in range(TRACKED_STAGES + 50):
        found.add(alike({f"stage {number}": 1}, length=10))
    assert len(found.critical) == TRACKED_STAGES + 1
    assert len(found.critical[OTHER]) == 50
    assert len(found.together().stages) == 200


def test_stages_of_one_run_that_are_not_told_apart_are_one_number() -> None:
    found = Aggregate()
    found.add(alike({f"stage {number}": 0 for number in range(TRACKED_STAGES)}))
    found.add(
        alike({"one more": 20, OTHER: 10, "another": 30}, {"one more": 2, OTHER: 1, "another": 3})
    )
    told = {each.stage: each for each in found.together().stages}[OTHER]
    assert told.runs == 2
    assert told.critical == (6, 60)
    assert (told.share_p50, told.share_p95) == (0.06, 0.6)


def _run(chance: random.Random) -> Past:
    """Three stages, one after the other, of times as work has them."""
    at, stages = 0, dict[str, tuple[int, int]]()
    for stage in ("plan", "build", "test"):
        length = round(1_000_000 * chance.lognormvariate(2, 0.6))
        stages[stage] = (at, at + length)
        at += length + 1_000
    return Past(at, stages)


def test_eight_in_ten_runs_end_within_the_interval() -> None:
    chance = random.Random(7)
    past = [_run(chance) for _ in range(60)]
    within = 0
    tried = 0
    for _ in range(1_500):
        run = _run(chance)
        at = chance.randrange(run.duration_us)
        place = Place(at)
        for stage, (begins, ends) in run.stages.items():
            if begins <= at < ends:
                place = Place(at, stage, False, at - begins)
            elif at >= ends:
                place = Place(at, stage, True, at - ends)
        found = estimate(place, past)
        if isinstance(found, Estimate):
            tried += 1
            within += found.earliest_us <= run.duration_us - at <= found.latest_us
            assert found.earliest_us <= found.median_us <= found.latest_us
    assert tried > 1_200
    assert 0.7 <= within / tried <= 0.9


def test_too_few_past_runs_say_so() -> None:
    past = [_run(random.Random(number)) for number in range(9)]
    assert estimate(Place(0), past) == "9 past runs of its type ended so far, and 10 are needed"


def test_a_run_that_is_older_than_nearly_all_before_it_has_no_estimate() -> None:
    past = [Past(100 + number, {}) for number in range(20)]
    assert (
        estimate(Place(118), past)
        == "1 past run of 20 took as long as this one has, and 10 are needed"
    )


def test_a_run_is_where_its_stages_say() -> None:
    stage = SpanKind.STAGE
    root = span("run", "", 10, None, SpanKind.WORKFLOW)
    plan = span("plan", "run", 10, 20, stage, stage="plan")
    build = span("build", "run", 25, None, stage, stage="build", state=WorkState.RUNNING)
    assert place_of(trace(root), 40) == Place(30)
    assert place_of(trace(root, plan), 40) == Place(30, "plan", True, 20)
    assert place_of(trace(root, plan, build), 40) == Place(30, "build", False, 15)


def test_of_what_is_paused_nobody_can_tell() -> None:
    paused = trace(span("run", "", 0, None, SpanKind.WORKFLOW), state=WorkflowState.PAUSED)
    assert "paused" in why_not(paused)
    paused.workflow_id = ""
    assert "no workflow" in why_not(paused)
