"""One run of a graph, and what operators may do with it.

            ┌───────── retry ──────────┐
            ▼                          │
    ─▶ RUNNING ──────────────▶ COMPLETED, FAILED, CANCELLED
        │  ▲ ▲ │                       ▲
      pause│ │ interrupt               │ cancel
        ▼  │ │ ▼                       │
    PAUSED   WAITING (answer, pause) ──┘

A *leg* is one call of `astream`: a run has several when it is paused, answered or retried, and at most one at a time.
States are told when LangGraph shows them: PAUSED when it has drained, CANCELLED when its task has ended.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl
from langgraph.types import Command as Answer

from pilothouse.errors import CommandRefused
from pilothouse.langgraph.outcomes import NotWaiting, Outcome, RunCancelled, RunnerClosed, RunState
from pilothouse.langgraph.retries import RetryWatcher
from pilothouse.langgraph.story import Story
from pilothouse.langgraph.threads import Graph, Thread, config_of, has_checkpoints, may_stop, read
from pilothouse.v1.commands_pb2 import Command
from pilothouse.v1.events_pb2 import EventError


class GraphRun:
    """One run. Made by `LangGraphRunner.start()`; what is here for everybody is `wait()` and the attributes."""

    def __init__(
        self,
        graph: Graph,
        story: Story,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        settled: Callable[[GraphRun], None],
        *,
        thread: Thread,
        base: RunnableConfig | None,
    ) -> None:
        self.workflow_id = story.run.id
        """Its id in Pilothouse."""
        self.thread_id = thread.thread_id if has_checkpoints(graph) else ""
        """Its thread; empty without a checkpointer."""
        self.state = RunState.RUNNING
        """Where it stands."""
        self.values: Any = None
        """The newest output of the graph that this process saw."""
        self.interrupts: Mapping[str, Any] = dict(thread.interrupts)
        """The questions that it waits with, by the ids of their interrupts."""
        self._waits = bool(thread.interrupts) or may_stop(graph, thread)
        self.story = story
        story.next = thread.next
        self._graph, self._spawn, self._settled, self._base = graph, spawn, settled, base
        self._config = self._make_config(thread)
        self._control = RunControl()
        self._leg: asyncio.Task[None] | None = None
        self._pause: Command | None = None
        self._unheard: object = None
        self._cancel: tuple[Command | None, str] | None = None
        self._closing = False
        self._stop: asyncio.Future[BaseException | Outcome] = asyncio.Future()

    async def wait(self) -> Outcome:
        """Returns when the run is COMPLETED or WAITING; a pause is waited through.

        Raises what a node raised when it FAILED, RunCancelled, and RunnerClosed. After a retry, wait again.
        """
        stopped = await asyncio.shield(self._stop)
        if isinstance(stopped, Outcome):
            return stopped
        raise stopped

    @property
    def in_hand(self) -> bool:
        """Whether LangGraph works on it in this process."""
        return self._leg is not None and not self._leg.done()

    # -- what is done with it

    def begin(self, given: object, *, answer: bool = False) -> None:
        """The next leg: with an input, an answer, or None to go on from the checkpoint."""
        self.state, self.interrupts, self._waits = RunState.RUNNING, {}, False
        if self._stop.done():
            self._stop = asyncio.Future()
        self._control = RunControl()
        # LangGraph keeps an input at once, and an answer only when a task takes it: a drain may come before.
        self._unheard = given if answer else None
        self._leg = self._spawn(self._drive(given))

    def pause(self, command: Command) -> None:
        """Nothing new of it starts: at the next superstep, or at once when nothing runs."""
        if self.in_hand:
            self._pause = command
            self._control.request_drain(f"command {command.id}")
        elif self.state in {RunState.RUNNING, RunState.WAITING}:
            self._paused(command)
        else:
            raise CommandRefused("NOT_RUNNING", f"the run is {self.state.value}")

    def resume(self, command: Command) -> None:
        """A paused run goes on; one that was waiting when it was paused waits again."""
        if self.state is not RunState.PAUSED:
            raise CommandRefused("NOT_PAUSED", f"the run is {self.state.value}")
        self.story.run.resumed(command)
        if self._waits:
            self._waiting()
        else:
            self.begin(self._unheard, answer=True)

    async def retry(self, command: Command) -> None:
        """A failed run goes on from its last checkpoint, as the next attempt."""
        if self.state is not RunState.FAILED or self.in_hand:
            raise CommandRefused("NOT_FAILED", f"the run is {self.state.value}")
        thread = await read(self._graph, self.thread_id, self._base)
        if thread.workflow_id != self.workflow_id:
            what = (
                f"the run {thread.workflow_id}" if thread.workflow_id else "nothing of Pilothouse"
            )
            words = (
                f"the newest checkpoint of the thread is of {what}: there is nothing to go on from"
            )
            raise CommandRefused("NO_CHECKPOINT", words)
        self.story.run.retried(command)
        self.story.run.started()
        self.begin(None)

    def cancel(self, command: Command | None, message: str = "") -> None:
        """It ends now; what it has done stays in its checkpoint."""
        if self.in_hand and self._leg is not None:
            self._cancel = (command, message)
            self._leg.cancel()
        elif self.state in {RunState.RUNNING, RunState.PAUSED, RunState.WAITING}:
            self._end(RunState.CANCELLED, RunCancelled(self.workflow_id))
            self.story.cancelled(command, message)
        else:
            raise CommandRefused("ALREADY_ENDED", f"the run is {self.state.value}")

    def answer(self, value: object) -> None:
        """A waiting run goes on with `value`. Raises NotWaiting, and ValueError for an answer that fits no question."""
        if self.state is not RunState.WAITING or self.in_hand:
            raise NotWaiting(self.thread_id, self.state.value)
        given = _answer(self.interrupts, value)
        self.story.run.resumed(message="answered")
        self.begin(given, answer=True)

    async def end_cancelled(self, message: str) -> None:
        """Cancels it, if it is not over, and waits until nothing of it runs."""
        if self.state in {RunState.RUNNING, RunState.PAUSED, RunState.WAITING}:
            self.cancel(None, message)
        if self._leg is not None:
            await asyncio.wait([self._leg])

    async def close(self, within: float) -> None:
        """Stops at the next superstep, or after `within` seconds in the midst of one, and tells nothing: Pilothouse
        shows a run whose engine is silent, and `recover()` goes on with it."""
        self._closing = True
        self._control.request_drain("the runner is closed")
        if self._leg is not None and not self._leg.done():
            await asyncio.wait([self._leg], timeout=within)
            self._leg.cancel()
            await asyncio.wait([self._leg])
        self._settle(RunnerClosed(self.workflow_id))

    def settle_as(self, thread: Thread) -> bool:
        """Tells what a process that is gone did not: that the graph had ended, failed, or asked. False when it was in
        the midst of its work; then it is told to go on."""
        if not thread.next:
            self.story.adopt()
            self._end(RunState.COMPLETED, None)
            self.story.completed()
        elif thread.failed is not None:
            name, task_id, words = thread.failed
            error = EventError(code=words.partition("(")[0], message=words)
            self.story.adopt()
            self.story.task_ended((), name, task_id, error=error, interrupted=False, result=None)
            self._end(RunState.FAILED, None)
            self.story.failed(error, retryable=True)
        elif (
            self._waits
            and not self.interrupts
            and not thread.finished
            and not self.story.was_at_work
        ):
            # Nothing goes past a breakpoint because a process ended; at worst somebody is asked twice.
            self._waiting()
        else:
            # Of a question nobody knows whether a task had its answer: LangGraph goes on, or asks again.
            self.story.run.started()
            self.story.run.resumed(message="its process was started again")
            return False
        return True

    # -- a leg

    async def _drive(self, given: object) -> None:
        try:
            await self._stream(given)
            questions = await self._questions()
        except GraphDrained:
            if not self._closing:
                self._paused(self._pause)
        except asyncio.CancelledError:
            if self._cancel is None:  # nobody wants an end of the run: its process ends
                self._settle(RunnerClosed(self.workflow_id))
            else:
                self._end(RunState.CANCELLED, RunCancelled(self.workflow_id))
                self.story.cancelled(*self._cancel)
        except Exception as error:  # noqa: BLE001 - whatever a node raises is how its run ended
            self._end(RunState.FAILED, error)
            self.story.failed(error, retryable=bool(self.thread_id))
        else:
            self._arrived(questions)

    def _arrived(self, questions: Mapping[str, Any] | None) -> None:
        if questions is None:
            self._end(RunState.COMPLETED, None)
            self.story.completed()
            return
        self.interrupts, self._waits = questions, True
        if self._pause is not None:
            self._paused(self._pause)
        else:
            self._waiting()

    async def _questions(self) -> Mapping[str, Any] | None:
        """What it waits for after a leg that raised nothing; None when it is at its end."""
        if not self.thread_id or not self.story.next:
            return None
        return dict((await read(self._graph, self.thread_id, self._base)).interrupts)

    async def _stream(self, given: object) -> None:
        async with aclosing(self._parts(given)) as parts:
            async for kind, namespace, told in parts:
                match kind:
                    case "checkpoints":
                        tasks = [str(task["name"]) for task in told["tasks"]]
                        step = int(told["metadata"]["step"])
                        self.story.checkpoint(namespace, step, list(told["next"]), tasks)
                    case "tasks" if "result" not in told:
                        self._unheard = None
                        self.story.task_started(namespace, told["name"], told["id"])
                    case "tasks":
                        self.story.task_ended(
                            namespace,
                            told["name"],
                            told["id"],
                            error=told["error"],
                            interrupted=bool(told["interrupts"]),
                            result=told["result"],
                        )
                    case _:
                        self.story.state_is(told)
                        if not namespace:
                            self.values = told

    async def _parts(self, given: object) -> AsyncGenerator[tuple[str, tuple[str, ...], Any]]:
        """LangGraph's stream, each part with its kind and its graph's namespace."""
        config = merge_configs(self._config, {"callbacks": [RetryWatcher(self.story)]})
        stream = cast("Any", self._graph).astream(
            given,
            config,
            stream_mode=["checkpoints", "tasks", "values"],
            subgraphs=True,
            # What was told of a superstep must not be run again, so its checkpoint is waited for.
            durability="sync" if self.thread_id else None,
            control=self._control,
            version="v2",
        )
        async with aclosing(cast("AsyncGenerator[Mapping[str, Any]]", stream)) as parts:
            async for part in parts:
                yield part["type"], part["ns"], part["data"]

    # -- where it stands

    def _paused(self, command: Command | None) -> None:
        self.state, self._pause = RunState.PAUSED, None
        self.story.run.paused(command)

    def _waiting(self) -> None:
        self.state = RunState.WAITING
        self.story.run.waiting(_question(self.interrupts, self.story.next))
        self._settle(None)

    def _end(self, state: RunState, error: BaseException | None) -> None:
        self.state, self._pause, self.interrupts = state, None, {}
        self._settle(error)

    def _settle(self, error: BaseException | None) -> None:
        # One future for each stop: whoever waited for this one is told of it, whatever comes next.
        if not self._stop.done():
            outcome = Outcome(
                self.workflow_id, self.thread_id, self.state, self.values, dict(self.interrupts)
            )
            self._stop.set_result(outcome if error is None else error)
        self._settled(self)

    def _make_config(self, thread: Thread) -> RunnableConfig:
        if not self.thread_id:
            return merge_configs(self._base)
        return config_of(thread.thread_id, self.workflow_id, thread.input_step, self._base)


def _question(interrupts: Mapping[str, Any], nodes: Sequence[str]) -> str:
    """What it waits for, in words."""
    if not interrupts:
        return f"breakpoint before {', '.join(nodes)}" if nodes else "breakpoint"
    return "; ".join(map(_words, interrupts.values()))


def _words(question: object) -> str:
    if isinstance(question, str):
        return question
    for words in (partial(json.dumps, default=str, ensure_ascii=False), repr):
        # A graph may ask with anything, and what cannot be said must not end its runner.
        with suppress(Exception):
            return words(question)
    return f"a question of type {type(question).__name__}"


def _answer(interrupts: Mapping[str, Any], value: object) -> object:
    """What LangGraph is given to go on with."""
    if not interrupts:
        if value is not None:
            raise ValueError("the run is at a breakpoint, which takes no answer: give None")
        return None
    if len(interrupts) == 1:
        return Answer(resume={next(iter(interrupts)): value})
    answers: dict[object, object] = {}
    if isinstance(value, Mapping):
        answers.update(cast("Mapping[object, object]", value))
    if not answers or not answers.keys() <= interrupts.keys():
        raise ValueError(
            f"several questions wait: answer with a mapping by their ids, {', '.join(interrupts)}"
        )
    return Answer(resume=answers)
