"""What an engine says becomes the events of the contract, whatever the engine puts into them."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest

from pilothouse.executor import Executor, ExecutorOptions
from pilothouse.reporting import ReportedAgent, WorkflowRun, clip, event_error
from pilothouse.v1.commands_pb2 import Command
from pilothouse.v1.events_pb2 import Event, EventError, EventType, Usage
from tests.client.support import Server
from tests.support import wait_until


class Told(list[Event]):
    """The events that were reported."""

    def report(self, event: Event) -> str:
        self.append(event)
        return event.id

    def types(self) -> list[str]:
        return [EventType.Name(event.type).removeprefix("EVENT_TYPE_") for event in self]


def test_a_run_that_goes_well() -> None:
    told = Told()
    run = WorkflowRun(
        told.report, "wf", workflow_type="feature", name="Login", stage_plan=["build"]
    )
    run.created()
    agent = ReportedAgent(told.report, "a-1", agent_type="builder", capacity=2)
    with run, run.stage("build"), run.task("t-1", stage="build", agent=agent) as task:
        task.usage = Usage(input_tokens=7)
    assert told.types() == [
        "WORKFLOW_CREATED",
        "WORKFLOW_STARTED",
        "STAGE_STARTED",
        "TASK_STARTED",
        "AGENT_HEARTBEAT",
        "TASK_COMPLETED",
        "AGENT_HEARTBEAT",
        "STAGE_COMPLETED",
        "WORKFLOW_COMPLETED",
    ]
    assert list(told[0].stage_plan) == ["build"]
    assert (told[4].load.active, told[4].load.capacity, told[4].task_id) == (1, 2, "t-1")
    assert (told[6].load.active, told[6].task_id) == (0, "")
    assert told[5].usage.input_tokens == 7
    assert {event.attempt for event in told if event.workflow_id and event.type < 21} == {1}


def test_an_exception_ends_a_run_a_stage_and_a_task_badly() -> None:
    told = Told()
    run = WorkflowRun(told.report, "wf")
    with pytest.raises(RuntimeError), run, run.stage("build"), run.task("t-1"):
        raise RuntimeError("boom")
    failed = [event for event in told if event.HasField("error")]
    assert [(event.error.code, event.error.message) for event in failed] == [
        ("RuntimeError", "boom")
    ] * 3
    assert told.types()[-3:] == ["TASK_FAILED", "STAGE_FAILED", "WORKFLOW_FAILED"]


def test_a_cancelled_task_of_the_engine_is_a_cancelled_run() -> None:
    told = Told()
    run = WorkflowRun(told.report, "wf")
    with pytest.raises(asyncio.CancelledError), run, run.stage("build"), run.task("t-1"):
        raise asyncio.CancelledError
    assert told.types()[-2:] == ["TASK_CANCELLED", "WORKFLOW_CANCELLED"]


def test_an_end_that_was_reported_is_not_reported_again() -> None:
    told = Told()
    with WorkflowRun(told.report, "wf") as run:
        run.cancelled(Command(id="c-1"))
    assert told.types() == ["WORKFLOW_STARTED", "WORKFLOW_CANCELLED"]
    assert told[1].command_id == "c-1"


def test_a_retry_opens_the_next_attempt() -> None:
    told = Told()
    run = WorkflowRun(told.report, "wf", attributes={"branch": "main"})
    run.started()
    run.failed("broken", retryable=True)
    run.retried("c-2")
    run.started()
    assert [event.attempt for event in told] == [1, 1, 2, 2]
    assert told[1].error.retryable
    assert told[2].command_id == "c-2"
    assert told[0].attributes["branch"] == "main"


def test_a_task_that_is_tried_again_says_which_attempt_comes() -> None:
    told = Told()
    task = WorkflowRun(told.report, "wf").task("t")
    task.queued()
    task.assigned(ReportedAgent(told.report, "a-1", agent_type="builder"))
    task.retrying("flaky")
    task.completed(duration=dt.timedelta(milliseconds=1500))
    assert [event.attempt for event in told] == [1, 1, 2, 2]
    assert told[1].agent_id == "a-1"
    assert told[3].duration.ToMilliseconds() == 1500


@pytest.mark.parametrize("text", ["x" * 5000, "é" * 3000, "日" * 2000, "😀" * 1500])
def test_long_text_is_cut_to_the_limit_of_the_contract(text: str) -> None:
    short = clip(text)
    assert len(short.encode()) <= 4096
    assert short.endswith("…")
    assert text.startswith(short[:-1])


def test_text_that_is_not_unicode_is_reported_nevertheless() -> None:
    error = event_error(RuntimeError("bad \udc80 byte"))
    assert error.message == "bad ? byte"
    assert event_error(EventError(code="X")).code == "X"
    assert event_error(KeyError()).message == "KeyError()"


async def test_heartbeats_come_by_themselves_and_end_with_a_goodbye(server: Server) -> None:
    patient = ExecutorOptions(close_timeout=30)
    async with Executor(server.target, source="engine", options=patient) as executor:
        agent = executor.agent("a-1", agent_type="builder", capacity=3, heartbeat_every=0.02)
        agent.active = 2

        def beats() -> list[Event]:
            return [
                event
                for event in server.events.values()
                if event.type == EventType.EVENT_TYPE_AGENT_HEARTBEAT
            ]

        await wait_until(lambda: len(beats()) >= 3)
        assert beats()[-1].load.active == 2
    kinds = [event.type for event in server.events.values()]
    assert kinds[0] == EventType.EVENT_TYPE_AGENT_REGISTERED
    assert kinds[-1] == EventType.EVENT_TYPE_AGENT_OFFLINE
