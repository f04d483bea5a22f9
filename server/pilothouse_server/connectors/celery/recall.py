"""What a connector that is started again has to know, from the server: it keeps no file of its own.

- Workflows that had not ended, with their tasks: so that what ended meanwhile can be noticed.
- What operators asked for and was carried out: queues and workers that they paused and drained, by their commands.
- Where workers took their work from before that, which the events of it say.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from pilothouse.aio import Client
from pilothouse.errors import NotFound
from pilothouse.v1.agents_pb2 import Agent
from pilothouse.v1.commands_pb2 import Command, CommandScope
from pilothouse.v1.enums_pb2 import AgentState, ControlAction, WorkflowState, WorkState
from pilothouse.v1.queues_pb2 import ListQueuesRequest, Queue, QueueState
from pilothouse.v1.workflows_pb2 import GetWorkflowRequest, GetWorkflowResponse, Task
from pilothouse_server.connectors.celery.records import Attempt, End, RootSeen, TaskSeen
from pilothouse_server.connectors.celery.workers import Desired, unpacked

log = logging.getLogger("pilothouse.celery")

MAX_WORKFLOWS = 5_000
MAX_COMMANDS = 1_000
MAX_EVENTS = 500
_OPEN = frozenset(
    {
        WorkState.WORK_STATE_QUEUED,
        WorkState.WORK_STATE_ASSIGNED,
        WorkState.WORK_STATE_RUNNING,
        WorkState.WORK_STATE_RETRYING,
    }
)


@dataclass(slots=True)
class Recalled:
    """What the server knows."""

    roots: list[RootSeen] = field(default_factory=list[RootSeen])
    desired: Desired = field(default_factory=Desired)
    homes: dict[str, set[str]] = field(default_factory=dict[str, set[str]])


async def recall(client: Client, source: str) -> Recalled:
    """Asks the server."""
    quoted = source.replace("\\", "\\\\").replace('"', '\\"')
    recalled = Recalled(desired=await _desired(client, source, quoted))
    kinds = "(type = QUEUE_PAUSED OR type = AGENT_DRAINING)"
    async for event in client.list_events(
        filter=f'source = "{quoted}" AND {kinds}', limit=MAX_EVENTS
    ):
        for host, queues in unpacked(event.attributes).items():
            recalled.homes.setdefault(host, set()).update(queues)
    states = "(state = QUEUED OR state = RUNNING OR state = WAITING)"
    asked = f'source = "{quoted}" AND {states}'
    ids = [found.id async for found in client.list_workflows(filter=asked, limit=MAX_WORKFLOWS + 1)]
    if len(ids) > MAX_WORKFLOWS:
        log.warning(
            "more than %d workflows had not ended; the oldest are not looked at", MAX_WORKFLOWS
        )
    gate = asyncio.Semaphore(16)

    async def one(workflow_id: str) -> None:
        async with gate:
            try:
                request = GetWorkflowRequest(workflow_id=workflow_id)
                recalled.roots.append(root_of(await client.workflows.GetWorkflow(request)))
            except NotFound:
                pass  # removed meanwhile

    async with asyncio.TaskGroup() as group:
        for workflow_id in ids[:MAX_WORKFLOWS]:
            group.create_task(one(workflow_id))
    return recalled


async def _desired(client: Client, source: str, quoted: str) -> Desired:
    queues = (await client.queues.ListQueues(ListQueuesRequest(source=source))).queues
    agents = [
        each async for each in client.list_agents(filter=f'source = "{quoted}"', limit=MAX_COMMANDS)
    ]
    asked = f'source = "{quoted}" AND scope = POOL AND state = EFFECTIVE'
    commands = [each async for each in client.list_commands(filter=asked, limit=MAX_COMMANDS)]
    return desired_of(queues, agents, commands)


def desired_of(
    queues: Iterable[Queue], agents: Iterable[Agent], commands: Iterable[Command]
) -> Desired:
    """What was asked for, and is so. `commands` are those on workers that took effect, newest first. A queue that no
    command paused was paused behind our back, and is nobody's wish."""
    desired = Desired()
    for queue in queues:
        if queue.state != QueueState.QUEUE_STATE_PAUSED or not queue.HasField("paused_by"):
            continue
        if queue.name:
            desired.paused.add(queue.name)
        elif not queue.workflow_type and not queue.agent_type:
            desired.hold = True
    decided: dict[str, bool] = {}
    for command in commands:
        if command.scope != CommandScope.COMMAND_SCOPE_POOL:
            continue
        if command.action == ControlAction.CONTROL_ACTION_DRAIN:
            decided.setdefault(command.agent_id, True)
        elif command.action == ControlAction.CONTROL_ACTION_ACTIVATE:
            decided.setdefault(command.agent_id, False)
    for agent in agents:
        if agent.state == AgentState.AGENT_STATE_DRAINING:
            decided.setdefault(agent.id, True)
    desired.draining = {host for host, draining in decided.items() if draining}
    return desired


def root_of(answer: GetWorkflowResponse) -> RootSeen:
    """A workflow as the server has it."""
    workflow = answer.workflow
    root = RootSeen(
        workflow.id,
        type=workflow.workflow_type,
        attempt=max(1, workflow.attempt),
        told=True,
        started=workflow.state != WorkflowState.WORKFLOW_STATE_QUEUED,
    )
    for each in answer.tasks:
        root.tasks[each.id] = _task_of(each, root)
    return root


def _task_of(task: Task, root: RootSeen) -> TaskSeen:
    seen = TaskSeen(task.id, root.id, name=task.stage, seeded=True)
    attempt = Attempt(
        max(1, task.attempt),
        host=task.agent_id,
        received=task.state == WorkState.WORK_STATE_ASSIGNED or bool(task.agent_id),
        started=task.state == WorkState.WORK_STATE_RUNNING,
        end=End.NOT if task.state in _OPEN else End.SEEN,
    )
    seen.attempts[attempt.number] = attempt
    if task.state == WorkState.WORK_STATE_FAILED:
        root.failures[task.id] = task.error
    elif task.state == WorkState.WORK_STATE_CANCELLED:
        root.revoked = True
    root.last_us = max(
        root.last_us, task.end_time.ToMicroseconds() if task.HasField("end_time") else 0
    )
    return seen
