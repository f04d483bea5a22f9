"""A process that ends in the midst of a run: the next one goes on, repeats no superstep, and says nothing twice."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from pilothouse.langgraph import RunnerClosed, RunState
from pilothouse.langgraph.threads import config_of
from pilothouse.v1.events_pb2 import EventType
from tests.celery.support import Child
from tests.langgraph.graphs import Workshop
from tests.langgraph.support import House, stages, tasks, told
from tests.support import wait_until

pytestmark = [
    pytest.mark.asyncio(loop_scope="package"),
    pytest.mark.xdist_group("langgraph"),
    pytest.mark.timeout(240),
]


async def test_a_run_whose_process_is_killed_goes_on(house: House, tmp_path: Path) -> None:
    log = tmp_path / "nodes"

    def engine(what: str, sign: str) -> Child:
        words = ["tests.langgraph.engine", house.target, str(tmp_path / "kept.db"), str(log), what]
        return Child(words, tmp_path / f"{what}.log", sign)

    killed, second = engine("run", "slow began"), engine("recover", "done")
    try:
        await killed.start()
        await house.has_task("killed", "slow", "RUNNING")
        killed.kill()
        log.with_suffix(".go").touch()
        second.begin()
        await wait_until(lambda: "done" in second.said, within=90, what="it went on")
    finally:
        killed.kill()
        second.finish()
    assert log.read_text("utf-8").split() == ["first", "second", "slow", "last"]
    assert "['first', 'second', 'slow', 'last']" in second.said
    shown = await house.is_in("killed", "COMPLETED")
    assert set(stages(shown).values()) == {"COMPLETED"}
    assert tasks(shown) == {
        "first": ("COMPLETED", 1),
        "second": ("COMPLETED", 1),
        "slow": ("COMPLETED", 2),
        "last": ("COMPLETED", 1),
    }
    words = told(shown)
    assert len(words) == len(set(words))
    assert words[words.index("WORKFLOW_RESUMED") :][:3] == [
        "WORKFLOW_RESUMED",
        "TASK_RETRYING slow 2",
        "TASK_STARTED slow 2",
    ]


async def test_a_runner_that_is_closed_leaves_its_runs_to_the_next_one(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    workshop.held.add("b")
    graph = workshop.line(saver, "a", "b", "c")
    async with house.runner(graph) as runner:
        run = await runner.start({}, thread_id="left")
        await workshop.reached["b"].wait()
        await house.is_in("left", "RUNNING")
        assert await runner.recover() == [], "it is this process that runs it"
        closing = asyncio.create_task(runner.close())
        workshop.gates["b"].set()
        await closing
        with pytest.raises(RunnerClosed):
            await run.wait()
        with pytest.raises(RuntimeError, match="does not run"):
            await runner.start({}, thread_id="more")
    await house.has_task("left", "b", "COMPLETED")
    await house.is_at("left", "")  # its superstep has ended
    await house.is_in("left", "RUNNING")
    async with house.runner(graph) as runner:
        [run] = await runner.recover()
        assert (await run.wait()).values["log"] == ["a", "b", "c"]
        assert await runner.recover() == []
    assert workshop.calls == {"a": 1, "b": 1, "c": 1}
    shown = await house.is_in("left", "COMPLETED")
    assert set(tasks(shown).values()) == {("COMPLETED", 1)}
    assert told(shown).count("WORKFLOW_RESUMED") == 1


async def test_runs_that_wait_or_are_paused_or_failed_are_taken_up_by_another_process(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    asking, line = workshop.asking(saver, "so?"), workshop.line(saver, "a", "b")
    workshop.failures["b"] = 1
    async with house.runner(asking) as runner:
        for thread_id in ("waits", "paused"):
            await runner.run({}, thread_id=thread_id)
        await house.is_in("paused", "WAITING")
        await house.effective(house.client.workflow("paused").pause())
    async with house.runner(line) as runner:
        with pytest.raises(RuntimeError):
            await runner.run({}, thread_id="failed")
    await house.is_in("failed", "FAILED")
    await house.is_in("waits", "WAITING")
    async with house.runner(asking) as runner:
        assert await runner.recover() == []
        assert (await runner.answer("waits", "yes")).state is RunState.COMPLETED
        await house.effective(house.client.workflow("paused").resume())
        await house.is_in("paused", "WAITING")
        await runner.answer("paused", "no")
    async with house.runner(line):
        await house.effective(house.client.workflow("failed").retry())
        shown = await house.is_in("failed", "COMPLETED", attempt=2)
    assert tasks(shown) == {"a": ("COMPLETED", 1), "b": ("COMPLETED", 2)}
    for workflow_id in ("waits", "paused"):
        shown = await house.is_in(workflow_id, "COMPLETED")
        assert tasks(shown) == {"ask0": ("COMPLETED", 1), "act": ("COMPLETED", 1)}


async def test_what_a_process_could_not_tell_any_more_is_told_by_the_next(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    """The server was told of the beginnings only: what LangGraph did after it, did the process that was then gone."""
    graphs = {
        "ended": workshop.line(saver, "a", "b"),
        "broke": workshop.line(saver, "a", "broken"),
        "unheard": workshop.asking(saver, "well?"),
    }
    workshop.failures["broken"] = 1
    for thread_id, graph in graphs.items():
        try:
            await cast("Any", graph).ainvoke({}, config_of(thread_id, thread_id))
        except RuntimeError:
            assert thread_id == "broke"
    for thread_id in ("unborn", *graphs):
        graph = graphs.get(thread_id, graphs["ended"])
        async with house.runner(graph, workflow_type=thread_id) as runner:
            runner.executor.workflow(thread_id, workflow_type=thread_id).started()
            await runner.executor.flush(10)
            await house.is_in(thread_id, "RUNNING")
            states = [(await run.wait()).state for run in await runner.recover()]
            assert states == ([RunState.WAITING] if thread_id == "unheard" else [])
    await house.is_in("ended", "COMPLETED")
    broke = await house.is_in("broke", "FAILED")
    assert (broke.workflow.error.code, broke.workflow.error.retryable) == ("RuntimeError", True)
    unheard = await house.is_in("unheard", "WAITING")
    assert unheard.events[-1].message == "well?"
    unborn = await house.is_in("unborn", "FAILED")
    assert unborn.workflow.error.code == "NO_CHECKPOINT"


async def test_what_was_told_to_have_begun_is_told_to_have_ended_when_the_graph_is_past_it(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    workshop.held.add("b")
    graph = workshop.line(saver, "a", "b", "c")
    config = config_of("behind", "behind")
    killed = asyncio.create_task(cast("Any", graph).ainvoke({}, config, durability="sync"))
    await workshop.reached["b"].wait()
    killed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await killed
    workshop.held.clear()
    history = [state async for state in graph.aget_state_history(config)]
    [first] = [f"a:{task.id}" for state in history for task in state.tasks if task.name == "a"]
    async with house.runner(graph) as runner:
        run = runner.executor.workflow("behind", workflow_type=runner.workflow_type)
        run.started()
        run.stage("step 1: a").started()
        run.task(first, stage="step 1: a").started()
        await house.has_task("behind", "a", "RUNNING")
        [gone_on] = await runner.recover()
        assert (await gone_on.wait()).values["log"] == ["a", "b", "c"]
    shown = await house.is_in("behind", "COMPLETED")
    assert tasks(shown) == dict.fromkeys("abc", ("COMPLETED", 1))
    assert set(stages(shown).values()) == {"COMPLETED"}
    assert [word for word in told(shown) if word.endswith(" a 1")] == [
        "TASK_STARTED a 1",
        "TASK_COMPLETED a 1",
    ]


async def test_a_new_input_ends_what_another_process_left(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    workshop.failures["act"] = 1
    async with house.runner(workshop.asking(saver, "so?")) as runner:
        await runner.run({}, thread_id="old")
        await runner.run({}, thread_id="bad")
        with pytest.raises(RuntimeError):
            await runner.answer("bad", "yes")
    async with house.runner(workshop.asking(saver, "so?")) as runner:
        assert (await runner.run({}, thread_id="old")).workflow_id == "old#2"
        assert (await runner.run({}, thread_id="bad")).workflow_id == "bad#2"
    await house.is_in("bad#2", "WAITING")
    await house.is_in("bad", "FAILED")
    shown = await house.is_in("old", "CANCELLED")
    assert shown.events[-1].type == EventType.EVENT_TYPE_WORKFLOW_CANCELLED
    await house.is_in("old#2", "WAITING")
