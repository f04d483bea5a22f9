"""From LangGraph's stream to events: a superstep is a stage, a node that runs in it a task.

Nothing here waits and nothing here steers. LangGraph's ids of tasks follow from the checkpoint before them, and ids of
our events follow from those; so a superstep that is run again after a crash tells the same events, which count once.

A superstep's stage begins with its first task and ends when the next checkpoint is there, since not before that is it
sure to be never run again. What a retry policy does is not in the stream: `retries` sees it.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import cast

from langchain_core.messages import AIMessage

from pilothouse.reporting import (
    MAX_NAME_BYTES,
    Failure,
    Report,
    StageRun,
    TaskRun,
    WorkflowRun,
    clip,
    event_error,
)
from pilothouse.v1.commands_pb2 import Command
from pilothouse.v1.events_pb2 import Event, EventError, EventType, Usage

_IDS = uuid.UUID("0197c3f2-6d5e-7c1a-9b1e-5a6f0d2c8e41")
_OFTEN = frozenset(
    {
        EventType.EVENT_TYPE_WORKFLOW_PAUSED,
        EventType.EVENT_TYPE_WORKFLOW_RESUMED,
        EventType.EVENT_TYPE_WORKFLOW_WAITING,
    }
)
"""What may happen many times in one attempt, so that an id cannot follow from what it is about."""
_NODES_IN_A_NAME = 3


class Story:
    """What one run tells, and what has been told of it."""

    def __init__(
        self,
        report: Report,
        workflow_id: str,
        *,
        workflow_type: str,
        name: str = "",
        attempt: int = 1,
        trace_id: str = "",
        input_step: int = -1,
        has_checkpoints: bool = True,
        attributes: Mapping[str, str] | None = None,
        seen: object = None,
    ) -> None:
        """`seen` is the state before the run: messages in it were paid for by others."""
        self._has_checkpoints = has_checkpoints
        self._report = report
        self._last_ns = 0
        self.run = WorkflowRun(
            self._tell,
            workflow_id,
            workflow_type=workflow_type,
            name=name,
            attempt=attempt,
            trace_id=trace_id,
            attributes=attributes,
        )
        """Tells what becomes of the workflow as a whole."""
        self.next: Sequence[str] = ()
        """The nodes that the newest checkpoint would go on with."""
        self._input_step = input_step
        self._supersteps = 0
        self._stage: StageRun | None = None
        self._stage_is_told = False
        self._open: dict[str, TaskRun] = {}
        self._tries: dict[str, int] = {}
        self._finished: set[str] = set()
        self._lost: set[str] = set()
        self._parents: set[str] = set()
        self._below: set[str] = set()
        self._failed_node = ""
        self._known: tuple[dict[str, int], set[str]] = {}, set()
        self._paid: set[str] = set()
        self._nameless = True
        self.state_is(seen)

    def know(
        self,
        stage: str,
        tries: Mapping[str, int],
        *,
        finished: Collection[str],
        lost: Collection[str],
        waiting: Collection[str],
    ) -> None:
        """What another process told of this run: the stage under way, the newest try of each task, those that ended
        well, those that were running when that process ended, and those that are interrupted."""
        if stage:
            self._stage, self._stage_is_told = self.run.stage(stage), True
        # Kept until the checkpoint is there that it goes on from: what is told of an older stage ends before it.
        self._known = dict(tries), set(finished)
        self._tries.update(tries)
        self._lost.update(lost)
        for task in waiting:
            self._open[task] = self.run.task(task, stage=stage, attempt=max(tries.get(task, 1), 1))

    def state_is(self, values: object) -> None:
        """What a graph's state is now: messages that had no id when they were counted have one in it."""
        if self._nameless:
            self._nameless = False
            self._paid.update(id for id, _ in _messages(values) if id)

    @property
    def was_at_work(self) -> bool:
        """Whether the other process was running something when it ended."""
        return bool(self._lost)

    def adopt(self) -> None:
        """What was running when the other process ended is neither lost nor run again: it is told how it ended."""
        for task in self._lost:
            name = self._stage.name if self._stage else ""
            self._open[task] = self.run.task(task, stage=name, attempt=self._tries.get(task, 1))
        self._lost.clear()

    # -- LangGraph's stream

    def checkpoint(
        self, namespace: tuple[str, ...], step: int, nodes: Sequence[str], names: Sequence[str]
    ) -> None:
        """A checkpoint is there, from which `nodes` go on. `names` are all nodes of its superstep."""
        if namespace:
            return
        self.next, self._failed_node = nodes, ""
        # The input of a function (an entrypoint) is worked on at once; that of a graph is a step of its own.
        stage = _stage_name(max(step - self._input_step, 1), names) if names else ""
        if names != ["__start__"] and (self._stage is None or self._stage.name != stage):
            self._finish_stage()
            self._stage = self.run.stage(stage) if stage else None
        tries, finished = self._known
        self._tries.update(tries)
        self._finished.update(finished)
        self._known = {}, set()

    def task_started(self, namespace: tuple[str, ...], name: str, task_id: str) -> None:
        """A task begins, or is looked at again and has a result already."""
        task = _ident(namespace, name, task_id)
        if task in self._finished or task in self._open:
            return
        if not namespace:
            self._begin_stage()
        self._parents.update(
            _short("|".join(namespace[:depth])) for depth in range(1, len(namespace) + 1)
        )
        begun = self.run.task(
            task, stage=self._stage.name if self._stage else "", attempt=self._tries.get(task, 0)
        )
        if task in self._lost:
            self._lost.discard(task)
            words = "the process that ran it ended"
            begun.retrying(EventError(code="PROCESS_LOST", message=words))
        else:
            begun.attempt += 1
        begun.started()
        self._tries[task] = begun.attempt
        self._open[task] = begun
        if namespace:
            self._below.add(task)

    def task_ended(
        self,
        namespace: tuple[str, ...],
        name: str,
        task_id: str,
        *,
        error: object,
        interrupted: bool,
        result: object,
    ) -> None:
        """A task has a result, or failed for good, or waits for an answer."""
        task = _ident(namespace, name, task_id)
        told = self._open.get(task)
        if told is None or interrupted:
            return
        del self._open[task]
        usage = None if task in self._parents else self._usage(result)
        if error is not None:
            self._failed_node = self._failed_node or name
            failure = error if isinstance(error, BaseException | EventError) else str(error)
            told.failed(failure, usage=usage)
        else:
            self._finished.add(task)
            told.completed(usage=usage)

    def task_retried(self, path: str, error: BaseException) -> None:
        """The retry policy of a node lets it try again."""
        task = self._open.get(_short(path))
        if task is not None:
            task.retrying(error)
            task.started()
            self._tries[task.id] = task.attempt

    # -- ends

    def completed(self) -> None:
        """The graph has nothing more to do."""
        self._finish_stage()
        self.run.completed()

    def failed(self, failure: Failure, *, retryable: bool) -> None:
        """The graph raised. What ran beside the node that failed was cancelled by LangGraph."""
        node, self._failed_node = self._failed_node, ""
        error = EventError()
        error.CopyFrom(event_error(failure))
        error.retryable = retryable
        if node:
            error.message = clip(f"node {node}: {error.message}")
        self._stop_tasks("its superstep failed")
        if self._stage is not None and self._stage_is_told:
            self._stage.failed(error)
        self._stage_is_told = False
        self.run.failed(error, retryable=retryable)

    def cancelled(self, command: Command | None, message: str) -> None:
        """It was ended from outside; its state stays where it was."""
        self._stop_tasks(message)
        self.run.cancelled(command, message)

    # -- inside

    def _begin_stage(self) -> None:
        if not self._has_checkpoints and not self._open:
            # Nothing says that a superstep is over but that another task begins when all have ended.
            self._finish_stage()
            self._supersteps += 1
            self._stage = self.run.stage(_stage_name(self._supersteps, ()))
        if self._stage is not None and not self._stage_is_told:
            self._stage_is_told = True
            self._stage.started()

    def _finish_stage(self) -> None:
        # A superstep ends when all its tasks have: whatever is still open, its end was told to a process that is gone.
        self.adopt()
        # But what began here below another node, and whose end LangGraph did not tell, was given up by that node.
        for task, told in self._open.items():
            if task in self._below:
                told.cancelled("its node went on without it")
            else:
                told.completed()
        if self._stage is not None and self._stage_is_told:
            self._stage.completed()
        self._stage, self._stage_is_told = None, False
        for forgotten in (self._open, self._tries, self._finished, self._parents, self._below):
            forgotten.clear()

    def _stop_tasks(self, message: str) -> None:
        for told in self._open.values():
            told.cancelled(message)
        self._open.clear()

    def _usage(self, result: object) -> Usage | None:
        total = Usage()
        for message_id, message in _messages(result):
            spent = message.usage_metadata
            if spent is None or message_id in self._paid:
                continue
            if message_id:
                self._paid.add(message_id)
            self._nameless = self._nameless or not message_id
            total.input_tokens += max(spent["input_tokens"], 0)
            total.output_tokens += max(spent["output_tokens"], 0)
        return total if total.input_tokens or total.output_tokens else None

    def _tell(self, event: Event) -> str | None:
        # Two reports of one run are never of the same microsecond, so that the later one is known to be the later.
        self._last_ns = max(time.time_ns(), self._last_ns + 1_000)
        event.occur_time.FromNanoseconds(self._last_ns)
        if event.type not in _OFTEN:
            about = (event.workflow_id, event.stage, event.task_id, event.attempt, event.type)
            event.id = str(uuid.uuid5(_IDS, "\0".join(map(str, about))))
        return self._report(event)


def _messages(value: object, depth: int = 3) -> Iterator[tuple[str, AIMessage]]:
    """The answers of models in what a node returned, or in a state, each with its id."""
    if isinstance(value, AIMessage):
        yield value.id or "", value
    elif depth and isinstance(value, Mapping):
        for each in cast("Mapping[object, object]", value).values():
            yield from _messages(each, depth - 1)
    elif depth and isinstance(value, list | tuple):
        for each in cast("Sequence[object]", value):
            yield from _messages(each, depth - 1)


def _stage_name(number: int, nodes: Collection[str]) -> str:
    """Few distinct names for a graph, whatever it loops and sends: the superstep of the run, and the nodes in it."""
    names = sorted(set(nodes))
    more = ["…"] if len(names) > _NODES_IN_A_NAME else []
    listed = ", ".join(names[:_NODES_IN_A_NAME] + more)
    return clip(f"step {number}: {listed}" if listed else f"step {number}", MAX_NAME_BYTES)


def _ident(namespace: tuple[str, ...], name: str, task_id: str) -> str:
    return _short("|".join((*namespace, f"{name}:{task_id}")))


def _short(path: str) -> str:
    """LangGraph's own path of a task, which is its checkpoint namespace; of one that is nested too deeply, a digest."""
    if len(path.encode("utf-8", "replace")) <= MAX_NAME_BYTES:
        return path
    name = path.rpartition("|")[2].partition(":")[0]
    return clip(name, 128) + ":" + hashlib.sha256(path.encode("utf-8", "replace")).hexdigest()
