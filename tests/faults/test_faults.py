"""A few seeds of the failure suite; `make faults RUNS=200` runs as many as one likes."""

from __future__ import annotations

import pytest

from tests.faults.compare import differences
from tests.faults.flow import Flow
from tests.faults.reference import known
from tests.faults.runs import Runs

SEEDS = {"embedded": (11, 14), "replicas": (5001,), "shards": (6002,)}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("topology", SEEDS)
async def test_after_every_fault_all_is_as_if_nothing_had_happened(topology: str) -> None:
    async with Runs(topology) as runs:
        for seed in SEEDS[topology]:
            verdict = await runs.one(seed, last=seed == SEEDS[topology][-1])
            assert not verdict.found, f"\n{verdict}"


def test_a_seed_makes_the_same_flow_under_any_name() -> None:
    one, other = known(Flow(7, "one-")), known(Flow(7, "other-"))

    assert list(differences(one, other)) == []
    assert list(differences(one, known(Flow(8, "one-"))))


def test_a_difference_is_said_with_its_path() -> None:
    expected = {"workflows": {"wf-1": {"state": "FAILED", "attempt": 1}, "wf-2": {}}}
    seen = {"workflows": {"wf-1": {"state": "RUNNING", "attempt": 1}, "wf-3": {}}}

    assert list(differences(expected, seen)) == [
        "workflows › wf-1 › state: should be 'FAILED'; is 'RUNNING'",
        "workflows › wf-2: missing; should be {}",
        "workflows › wf-3: should not be there; is {}",
    ]
    assert len(list(differences(expected, seen, whole=False))) == 2
