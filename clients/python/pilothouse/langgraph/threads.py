"""What the checkpointer knows of a thread: which run its newest checkpoint is of.

LangGraph keeps the metadata of a run's configuration with each of its checkpoints. So the id of the workflow is written
there, and a process that is started again can tell whose a thread is without a file of its own.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.pregel import Pregel
from langgraph.types import PregelTask, StateSnapshot

Graph = Pregel[Any, Any, Any, Any]
"""A compiled graph, or an entrypoint of the functional API."""

WORKFLOW = "pilothouse_workflow"
"""Of a checkpoint's metadata: the workflow that it is of."""
INPUT_STEP = "pilothouse_input_step"
"""Of a checkpoint's metadata: the step of the input that began the run, from which its supersteps are numbered."""
MAX_EDITS = 100
"""Checkpoints made by hand that are looked behind for the run before them."""
MAX_THREAD_BYTES = 240
"""What a thread's id may have, so that a number behind it still fits in a workflow's."""

_BY_HAND = frozenset({"update", "fork"})


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread as its newest checkpoint shows it."""

    thread_id: str
    workflow_id: str = ""
    """The run that the checkpoint is of; empty when there is none, or none that was begun through Pilothouse."""
    input_step: int = -1
    next_step: int = -1
    """The step that a new input would have."""
    next: tuple[str, ...] = ()
    """The nodes that it goes on with; none when the graph is at its end."""
    finished: frozenset[str] = frozenset()
    """Ids of the tasks of the newest superstep that have a result already."""
    failed: tuple[str, str, str] | None = None
    """A node that failed for good in it, the id of its task, and its error."""
    interrupts: tuple[tuple[str, object], ...] = ()
    """Id and question of each interrupt that waits for an answer."""
    values: object = None
    """The state."""


def has_checkpoints(graph: Graph) -> bool:
    """Whether the graph keeps its state, without which it can be neither paused nor gone on with."""
    return isinstance(cast("Any", graph).checkpointer, BaseCheckpointSaver)


def may_stop(graph: Graph, thread: Thread) -> bool:
    """Whether the graph has a breakpoint where the thread is, or may have: checkpoints do not say whether it was
    passed, nor which nodes were the last."""
    before: Collection[str] = graph.interrupt_before_nodes
    if before == "*" or graph.interrupt_after_nodes:
        return bool(thread.next)
    return not set(before).isdisjoint(thread.next)


def config_of(
    thread_id: str, workflow_id: str = "", input_step: int = -1, base: RunnableConfig | None = None
) -> RunnableConfig:
    """The configuration of one run; of the thread alone without a workflow."""
    ours: RunnableConfig = {"configurable": {"thread_id": thread_id}}
    if workflow_id:
        ours["metadata"] = {WORKFLOW: workflow_id, INPUT_STEP: input_step}
    return merge_configs(base, ours)


async def read(graph: Graph, thread_id: str, base: RunnableConfig | None) -> Thread:
    """The thread as it is now."""
    state = await graph.aget_state(config_of(thread_id, base=base))
    noted = cast("Mapping[str, Any] | None", state.metadata)
    if noted is None:
        return Thread(thread_id)
    run = await _run_of(graph, state)
    errors = ((task.name, task.id, str(task.error)) for task in state.tasks if _failed(task))
    return Thread(
        thread_id,
        workflow_id=str(run.get(WORKFLOW, "")),
        input_step=int(run.get(INPUT_STEP, -1)),
        next_step=int(noted.get("step", -2)) + 1,
        next=tuple(state.next),
        finished=frozenset(
            f"{task.name}:{task.id}" for task in state.tasks if task.result is not None
        ),
        failed=next(errors, None),
        interrupts=tuple((each.id, each.value) for each in state.interrupts),
        values=state.values,
    )


async def _run_of(graph: Graph, state: StateSnapshot) -> Mapping[str, Any]:
    """What is noted of the run that a checkpoint is of. What people edit (`update_state`) is of the run before it."""
    noted = cast("Mapping[str, Any]", state.metadata or {})
    for _ in range(MAX_EDITS):
        if WORKFLOW in noted or noted.get("source") not in _BY_HAND or not state.parent_config:
            break
        state = await graph.aget_state(state.parent_config)
        noted = cast("Mapping[str, Any]", state.metadata or {})
    return noted


def _failed(task: PregelTask) -> bool:
    """LangGraph notes a task that was cancelled, because its process ended, as an error too."""
    return task.error is not None and not str(task.error).startswith("CancelledError(")


def next_workflow_ids(thread: Thread) -> Iterator[str]:
    """What the next run may be called, the best first: as the thread for the first, with `#2` and so on behind it for
    those that follow. The checkpointer may know less than was told (it was lost, it forgets when its process ends), so
    one that is taken is passed over, and soon all of them are."""
    if not thread.workflow_id:
        yield thread.thread_id
    own = thread.workflow_id.removeprefix(thread.thread_id).removeprefix("#")
    number = int(own) + 1 if own.isdecimal() else 2
    while True:
        yield f"{thread.thread_id}#{number}"
        number *= 2


def threads_of(workflow_id: str) -> Iterator[str]:
    """Which threads a workflow may be of: only a checkpoint can tell whether `a#2` is a thread or a second run."""
    yield workflow_id
    thread_id, _, number = workflow_id.rpartition("#")
    if thread_id and number.isdecimal():
        yield thread_id


def check_thread_id(thread_id: str) -> None:
    """Raises ValueError for an id that no workflow could have."""
    if not 0 < len(thread_id.encode("utf-8", "replace")) <= MAX_THREAD_BYTES:
        raise ValueError(f"a thread_id has 1 to {MAX_THREAD_BYTES} bytes of UTF-8")
    if any(unicodedata.category(each) == "Cc" for each in thread_id):
        raise ValueError("a thread_id has no control characters")
