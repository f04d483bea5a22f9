"""A small Pilothouse in memory, behind a real gRPC server, that breaks, repeats and refuses when a test says so.

It stands for any other server of the contract: it keeps what it is given by id, follows its own feeds by token, and
knows nothing of the client under test.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Generic, Literal, NoReturn, Self, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from pilothouse._ids import uuid7
from pilothouse.v1 import (
    agents_pb2,
    agents_pb2_grpc,
    alerts_pb2,
    alerts_pb2_grpc,
    commands_pb2,
    commands_pb2_grpc,
    events_pb2,
    events_pb2_grpc,
    metrics_pb2,
    metrics_pb2_grpc,
    workflows_pb2,
    workflows_pb2_grpc,
)
from pilothouse.v1.commands_pb2 import Command, CommandState
from pilothouse.v1.enums_pb2 import ControlAction, WorkflowState
from pilothouse.v1.events_pb2 import Event, EventType
from tests.client.servicers import (
    AgentServicer,
    CommandServicer,
    WorkflowServicer,
)
from tests.client.tellers import AlertServicer, EventServicer, MetricsServicer

NOBODY = "127.0.0.1:1"
"""Where nothing listens: nobody is given this port by chance."""

Context = grpc.aio.ServicerContext[Any, Any]
M = TypeVar("M", bound=Message)
R = TypeVar("R", bound=Message)


@dataclass(frozen=True)
class Failure:
    """One call that goes wrong."""

    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    message: str = "on purpose"
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    violations: Sequence[tuple[str, str]] = ()
    retry_after: float | None = None
    when: Literal["before", "after"] = "before"
    """Before the call has any effect, or after: the worst moment, when the client cannot know."""


def trailing_metadata(failure: Failure) -> tuple[tuple[str, bytes], ...]:
    """The details of `failure` as a server sends them."""
    if not (failure.reason or failure.violations or failure.retry_after is not None):
        return ()
    details: list[Message] = [
        error_details_pb2.ErrorInfo(
            domain="pilothouse.dev", reason=failure.reason, metadata=failure.metadata
        )
    ]
    if failure.violations:
        violation = error_details_pb2.BadRequest.FieldViolation
        details.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    violation(field=name, description=text) for name, text in failure.violations
                ]
            )
        )
    if failure.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(int(failure.retry_after * 1e9))
        details.append(retry)
    status = status_pb2.Status(code=failure.code.value[0], message=failure.message)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return (("grpc-status-details-bin", status.SerializeToString()),)


async def refuse(context: Context, failure: Failure) -> NoReturn:
    """End the call with `failure`."""
    await context.abort(failure.code, failure.message, trailing_metadata(failure))


class Feed(Generic[M]):
    """Things in the order in which they came; a token is a place in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.items: list[M] = []
        self.epoch = 1
        self._changed = asyncio.Event()

    def add(self, item: M) -> None:
        self.items.append(item)
        self.nudge()

    def nudge(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def lose_history(self) -> None:
        """Tokens of before are unknown from now on."""
        self.epoch += 1

    def token(self, place: int) -> str:
        return f"{self.name}:{self.epoch}:{place}"

    def place(self, token: str) -> int | None:
        """The place of `token`; None when it is of another history."""
        if not token:
            return 0
        _, epoch, place = token.split(":")
        return int(place) if int(epoch) == self.epoch else None

    async def more(self, within: float) -> None:
        changed = self._changed
        try:
            async with asyncio.timeout(within):
                await changed.wait()
        except TimeoutError:
            pass


@dataclass
class Faults:
    """What the server is told to do wrong."""

    calls: dict[str, deque[Failure]] = field(
        default_factory=lambda: defaultdict[str, deque[Failure]](deque)
    )
    """By method: how the next calls fail."""
    broken: int = 0
    """Grows each time all open streams are broken."""
    stall: bool = False
    """Whether streams say nothing at all, not even a heartbeat, as behind a half-open connection."""
    hold: bool = False
    """Whether calls get no answer."""
    repeat: bool = False
    """Whether a command stream sends everything twice."""
    end_cleanly: bool = False
    """Whether a stream that breaks ends without an error."""
    heartbeat: float = 0.05
    """Seconds between heartbeats."""


class Server:
    """The server and what it knows. `async with Server() as server:`."""

    def __init__(self, port: int = 0) -> None:
        self._port = port
        self._grpc: grpc.aio.Server | None = None
        self.faults = Faults()
        self.seen: list[tuple[str, Message]] = []
        """Every request, by method, in order."""
        self.events: dict[str, Event] = {}
        """The log: what comes twice with the same id is there once."""
        self.log: Feed[Event] = Feed("events")
        self.judge: Callable[[Event], str] = lambda _: ""
        """Why an event is rejected; empty when it is not."""
        self.gate: Callable[[Message], Failure | None] = lambda _: None
        """How a call fails for what it asks."""
        self.workflows: dict[str, workflows_pb2.Workflow] = {}
        self.workflow_feed: Feed[workflows_pb2.Workflow] = Feed("workflows")
        self.agents: Feed[agents_pb2.Agent] = Feed("agents")
        self.alerts: Feed[alerts_pb2.Alert] = Feed("alerts")
        self.commands: dict[str, Command] = {}
        self.command_feed: Feed[Command] = Feed("commands")
        self.executors: dict[str, commands_pb2.Executor] = {}
        self.snapshot: metrics_pb2.MetricsSnapshot | None = None

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self._port}"

    def fail(self, method: str, *failures: Failure) -> None:
        """The next calls of `method` fail like this."""
        self.faults.calls[method].extend(failures)

    def break_streams(self) -> None:
        """Every open stream ends now."""
        self.faults.broken += 1
        for feed in (self.log, self.workflow_feed, self.agents, self.alerts, self.command_feed):
            feed.nudge()

    def requests(self, method: str) -> list[Message]:
        """What `method` was called with."""
        return [request for name, request in self.seen if name == method]

    async def start(self) -> None:
        """Listen; again on the same port after `stop()`."""
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        events_pb2_grpc.add_EventServiceServicer_to_server(EventServicer(self), server)
        workflows_pb2_grpc.add_WorkflowServiceServicer_to_server(WorkflowServicer(self), server)
        commands_pb2_grpc.add_CommandServiceServicer_to_server(CommandServicer(self), server)
        agents_pb2_grpc.add_AgentServiceServicer_to_server(AgentServicer(self), server)
        alerts_pb2_grpc.add_AlertServiceServicer_to_server(AlertServicer(self), server)
        metrics_pb2_grpc.add_MetricsServiceServicer_to_server(MetricsServicer(self), server)
        self._port = server.add_insecure_port(f"127.0.0.1:{self._port}")
        await server.start()
        self._grpc = server

    async def stop(self) -> None:
        """Hang up on everybody."""
        if self._grpc is not None:
            await self._grpc.stop(None)
            self._grpc = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def answer(
        self, method: str, request: Message, context: Context, effect: Callable[[], R]
    ) -> R:
        """Do `effect` and answer, unless this call was told to fail."""
        self.seen.append((method, request))
        while self.faults.hold:
            await self.log.more(self.faults.heartbeat)
        planned = self.faults.calls[method]
        failure = planned.popleft() if planned else self.gate(request)
        if failure is not None and failure.when == "before":
            await refuse(context, failure)
        response = effect()
        if failure is not None:
            await refuse(context, failure)
        return response

    async def follow(
        self,
        method: str,
        request: Message,
        context: Context,
        feed: Feed[M],
        respond: Callable[..., R],
        item: Callable[[M], Mapping[str, Any]],
    ) -> AsyncIterator[R]:
        """A watch over `feed` from the token of `request`."""
        self.seen.append((method, request))
        if self.faults.calls[method]:
            await refuse(context, self.faults.calls[method].popleft())
        broken = self.faults.broken
        place = feed.place(cast("Any", request).resume_token)
        if place is None:
            place = 0
            yield respond(
                resume_token=feed.token(0), reset=events_pb2.Reset(reason="history was lost")
            )
        caught_up = False
        while True:
            while self.faults.stall:
                await feed.more(self.faults.heartbeat)
            if self.faults.broken != broken:
                if self.faults.end_cleanly:
                    return
                await refuse(context, Failure(message="the stream is broken on purpose"))
            if place < len(feed.items):
                place += 1
                for _ in range(2 if self.faults.repeat else 1):
                    yield respond(resume_token=feed.token(place), **item(feed.items[place - 1]))
                continue
            if not caught_up:
                caught_up = True
                yield respond(resume_token=feed.token(place), caught_up=events_pb2.CaughtUp())
            await feed.more(self.faults.heartbeat)
            if place == len(feed.items) and self.faults.broken == broken:
                yield respond(resume_token=feed.token(place), heartbeat=events_pb2.Heartbeat())

    def publish(self, events: Sequence[Event]) -> tuple[int, list[events_pb2.RejectedEvent]]:
        """Keep what is good, and do what it says to the workflows and commands."""
        rejected: list[events_pb2.RejectedEvent] = []
        for index, event in enumerate(events):
            why = self.judge(event)
            if why:
                rejected.append(events_pb2.RejectedEvent(index=index, id=event.id, reason=why))
            elif event.id not in self.events:
                self.events[event.id] = event
                self.log.add(event)
                self._effect(event)
        return len(events) - len(rejected), rejected

    def _effect(self, event: Event) -> None:
        state = _STATES.get(event.type)
        if state is not None:
            workflow = self.workflows.setdefault(
                event.workflow_id, workflows_pb2.Workflow(id=event.workflow_id)
            )
            workflow.state = state
            workflow.source = event.source
            self.workflow_feed.add(workflow)
        command = self.commands.get(event.command_id)
        if command is not None:
            command.state = CommandState.COMMAND_STATE_EFFECTIVE

    def request(
        self, action: ControlAction.ValueType, workflow_id: str, source: str, **fields: Any
    ) -> Command:
        """A command, as an operator's call makes it."""
        command = Command(
            id=uuid7(),
            action=action,
            workflow_id=workflow_id,
            source=source,
            state=CommandState.COMMAND_STATE_REQUESTED,
            **fields,
        )
        self.commands[command.id] = command
        self.command_feed.add(command)
        return command


_STATES: Mapping[EventType.ValueType, WorkflowState.ValueType] = {
    EventType.EVENT_TYPE_WORKFLOW_CREATED: WorkflowState.WORKFLOW_STATE_QUEUED,
    EventType.EVENT_TYPE_WORKFLOW_STARTED: WorkflowState.WORKFLOW_STATE_RUNNING,
    EventType.EVENT_TYPE_WORKFLOW_PAUSED: WorkflowState.WORKFLOW_STATE_PAUSED,
    EventType.EVENT_TYPE_WORKFLOW_RESUMED: WorkflowState.WORKFLOW_STATE_RUNNING,
    EventType.EVENT_TYPE_WORKFLOW_COMPLETED: WorkflowState.WORKFLOW_STATE_COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_FAILED: WorkflowState.WORKFLOW_STATE_FAILED,
    EventType.EVENT_TYPE_WORKFLOW_CANCELLED: WorkflowState.WORKFLOW_STATE_CANCELLED,
    EventType.EVENT_TYPE_WORKFLOW_RETRIED: WorkflowState.WORKFLOW_STATE_QUEUED,
}
