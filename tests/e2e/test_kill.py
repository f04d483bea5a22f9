"""kill -9 at any moment: every count, state and history is as an uninterrupted run has it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

import pilothouse.aio
from pilothouse.errors import NoSnapshot
from pilothouse.executor import Executor, ExecutorOptions
from pilothouse.v1.enums_pb2 import WorkflowState
from tests.e2e.support import Pilothouse
from tests.support import wait_until

WORKFLOWS = 120
STAGES = ("build", "test", "deploy")
EVENTS_OF_ONE = 3 + 2 * len(STAGES)


async def work(executor: Executor, number: int, chance: random.Random) -> str:
    """One workflow with a known end; returns the end."""
    run = executor.workflow(
        f"wf-{number:03}", workflow_type=("feature", "bugfix")[number % 2], stage_plan=STAGES
    )
    run.created()
    run.started()
    for stage in STAGES:
        with run.stage(stage):
            await asyncio.sleep(chance.uniform(0, 0.02))
    match number % 5:
        case 0:
            run.failed(RuntimeError("known to fail"))
            return "FAILED"
        case 1:
            run.cancelled()
            return "CANCELLED"
        case _:
            run.completed()
            return "COMPLETED"


async def work_through_kills(server: Pilothouse, chance: random.Random) -> Counter[str]:
    """Every workflow, while the server is killed four times; returns how many ended in which way."""
    options = ExecutorOptions(call_timeout=2, max_delay=0.2, close_timeout=60)
    ends: Counter[str] = Counter()
    async with Executor(server.grpc, source="tests", options=options) as executor:

        async def produce() -> None:
            for first in range(0, WORKFLOWS, 8):
                batch = range(first, first + 8)
                ends.update(
                    await asyncio.gather(*(work(executor, number, chance) for number in batch))
                )

        producing = asyncio.create_task(produce())
        for _ in range(4):
            await asyncio.sleep(chance.uniform(0.1, 0.8))
            await server.kill()
            await server.start()
        await producing
        await executor.flush(60)
    return ends


async def settled(client: pilothouse.aio.Client) -> None:
    """Waits until every end is in the totals and in the rows."""

    async def counted() -> bool:
        try:
            totals = (await client.get_metrics()).totals
        except NoSnapshot:  # it has just started again
            return False
        return totals.completed + totals.failed + totals.cancelled >= WORKFLOWS

    await wait_until(counted, within=60, what="every end in the totals")

    async def projected() -> bool:
        ended = client.list_workflows(
            filter="state = COMPLETED OR state = FAILED OR state = CANCELLED"
        )
        return len([workflow async for workflow in ended]) == WORKFLOWS

    await wait_until(projected, within=60, what="every end in the projections")


@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", [20261, 20262])
async def test_counts_after_kills_are_those_of_an_uninterrupted_run(
    server: Pilothouse, client: pilothouse.aio.Client, seed: int
) -> None:
    ends = await work_through_kills(server, random.Random(seed))
    await settled(client)

    totals = (await client.get_metrics()).totals
    assert (totals.completed, totals.failed, totals.cancelled) == (
        ends["COMPLETED"],
        ends["FAILED"],
        ends["CANCELLED"],
    )
    assert totals.workflows == WORKFLOWS
    fleet = (await client.get_metrics()).series[0]
    assert fleet.states.running == fleet.states.queued == fleet.states.queue_depth == 0
    hour = fleet.windows[-1]
    assert (hour.completed, hour.failed, hour.cancelled) == (
        ends["COMPLETED"],
        ends["FAILED"],
        ends["CANCELLED"],
    )
    assert hour.latency.count == ends["COMPLETED"] + ends["FAILED"]
    states = [
        WorkflowState.Name(workflow.state).removeprefix("WORKFLOW_STATE_")
        async for workflow in client.list_workflows()
    ]
    assert Counter(states) == ends
    events = [event async for event in client.list_events(filter='source = "tests"')]
    assert len(events) == len({event.id for event in events}) == WORKFLOWS * EVENTS_OF_ONE
