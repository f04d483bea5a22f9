"""Real workers, a real broker, a real server, and the connector as people start it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from pilothouse.aio import Client
from pilothouse.errors import CallError
from pilothouse.v1.agents_pb2 import (
    ActivateAgentRequest,
    Agent,
    DrainAgentRequest,
    ResizeAgentRequest,
    RestartAgentRequest,
)
from pilothouse.v1.commands_pb2 import CommandState
from pilothouse.v1.enums_pb2 import AgentState, WorkState
from pilothouse.v1.queues_pb2 import PauseQueueRequest, ResumeQueueRequest
from pilothouse.v1.workflows_pb2 import CancelWorkflowRequest, PauseWorkflowRequest
from pilothouse_server.demo.launch import CELERY, run_demo_engine
from tests.celery import tasks
from tests.celery.support import PATIENCE, Child, Shown, connector, tasks_of, worker
from tests.e2e.support import Pilothouse
from tests.support import wait_until

if TYPE_CHECKING:
    from pilothouse.v1.queues_pb2_grpc import QueueServiceAsyncStub

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("celery"),
    pytest.mark.timeout(300),
]


@dataclass
class House:
    """Everything that runs."""

    server: Pilothouse
    first: Child
    second: Child
    connector: Child
    other: Child
    shown: Shown
    queues: QueueServiceAsyncStub
    directory: Path

    @property
    def client(self) -> Client:
        """Of the server."""
        return self.shown.client

    async def agent(self, host: str) -> Agent | None:
        """A worker as the server shows it."""
        listed = [each async for each in self.client.list_agents(filter=f'id = "{host}@test"')]
        return listed[0] if listed else None

    async def is_in(self, host: str, state: AgentState.ValueType) -> None:
        """Waits until the worker is in that state."""

        async def is_so() -> bool:
            agent = await self.agent(host)
            return agent is not None and agent.state == state

        await wait_until(is_so, within=PATIENCE, what=f"{host} is {AgentState.Name(state)}")

    def gate(self, name: str) -> Path:
        """A file for which a task waits."""
        return self.directory / name


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """One server, two workers, one connector. The first worker begins without task events."""
    directory = tmp_path_factory.mktemp("celery")
    broker = valkey_url.removesuffix("/0") + "/7"
    results = {"CELERY_TEST_RESULTS": broker}
    tasks.app.conf.update(broker_url=broker, result_backend=broker)
    first = worker(broker, directory, "first", CELERY_TEST_RESTARTS="1", **results)
    second = worker(broker, directory, "second", queues="slow,heavy", **results)
    connected: Child | None = None
    other: Child | None = None
    server = Pilothouse(directory / "data")
    try:
        for child in (first, second):
            child.begin()
        await server.start(within=90)
        connected = connector(broker, server.grpc, directory, "--result-backend", broker)
        (directory / "other").mkdir()
        other = connector(broker, server.grpc, directory / "other", "--result-backend", broker)
        for child in (first, second):
            await child.ready()
        await connected.start()
        async with Client(server.grpc) as client:
            yield House(
                server, first, second, connected, other, Shown(client), client.queues, directory
            )
    finally:
        children = [each for each in (connected, other, first, second) if each is not None]
        for each in children:
            each.terminate()
        for each in children:
            each.finish()
        await server.kill()
        tasks.app.close()


async def test_a_chain_is_one_workflow_with_its_links_as_tasks(house: House) -> None:
    root = tasks.chained(("add", (0, 0)), ("add", (0,)), ("hold", ()))
    done = await house.shown.completed(root, 3)
    assert done.workflow.workflow_type == "add"
    assert len(done.tasks) == 3
    assert set(tasks_of(done).values()) == {("COMPLETED", 1)}
    assert {task.agent_id for task in done.tasks} == {"first@test"}
    assert "the task events of first@test were off" in house.gate("connector.log").read_text()


async def test_what_a_task_starts_belongs_to_its_workflow(house: House) -> None:
    done = await house.shown.completed(tasks.send("fan_out", 3), 4)
    assert sorted(task.stage for task in done.tasks) == ["add", "add", "add", "fan_out"]


async def test_a_retry_is_the_next_attempt_of_the_task(house: House) -> None:
    done = await house.shown.ended(tasks.send("flaky"), "COMPLETED")
    assert tasks_of(done) == {"flaky": ("COMPLETED", 2)}


async def test_a_failure_says_which_task_and_why(house: House) -> None:
    failed = await house.shown.ended(tasks.send("boom"), "FAILED")
    assert failed.workflow.error.code == "KeyError"
    assert failed.workflow.error.message == "boom: no such thing"


async def test_a_task_that_ends_without_a_word_is_found(house: House) -> None:
    failed = await house.shown.ended(tasks.send("silent"), "FAILED")
    assert failed.workflow.error.code == "END_NOT_SEEN"


async def test_what_runs_and_what_waits_is_cancelled(house: House) -> None:
    running = [tasks.send("hold", 60) for _ in range(2)]
    await wait_until(lambda: _started(house, running), within=PATIENCE, what="both run")
    waiting = tasks.send("hold", 60)
    await wait_until(lambda: house.shown.workflow(waiting), within=PATIENCE, what="it is received")
    for workflow_id in (waiting, *running):
        request = CancelWorkflowRequest(workflow_id=workflow_id, reason="test")
        await house.shown.effective(await house.client.workflows.CancelWorkflow(request))
        ended = await house.shown.ended(workflow_id, "CANCELLED")
        assert tasks_of(ended) == {"hold": ("CANCELLED", 1)}


async def _started(house: House, ids: list[str]) -> bool:
    shown = [await house.shown.workflow(each) for each in ids]
    return all(each is not None and each.workflow.HasField("start_time") for each in shown)


async def test_one_workflow_cannot_be_paused_and_says_so(house: House) -> None:
    gate = house.gate("pause")
    workflow_id = tasks.send("wait_for", str(gate))
    await wait_until(lambda: _started(house, [workflow_id]), within=PATIENCE, what="it runs")
    with pytest.raises(CallError, match="did not declare"):
        await house.client.workflows.PauseWorkflow(PauseWorkflowRequest(workflow_id=workflow_id))
    gate.touch()
    await house.shown.ended(workflow_id, "COMPLETED")


async def test_a_paused_queue_stays_paused_when_its_worker_is_started_again(house: House) -> None:
    pause = PauseQueueRequest(source="celery", queue="slow", reason="test")
    await house.shown.effective(await house.queues.PauseQueue(pause))
    house.second.stop()
    await house.is_in("second", AgentState.AGENT_STATE_OFFLINE)
    revoked = await _cancelled_in_its_queue(house)
    await house.second.start()
    await house.is_in("second", AgentState.AGENT_STATE_ONLINE)
    await wait_until(lambda: _leaves("slow"), within=PATIENCE, what="slow is left again")
    held = tasks.send("add", 1, 1, queue="slow")
    other = tasks.send("add", 1, 1, queue="heavy")
    await house.shown.ended(other, "COMPLETED")
    assert await house.shown.workflow(held) is None
    ended = await house.shown.ended(revoked, "CANCELLED")
    assert {task.state for task in ended.tasks} == {WorkState.WORK_STATE_CANCELLED}
    assert (await house.shown.queues()) == {
        "": "ACTIVE",
        "celery": "ACTIVE",
        "heavy": "ACTIVE",
        "slow": "PAUSED",
    }
    resume = ResumeQueueRequest(source="celery", queue="slow")
    await house.shown.effective(await house.queues.ResumeQueue(resume))
    await house.shown.ended(held, "COMPLETED")


async def _cancelled_in_its_queue(house: House) -> str:
    """A workflow that is cancelled while no worker is there that takes from its queue."""
    tasks.app.conf.task_send_sent_event = True
    try:
        workflow_id = tasks.send("wait_for", str(house.gate("never")), queue="heavy")
    finally:
        tasks.app.conf.task_send_sent_event = False
    await wait_until(lambda: house.shown.workflow(workflow_id), within=PATIENCE, what="it is sent")
    request = CancelWorkflowRequest(workflow_id=workflow_id, reason="test")
    await house.shown.effective(await house.client.workflows.CancelWorkflow(request))
    await house.shown.ended(workflow_id, "CANCELLED")
    return workflow_id


def _leaves(queue: str) -> bool:
    replies: Any = tasks.app.control.inspect(["second@test"], timeout=0.5).active_queues()
    return bool(replies) and all(each["name"] != queue for each in replies["second@test"])


async def test_a_queue_that_nobody_knows_is_refused(house: House) -> None:
    try:
        pause = PauseQueueRequest(source="celery", queue="nowhere")
        answer = await house.queues.PauseQueue(pause)
    except CallError:
        return  # the server knows better than to ask
    failed = await house.shown.command(answer.command)
    assert failed.error.code == "UNKNOWN_QUEUE"


async def test_a_worker_is_drained_and_works_again(house: House) -> None:
    drain = DrainAgentRequest(agent_id="second@test", reason="test")
    await house.shown.effective(await house.client.agents.DrainAgent(drain))
    await house.is_in("second", AgentState.AGENT_STATE_DRAINING)
    held = tasks.send("add", 2, 2, queue="heavy")
    # What was asked for outlives the one who carried it out: another takes over, and the first one ends.
    before, house.connector = house.connector, house.other
    await house.connector.start()
    await wait_until(lambda: before.ended, within=PATIENCE, what="the end of the first")
    assert "another connector of celery took over" in before.said
    await house.is_in("second", AgentState.AGENT_STATE_DRAINING)
    activate = ActivateAgentRequest(agent_id="second@test")
    await house.shown.effective(await house.client.agents.ActivateAgent(activate))
    await house.shown.ended(held, "COMPLETED")
    await house.is_in("second", AgentState.AGENT_STATE_ONLINE)


async def test_a_pool_grows_shrinks_and_is_restarted(house: House) -> None:
    for size in (3, 2):
        resize = ResizeAgentRequest(agent_id="first@test", pool_size=size)
        await house.shown.effective(await house.client.agents.ResizeAgent(resize))
        agent = await house.agent("first")
        assert agent is not None
        assert agent.load.capacity == size
    restart = RestartAgentRequest(agent_id="first@test")
    await house.shown.effective(await house.client.agents.RestartAgent(restart))
    await house.shown.ended(tasks.send("add", 1, 1), "COMPLETED")


async def test_a_restart_that_a_worker_does_not_allow_fails_with_the_setting(house: House) -> None:
    await house.is_in("second", AgentState.AGENT_STATE_ONLINE)
    restart = RestartAgentRequest(agent_id="second@test")
    answer = await house.client.agents.RestartAgent(restart)
    failed = await house.shown.command(answer.command)
    assert failed.state == CommandState.COMMAND_STATE_FAILED
    assert "worker_pool_restarts" in failed.error.message


async def test_everything_is_held_and_goes_on_as_it_was(house: House) -> None:
    async def known() -> bool:
        return {"", "heavy"} <= set(await house.shown.queues())

    await wait_until(known, within=PATIENCE, what="its queues")
    pause = PauseQueueRequest(source="celery", queue="heavy")
    await house.shown.effective(await house.queues.PauseQueue(pause))
    await house.shown.effective(
        await house.queues.PauseQueue(PauseQueueRequest(source="celery", reason="test"))
    )
    held = tasks.send("add", 3, 3)
    assert (await house.shown.queues())[""] == "PAUSED"
    await house.shown.effective(await house.queues.ResumeQueue(ResumeQueueRequest(source="celery")))
    await house.shown.ended(held, "COMPLETED")
    assert (await house.shown.queues())["heavy"] == "PAUSED"
    resume = ResumeQueueRequest(source="celery", queue="heavy")
    await house.shown.effective(await house.queues.ResumeQueue(resume))


async def test_what_happened_while_nobody_listened_is_found(house: House) -> None:
    gates = [house.gate("ends"), house.gate("goes on")]
    ends, goes_on = (tasks.send("wait_for", str(gate)) for gate in gates)
    await wait_until(lambda: _started(house, [ends, goes_on]), within=PATIENCE, what="both run")
    waits = tasks.send("add", 7, 7)
    await wait_until(lambda: house.shown.workflow(waits), within=PATIENCE, what="it waits")
    pause = PauseQueueRequest(source="celery", queue="slow")
    await house.shown.effective(await house.queues.PauseQueue(pause))
    house.connector.kill()
    gates[0].touch()
    for each in (ends, waits):
        await wait_until(partial(_result, each), within=PATIENCE, what="its end")
    await house.connector.start()
    done = await house.shown.ended(ends, "COMPLETED")
    assert tasks_of(done) == {"wait_for": ("COMPLETED", 1)}
    await house.shown.ended(waits, "COMPLETED")
    gates[1].touch()
    await house.shown.ended(goes_on, "COMPLETED")
    assert (await house.shown.queues())["slow"] == "PAUSED"
    resume = ResumeQueueRequest(source="celery", queue="slow")
    await house.shown.effective(await house.queues.ResumeQueue(resume))
    await house.shown.ended(tasks.send("add", 5, 5, queue="slow"), "COMPLETED")


async def test_the_app_of_the_demo_runs_beside_and_leaves_nothing(house: House) -> None:
    stop, options = asyncio.Event(), ("--source", "celery-demo")
    address, directory = house.server.grpc, house.directory
    running = asyncio.create_task(run_demo_engine(address, directory, stop, options, module=CELERY))

    async def surveyed() -> bool:
        asked = 'source = "celery-demo" AND type = "parsing.survey" AND state = COMPLETED'
        return bool([each async for each in house.client.list_workflows(filter=asked)])

    try:
        await wait_until(surveyed, within=120, what="a survey of the demo")
    finally:
        stop.set()
        await running


def _result(uuid: str) -> bool:
    return bool(tasks.app.AsyncResult(uuid).ready())
