"""The executor SDK: what stands between an engine and Pilothouse.

An executor reports what the engine does, and takes the commands that operators give it:

    from pilothouse.executor import CommandRefused, Executor
    from pilothouse.v1.commands_pb2 import Command, CommandBoundary
    from pilothouse.v1.enums_pb2 import ControlAction

    executor = Executor("127.0.0.1:50051", source="my-engine")

    @executor.on(ControlAction.CONTROL_ACTION_PAUSE, boundary=CommandBoundary.COMMAND_BOUNDARY_STEP)
    async def pause(command: Command) -> None:
        run = engine.find(command.workflow_id)
        if run is None:
            raise CommandRefused("UNKNOWN_RUN", "this engine does not run it any more")
        run.pause_at_next_step(command)      # the engine later says run.paused(command): then the command is EFFECTIVE

    async with executor:
        agent = executor.agent("builder-1", agent_type="builder", capacity=4, heartbeat_every=10)
        run = executor.workflow("wf-1", workflow_type="feature", name="Login page", stage_plan=["build", "test"])
        with run:
            with run.stage("build"), run.task("compile", stage="build", agent=agent):
                ...

Reports never wait: `report()` puts an event into a buffer in memory and returns. A task of the executor delivers them
in order, in batches, and repeats a batch with the same event ids until the server has it durably, so that each counts
exactly once. The buffer is bounded and not kept on disk: what is in it when the process dies is lost, and when it is
full new events are dropped, counted and logged (`on_full="raise"`: refused with BufferFull). `close()` says what could
not be delivered.

Commands survive broken streams. A command is accepted (AcceptCommand) before the engine sees it, and the engine of one
process sees it once; after a crash of the process it is offered again. A handler that returns has only taken the
command: it is EFFECTIVE when the engine reports the event that shows it (`run.paused(command)`, for an agent
`agent.draining(command=command)`, for all that the engine starts `executor.queue().paused(command)`), and FAILED at
once when the handler raises.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import grpc.aio

from pilothouse import _channel
from pilothouse._abilities import Abilities, H, Handler, Unable
from pilothouse._ids import uuid7
from pilothouse._inbox import Inbox
from pilothouse._outbox import Buffer, Publisher
from pilothouse._session import Session
from pilothouse.aio import Client
from pilothouse.errors import BufferFull, CommandRefused, ExecutorReplaced, NotDelivered
from pilothouse.reporting import StageRun, TaskRun, WorkflowRun
from pilothouse.retry import NO_RETRY, Backoff
from pilothouse.v1.commands_pb2 import Capability, Command, CommandBoundary, CommandScope
from pilothouse.v1.enums_pb2 import ControlAction
from pilothouse.v1.events_pb2 import Event, EventType
from pilothouse.watching import WatchOptions
from pilothouse.workers import ReportedAgent, ReportedQueue

__all__ = [
    "BufferFull",
    "Capability",
    "CommandRefused",
    "Executor",
    "ExecutorOptions",
    "ExecutorReplaced",
    "ExecutorStats",
    "NotDelivered",
    "ReportedAgent",
    "ReportedQueue",
    "StageRun",
    "TaskRun",
    "WorkflowRun",
]

log = logging.getLogger("pilothouse.executor")

MAX_EVENT_BYTES = 64 << 10
"""The limit of the contract on one event."""


@dataclass(frozen=True)
class ExecutorOptions:
    """The limits of an executor. Each is counted or logged when it is reached."""

    max_events: int = 100_000
    """Events in the buffer."""
    max_bytes: int = 64 << 20
    """Bytes of events in the buffer."""
    batch_events: int = 1_000
    """Events in one call, at most; the contract allows 1,000."""
    batch_bytes: int = 2 << 20
    """Bytes of events in one call; the contract allows 4 MiB."""
    linger: float = 0.005
    """Seconds that an event may wait for others to share its batch."""
    close_timeout: float = 5.0
    """Seconds that closing waits for events to be delivered."""
    call_timeout: float = 10.0
    """Seconds that one call may take before it is made again."""
    max_delay: float = 5.0
    """Seconds between two tries, at most, before jitter."""
    max_handlers: int = 1_000
    """Handlers that run at once; further commands wait."""
    watch: WatchOptions = field(default_factory=WatchOptions)
    """How the stream of commands is watched."""


@dataclass(frozen=True)
class ExecutorStats:
    """What an executor did with its events so far."""

    reported: int
    """Taken by `report()` into the buffer."""
    delivered: int
    """Durably in the server's log."""
    rejected: int
    """Refused, by the server or for their size, and named to `on_rejected`."""
    dropped: int
    """Not taken, because the buffer was full."""
    buffered: int
    """In the buffer now."""
    retries: int
    """Batches that were sent again."""


class Executor:
    """See the module. Use it as an asynchronous context manager, or `start()` and `close()` it."""

    def __init__(
        self,
        target: str = _channel.DEFAULT_TARGET,
        *,
        source: str,
        capabilities: Iterable[Capability] = (),
        tls: _channel.Tls | None = None,
        options: ExecutorOptions | None = None,
        on_rejected: Callable[[Event, str], None] | None = None,
        on_full: str = "drop",
        channel: grpc.aio.Channel | None = None,
    ) -> None:
        """Nothing is called before `start()`; events that are reported before it are kept.

        `source` is the stable name of the engine: commands for the workflows it reports come to the executor of this
        name. `capabilities` are what it can do when asked; `on()` adds those that are not there. `on_rejected` is
        called, in the loop, with each event that the server refused and why. `on_full` is "drop" or "raise".
        """
        if on_full not in {"drop", "raise"}:
            raise ValueError(f'on_full is "drop" or "raise", not {on_full!r}')
        self.source = source
        """The name of the engine."""
        self.options = options or ExecutorOptions()
        """The limits."""
        self._raise_when_full = on_full == "raise"
        self._on_rejected = on_rejected
        self._target, self._tls, self._channel = target, tls, channel
        self._abilities = Abilities(capabilities)
        self._buffer = Buffer(self.options.max_events, self.options.max_bytes)
        self._rejected = 0
        self._dropped = 0
        self._is_full = False
        self._beating: list[tuple[ReportedAgent, float]] = []
        self._open: Session | None = None
        self._closed = False
        self._over = False
        self._taking: asyncio.Task[ExecutorReplaced] | None = None

    async def start(self) -> None:
        """Begin to deliver events, and to take commands if there are handlers."""
        if self._open is not None:
            raise RuntimeError("an executor is started once")
        self._open = await self._connect()
        for agent, interval in self._beating:
            self._open.spawn(self._beat(agent, interval))
        if self._abilities.handled:
            self._taking = self._open.take(self._dispatch)
        self._open.wake()

    async def close(self, timeout: float | None = None) -> None:
        """Say goodbye for the agents, deliver what is in the buffer, and stop; after `timeout` seconds whatever is
        left.

        What was not delivered is in `undelivered`, and logged. Closing twice does nothing more.
        """
        session = self._open
        if session is None or self._closed:
            return
        # From here on no heartbeat follows a goodbye, and no command begins that could not be finished.
        self._closed = True
        if self._taking is not None:
            self._taking.cancel()
        for agent, _ in self._beating:
            if not agent.is_offline:
                agent.offline("its executor was closed")
        try:
            await session.publisher.flush(
                self.options.close_timeout if timeout is None else timeout
            )
        except NotDelivered as late:
            log.error("%s; the first is %s", late, late.events[0].id)  # noqa: TRY400 - the words say it all
        finally:
            await session.end()
            self._over = True

    @property
    def undelivered(self) -> Sequence[Event]:
        """What is in the buffer, oldest first; after `close()`, what it could not deliver."""
        return self._buffer.events()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def report(self, event: Event | None = None, /, **fields: Any) -> str | None:
        """Take one event to deliver, and return at once: its id, or None when it was dropped or refused for its size.

        Give an Event, which is copied, or its fields. An id, the time and the source are filled in where they are
        missing. May be called from any thread. Raises BufferFull when full and `on_full="raise"`, and ValueError for an
        event without a type.
        """
        kept = Event(**fields)
        if event is not None:
            kept.MergeFrom(event)
        if kept.type == EventType.EVENT_TYPE_UNSPECIFIED:
            raise ValueError("an event needs a type")
        kept.id = kept.id or uuid7()
        kept.source = kept.source or self.source
        if not kept.HasField("occur_time"):
            kept.occur_time.FromNanoseconds(time.time_ns())
        if kept.ByteSize() > MAX_EVENT_BYTES:
            self._reject(kept, f"the event is larger than {MAX_EVENT_BYTES} bytes")
            return None
        if self._over or not self._buffer.put(kept):
            self._drop()
            return None
        self._is_full = False
        if self._open is not None:
            self._open.wake()
        return kept.id

    def _drop(self) -> None:
        self._dropped += 1
        if not self._is_full:
            why = "the executor is closed" if self._over else "the buffer is full"
            events, size = len(self._buffer), self._buffer.size
            log.error("%s (%d events, %d bytes in it): new events are dropped", why, events, size)
        self._is_full = True
        if self._raise_when_full:
            raise BufferFull(len(self._buffer), self._buffer.size)

    def _reject(self, event: Event, reason: str) -> None:
        self._rejected += 1
        log.warning("event %s (%s) was rejected: %s", event.id, EventType.Name(event.type), reason)
        if self._on_rejected is not None:
            try:
                self._on_rejected(event, reason)
            except Exception:
                # It is the engine's, and must not end the delivery of the other events.
                log.exception("on_rejected failed")

    async def flush(self, timeout: float | None = None) -> None:
        """Return when all that was reported is durably in the server's log, or rejected. Raises NotDelivered after
        `timeout` seconds."""
        await self._session().publisher.flush(timeout)

    @property
    def stats(self) -> ExecutorStats:
        """What happened to the events so far."""
        publisher = self._open.publisher if self._open else None
        return ExecutorStats(
            reported=self._buffer.taken,
            delivered=publisher.delivered if publisher else 0,
            rejected=self._rejected,
            dropped=self._dropped,
            buffered=len(self._buffer),
            retries=publisher.retries if publisher else 0,
        )

    def workflow(
        self,
        workflow_id: str,
        *,
        workflow_type: str = "",
        name: str = "",
        stage_plan: Sequence[str] = (),
        attempt: int = 1,
        trace_id: str = "",
        attributes: Mapping[str, str] | None = None,
    ) -> WorkflowRun:
        """One run to report on. `stage_plan` are the names of all its stages in order. Nothing is reported yet."""
        return WorkflowRun(
            self.report,
            workflow_id,
            workflow_type=workflow_type,
            name=name,
            stage_plan=stage_plan,
            attempt=attempt,
            trace_id=trace_id,
            attributes=attributes,
        )

    def agent(
        self,
        agent_id: str,
        *,
        agent_type: str = "",
        capacity: int = 0,
        heartbeat_every: float | None = None,
        draining: bool = False,
    ) -> ReportedAgent:
        """One agent to report on.

        With `heartbeat_every` it is registered at once (or said to be `draining`, where it was so before the engine was
        started again), its heartbeats are reported every so many seconds for as long as the executor runs and it is not
        offline, and it goes offline when the executor is closed.
        """
        agent = ReportedAgent(self.report, agent_id, agent_type=agent_type, capacity=capacity)
        if heartbeat_every is not None:
            if draining:
                agent.draining()
            else:
                agent.registered()
            self.beat(agent, heartbeat_every)
        return agent

    def beat(self, agent: ReportedAgent, every: float) -> None:
        """Report the heartbeats of `agent` every so many seconds for as long as the executor runs and it is not
        offline, and its goodbye when the executor is closed. For an agent whose events the engine writes down first."""
        self._beating.append((agent, every))
        if self._open is not None and not self._closed:
            self._open.spawn(self._beat(agent, every))

    def queue(
        self, name: str = "", *, workflow_type: str = "", agent_type: str = ""
    ) -> ReportedQueue:
        """One queue to report on; without a name, all that the engine starts, or all of one type. Nothing is reported
        yet: say whether it is `active()` or `paused()`."""
        return ReportedQueue(self.report, name, workflow_type=workflow_type, agent_type=agent_type)

    def on(
        self,
        action: ControlAction.ValueType,
        *,
        scope: CommandScope.ValueType = CommandScope.COMMAND_SCOPE_RUN,
        boundary: CommandBoundary.ValueType = CommandBoundary.COMMAND_BOUNDARY_STEP,
        selective: bool = False,
    ) -> Callable[[H], H]:
        """Register what does `action`; a function of a Command, async or not. The capability is declared with it.

        `scope` is what it is done to, and each has a handler of its own: PAUSE and RESUME of a RUN (the command has a
        `workflow_id`), of a QUEUE (`queue`) or of the whole FLEET; CANCEL and RETRY of a RUN; DRAIN, ACTIVATE, RESTART
        and RESIZE (`pool_size`) of a POOL (`agent_id`). With the scope FLEET, `selective` says that one `workflow_type`
        or `agent_type` can be held alone; without it such a command never comes to the handler. Raises ValueError for
        what nobody can ask for.

        Commands are taken from the first registration on; what is declared later than that is refused with
        RuntimeError, unless it was in `capabilities`, so register before `start()`.
        """

        def register(handler: H) -> H:
            if not self._abilities.knows(action, scope):
                if self._open is not None and self._open.takes:
                    raise RuntimeError("commands are taken already: declare the capability before")
                self._abilities.declare(action, scope, boundary, selective)
            self._abilities.handle(action, scope, handler)
            if self._open is not None and not self._open.takes:
                self._taking = self._open.take(self._dispatch)
            return handler

        return register

    async def commands(self) -> AsyncGenerator[Command]:
        """The commands, each accepted, for engines that would rather read than be called. Not together with `on()`.

        One that cannot be done is answered with `refuse()`. Raises ExecutorReplaced when another executor of the same
        name has taken over.
        """
        session = self._session()
        if session.takes:
            raise RuntimeError("commands are taken already")
        accepted: asyncio.Queue[Command] = asyncio.Queue(self.options.max_handlers)
        inbox = session.inbox

        async def offer(command: Command) -> None:
            taken = await inbox.accept(command)
            if taken is not None:
                await accepted.put(taken)

        taking = self._taking = session.take(offer)
        while True:
            getting = asyncio.ensure_future(accepted.get())
            try:
                await asyncio.wait([getting, taking], return_when=asyncio.FIRST_COMPLETED)
                if not getting.done():
                    raise taking.result()
                yield getting.result()
            finally:
                getting.cancel()

    async def refuse(
        self, command: Command, code: str, message: str = "", *, retryable: bool = False
    ) -> None:
        """Say that a command from `commands()` cannot be done."""
        await self._session().inbox.fail(command, code, message or code, retryable=retryable)

    @property
    def replaced(self) -> bool:
        """Whether another executor of the same name has taken over the commands. This one still delivers its events."""
        return self._taking is not None and self._taking.done() and not self._taking.cancelled()

    async def _dispatch(self, command: Command) -> None:
        session = self._open
        assert session is not None, "commands come only to an executor that runs"  # noqa: S101 - for type checkers
        # Waits here while too many run, which leaves further commands with the server.
        await session.handlers.acquire()
        session.spawn(self._handle(session, command))

    async def _handle(self, session: Session, command: Command) -> None:
        try:
            handler = self._abilities.handler_of(command)
            if (taken := await session.inbox.accept(command)) is not None:
                await self._call(session.inbox, handler, taken)
        except Unable as why:
            await session.inbox.fail(command, "UNSUPPORTED", str(why))
        finally:
            session.handlers.release()

    async def _call(self, inbox: Inbox, handler: Handler, command: Command) -> None:
        try:
            result = handler(command)
            if inspect.isawaitable(result):
                await result
        except CommandRefused as refused:
            await inbox.fail(command, refused.code, refused.message, retryable=refused.retryable)
        except Exception as error:
            log.exception("the handler of command %s failed", command.id)
            await inbox.fail(command, type(error).__name__, str(error) or repr(error))

    def _session(self) -> Session:
        if self._open is None or self._closed:
            raise RuntimeError("the executor does not run")
        return self._open

    async def _connect(self) -> Session:
        options = self.options
        # No retries of its own: both the outbox and the inbox know better for how long to go on.
        client = Client(
            self._target,
            tls=self._tls,
            timeout=options.call_timeout,
            retry=NO_RETRY,
            channel=self._channel,
        )
        publisher = Publisher(
            self._buffer,
            client.events.PublishEvents,
            batch_events=options.batch_events,
            batch_bytes=options.batch_bytes,
            linger=options.linger,
            on_rejected=self._reject,
            backoff=Backoff(limit=options.max_delay),
        )
        inbox = Inbox(client, self.source, self._abilities, options.watch)
        return await Session.begin(client, publisher, inbox, options.max_handlers)

    async def _beat(self, agent: ReportedAgent, interval: float) -> None:
        while not self._closed:
            if not agent.is_offline:
                agent.heartbeat()
            await asyncio.sleep(interval)
