"""One workflow as its engine tells it, and what is to be known of it in the end.

The end is written down while the story is made up, by whoever makes it up: no fold of the server is asked.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pilothouse.v1.enums_pb2 import WorkflowState, WorkState
from pilothouse.v1.events_pb2 import Event, EventError, EventType, Usage

MILLISECOND = 1_000
SECOND = 1_000_000


class Said(NamedTuple):
    """An event, and when it happened: microseconds after the flow's own beginning."""

    offset_us: int
    event: Event


@dataclass(slots=True)
class Ended:
    """How a stage or a task ended, or where it stands."""

    state: WorkState.ValueType
    attempt: int = 1
    agent: str = ""
    started_us: int | None = None
    ended_us: int | None = None


@dataclass
class Cast:
    """Who takes part: shared by the stories of one flow. `prefix` begins every name, so that flows share nothing."""

    prefix: str
    agents: Sequence[str]
    completed: dict[str, int] = field(default_factory=dict[str, int])
    """Tasks that each agent completed."""
    failed: dict[str, int] = field(default_factory=dict[str, int])


class Story:
    """`said` is what happened; the other attributes are what is true at the end."""

    def __init__(
        self, chance: random.Random, cast: Cast, name: str, kind: str, source: str, at_us: int
    ) -> None:
        self.id = f"{cast.prefix}{name}"
        self.kind = f"{cast.prefix}{kind}"
        self.source = f"{cast.prefix}{source}"
        self.said: list[Said] = []
        self.state: WorkflowState.ValueType = WorkflowState.WORKFLOW_STATE_UNSPECIFIED
        self.attempt = 1
        self.started_us: dict[int, int] = {}
        self.ended_us: dict[int, tuple[int, int]] = {}
        """Of each attempt that ended: when, and the event's type."""
        self.stages: dict[str, Ended] = {}
        self.tasks: dict[str, Ended] = {}
        self.tokens = 0
        self.plan: tuple[str, ...] = ()
        self.now_us = at_us
        """When the newest event happened that `tell` told."""
        self._chance = chance
        self._cast = cast

    def tell(self, kind: EventType.ValueType, **fields: Any) -> int:
        """One event, a little after the one before; returns when."""
        self.now_us += self._chance.randint(2, 180) * MILLISECOND
        return self.tell_at(self.now_us, kind, **fields)

    def tell_at(self, offset_us: int, kind: EventType.ValueType, **fields: Any) -> int:
        """One event at a time of its own."""
        fields.setdefault("attempt", self.attempt)
        event = Event(
            id=f"{self.id}/{len(self.said):03}",
            type=kind,
            source=self.source,
            workflow_id=self.id,
            workflow_type=self.kind,
            **fields,
        )
        self.said.append(Said(offset_us, event))
        return offset_us

    # The life of a workflow

    def created(self, *plan: str) -> None:
        """The engine knows of it."""
        self.plan = tuple(f"{self._cast.prefix}{stage}" for stage in plan)
        self.state = WorkflowState.WORKFLOW_STATE_QUEUED
        name = f"Story of {self.id}"
        kind = EventType.EVENT_TYPE_WORKFLOW_CREATED
        self.tell(kind, stage_plan=self.plan, workflow_name=name)

    def started(self) -> None:
        """Work on the newest attempt begins."""
        self.state = WorkflowState.WORKFLOW_STATE_RUNNING
        self.started_us[self.attempt] = self.tell(EventType.EVENT_TYPE_WORKFLOW_STARTED)

    def moved(
        self, kind: EventType.ValueType, state: WorkflowState.ValueType, **fields: Any
    ) -> None:
        """A report that is no end."""
        self.state = state
        self.tell(kind, **fields)

    def ended(
        self, kind: EventType.ValueType, state: WorkflowState.ValueType, **fields: Any
    ) -> None:
        """The newest attempt ends."""
        self.state = state
        self.ended_us[self.attempt] = (self.tell(kind, **fields), kind)

    def completed(self) -> None:
        """It ends well."""
        tokens = self._chance.randint(1, 999)
        self.tokens += tokens
        usage = Usage(input_tokens=tokens)
        state = WorkflowState.WORKFLOW_STATE_COMPLETED
        self.ended(EventType.EVENT_TYPE_WORKFLOW_COMPLETED, state, usage=usage)

    def failed(self) -> None:
        """It ends badly."""
        error = EventError(code="BROKEN", message=f"attempt {self.attempt} broke")
        state = WorkflowState.WORKFLOW_STATE_FAILED
        self.ended(EventType.EVENT_TYPE_WORKFLOW_FAILED, state, error=error)

    def cancelled(self, **fields: Any) -> None:
        """It is ended."""
        state = WorkflowState.WORKFLOW_STATE_CANCELLED
        self.ended(EventType.EVENT_TYPE_WORKFLOW_CANCELLED, state, **fields)

    def retried(self, **fields: Any) -> None:
        """The next attempt is opened."""
        self.attempt += 1
        self.state = WorkflowState.WORKFLOW_STATE_QUEUED
        self.tell(EventType.EVENT_TYPE_WORKFLOW_RETRIED, **fields)

    # Stages and tasks

    def stage_begins(self, name: str) -> Ended:
        """A stage of the newest attempt."""
        began_us = self.tell(EventType.EVENT_TYPE_STAGE_STARTED, stage=name)
        ended = Ended(WorkState.WORK_STATE_RUNNING, self.attempt, started_us=began_us)
        self.stages[name] = ended
        return ended

    def stage_ends(self, name: str, kind: EventType.ValueType, state: WorkState.ValueType) -> None:
        """It ends, or is left out."""
        ended_us = self.tell(kind, stage=name)
        before = self.stages.get(name)
        began_us = (
            before.started_us if before is not None and before.attempt == self.attempt else None
        )
        self.stages[name] = Ended(state, self.attempt, started_us=began_us, ended_us=ended_us)

    def task(self, stage: str, number: int, *, ends: bool = True) -> None:
        """A task from its queue to its end, with a failed try before it now and then."""
        name = f"{self.attempt}-{stage}-{number}"
        agent = self._chance.choice(self._cast.agents)
        tried, common = 1, {"stage": stage, "task_id": name}
        self.tell(EventType.EVENT_TYPE_TASK_QUEUED, **common, attempt=1)
        if self._chance.random() < 0.25:
            self._take(agent, 1, common)
            tried = 2
            kind = EventType.EVENT_TYPE_TASK_RETRYING
            self.tell(kind, **common, agent_id=agent, attempt=2, message="once more")
            self._cast.failed[agent] = self._cast.failed.get(agent, 0) + 1
            agent = self._chance.choice(self._cast.agents)
        began_us = self._take(agent, tried, common)
        task = Ended(WorkState.WORK_STATE_RUNNING, tried, agent, began_us)
        self.tasks[name] = task
        if not ends:
            return
        fails = self._chance.random() < 0.2
        kind = EventType.EVENT_TYPE_TASK_FAILED if fails else EventType.EVENT_TYPE_TASK_COMPLETED
        task.state = WorkState.WORK_STATE_FAILED if fails else WorkState.WORK_STATE_COMPLETED
        task.ended_us = self.tell(kind, **common, agent_id=agent, attempt=tried)
        tally = self._cast.failed if fails else self._cast.completed
        tally[agent] = tally.get(agent, 0) + 1

    def _take(self, agent: str, attempt: int, common: dict[str, str]) -> int:
        """The agent is given the task and begins; returns when."""
        kind = agent_type(agent)
        who: dict[str, Any] = {"agent_id": agent, "agent_type": kind, "attempt": attempt}
        if self._chance.random() < 0.6:
            self.tell(EventType.EVENT_TYPE_TASK_ASSIGNED, **common, **who)
        return self.tell(EventType.EVENT_TYPE_TASK_STARTED, **common, **who)


def agent_type(agent: str) -> str:
    """The kind of an agent is its name without its number."""
    return agent.rpartition("-")[0]


ENDS = ("completed",) * 8 + (
    "failed",
    "failed",
    "cancelled",
    "running",
    "paused",
    "waiting",
    "queued",
)


def ordinary(chance: random.Random, story: Story) -> None:
    """A workflow of stages and tasks, with whatever end chance gives it."""
    end = chance.choice(ENDS)
    stages = chance.sample(("plan", "code", "test", "deploy"), chance.randint(1, 3))
    story.created(*stages)
    if end == "queued":
        return
    first = 0
    while story.attempt < 3 and chance.random() < 0.25:
        first = chance.randrange(first, len(stages))
        story.started()
        _stages(chance, story, story.plan[:first], fails=story.plan[first])
        story.failed()
        story.retried()
    story.started()
    if end in {"completed", "failed"}:
        fails = story.plan[-1] if end == "failed" else ""
        _stages(chance, story, story.plan[first : len(stages) - (end == "failed")], fails=fails)
        (story.completed if end == "completed" else story.failed)()
        return
    begun = story.plan[first]
    story.stage_begins(begun)
    story.task(begun, 0, ends=chance.random() < 0.5)
    if end == "cancelled":
        story.cancelled()
    elif end == "paused":
        paused = EventType.EVENT_TYPE_WORKFLOW_PAUSED
        story.moved(paused, WorkflowState.WORKFLOW_STATE_PAUSED)
    elif end == "waiting":
        waiting = EventType.EVENT_TYPE_WORKFLOW_WAITING
        story.moved(waiting, WorkflowState.WORKFLOW_STATE_WAITING, message="for a person")


def _stages(chance: random.Random, story: Story, names: Sequence[str], *, fails: str) -> None:
    for name in names:
        if chance.random() < 0.1:
            skipped = EventType.EVENT_TYPE_STAGE_SKIPPED
            story.stage_ends(name, skipped, WorkState.WORK_STATE_SKIPPED)
            continue
        story.stage_begins(name)
        for number in range(chance.randint(0, 2)):
            story.task(name, number)
        completed = EventType.EVENT_TYPE_STAGE_COMPLETED
        story.stage_ends(name, completed, WorkState.WORK_STATE_COMPLETED)
    if fails:
        story.stage_begins(fails)
        story.stage_ends(fails, EventType.EVENT_TYPE_STAGE_FAILED, WorkState.WORK_STATE_FAILED)
