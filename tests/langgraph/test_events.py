"""What a run tells: supersteps, nodes, tries, nested graphs, what models cost, questions and ends."""

from __future__ import annotations

import asyncio

import pytest
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from pilothouse.langgraph import NotWaiting, RunCancelled, RunState, RunUnderWay
from pilothouse.v1.enums_pb2 import ControlAction
from tests.langgraph.graphs import Workshop
from tests.langgraph.support import House, stages, tasks, told
from tests.support import wait_until

pytestmark = [
    pytest.mark.asyncio(loop_scope="package"),
    pytest.mark.xdist_group("langgraph"),
    pytest.mark.timeout(240),
]


async def test_supersteps_are_stages_and_nodes_are_tasks(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    workshop.failures["search"] = 2
    async with house.runner(workshop.everything(saver)) as runner:
        outcome = await runner.run({"log": []}, thread_id="whole", name="The whole")
    assert outcome.state is RunState.COMPLETED
    assert outcome.values["rounds"] == 2
    shown = await house.is_in("whole", "COMPLETED")
    assert shown.workflow.workflow_name == "The whole"
    assert stages(shown) == {
        "step 1: plan": "COMPLETED",
        "step 2: dig, search": "COMPLETED",
        "step 3: write": "COMPLETED",
        "step 4: judge": "COMPLETED",
        "step 5: write": "COMPLETED",
        "step 6: judge": "COMPLETED",
    }
    assert tasks(shown) == {
        "plan": ("COMPLETED", 1),
        "search": ("COMPLETED", 3),
        "dig": ("COMPLETED", 1),
        "dig/shovel": ("COMPLETED", 1),
        "dig/sieve": ("COMPLETED", 1),
        "write": ("COMPLETED", 1),
        "judge": ("COMPLETED", 1),
    }
    assert len(shown.tasks) == 9
    assert [t.stage for t in shown.tasks if t.id.startswith("dig")] == ["step 2: dig, search"] * 3
    usage = shown.workflow.usage
    assert (usage.input_tokens, usage.output_tokens) == (60, 8)
    words = told(shown)
    assert words[:4] == [
        "WORKFLOW_STARTED",
        "STAGE_STARTED step 1: plan",
        "TASK_STARTED plan 1",
        "TASK_COMPLETED plan 1",
    ]
    assert [w for w in words if " search " in w] == [
        "TASK_STARTED search 1",
        "TASK_RETRYING search 2",
        "TASK_STARTED search 2",
        "TASK_RETRYING search 3",
        "TASK_STARTED search 3",
        "TASK_COMPLETED search 3",
    ]
    assert words[-2:] == ["STAGE_COMPLETED step 6: judge", "WORKFLOW_COMPLETED"]


async def test_a_question_is_waited_with_and_answered(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    async with house.runner(workshop.asking(saver, "publish?")) as runner:
        outcome = await runner.run({}, thread_id="asked")
        assert outcome.state is RunState.WAITING
        assert list(outcome.interrupts.values()) == ["publish?"]
        waiting = await house.is_in("asked", "WAITING")
        assert waiting.events[-1].message == "publish?"
        outcome = await runner.answer("asked", "yes")
        assert outcome.values["log"] == ["publish? yes", "act"]
        with pytest.raises(NotWaiting):
            await runner.answer("asked", "again")
    shown = await house.is_in("asked", "COMPLETED")
    assert told(shown) == [
        "WORKFLOW_STARTED",
        "STAGE_STARTED step 1: ask0",
        "TASK_STARTED ask0 1",
        "WORKFLOW_WAITING",
        "WORKFLOW_RESUMED",
        "TASK_COMPLETED ask0 1",
        "STAGE_COMPLETED step 1: ask0",
        "STAGE_STARTED step 2: act",
        "TASK_STARTED act 1",
        "TASK_COMPLETED act 1",
        "STAGE_COMPLETED step 2: act",
        "WORKFLOW_COMPLETED",
    ]


async def test_several_questions_are_answered_by_their_ids(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    async with house.runner(workshop.asking(saver, "who?", "when?")) as runner:
        asked = (await runner.run({}, thread_id="two")).interrupts
        assert sorted(asked.values()) == ["when?", "who?"]
        for wrong in ("me", {}, {"unknown": 1}):
            with pytest.raises(ValueError, match="by their ids"):
                await runner.answer("two", wrong)
        ids = {question: id for id, question in asked.items()}
        left = await runner.answer("two", {ids["who?"]: "me"})
        assert list(left.interrupts.values()) == ["when?"]
        outcome = await runner.answer("two", "now")
    assert outcome.values["log"] == ["who? me", "when? now", "act"]
    assert (await house.is_in("two", "COMPLETED")).workflow.attempt == 1


async def test_a_breakpoint_is_waited_at(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    graph = workshop.line(saver, "a", "b", interrupt_before=["b"])
    async with house.runner(graph) as runner:
        assert (await runner.run({}, thread_id="break")).state is RunState.WAITING
        waiting = await house.is_in("break", "WAITING")
        assert waiting.events[-1].message == "breakpoint before b"
        assert stages(waiting) == {"step 1: a": "COMPLETED"}
        with pytest.raises(ValueError, match="takes no answer"):
            await runner.answer("break", "go")
        assert (await runner.answer("break")).state is RunState.COMPLETED


async def test_each_input_on_a_thread_is_a_workflow_of_its_own(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    async with house.runner(workshop.line(saver, "a", "b")) as runner:
        outcomes = [await runner.run({"log": ["in"]}, thread_id="chat") for _ in range(3)]
    assert [each.workflow_id for each in outcomes] == ["chat", "chat#2", "chat#3"]
    assert outcomes[2].values["log"] == ["in", "a", "b"] * 3
    for each in outcomes:
        shown = await house.is_in(each.workflow_id, "COMPLETED")
        assert list(stages(shown)) == ["step 1: a", "step 2: b"]
        assert shown.events[0].attributes["langgraph.thread_id"] == "chat"


async def test_a_new_input_ends_a_run_that_waits_and_is_refused_while_one_runs(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    workshop.held.add("act")
    async with house.runner(workshop.asking(saver, "sure?")) as runner:
        await runner.run({}, thread_id="over")
        second = await runner.start({}, thread_id="over")
        assert (await second.wait()).state is RunState.WAITING
        first = await house.is_in("over", "CANCELLED")
        assert first.events[-1].message == "a new input came on its thread"
        answering = asyncio.create_task(runner.answer("over", "yes"))
        await workshop.reached["act"].wait()
        with pytest.raises(RunUnderWay, match="over#2 of this thread is running"):
            await runner.start({}, thread_id="over")
        workshop.gates["act"].set()
        assert (await answering).workflow_id == "over#2"


async def test_of_many_inputs_at_once_on_a_thread_one_runs(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    workshop.held.add("b")
    async with house.runner(workshop.line(saver, "a", "b")) as runner:
        asked = [asyncio.create_task(runner.run({}, thread_id="crowd")) for _ in range(10)]
        await wait_until(lambda: sum(each.done() for each in asked) == 9)
        workshop.gates["b"].set()
        came = await asyncio.gather(*asked, return_exceptions=True)
    assert [each.workflow_id for each in came if isinstance(each, RunUnderWay)] == ["crowd"] * 9
    assert workshop.calls == {"a": 1, "b": 1}


async def test_a_failure_names_its_node_and_what_ran_beside_it_was_cancelled(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    workshop.failures["sieve"] = 1
    workshop.held.add("search")
    async with house.runner(workshop.everything(saver)) as runner:
        with pytest.raises(RuntimeError, match="sieve is broken"):
            await runner.run({}, thread_id="broken")
        shown = await house.is_in("broken", "FAILED")
    error = shown.workflow.error
    assert (error.code, error.message) == ("RuntimeError", "node sieve: sieve is broken")
    assert error.retryable
    assert stages(shown)["step 2: dig, search"] == "FAILED"
    seen = tasks(shown)
    assert seen["dig/sieve"] == seen["dig"] == ("FAILED", 1)
    assert seen["search"] == ("CANCELLED", 1)


async def test_what_its_caller_cancels_is_cancelled(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    workshop.held.add("a")
    async with house.runner(workshop.line(saver, "a")) as runner:
        caller = asyncio.create_task(runner.run({}, thread_id="dropped"))
        await workshop.reached["a"].wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        shown = await house.is_in("dropped", "CANCELLED")
    assert shown.events[-1].message == "its caller was cancelled"
    assert tasks(shown) == {"a": ("CANCELLED", 1)}


async def test_a_graph_without_a_checkpointer_can_be_cancelled_and_nothing_else(
    house: House, workshop: Workshop
) -> None:
    workshop.held.add("b")
    async with house.runner(workshop.line(None, "a", "b")) as runner:
        run = await runner.start({})
        await workshop.reached["b"].wait()
        shown = await house.is_in(run.workflow_id, "RUNNING")
        offered = [each.action for each in shown.workflow.actions if each.available]
        assert offered == [ControlAction.CONTROL_ACTION_CANCEL]
        await house.effective(house.client.workflow(run.workflow_id).cancel())
        with pytest.raises(RunCancelled):
            await run.wait()
        with pytest.raises(ValueError, match="no threads"):
            await runner.start({}, thread_id="t")
        workshop.held.clear()
        done = await runner.run({})
    assert list(stages(await house.is_in(done.workflow_id, "COMPLETED"))) == ["step 1", "step 2"]
    assert list(stages(await house.is_in(run.workflow_id, "CANCELLED"))) == ["step 1", "step 2"]
    with pytest.raises(ValueError, match="needs a checkpointer"):
        house.runner(workshop.line(None, "a", interrupt_before=["a"]))


@pytest.mark.parametrize("thread_id", ["", "x" * 241, "a\nb"])
async def test_a_thread_that_no_workflow_could_be_named_after_is_refused(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop, thread_id: str
) -> None:
    async with house.runner(workshop.line(saver, "a")) as runner:
        with pytest.raises(ValueError, match="a thread_id has"):
            await runner.start({}, thread_id=thread_id)


async def test_fifty_runs_at_once_are_told_exactly(
    house: House, saver: AsyncSqliteSaver, workshop: Workshop
) -> None:
    workshop.failures["search"] = 50
    async with house.runner(workshop.everything(saver)) as runner:
        async with asyncio.TaskGroup() as group:
            for number in range(50):
                group.create_task(runner.run({}, thread_id=f"many-{number}"))
        assert runner.executor.stats.rejected == 0
    assert workshop.calls["write"] == 100
    tries = 0
    for number in range(50):
        shown = await house.is_in(f"many-{number}", "COMPLETED")
        assert set(stages(shown).values()) == {"COMPLETED"}
        assert len(shown.tasks) == 9
        assert len(shown.workflow.stages) == 6
        tries += tasks(shown)["search"][1]
    assert tries == workshop.calls["search"] == 100
