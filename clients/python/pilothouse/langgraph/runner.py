"""What people use: a graph, its runs, and the commands of operators to them.

One runner has one graph under one `source`, and one process at a time has that source: `recover()` could not tell a run
of another live process from one whose process is gone. Each input on a thread is a run of its own, a new workflow,
because an end is final and what comes after it is other work; only a retry goes on with the same work, as its next
attempt.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

from langchain_core.runnables import RunnableConfig

from pilothouse import _channel
from pilothouse._ids import uuid7
from pilothouse.aio import Client
from pilothouse.errors import CallError, CommandRefused
from pilothouse.executor import Executor, ExecutorOptions
from pilothouse.langgraph.outcomes import NotWaiting, Outcome, RunState, RunUnderWay
from pilothouse.langgraph.recall import Recall
from pilothouse.langgraph.runs import GraphRun
from pilothouse.langgraph.story import Story
from pilothouse.langgraph.threads import (
    Graph,
    Thread,
    check_thread_id,
    has_checkpoints,
    next_workflow_ids,
    read,
)
from pilothouse.reporting import WorkflowRun
from pilothouse.v1.commands_pb2 import Command, CommandBoundary
from pilothouse.v1.enums_pb2 import ControlAction

KEPT = 1_000
"""Runs that wait or failed, each with its state; others are recalled."""
REMEMBERED = 10_000
"""Ids of runs that are over."""
_ASK, _DEAF = 1.0, 5.0
"""Seconds that a server has to answer before a run begins without it, and for which it is not asked again."""
_IDLE = frozenset({RunState.WAITING, RunState.FAILED})
_AT_ONCE = CommandBoundary.COMMAND_BOUNDARY_IMMEDIATE
_AT_A_STEP = CommandBoundary.COMMAND_BOUNDARY_STEP


class LangGraphRunner:
    """Runs a compiled graph, tells Pilothouse what it does, and does what operators ask. A context manager."""

    def __init__(
        self,
        target: str,
        graph: Graph,
        *,
        workflow_type: str,
        source: str = "langgraph",
        config: RunnableConfig | None = None,
        tls: _channel.Tls | None = None,
        options: ExecutorOptions | None = None,
        close_timeout: float = 5.0,
    ) -> None:
        """`config` is what every run gets beside its thread: a recursion limit, callbacks, configurable values.

        A graph without a checkpointer can be cancelled and nothing else, because there is nothing to go on from; one
        that has breakpoints and no checkpointer is refused with ValueError. `close_timeout` is for how many seconds
        closing waits for supersteps under way.
        """
        self._durable = has_checkpoints(graph)
        if not self._durable and (graph.interrupt_before_nodes or graph.interrupt_after_nodes):
            raise ValueError("a graph with breakpoints needs a checkpointer to go on from them")
        self.workflow_type = workflow_type
        """The kind of workflow that its runs are."""
        self.executor = Executor(target, source=source, tls=tls, options=options)
        """What reports and takes commands; for whoever wants to report more, or to see its `stats`."""
        self._client = Client(target, tls=tls)
        self._graph, self._base, self._close_timeout = graph, config, close_timeout
        self._recall = Recall(self._client, graph, config, self._story_of, self._run_of)
        self._runs: OrderedDict[str, GraphRun] = OrderedDict()
        self._by_thread: dict[str, GraphRun] = {}
        self._over: OrderedDict[str, None] = OrderedDict()
        self._recalling = asyncio.Lock()
        self._group = asyncio.TaskGroup()
        self._owner: asyncio.Task[None] | None = None
        self._closed = False
        self._deaf_until = 0.0
        self._take_commands()

    # -- runs

    async def run(
        self, given: Any, *, thread_id: str = "", name: str = "", trace_id: str = ""
    ) -> Outcome:
        """Runs the graph on an input until it is COMPLETED or WAITING; a pause is waited through.

        Raises what a node raised, RunCancelled, or RunUnderWay. When the caller is cancelled the run is too.
        """
        return await self._wait(
            await self.start(given, thread_id=thread_id, name=name, trace_id=trace_id)
        )

    async def start(
        self, given: Any, *, thread_id: str = "", name: str = "", trace_id: str = ""
    ) -> GraphRun:
        """Begins a run and returns; `wait()` on it. With a checkpointer `thread_id` says which thread, without one
        there are no threads. A run of the thread that waits is cancelled by it; one that runs or is paused has to end
        first.
        """
        self._check()
        if not self._durable:
            if thread_id:
                raise ValueError("a graph without a checkpointer has no threads")
            fresh = uuid7()
            return self._begin(Thread(fresh), fresh, given, name, trace_id)
        check_thread_id(thread_id)
        # One at a time with whatever recalls runs: two of them must not take the same thread.
        async with self._recalling:
            thread = await read(self._graph, thread_id, self._base)
            workflow_id = await self._free_id(thread)
            self._check()
            # Looked at last: meanwhile a run that waited may have been answered.
            before = self._by_thread.get(thread_id)
            if before is not None and before.state in {RunState.RUNNING, RunState.PAUSED}:
                raise RunUnderWay(before.workflow_id, before.state)
            self._overtake(before, thread)
            return self._begin(thread, workflow_id, given, name, trace_id)

    async def answer(self, thread_id: str, value: Any = None) -> Outcome:
        """Answers the question that a thread waits with, and goes on until it is COMPLETED or WAITING again.

        Several questions are answered with a mapping by their ids, a breakpoint with None. Raises NotWaiting, and
        whatever `run()` raises.
        """
        self._check()
        run = self._by_thread.get(thread_id)
        if run is None:
            workflow_id = (await read(self._graph, thread_id, self._base)).workflow_id
            run = await self._find(workflow_id) if workflow_id else None
        if run is None:
            raise NotWaiting(thread_id, "Pilothouse knows no run of it")
        run.answer(value)
        return await self._wait(run)

    async def recover(self, *, limit: int = 1_000) -> list[GraphRun]:
        """Goes on, from their checkpoints, with runs that a process of this source left behind when it was killed or
        closed.

        Those that were over without having told so are told: as completed, as waiting, or as failed, to be retried by
        an operator. Runs that are paused or waiting stay so until somebody resumes or answers them.
        """
        self._check()
        recovered: list[GraphRun] = []
        async with self._recalling:
            async for run in self._recall.unfinished(
                self.executor.source, self.workflow_type, limit, self._is_ours
            ):
                self._keep(run)
                run.begin(None)
                recovered.append(run)
        return recovered

    async def _wait(self, run: GraphRun) -> Outcome:
        try:
            return await run.wait()
        except asyncio.CancelledError:
            await run.end_cancelled("its caller was cancelled")
            raise

    async def _free_id(self, thread: Thread) -> str:
        """What no other run is called. A server that does not answer is not waited for by every run."""
        for workflow_id in next_workflow_ids(thread):
            if self._is_known(workflow_id):
                continue
            if time.monotonic() < self._deaf_until:
                return workflow_id
            try:
                if not await self._recall.is_told(workflow_id, _ASK):
                    return workflow_id
            except (CallError, TimeoutError):
                self._deaf_until = time.monotonic() + _DEAF
                return workflow_id
        raise AssertionError("there are more numbers")

    def _begin(
        self, thread: Thread, workflow_id: str, given: Any, name: str, trace_id: str
    ) -> GraphRun:
        fresh = Thread(
            thread.thread_id,
            workflow_id,
            input_step=thread.next_step,
            values=thread.values,
        )
        story = self._story_of(fresh, fresh.workflow_id, 1, name, trace_id)
        run = self._run_of(fresh, story)
        self._keep(run)
        story.run.started()
        run.begin(given)
        return run

    def _overtake(self, before: GraphRun | None, thread: Thread) -> None:
        """What LangGraph drops for a new input does not go on: a run that waited, or was left by another process."""
        words = "a new input came on its thread"
        if before is not None and before.state is RunState.WAITING:
            before.cancel(None, words)
        elif before is None and thread.next and thread.workflow_id:
            report = self.executor.report
            # Of which attempt is not known here: the newest.
            WorkflowRun(report, thread.workflow_id, attempt=0).cancelled(message=words)

    # -- commands

    def _take_commands(self) -> None:
        on = self.executor.on
        on(ControlAction.CONTROL_ACTION_CANCEL, boundary=_AT_ONCE)(self._on_cancel)
        if self._durable:
            on(ControlAction.CONTROL_ACTION_PAUSE, boundary=_AT_A_STEP)(self._on_pause)
            on(ControlAction.CONTROL_ACTION_RESUME, boundary=_AT_ONCE)(self._on_resume)
            on(ControlAction.CONTROL_ACTION_RETRY, boundary=_AT_ONCE)(self._on_retry)

    async def _on_cancel(self, command: Command) -> None:
        (await self._known(command)).cancel(command)

    async def _on_pause(self, command: Command) -> None:
        (await self._known(command)).pause(command)

    async def _on_resume(self, command: Command) -> None:
        (await self._known(command)).resume(command)

    async def _on_retry(self, command: Command) -> None:
        run = await self._known(command)
        async with self._recalling:
            if self._by_thread.get(run.thread_id) is not run:
                raise CommandRefused("NO_CHECKPOINT", "its thread has gone on with a newer run")
            await run.retry(command)

    async def _known(self, command: Command) -> GraphRun:
        if self._closed:
            raise CommandRefused("CLOSING", "the process ends", retryable=True)
        run = await self._find(command.workflow_id)
        if run is None:
            words = "neither this process nor the checkpointer has this run any more"
            raise CommandRefused("UNKNOWN_RUN", words)
        return run

    async def _find(self, workflow_id: str) -> GraphRun | None:
        async with self._recalling:
            run = self._runs.get(workflow_id)
            if run is None and self._durable and workflow_id not in self._over:
                run = await self._recall.run(workflow_id)
                if run is not None:
                    self._keep(run)
            return run

    # -- memory

    def _is_known(self, workflow_id: str) -> bool:
        return workflow_id in self._runs or workflow_id in self._over

    def _is_ours(self, workflow_id: str) -> bool:
        """Whether it needs no recovery. One that was asked about and is in nobody's hand does."""
        run = self._runs.get(workflow_id)
        if run is None:
            return workflow_id in self._over
        return run.in_hand or run.state is not RunState.RUNNING

    def _keep(self, run: GraphRun) -> None:
        self._runs[run.workflow_id] = run
        if run.thread_id:
            self._by_thread[run.thread_id] = run

    def _settled(self, run: GraphRun) -> None:
        if run.state in {RunState.COMPLETED, RunState.CANCELLED} or not self._durable:
            # Its id is remembered, because the server may not have heard of the end yet.
            self._forget(run)
            self._over[run.workflow_id] = None
            if len(self._over) > REMEMBERED:
                self._over.popitem(last=False)
            return
        self._keep(run)
        self._runs.move_to_end(run.workflow_id)
        if len(self._runs) <= KEPT:
            return
        idle = [each for each in self._runs.values() if each.state in _IDLE]
        for oldest in idle[: max(len(idle) - KEPT, 0)]:
            self._forget(oldest)

    def _forget(self, run: GraphRun) -> None:
        self._runs.pop(run.workflow_id, None)
        if self._by_thread.get(run.thread_id) is run:
            del self._by_thread[run.thread_id]

    def _story_of(
        self, thread: Thread, workflow_id: str, attempt: int, name: str = "", trace_id: str = ""
    ) -> Story:
        return Story(
            self.executor.report,
            workflow_id,
            workflow_type=self.workflow_type,
            name=name,
            attempt=attempt,
            trace_id=trace_id,
            input_step=thread.input_step,
            has_checkpoints=self._durable,
            attributes={"langgraph.thread_id": thread.thread_id} if self._durable else None,
            seen=thread.values,
        )

    def _run_of(self, thread: Thread, story: Story) -> GraphRun:
        return GraphRun(
            self._graph, story, self._spawn, self._settled, thread=thread, base=self._base
        )

    # -- its life

    def _spawn(self, leg: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        if self._closed:
            leg.close()
            raise RuntimeError("the runner is closed")
        return self._group.create_task(leg)

    def _check(self) -> None:
        if self._owner is None or self._closed:
            raise RuntimeError("the runner does not run: use it as a context manager")

    async def _own(self, ready: asyncio.Future[None]) -> None:
        async with self._group:
            ready.set_result(None)
            await asyncio.Event().wait()

    async def __aenter__(self) -> Self:
        ready: asyncio.Future[None] = asyncio.Future()
        self._owner = asyncio.create_task(self._own(ready))
        await ready
        await self.executor.start()
        return self

    async def close(self) -> None:
        """Lets supersteps under way end, for `close_timeout` seconds at most, and delivers what was reported.
        `recover()` goes on with what is not at its end then."""
        if self._owner is None or self._closed:
            return
        self._closed = True
        try:
            async with asyncio.TaskGroup() as closing:
                for run in list(self._runs.values()):
                    closing.create_task(run.close(self._close_timeout))
        finally:
            self._owner.cancel()
            await asyncio.wait([self._owner])
            await self.executor.close()
            await self._client.close()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
