"""What is shown stays true where graphs and threads are used in ways that LangGraph allows and few think of."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import pytest
from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.errors import NodeCancelledError
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy, interrupt

from pilothouse.executor import ExecutorOptions
from pilothouse.langgraph import LangGraphRunner, NotWaiting, RunnerClosed, RunState
from pilothouse.langgraph.threads import Graph, config_of
from tests.celery.support import PATIENCE
from tests.langgraph.graphs import Compiled, Saver, State, Workshop
from tests.langgraph.support import House, path, tasks, told
from tests.support import free_port

pytestmark = [
    pytest.mark.asyncio(loop_scope="package"),
    pytest.mark.xdist_group("langgraph"),
    pytest.mark.timeout(240),
]


def line(saver: Saver, **nodes: Any) -> Compiled:
    """Functions one after another."""
    graph: Any = StateGraph(State)
    previous = START
    for name, node in nodes.items():
        graph.add_node(name, node)
        graph.add_edge(previous, name)
        previous = name
    graph.add_edge(previous, END)
    return graph.compile(checkpointer=saver)  # type: ignore[no-any-return]


async def test_a_thread_whose_checkpoints_are_gone_is_not_taken_for_its_first_run(
    house: House, workshop: Workshop
) -> None:
    ids: list[str] = []
    for _ in range(3):
        async with house.runner(workshop.line(InMemorySaver(), "a")) as runner:
            ids.append((await runner.run({}, thread_id="reborn")).workflow_id)
        await house.is_in(ids[-1], "COMPLETED")
    assert ids == ["reborn", "reborn#2", "reborn#4"]


async def test_a_state_that_was_edited_does_not_make_the_next_run_the_first(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    graph = workshop.line(saver, "a")
    async with house.runner(graph) as runner:
        await runner.run({}, thread_id="edited")
        await graph.aupdate_state(config_of("edited"), {"log": ["by hand"]})
        outcome = await runner.run({}, thread_id="edited")
    assert outcome.workflow_id != "edited"


async def test_a_failed_run_whose_state_was_edited_is_retried(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    graph = workshop.line(saver, "a", "b")
    workshop.failures["b"] = 1
    async with house.runner(graph) as runner:
        with pytest.raises(RuntimeError):
            await runner.run({}, thread_id="mended")
        await house.is_in("mended", "FAILED")
        await graph.aupdate_state(config_of("mended"), {"log": ["by hand"]}, as_node="a")
        await house.effective(house.client.workflow("mended").retry())
        await house.is_in("mended", "COMPLETED", attempt=2)


async def test_a_question_that_is_no_json_is_asked_all_the_same(
    house: House, saver: AsyncSqliteSaver
) -> None:
    async def ask(_: State) -> State:
        interrupt({("a", 1): "which?"})
        return {}

    async with house.runner(line(saver, ask=ask)) as runner:
        outcome = await asyncio.wait_for(runner.run({}, thread_id="tuple"), PATIENCE)
        assert outcome.state is RunState.WAITING
        shown = await house.is_in("tuple", "WAITING")
        assert "which?" in shown.events[-1].message
        assert (await runner.answer("tuple", 1)).state is RunState.COMPLETED


class Speechless(Exception):
    """Nobody can say what it was."""

    def __str__(self) -> str:
        raise ValueError


async def test_a_failure_without_words_ends_its_run_and_no_other(
    house: House, saver: AsyncSqliteSaver
) -> None:
    async def fail(_: State) -> State:
        raise Speechless

    async with house.runner(line(saver, fail=fail)) as runner:
        for thread_id in ("speechless", "speechless too"):
            with pytest.raises(Speechless):
                await asyncio.wait_for(runner.run({}, thread_id=thread_id), PATIENCE)
        shown = await house.is_in("speechless too", "FAILED")
    assert shown.workflow.error.code == "Speechless"


async def test_a_node_that_cancels_itself_fails(house: House, saver: AsyncSqliteSaver) -> None:
    async def give_up(_: State) -> State:
        raise asyncio.CancelledError

    async with house.runner(line(saver, give_up=give_up)) as runner:
        with pytest.raises(NodeCancelledError):
            await runner.run({}, thread_id="gave-up")
        await house.is_in("gave-up", "FAILED")


async def test_what_a_node_gave_up_below_it_was_not_completed(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    inner: Any = workshop.line(None, "stuck")
    workshop.held.add("stuck")

    async def outer(_: State) -> State:
        call = asyncio.ensure_future(inner.ainvoke({}))
        await workshop.reached["stuck"].wait()
        call.cancel()
        await asyncio.wait([call])
        return {"log": ["gave it up"]}

    async with house.runner(line(saver, outer=outer)) as runner:
        await runner.run({}, thread_id="impatient")
        shown = await house.is_in("impatient", "COMPLETED")
    assert tasks(shown) == {"outer": ("COMPLETED", 1), "outer/stuck": ("CANCELLED", 1)}


async def test_a_nested_node_that_is_tried_again_at_once_has_all_its_tries(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    policy = RetryPolicy(initial_interval=0, jitter=False, retry_on=RuntimeError, max_attempts=9)
    graph: Any = StateGraph(State)
    graph.add_node("sieve", workshop.node("sieve"), retry_policy=policy)
    graph.add_edge(START, "sieve")
    workshop.failures["sieve"] = 3
    async with house.runner(line(saver, dig=graph.compile())) as runner:
        await runner.run({}, thread_id="eager")
        shown = await house.is_in("eager", "COMPLETED")
    assert tasks(shown)["dig/sieve"] == ("COMPLETED", 4)


async def test_a_message_without_an_id_is_paid_once(house: House, saver: AsyncSqliteSaver) -> None:
    async def write(_: State) -> State:
        usage = UsageMetadata(input_tokens=30, output_tokens=4, total_tokens=34)
        return {"messages": [AIMessage("text", usage_metadata=usage)]}

    async def repeat(state: State) -> State:
        return {"messages": state.get("messages", [])}

    async with house.runner(line(saver, write=write, repeat=repeat)) as runner:
        await runner.run({}, thread_id="paid")
        shown = await house.is_in("paid", "COMPLETED")
    assert shown.workflow.usage.input_tokens == 30


async def test_an_answer_that_a_task_had_taken_is_not_asked_for_again(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    reached, hold = asyncio.Event(), asyncio.Event()

    async def ask(_: State) -> State:
        said = interrupt("go?")
        reached.set()
        await hold.wait()
        return {"log": [said]}

    graph = line(saver, ask=ask)
    async with house.runner(graph, close_timeout=0.1) as runner:
        run = await runner.start({}, thread_id="killed-after")
        await run.wait()
        await house.is_in("killed-after", "WAITING")
        answering = asyncio.create_task(runner.answer("killed-after", "yes"))
        await reached.wait()
        await house.is_in("killed-after", "RUNNING")
    with pytest.raises(RunnerClosed):
        await answering
    hold.set()
    async with house.runner(graph) as runner:
        [run] = await runner.recover()
        assert (await run.wait()).values["log"] == ["yes"]
        shown = await house.is_in("killed-after", "COMPLETED")
    assert told(shown).count("WORKFLOW_WAITING") == 1
    assert tasks(shown) == {"ask": ("COMPLETED", 2)}


async def test_a_run_that_was_asked_about_before_is_recovered(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    workshop.held.add("b")
    graph = workshop.line(saver, "a", "b")
    async with house.runner(graph, close_timeout=0.1) as runner:
        await runner.start({}, thread_id="early")
        await workshop.reached["b"].wait()
        await house.is_in("early", "RUNNING")
    workshop.gates["b"].set()
    async with house.runner(graph) as runner:
        with pytest.raises(NotWaiting):
            await runner.answer("early", "hm")
        [run] = await runner.recover()
        await run.wait()
        await house.is_in("early", "COMPLETED")


async def test_a_thread_named_like_a_second_run_is_another_workflow(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    async with house.runner(workshop.line(saver, "a")) as runner:
        ids = {(await runner.run({}, thread_id="twin")).workflow_id for _ in range(2)}
        assert "twin#2" in ids
        outcome = await runner.run({}, thread_id="twin#2")
        assert outcome.workflow_id not in ids


async def test_several_questions_of_one_node(house: House, saver: AsyncSqliteSaver) -> None:
    async def ask(_: State) -> State:
        return {"log": [interrupt("one?"), interrupt("two?")]}

    async with house.runner(line(saver, ask=ask)) as runner:
        await runner.run({}, thread_id="both")
        assert list((await runner.answer("both", "1")).interrupts.values()) == ["two?"]
        assert (await runner.answer("both", "2")).values["log"] == ["1", "2"]
        await house.is_in("both", "COMPLETED")


async def test_a_breakpoint_is_not_passed_because_a_process_ended(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    graph = workshop.line(saver, "a", "b", interrupt_before=["b"])
    await cast("Any", graph).ainvoke({}, config_of("stopped", "stopped"))
    async with house.runner(graph) as runner:
        runner.executor.workflow("stopped", workflow_type=runner.workflow_type).started()
        await house.is_in("stopped", "RUNNING")
        assert await runner.recover() == []
        shown = await house.is_in("stopped", "WAITING")
        assert shown.events[-1].message == "breakpoint before b"
        assert workshop.calls == {"a": 1}
        assert (await runner.answer("stopped")).state is RunState.COMPLETED


async def test_a_pause_in_front_of_a_breakpoint_does_not_pass_it(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    workshop.held.add("a")
    async with house.runner(workshop.line(saver, "a", "b", interrupt_before=["b"])) as runner:
        run = await runner.start({}, thread_id="front")
        await workshop.reached["a"].wait()
        await house.is_in("front", "RUNNING")
        pause = await house.client.workflow("front").pause()
        await house.accepted("front")
        workshop.gates["a"].set()
        await pause.wait(PATIENCE)
        await house.effective(house.client.workflow("front").resume())
        await house.is_in("front", "WAITING")
        assert (await run.wait()).state is RunState.WAITING
        assert workshop.calls == {"a": 1}
        # And once more, where it waits already; the third time in another process.
        await house.effective(house.client.workflow("front").pause())
        await house.effective(house.client.workflow("front").resume())
        await house.is_in("front", "WAITING")
        await house.effective(house.client.workflow("front").pause())
    async with house.runner(workshop.line(saver, "a", "b", interrupt_before=["b"])) as runner:
        await house.effective(house.client.workflow("front").resume())
        await house.is_in("front", "WAITING")
        assert workshop.calls == {"a": 1}
        assert (await runner.answer("front")).state is RunState.COMPLETED


async def test_tasks_of_an_entrypoint_are_told_once_across_its_question(
    house: House, saver: AsyncSqliteSaver
) -> None:
    calls: list[int] = []

    @task
    async def double(number: int) -> int:
        calls.append(number)
        return number * 2

    @entrypoint(checkpointer=saver)
    async def work(number: int) -> int:
        first = await double(number)
        more = interrupt("how many more?")
        return first + await double(more)

    async with house.runner(cast("Graph", work)) as runner:
        await runner.run(1, thread_id="functions")
        assert (await runner.answer("functions", 5)).values == 12
        shown = await house.is_in("functions", "COMPLETED")
    assert calls == [1, 5]
    assert sorted(path(each.id) for each in shown.tasks) == ["double", "double", "work"]
    assert set(tasks(shown).values()) == {("COMPLETED", 1)}


async def test_runs_do_not_wait_for_a_server_that_is_away(workshop: Workshop) -> None:
    target, options = f"127.0.0.1:{free_port()}", ExecutorOptions(close_timeout=0.1)
    graph = workshop.line(InMemorySaver(), "a")
    async with LangGraphRunner(target, graph, workflow_type="w", options=options) as runner:
        begin = time.monotonic()
        for number in range(20):
            await runner.run({}, thread_id=f"alone-{number}")
        assert time.monotonic() - begin < 15  # a second each, if each of them asked
    assert workshop.calls == {"a": 20}
