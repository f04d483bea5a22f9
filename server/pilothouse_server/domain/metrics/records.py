"""What is remembered of a workflow: for each attempt, stage and task the facts that decide its numbers, and
what of them is counted.

Facts are chosen so that the order of reports does not matter: the earliest start, the earliest end, the
greatest standing. What is counted is remembered beside them, so that a better fact can be counted in place of a
worse one.
"""

from __future__ import annotations

import json
from typing import Any

from pilothouse_server.domain.metrics.series import Series
from pilothouse_server.domain.workflows import WorkflowState

_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode

Standing = tuple[int, int, int, int]
"""(attempt, rank, time, type): the standing of `domain.workflows` without the event's id, which decides nothing
when the type is the same.
"""

ATTEMPT_MARK = "\0"
"""Between the name of a stage or task and the number of its attempt; names have no control characters."""

UNKNOWN: Standing = (0, 0, 0, 0)


class Span:
    """Something that starts and ends: an attempt of a workflow, a stage, a task. Times in microseconds; None is
    not known.
    """

    __slots__ = (
        "duration", "end_in", "end_type", "ended", "latency", "opened", "skewed", "start_in",
        "started",
    )  # fmt: skip

    def __init__(self) -> None:
        self.opened: int | None = None
        self.started: int | None = None
        self.ended: int | None = None
        self.end_type = 0
        self.duration: int | None = None
        """As its end reported it; used where no start is known."""
        self.start_in = -1
        """The bucket in which the start is counted; -1 when it is in none."""
        self.end_in = -1
        self.latency = -1
        """The duration that is counted in the bucket of the end."""
        self.skewed = False

    def dump(self) -> list[Any]:
        """For JSON; `load` reads it."""
        return [
            self.opened, self.started, self.ended, self.end_type, self.duration,
            self.start_in, self.end_in, self.latency, int(self.skewed),
        ]  # fmt: skip

    def load(self, dumped: list[Any]) -> None:
        """Takes over what `dump` returned."""
        self.opened, self.started, self.ended, self.end_type, self.duration = dumped[:5]
        self.start_in, self.end_in, self.latency = dumped[5:8]
        self.skewed = bool(dumped[8])


def part_key(name: str, attempt: int) -> str:
    """The key of an attempt of a stage or task in its workflow; the first attempt has the bare name."""
    return name if attempt <= 1 else f"{name}{ATTEMPT_MARK}{attempt}"


IDLE, QUEUED, WORKING = range(3)
"""What a task is now: nothing (or ended), waiting to be started, in an agent's hand."""


class Task(Span):
    """A span with an agent. Its agent is the one that the report furthest in the task's life names."""

    __slots__ = ("agent", "agent_key", "agent_type", "phase", "queued", "type_key")

    def __init__(self) -> None:
        super().__init__()
        self.agent = ""
        self.agent_key = 0
        self.agent_type = ""
        self.type_key = 0
        self.queued = False
        self.phase = IDLE

    def dump(self) -> list[Any]:
        return [
            *super().dump(), self.agent, self.agent_key, self.agent_type, self.type_key,
            int(self.queued), self.phase,
        ]  # fmt: skip

    def load(self, dumped: list[Any]) -> None:
        super().load(dumped)
        self.agent, self.agent_key, self.agent_type, self.type_key = dumped[9:13]
        self.queued = bool(dumped[13])
        self.phase = dumped[14]


class Workflow:
    """A workflow with its attempts, stages and tasks."""

    __slots__ = (
        "attempts",
        "closing",
        "finished_seq",
        "finished_us",
        "heard_us",
        "id",
        "retries",
        "seq",
        "series",
        "settled_us",
        "stages",
        "standing",
        "state",
        "tasks",
        "type",
        "waiting",
    )

    def __init__(self, workflow_id: str) -> None:
        self.id = workflow_id
        self.type = ""
        self.series: tuple[Series, ...] = ()
        """Where it is counted: the fleet and its type."""
        self.standing: Standing = UNKNOWN
        self.closing: Standing = UNKNOWN
        """Of the end that an operator wrote; it decides unless it is overruled."""
        self.heard_us = 0
        """The latest time of which the engine said anything of it."""
        self.state = int(WorkflowState.QUEUED)
        self.attempts: dict[int, Span] = {}
        self.stages: dict[str, Span] = {}
        self.tasks: dict[str, Task] = {}
        self.retries: dict[str, int] = {}
        """The newest known attempt of each task that has more than one."""
        self.waiting = 0
        """Tasks that are QUEUED."""
        self.settled_us = -1
        """Stages and tasks that ended before were forgotten: a report of one from before is not news."""
        self.seq = 0
        """The number of the last event about it, since the log began."""
        self.finished_us = 0
        """The fold's clock when it ended; 0 while it has not."""
        self.finished_seq = 0

    def dump(self) -> str:
        """JSON; `load` reads it. Without `seq`, `finished_us` and `finished_seq`, which are kept beside it."""
        return _encode(
            [
                self.type,
                self.standing,
                self.state,
                self.settled_us,
                [[number, span.dump()] for number, span in self.attempts.items()],
                [[key, span.dump()] for key, span in self.stages.items()],
                [[key, task.dump()] for key, task in self.tasks.items()],
                self.closing,
                self.heard_us,
            ]
        )

    def load(self, dumped: str) -> None:
        """Takes over what `dump` returned. `series` is for the caller to set."""
        fields: list[Any] = json.loads(dumped)
        self.type, standing, self.state, self.settled_us, attempts, stages, tasks = fields[:7]
        if len(fields) > 7:  # those of earlier checkpoints are not closed
            closing, self.heard_us = fields[7:]
            self.closing = (closing[0], closing[1], closing[2], closing[3])
        self.standing = (standing[0], standing[1], standing[2], standing[3])
        for number, facts in attempts:
            self.attempts[number] = Span()
            self.attempts[number].load(facts)
        for key, facts in stages:
            self.stages[key] = Span()
            self.stages[key].load(facts)
        for key, facts in tasks:
            self.tasks[key] = Task()
            self.tasks[key].load(facts)
        self.waiting = sum(task.phase == QUEUED for task in self.tasks.values())
        self.find_retries()

    def find_retries(self) -> None:
        """Finds `retries` anew from the tasks that are remembered."""
        self.retries.clear()
        for key in self.tasks:
            name, _, attempt = key.partition(ATTEMPT_MARK)
            if attempt:
                self.retries[name] = max(self.retries.get(name, 1), int(attempt))

    @property
    def ended(self) -> bool:
        """Whether its state is an end."""
        return self.state >= WorkflowState.COMPLETED
