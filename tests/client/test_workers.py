"""What an engine says of its agents and queues, and that heartbeats say nothing else."""

from __future__ import annotations

import pytest

from pilothouse.executor import Executor, ExecutorOptions
from pilothouse.reporting import WorkflowRun
from pilothouse.v1.commands_pb2 import Command
from pilothouse.v1.events_pb2 import Event, EventType, Usage
from pilothouse.workers import ReportedAgent, ReportedQueue
from tests.client.support import Server
from tests.support import wait_until

COMMAND = Command(id="c-1")


class Told(list[Event]):
    """What was reported."""

    def report(self, event: Event) -> str:
        self.append(event)
        return str(len(self))

    def words(self) -> list[str]:
        """Types, and the commands that they answer."""
        return [
            f"{EventType.Name(each.type).removeprefix('EVENT_TYPE_')} {each.command_id}".rstrip()
            for each in self
        ]


def test_each_step_of_an_agent_is_one_event_that_names_its_command() -> None:
    told = Told()
    agent = ReportedAgent(told.report, "a-1", agent_type="builder", capacity=2)
    states: list[tuple[bool, bool]] = []

    def note() -> None:
        states.append((agent.is_offline, agent.is_draining))

    note()
    agent.registered()
    agent.draining("for maintenance", command=COMMAND)
    agent.heartbeat(1)
    note()
    agent.activated("c-2")
    note()
    agent.resized(4, command="c-3", message="more room")
    agent.offline("restarting")
    note()
    agent.registered(command="c-4")
    note()
    assert states == [(True, False), (False, True), (False, False), (True, False), (False, False)]
    assert told.words() == [
        "AGENT_REGISTERED", "AGENT_DRAINING c-1", "AGENT_HEARTBEAT", "AGENT_REGISTERED c-2", "AGENT_HEARTBEAT c-3",
        "AGENT_OFFLINE", "AGENT_REGISTERED c-4",
    ]  # fmt: skip
    assert {(each.agent_id, each.agent_type) for each in told} == {("a-1", "builder")}
    assert [each.load.capacity for each in told] == [2, 2, 2, 2, 4, 4, 4]
    assert (told[1].message, told[4].message) == ("for maintenance", "more room")


def test_a_resize_says_what_the_agent_works_on_like_any_heartbeat() -> None:
    told = Told()
    agent = ReportedAgent(told.report, "a-1", capacity=1)
    agent.take_up("wf-1", "t-1")
    agent.resized(3, command=COMMAND)
    assert (told[-1].workflow_id, told[-1].task_id, told[-1].load.active) == ("wf-1", "t-1", 1)


def test_a_queue_is_active_or_paused_by_its_name_or_by_a_type() -> None:
    told = Told()
    ReportedQueue(told.report, "mail").active(message="two workers")
    ReportedQueue(told.report, workflow_type="nightly").paused(COMMAND)
    ReportedQueue(told.report, agent_type="tester").active(COMMAND)
    ReportedQueue(told.report).paused()
    assert told.words() == ["QUEUE_ACTIVE", "QUEUE_PAUSED c-1", "QUEUE_ACTIVE c-1", "QUEUE_PAUSED"]
    assert [(each.queue, each.workflow_type, each.agent_type) for each in told] == [
        ("mail", "", ""), ("", "nightly", ""), ("", "", "tester"), ("", "", ""),
    ]  # fmt: skip


def test_a_queue_with_a_name_is_not_narrowed_to_a_type() -> None:
    with pytest.raises(ValueError, match="only with an empty name"):
        ReportedQueue(Told().report, "mail", workflow_type="nightly")


def test_a_task_says_what_it_waits_for_and_what_each_try_consumed() -> None:
    told = Told()
    task = WorkflowRun(told.report, "wf-1").task("t-1", queue="mail", agent_type="builder")
    task.queued()
    task.retrying("flaky", usage=Usage(input_tokens=7))
    task.cancelled("enough", usage=Usage(input_tokens=2))
    assert {(each.queue, each.agent_type) for each in told} == {("mail", "builder")}
    assert [each.usage.input_tokens for each in told] == [0, 7, 2]


async def test_an_agent_that_said_goodbye_has_no_heartbeats_and_no_second_goodbye(
    server: Server,
) -> None:
    patient = ExecutorOptions(close_timeout=30)
    async with Executor(server.target, source="engine", options=patient) as executor:
        gone = executor.agent("gone", heartbeat_every=0.01)
        there = executor.agent("there", heartbeat_every=0.01, draining=True)
        gone.offline()
        await executor.flush(30)
        before = len(beats(server, there))
        await wait_until(lambda: len(beats(server, there)) > before + 3)
        told = [each for each in server.log.items if each.agent_id == "gone"]
        assert told[-1].type == EventType.EVENT_TYPE_AGENT_OFFLINE
    kinds = [each.type for each in server.log.items if each.agent_id == "gone"]
    assert kinds.count(EventType.EVENT_TYPE_AGENT_OFFLINE) == 1
    first = next(each for each in server.log.items if each.agent_id == "there")
    assert first.type == EventType.EVENT_TYPE_AGENT_DRAINING


def beats(server: Server, agent: ReportedAgent) -> list[Event]:
    """The heartbeats of an agent that came."""
    return [
        each
        for each in server.log.items
        if each.agent_id == agent.id and each.type == EventType.EVENT_TYPE_AGENT_HEARTBEAT
    ]
