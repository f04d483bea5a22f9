"""The steered part of a flow: an engine that does what it is told, and an operator who tells it.

Each workflow follows a script of (what the operator asks, what the engine reports then), and so do one agent and one
hold of the engine. The engine's events have ids and times from the script, never from a clock, so that what they add
up to does not depend on when anybody got through.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import NAMESPACE_OID, uuid5

import pilothouse.aio
from pilothouse.errors import Cancelled, DeadlineExceeded, NoExecutor, NotFound, Unavailable
from pilothouse.executor import CommandRefused, Executor, ExecutorOptions
from pilothouse.v1.agents_pb2 import RestartAgentRequest
from pilothouse.v1.commands_pb2 import Command, CommandScope, CommandState
from pilothouse.v1.enums_pb2 import ControlAction, WorkflowState
from pilothouse.v1.events_pb2 import Event, EventError, EventType
from pilothouse.v1.queues_pb2 import PauseQueueRequest, ResumeQueueRequest
from pilothouse.v1.workflows_pb2 import ControlWorkflowRequest
from pilothouse.watching import WatchOptions
from tests.faults.story import SECOND
from tests.support import wait_until

PAUSE = ControlAction.CONTROL_ACTION_PAUSE
RESUME = ControlAction.CONTROL_ACTION_RESUME
CANCEL = ControlAction.CONTROL_ACTION_CANCEL
RETRY = ControlAction.CONTROL_ACTION_RETRY
RESTART = ControlAction.CONTROL_ACTION_RESTART

E, S = EventType, WorkflowState
FIRST_STEP_US = 10 * SECOND
STEP_US = 750_000

OPTIONS = ExecutorOptions(
    call_timeout=2.0, max_delay=0.3, close_timeout=30.0, watch=WatchOptions(silence=8.0)
)
"""An engine that does not wait long for an answer that may never come."""


class Ask(NamedTuple):
    """What the operator asks for, once the workflow is in `when`, and what becomes of it."""

    action: ControlAction.ValueType
    when: WorkflowState.ValueType
    ends: str
    """The state of the command in the end, and the code of its error."""
    reports: tuple[EventType.ValueType, ...] = ()
    """What the engine reports; the first of it names the command."""
    awaited: bool = True
    """Whether the operator waits for the end. If not, only until the engine has it: then comes the next."""


PAUSED, RESUMED = E.EVENT_TYPE_WORKFLOW_PAUSED, E.EVENT_TYPE_WORKFLOW_RESUMED
STARTED, FAILED = E.EVENT_TYPE_WORKFLOW_STARTED, E.EVENT_TYPE_WORKFLOW_FAILED
CANCELLED, COMPLETED = E.EVENT_TYPE_WORKFLOW_CANCELLED, E.EVENT_TYPE_WORKFLOW_COMPLETED
RETRIED = E.EVENT_TYPE_WORKFLOW_RETRIED
RUNS, HOLDS, FAILS = S.WORKFLOW_STATE_RUNNING, S.WORKFLOW_STATE_PAUSED, S.WORKFLOW_STATE_FAILED


class Script(NamedTuple):
    """One steered workflow."""

    name: str
    begins: tuple[EventType.ValueType, ...]
    asks: tuple[Ask, ...]
    ends: tuple[EventType.ValueType, ...]
    """What the engine reports by itself once all was asked."""


SCRIPTS = (
    Script(
        "held",
        (STARTED,),
        (
            Ask(PAUSE, RUNS, "EFFECTIVE", (PAUSED,)),
            Ask(RESUME, HOLDS, "EFFECTIVE", (RESUMED,)),
        ),
        (COMPLETED,),
    ),
    Script("ended", (STARTED,), (Ask(CANCEL, RUNS, "EFFECTIVE", (CANCELLED,)),), ()),
    Script(
        "again",
        (STARTED, FAILED),
        (Ask(RETRY, FAILS, "EFFECTIVE", (RETRIED, STARTED)),),
        (COMPLETED,),
    ),
    Script("stubborn", (STARTED,), (Ask(PAUSE, RUNS, "FAILED TOO_LATE"),), (COMPLETED,)),
    Script(
        "overtaken",
        (STARTED,),
        (
            Ask(PAUSE, RUNS, "FAILED SUPERSEDED", awaited=False),
            Ask(CANCEL, RUNS, "EFFECTIVE", (CANCELLED,)),
        ),
        (),
    ),
)


class Duty(NamedTuple):
    """Something of the engine that is no workflow, and is steered too. The agent has no heartbeats, which would be of a
    clock: it is only asked for what can be asked of one that is silent."""

    name: str
    begins: EventType.ValueType
    asks: tuple[tuple[ControlAction.ValueType, tuple[EventType.ValueType, ...]], ...]
    """What the operator asks for, and what the engine reports then; the last of it names the command."""
    ends: tuple[EventType.ValueType, ...]

    @property
    def reports(self) -> tuple[EventType.ValueType, ...]:
        """All that the engine reports of it."""
        return (self.begins, *(kind for _, kinds in self.asks for kind in kinds), *self.ends)


HOLD, WORKER = "hold", "worker"
DUTIES = (
    Duty(
        HOLD,
        E.EVENT_TYPE_QUEUE_ACTIVE,
        ((PAUSE, (E.EVENT_TYPE_QUEUE_PAUSED,)), (RESUME, (E.EVENT_TYPE_QUEUE_ACTIVE,))),
        (),
    ),
    Duty(
        WORKER,
        E.EVENT_TYPE_AGENT_REGISTERED,
        ((RESTART, (E.EVENT_TYPE_AGENT_OFFLINE, E.EVENT_TYPE_AGENT_REGISTERED)),),
        (E.EVENT_TYPE_AGENT_OFFLINE,),
    ),
)


@dataclass
class Engine:
    """Obeys. `applied` counts how often each command came to it."""

    target: str
    prefix: str
    began_us: int
    applied: Counter[str] = field(default_factory=Counter[str])
    said: dict[str, int] = field(default_factory=dict[str, int])
    attempts: dict[str, int] = field(default_factory=dict[str, int])

    def __post_init__(self) -> None:
        self.executor = Executor(self.target, source=f"{self.prefix}steered", options=OPTIONS)
        for action in (PAUSE, RESUME, CANCEL, RETRY):
            self.executor.on(action)(self._obey)
        for action in (PAUSE, RESUME):
            hold = self.executor.on(action, scope=CommandScope.COMMAND_SCOPE_FLEET, selective=True)
            hold(self._obey_duty)
        self.executor.on(RESTART, scope=CommandScope.COMMAND_SCOPE_POOL)(self._obey_duty)

    def begin(self) -> None:
        """Starts every workflow, and says what else there is."""
        for script in SCRIPTS:
            self.report(script, script.begins)
        for duty in DUTIES:
            self.report_duty(duty, (duty.begins,))

    def report(
        self, script: Script, kinds: Sequence[EventType.ValueType], command: str = ""
    ) -> None:
        """The next events of a workflow; the first of them answers the command."""
        for kind in kinds:
            number = self.said.get(script.name, 0)
            self.said[script.name] = number + 1
            attempt = self.attempts.get(script.name, 1) + (kind == RETRIED)
            self.attempts[script.name] = attempt
            event = Event(
                id=f"{self.prefix}{script.name}/{number}",
                type=kind,
                workflow_id=f"{self.prefix}{script.name}",
                workflow_type=f"{self.prefix}steered",
                attempt=attempt,
                command_id=command,
            )
            if kind == FAILED:
                event.error.CopyFrom(EventError(code="BROKEN", message="it broke"))
            event.occur_time.FromMicroseconds(self.began_us + FIRST_STEP_US + number * STEP_US)
            self.executor.report(event)
            command = ""

    def report_duty(
        self, duty: Duty, kinds: Sequence[EventType.ValueType], command: str = ""
    ) -> None:
        """The next events of a duty; the last of them answers the command."""
        for kind in kinds:
            number = self.said.get(duty.name, 0)
            self.said[duty.name] = number + 1
            event = Event(
                id=f"{self.prefix}{duty.name}/{number}",
                type=kind,
                command_id=command if kind == kinds[-1] else "",
            )
            if duty.name == WORKER:
                event.agent_id = f"{self.prefix}{WORKER}"
            else:
                event.workflow_type = f"{self.prefix}steered"
            event.occur_time.FromMicroseconds(self.began_us + FIRST_STEP_US + number * STEP_US)
            self.executor.report(event)

    def _obey_duty(self, command: Command) -> None:
        self.applied[command.id] += 1
        name = WORKER if command.agent_id else HOLD
        duty = next(each for each in DUTIES if each.name == name)
        self.report_duty(duty, dict(duty.asks)[command.action], command.id)

    def _obey(self, command: Command) -> None:
        self.applied[command.id] += 1
        name = command.workflow_id.removeprefix(self.prefix)
        script = next(each for each in SCRIPTS if each.name == name)
        ask = next(each for each in script.asks if each.action == command.action)
        if ask.ends.endswith("TOO_LATE"):
            raise CommandRefused("TOO_LATE", "it is about to end")
        self.report(script, ask.reports, command.id)


class Operator:
    """Asks for what the scripts say, again and again under the same request id until there is an answer."""

    def __init__(self, client: pilothouse.aio.Client, engine: Engine, patience: float) -> None:
        self._client = client
        self._engine = engine
        self._patience = patience
        self.commands: dict[str, str] = {}
        """By the name of the ask: the command's id."""

    async def run(self) -> None:
        """Returns when every script is over."""
        async with asyncio.TaskGroup() as tasks:
            for script in SCRIPTS:
                tasks.create_task(self._follow(script))
            for duty in DUTIES:
                tasks.create_task(self._see_to(duty))

    async def _see_to(self, duty: Duty) -> None:
        for action, _ in duty.asks:
            name = f"{duty.name} {ControlAction.Name(action)}"
            answer = await self._until(name, self._asked_duty(action, name))
            self.commands[name] = answer
            await self._until(f"{name}: its end", self._over(answer))
        self._engine.report_duty(duty, duty.ends)

    def _asked_duty(self, action: ControlAction.ValueType, name: str) -> Any:
        async def look() -> str:
            return await patient(self._ask_duty(action, name)) or ""

        return look

    async def _ask_duty(self, action: ControlAction.ValueType, name: str) -> str:
        prefix = self._engine.prefix
        said: dict[str, Any] = {
            "reason": f"the script says {name}",
            "request_id": request_id(prefix, name),
        }
        if action == RESTART:
            restart = RestartAgentRequest(agent_id=f"{prefix}{WORKER}", **said)
            return (await self._client.agents.RestartAgent(restart, timeout=3)).command.id
        said |= {"source": self._engine.executor.source, "workflow_type": f"{prefix}steered"}
        queues = self._client.queues
        if action == PAUSE:
            return (await queues.PauseQueue(PauseQueueRequest(**said), timeout=3)).command.id
        return (await queues.ResumeQueue(ResumeQueueRequest(**said), timeout=3)).command.id

    async def _follow(self, script: Script) -> None:
        for ask in script.asks:
            workflow_id = f"{self._engine.prefix}{script.name}"
            name = f"{script.name} {ControlAction.Name(ask.action)}"
            await self._until(f"{name}: the workflow's state", self._stands(workflow_id, ask.when))
            request = ControlWorkflowRequest(
                workflow_id=workflow_id,
                action=ask.action,
                reason=f"the script says {name}",
                request_id=request_id(self._engine.prefix, name),
            )
            answer = await self._until(name, self._asked(request))
            self.commands[name] = answer
            # Taken is what came to the engine: that the server has it accepted may be news that never got through.
            done = self._over(answer) if ask.awaited else self._has(answer)
            await self._until(f"{name}: its end", done)
        self._engine.report(script, script.ends)

    async def _until(self, what: str, look: Any) -> Any:
        return await wait_until(look, within=self._patience, what=what)

    def _stands(self, workflow_id: str, state: WorkflowState.ValueType) -> Any:
        async def look() -> bool:
            return bool(await patient(self._stands_now(workflow_id, state)))

        return look

    async def _stands_now(self, workflow_id: str, state: WorkflowState.ValueType) -> bool:
        return (await self._client.workflow(workflow_id).get()).state == state

    def _asked(self, request: ControlWorkflowRequest) -> Any:
        async def look() -> str:
            return await patient(self._ask(request)) or ""

        return look

    async def _ask(self, request: ControlWorkflowRequest) -> str:
        return (await self._client.workflows.ControlWorkflow(request, timeout=3)).command.id

    def _has(self, command_id: str) -> Any:
        return lambda: self._engine.applied[command_id]

    def _over(self, command_id: str) -> Any:
        pending = {CommandState.COMMAND_STATE_REQUESTED, CommandState.COMMAND_STATE_ACCEPTED}

        async def look() -> bool:
            command = await patient(self._client.command(command_id).get())
            return command is not None and command.state not in pending

        return look


async def patient(call: Any) -> Any:
    """What a call returns; None when it may go better later. What is refused for good is raised."""
    try:
        return await call
    except (NotFound, NoExecutor):
        return None
    except (Unavailable, DeadlineExceeded, Cancelled):
        return None


def request_id(prefix: str, name: str) -> str:
    """The same in each try, and in each process."""
    return str(uuid5(NAMESPACE_OID, f"{prefix}{name}"))
