"""The asyncio client.

    async with pilothouse.aio.Client("127.0.0.1:50051") as client:
        command = await client.workflow("wf-1").pause(reason="deploy")
        await command.wait(timeout=30)
        async for workflow in client.watch_workflows().items():
            print(workflow.id, workflow.state)

The generated stubs are its attributes (`client.workflows.ListWorkflows(request)` and so on), with typed errors, default
deadlines, and retries of calls that may be repeated; the methods beside them are what is wanted most, in fewer words.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
)
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import Message

from pilothouse import _channel, _pages
from pilothouse._aio_channel import Channel
from pilothouse._handles import has_ended, seconds
from pilothouse.errors import CallError
from pilothouse.retry import Backoff, RetryPolicy
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
from pilothouse.v1.enums_pb2 import ControlAction
from pilothouse.watching import Item, Update, WatchCore, WatchOptions, items_of

if TYPE_CHECKING:
    from pilothouse.v1.agents_pb2_grpc import AgentServiceAsyncStub
    from pilothouse.v1.alerts_pb2_grpc import AlertServiceAsyncStub
    from pilothouse.v1.commands_pb2_grpc import CommandServiceAsyncStub
    from pilothouse.v1.events_pb2_grpc import EventServiceAsyncStub
    from pilothouse.v1.metrics_pb2_grpc import MetricsServiceAsyncStub
    from pilothouse.v1.workflows_pb2_grpc import WorkflowServiceAsyncStub

T = TypeVar("T")

POLL_FIRST, POLL_LIMIT = 0.05, 1.0
"""Seconds between two looks at a command that is waited for, at first and at most."""


class Client:
    """A connection to a Pilothouse server. One is enough for a program; use it as a context manager or `close()` it."""

    def __init__(
        self,
        target: str = _channel.DEFAULT_TARGET,
        *,
        tls: _channel.Tls | None = None,
        timeout: float | None = _channel.DEFAULT_TIMEOUT,
        retry: RetryPolicy | None = None,
        channel: grpc.aio.Channel | None = None,
    ) -> None:
        """Connect when the first call is made.

        `target` is host and port; `timeout` is the seconds that a call may take, retries included, unless it is given
        its own (None is no limit). With `channel` that is used instead of a new one, and is closed with the client.
        """
        if channel is None and tls is not None:
            options = (*_channel.OPTIONS, *tls.options())
            channel = grpc.aio.secure_channel(target, tls.credentials(), options)
        elif channel is None:
            channel = grpc.aio.insecure_channel(target, _channel.OPTIONS)
        self.target = target
        """Where the server is."""
        self.channel = Channel(channel, timeout=timeout, retry=retry or RetryPolicy())
        """The channel; further generated stubs may be made on it."""
        self.events: EventServiceAsyncStub = events_pb2_grpc.EventServiceStub(self.channel)
        """pilothouse.v1.EventService."""
        self.metrics: MetricsServiceAsyncStub = metrics_pb2_grpc.MetricsServiceStub(self.channel)
        """pilothouse.v1.MetricsService."""
        self.workflows: WorkflowServiceAsyncStub = workflows_pb2_grpc.WorkflowServiceStub(
            self.channel
        )
        """pilothouse.v1.WorkflowService."""
        self.agents: AgentServiceAsyncStub = agents_pb2_grpc.AgentServiceStub(self.channel)
        """pilothouse.v1.AgentService."""
        self.alerts: AlertServiceAsyncStub = alerts_pb2_grpc.AlertServiceStub(self.channel)
        """pilothouse.v1.AlertService."""
        self.commands: CommandServiceAsyncStub = commands_pb2_grpc.CommandServiceStub(self.channel)
        """pilothouse.v1.CommandService."""

    async def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        await self.channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def workflow(self, workflow_id: str) -> WorkflowHandle:
        """One workflow, to look at and to steer. Nothing is called yet."""
        return WorkflowHandle(self, workflow_id)

    def command(self, command_id: str) -> CommandHandle:
        """One command, to wait for. Nothing is called yet."""
        return CommandHandle(self, command_id)

    def alert(self, alert_id: str) -> AlertHandle:
        """One alert, to take care of. Nothing is called yet."""
        return AlertHandle(self, alert_id)

    async def get_metrics(self) -> metrics_pb2.MetricsSnapshot:
        """The newest metrics. Raises NoSnapshot while there are none."""
        return (await self.metrics.GetMetrics(metrics_pb2.GetMetricsRequest())).snapshot

    def list_workflows(
        self, *, filter: str = "", order_by: str = "", limit: int | None = None
    ) -> AsyncIterator[workflows_pb2.Workflow]:
        """Workflows that match `filter`, page by page as they are read; at most `limit`."""
        request = workflows_pb2.ListWorkflowsRequest(filter=filter, order_by=order_by)
        return self._list(self.workflows.ListWorkflows, request, limit, workflows_pb2.Workflow)

    def list_agents(
        self, *, filter: str = "", limit: int | None = None
    ) -> AsyncIterator[agents_pb2.Agent]:
        """Agents that match `filter`."""
        request = agents_pb2.ListAgentsRequest(filter=filter)
        return self._list(self.agents.ListAgents, request, limit, agents_pb2.Agent)

    def list_alerts(
        self, *, filter: str = "", limit: int | None = None
    ) -> AsyncIterator[alerts_pb2.Alert]:
        """Alerts that match `filter`, newest first; the history too."""
        request = alerts_pb2.ListAlertsRequest(filter=filter)
        return self._list(self.alerts.ListAlerts, request, limit, alerts_pb2.Alert)

    def list_commands(
        self, *, filter: str = "", limit: int | None = None
    ) -> AsyncIterator[commands_pb2.Command]:
        """Commands that match `filter`, newest first."""
        request = commands_pb2.ListCommandsRequest(filter=filter)
        return self._list(self.commands.ListCommands, request, limit, commands_pb2.Command)

    def list_events(
        self, *, filter: str = "", ascending: bool = False, limit: int | None = None
    ) -> AsyncIterator[events_pb2.Event]:
        """Stored events that match `filter`, newest first unless `ascending`."""
        request = events_pb2.ListEventsRequest(filter=filter, ascending=ascending)
        return self._list(self.events.ListEvents, request, limit, events_pb2.Event)

    def watch_workflows(
        self,
        *,
        filter: str = "",
        backlog: int = 0,
        resume_token: str = "",
        options: WatchOptions | None = None,
    ) -> Watch[workflows_pb2.Workflow]:
        """Workflows as they change, each whole; first the `backlog` that changed last."""
        request = workflows_pb2.WatchWorkflowsRequest(
            filter=filter, backlog=backlog, resume_token=resume_token
        )
        return self.watch(self.workflows.WatchWorkflows, request, workflows_pb2.Workflow, options)

    def watch_agents(
        self, *, resume_token: str = "", options: WatchOptions | None = None
    ) -> Watch[agents_pb2.Agent]:
        """Every agent, then each as it changes."""
        request = agents_pb2.WatchAgentsRequest(resume_token=resume_token)
        return self.watch(self.agents.WatchAgents, request, agents_pb2.Agent, options)

    def watch_alerts(
        self, *, resume_token: str = "", options: WatchOptions | None = None
    ) -> Watch[alerts_pb2.Alert]:
        """Every alert that is not resolved, then each as it changes."""
        request = alerts_pb2.WatchAlertsRequest(resume_token=resume_token)
        return self.watch(self.alerts.WatchAlerts, request, alerts_pb2.Alert, options)

    def watch_events(
        self,
        *,
        filter: str = "",
        backlog: int = 0,
        resume_token: str = "",
        options: WatchOptions | None = None,
    ) -> Watch[events_pb2.Event]:
        """Events as they come, one by one; first the `backlog` newest."""
        request = events_pb2.WatchEventsRequest(
            filter=filter, backlog=backlog, resume_token=resume_token
        )
        return self.watch(self.events.WatchEvents, request, events_pb2.Event, options)

    def watch_metrics(
        self, *, interval: float = 5.0, options: WatchOptions | None = None
    ) -> Watch[metrics_pb2.MetricsSnapshot]:
        """The newest metrics at once and then every `interval` seconds (0.25 to 60). A slow reader misses some."""
        request = metrics_pb2.SubscribeMetricsRequest(interval=seconds(interval))
        chosen = options or WatchOptions(silence=max(15.0, 3 * interval))
        return self.watch(
            self.metrics.SubscribeMetrics, request, metrics_pb2.MetricsSnapshot, chosen
        )

    def watch(
        self,
        method: Callable[[Any], AsyncIterable[Any]],
        request: Message,
        kind: type[T],  # noqa: ARG002 - what the items are; the contract says it too, but not to a type checker
        options: WatchOptions | None = None,
    ) -> Watch[T]:
        """Any server stream of the contract as a watch of items of `kind`."""
        items = cast("Callable[[Message], Iterable[T]]", items_of)
        return Watch(method, WatchCore(request, items, options or WatchOptions()))

    async def _list(
        self,
        method: Callable[[Any], Awaitable[Message]],
        request: Message,
        limit: int | None,
        kind: type[T],  # noqa: ARG002
    ) -> AsyncIterator[T]:
        pages = _pages.Pages(request, limit)
        while not pages.done:
            for row in pages.received(await method(pages.request())):
                yield cast("T", row)


class Watch(Generic[T]):
    """A stream that is opened again whenever it breaks. Iterate it for every Update, or `items()` for the values alone.

    It ends only by an error that trying again cannot mend, or when its reader stops; use `contextlib.aclosing` on the
    iterator to end the call at that moment.
    """

    def __init__(self, method: Callable[[Any], AsyncIterable[Any]], core: WatchCore[T]) -> None:
        self._method = method
        self._core = core

    @property
    def resume_token(self) -> str:
        """Where another watch would go on after the newest message of this one. Each Item has its own."""
        return self._core.token

    async def items(self) -> AsyncGenerator[T]:
        """The values alone, for readers to whom a value that comes again does no harm."""
        async with aclosing(self.__aiter__()) as updates:
            async for update in updates:
                if isinstance(update, Item):
                    yield update.value

    async def __aiter__(self) -> AsyncGenerator[Update[T]]:
        clock = asyncio.get_running_loop().time
        while True:
            error: CallError | None = None
            reason = "the server ended the stream"
            try:
                async with aclosing(self._messages(clock())) as messages:
                    async for message in messages:
                        for update in self._core.received(message):
                            yield update
            except CallError as raised:
                error, reason = raised, str(raised)
            except _SilenceError:
                reason = f"nothing came for {self._core.options.silence:g} s"
            delay, told = self._core.broke(error, reason, clock())
            for update in told:
                yield update
            await asyncio.sleep(delay)

    async def _messages(self, now: float) -> AsyncGenerator[Message]:
        """The messages of one stream. Raises _SilenceError when none comes for too long."""
        call = self._method(self._core.request(now))
        stream = aiter(call)
        try:
            while True:
                try:
                    async with asyncio.timeout(self._core.options.silence):
                        message = await anext(stream)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    raise _SilenceError from None
                yield message
        finally:
            cast("grpc.aio.Call", call).cancel()


class _SilenceError(Exception):
    """A stream said nothing for too long."""


class WorkflowHandle:
    """One workflow, by its id."""

    def __init__(self, client: Client, workflow_id: str) -> None:
        self._client = client
        self.id = workflow_id
        """Its id."""

    async def get(self) -> workflows_pb2.Workflow:
        """The workflow as it is now."""
        return (await self.describe()).workflow

    async def describe(self) -> workflows_pb2.GetWorkflowResponse:
        """The workflow with its tasks, commands and newest events."""
        return await self._client.workflows.GetWorkflow(
            workflows_pb2.GetWorkflowRequest(workflow_id=self.id)
        )

    async def pause(
        self, *, reason: str = "", etag: str = "", request_id: str = ""
    ) -> CommandHandle:
        """Ask the engine to let nothing new of it start. Raises IllegalTransition, CommandPending, EtagMismatch and
        others."""
        return await self._control(ControlAction.CONTROL_ACTION_PAUSE, reason, etag, request_id)

    async def resume(
        self, *, reason: str = "", etag: str = "", request_id: str = ""
    ) -> CommandHandle:
        """Ask the engine to go on with it."""
        return await self._control(ControlAction.CONTROL_ACTION_RESUME, reason, etag, request_id)

    async def cancel(
        self, *, reason: str = "", etag: str = "", request_id: str = ""
    ) -> CommandHandle:
        """Ask the engine to end it."""
        return await self._control(ControlAction.CONTROL_ACTION_CANCEL, reason, etag, request_id)

    async def retry(
        self, *, reason: str = "", etag: str = "", request_id: str = ""
    ) -> CommandHandle:
        """Ask the engine to try it again from the stage that failed."""
        return await self._control(ControlAction.CONTROL_ACTION_RETRY, reason, etag, request_id)

    async def _control(
        self, action: ControlAction.ValueType, reason: str, etag: str, request_id: str
    ) -> CommandHandle:
        request = workflows_pb2.ControlWorkflowRequest(
            workflow_id=self.id, action=action, reason=reason, etag=etag, request_id=request_id
        )
        command = (await self._client.workflows.ControlWorkflow(request)).command
        return CommandHandle(self._client, command.id, command)


class CommandHandle:
    """One command, by its id."""

    def __init__(
        self, client: Client, command_id: str, command: commands_pb2.Command | None = None
    ) -> None:
        self._client = client
        self.id = command_id
        """Its id."""
        self.command = command
        """The command as last seen; None before it was."""

    async def get(self) -> commands_pb2.Command:
        """The command as it is now."""
        request = commands_pb2.GetCommandRequest(command_id=self.id)
        self.command = (await self._client.commands.GetCommand(request)).command
        return self.command

    async def wait(self, timeout: float | None = None) -> commands_pb2.Command:
        """The command once it is EFFECTIVE. Raises CommandNotEffective when it fails or expires, TimeoutError after
        `timeout` s."""
        looks = Backoff(POLL_FIRST, POLL_LIMIT)
        async with asyncio.timeout(timeout):
            while True:
                command = await self.get()
                if has_ended(command):
                    return command
                await asyncio.sleep(looks.next())


class AlertHandle:
    """One alert, by its id."""

    def __init__(self, client: Client, alert_id: str) -> None:
        self._client = client
        self.id = alert_id
        """Its id."""

    async def get(self) -> alerts_pb2.Alert:
        """The alert as it is now."""
        return (
            await self._client.alerts.GetAlert(alerts_pb2.GetAlertRequest(alert_id=self.id))
        ).alert

    async def acknowledge(self, *, comment: str = "", etag: str = "") -> alerts_pb2.Alert:
        """Say that someone takes care of it."""
        request = alerts_pb2.AcknowledgeAlertRequest(alert_id=self.id, comment=comment, etag=etag)
        return (await self._client.alerts.AcknowledgeAlert(request)).alert

    async def resolve(self, *, reason: str = "", etag: str = "") -> alerts_pb2.Alert:
        """End it by hand."""
        request = alerts_pb2.ResolveAlertRequest(alert_id=self.id, reason=reason, etag=etag)
        return (await self._client.alerts.ResolveAlert(request)).alert
