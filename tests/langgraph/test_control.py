"""What operators ask for is done by LangGraph's own control, and is EFFECTIVE when it was."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, StateGraph

from pilothouse.errors import CommandNotEffective
from pilothouse.langgraph import NotWaiting, RunCancelled, RunState, RunUnderWay
from pilothouse.langgraph import runner as runner_module
from pilothouse.langgraph.threads import config_of
from pilothouse.v1.commands_pb2 import Command
from tests.celery.support import PATIENCE
from tests.langgraph.graphs import State, Workshop
from tests.langgraph.support import House, stages, tasks, told
from tests.support import wait_until

pytestmark = [
    pytest.mark.asyncio(loop_scope="package"),
    pytest.mark.xdist_group("langgraph"),
    pytest.mark.timeout(240),
]


async def test_a_pause_lands_between_supersteps_and_a_resume_repeats_none(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    workshop.held.add("b")
    workflow = house.client.workflow("held")
    async with house.runner(workshop.line(saver, "a", "b", "c")) as runner:
        running = asyncio.create_task(runner.run({}, thread_id="held"))
        await workshop.reached["b"].wait()
        await house.is_at("held", "step 2: b")
        pause = await workflow.pause()
        await house.accepted("held")
        assert (await house.is_in("held", "RUNNING")).workflow.current_stage == "step 2: b"
        workshop.gates["b"].set()
        await pause.wait(PATIENCE)
        paused = await house.is_in("held", "PAUSED")
        assert stages(paused) == {"step 1: a": "COMPLETED", "step 2: b": "COMPLETED"}
        with pytest.raises(RunUnderWay, match="paused"):
            await runner.start({}, thread_id="held")
        assert workshop.calls == {"a": 1, "b": 1}
        assert not running.done()
        await house.effective(workflow.resume())
        assert (await running).values["log"] == ["a", "b", "c"]
    assert workshop.calls == {"a": 1, "b": 1, "c": 1}
    words = told(await house.is_in("held", "COMPLETED"))
    assert words[words.index("WORKFLOW_PAUSED") - 1 :] == [
        "STAGE_COMPLETED step 2: b",
        "WORKFLOW_PAUSED",
        "WORKFLOW_RESUMED",
        "STAGE_STARTED step 3: c",
        "TASK_STARTED c 1",
        "TASK_COMPLETED c 1",
        "STAGE_COMPLETED step 3: c",
        "WORKFLOW_COMPLETED",
    ]


async def test_a_pause_lands_inside_a_subgraph(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    workshop.held.add("shovel")
    async with house.runner(workshop.everything(saver)) as runner:
        running = asyncio.create_task(runner.run({}, thread_id="deep"))
        await workshop.reached["shovel"].wait()
        await house.is_in("deep", "RUNNING")
        pause = await house.client.workflow("deep").pause()
        await house.accepted("deep")
        workshop.gates["shovel"].set()
        await pause.wait(PATIENCE)
        assert workshop.calls["sieve"] == 0
        await house.effective(house.client.workflow("deep").resume())
        await running
    assert workshop.calls["shovel"] == workshop.calls["sieve"] == workshop.calls["search"] == 1
    seen = tasks(await house.is_in("deep", "COMPLETED"))
    assert set(seen.values()) == {("COMPLETED", 1)}


async def test_a_run_that_waits_is_paused_at_once_and_waits_again_when_resumed(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    workflow = house.client.workflow("quiet")
    async with house.runner(workshop.asking(saver, "now?")) as runner:
        await runner.run({}, thread_id="quiet")
        await house.is_in("quiet", "WAITING")
        await house.effective(workflow.pause())
        await house.is_in("quiet", "PAUSED")
        await house.effective(workflow.resume())
        await house.is_in("quiet", "WAITING")
        assert (await runner.answer("quiet", "yes")).state is RunState.COMPLETED
    assert told(await house.is_in("quiet", "COMPLETED")).count("WORKFLOW_WAITING") == 2


async def test_a_pause_that_comes_with_the_end_fails(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    workshop.held.add("a")
    async with house.runner(workshop.line(saver, "a")) as runner:
        running = asyncio.create_task(runner.run({}, thread_id="late"))
        await workshop.reached["a"].wait()
        await house.is_in("late", "RUNNING")
        pause = await house.client.workflow("late").pause()
        await house.accepted("late")
        workshop.gates["a"].set()
        assert (await running).state is RunState.COMPLETED
        with pytest.raises(CommandNotEffective):
            await pause.wait(PATIENCE)


async def test_a_cancel_ends_a_node_in_its_midst(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    workshop.held.add("b")
    async with house.runner(workshop.line(saver, "a", "b")) as runner:
        run = await runner.start({}, thread_id="cut")
        await workshop.reached["b"].wait()
        await house.is_in("cut", "RUNNING")
        await house.effective(house.client.workflow("cut").cancel(reason="wrong input"))
        with pytest.raises(RunCancelled):
            await run.wait()
        assert run.state is RunState.CANCELLED
        shown = await house.is_in("cut", "CANCELLED")
        assert tasks(shown) == {"a": ("COMPLETED", 1), "b": ("CANCELLED", 1)}
        workshop.held.clear()
        again = await runner.run({}, thread_id="cut")
    assert again.workflow_id == "cut#2"
    assert again.values["log"] == ["a", "a", "b"]


async def test_a_cancel_ends_a_run_that_waits(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    async with house.runner(workshop.asking(saver, "now?")) as runner:
        await runner.run({}, thread_id="never")
        await house.is_in("never", "WAITING")
        await house.effective(house.client.workflow("never").cancel())
        shown = await house.is_in("never", "CANCELLED")
    assert tasks(shown) == {"ask0": ("CANCELLED", 1)}


async def test_a_retry_goes_on_from_the_last_checkpoint_as_the_next_attempt(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    workshop.failures["b"] = 2
    workflow = house.client.workflow("again")
    async with house.runner(workshop.line(saver, "a", "b", "c")) as runner:
        run = await runner.start({}, thread_id="again")
        with pytest.raises(RuntimeError, match="b is broken"):
            await run.wait()
        await house.is_in("again", "FAILED")
        await house.effective(workflow.retry())
        await house.is_in("again", "FAILED", attempt=2)
        await house.effective(workflow.retry())
        shown = await house.is_in("again", "COMPLETED", attempt=3)
        assert (await run.wait()).values["log"] == ["a", "b", "c"]
    assert workshop.calls == {"a": 1, "b": 3, "c": 1}
    assert tasks(shown) == {"a": ("COMPLETED", 1), "b": ("COMPLETED", 3), "c": ("COMPLETED", 1)}
    assert set(stages(shown).values()) == {"COMPLETED"}


async def test_a_run_whose_thread_went_on_cannot_be_retried(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    workshop.failures["a"] = 1
    async with house.runner(workshop.line(saver, "a")) as runner:
        with pytest.raises(RuntimeError):
            await runner.run({}, thread_id="past")
        await runner.run({}, thread_id="past")
        await house.is_in("past", "FAILED")
        retry = await house.client.workflow("past").retry()
        with pytest.raises(CommandNotEffective) as refused:
            await retry.wait(PATIENCE)
    assert refused.value.command.error.code == "NO_CHECKPOINT"


async def test_a_failure_in_a_subgraph_is_retried_from_where_it_was(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    workshop.failures["sieve"] = 1
    async with house.runner(workshop.everything(saver)) as runner:
        with pytest.raises(RuntimeError, match="sieve is broken"):
            await runner.run({}, thread_id="within")
        await house.is_in("within", "FAILED")
        await house.effective(house.client.workflow("within").retry())
        shown = await house.is_in("within", "COMPLETED", attempt=2)
    assert workshop.calls["shovel"] == 1
    assert {name: seen for name, seen in tasks(shown).items() if name.startswith("dig")} == {
        "dig": ("COMPLETED", 2),
        "dig/shovel": ("COMPLETED", 1),
        "dig/sieve": ("COMPLETED", 2),
    }
    assert shown.workflow.usage.input_tokens == 60


async def test_an_answer_is_kept_when_a_pause_overtakes_it(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    workflow = house.client.workflow("quick")
    workshop.held.add("act")
    async with house.runner(workshop.asking(saver, "now?")) as runner:
        run = await runner.start({}, thread_id="quick")
        await run.wait()
        await house.is_in("quick", "WAITING")
        run.answer("yes")
        run.pause(Command(id="made-here"))  # before LangGraph has begun with the answer
        await house.is_in("quick", "PAUSED")
        assert workshop.calls["act"] == 0
        workshop.held.clear()
        await house.effective(workflow.resume())
        assert (await run.wait()).values["log"] == ["now? yes", "act"]


async def test_a_node_in_a_thread_ends_by_itself_and_its_run_is_cancelled(
    house: House, saver: AsyncSqliteSaver
) -> None:
    began, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def slow(_: State) -> State:
        began.set()
        go_on.wait(60)
        ended.set()
        return {"log": ["slow"]}

    graph: Any = StateGraph(State)
    graph.add_node("slow", slow)
    graph.add_edge(START, "slow")
    async with house.runner(graph.compile(checkpointer=saver)) as runner:
        run = await runner.start({}, thread_id="thread")
        try:
            await wait_until(began.is_set)
            await house.is_in("thread", "RUNNING")
            await house.effective(house.client.workflow("thread").cancel())
            assert run.state is RunState.CANCELLED
        finally:
            go_on.set()
        await wait_until(ended.is_set)
        assert (await saver.aget_tuple(config_of("thread"))) is not None
    shown = await house.is_in("thread", "CANCELLED")
    assert tasks(shown) == {"slow": ("CANCELLED", 1)}


async def test_runs_that_are_not_remembered_are_recalled(
    house: House,
    saver: AsyncSqliteSaver,
    workshop: Workshop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner_module, "KEPT", 1)
    async with house.runner(workshop.asking(saver, "so?")) as runner:
        for thread_id in ("first", "second", "third"):
            await runner.run({}, thread_id=thread_id)
        for thread_id in ("first", "second", "third"):
            await house.is_in(thread_id, "WAITING")
            assert (await runner.answer(thread_id, "yes")).state is RunState.COMPLETED
            with pytest.raises(NotWaiting):
                await runner.answer(thread_id, "again")
