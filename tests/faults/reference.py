"""What must be known of a flow in the end, added up from how it was made up: no part of the server is asked.

It says less than an undisturbed run shows, and nothing that such a run could have got wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pilothouse.v1.enums_pb2 import ControlAction, WorkflowState, WorkState
from pilothouse.v1.events_pb2 import EventType
from tests.faults.flow import BACKLOG, LONG_AGO_US, Flow
from tests.faults.observe import Shown
from tests.faults.steering import (
    CANCELLED,
    COMPLETED,
    DUTIES,
    FAILED,
    FIRST_STEP_US,
    HOLD,
    RETRIED,
    SCRIPTS,
    STARTED,
    STEP_US,
)
from tests.faults.story import Story

ACKNOWLEDGED = "FIRING → FIRING anonymous I see it"

ALERTS: Shown = {
    "backlog alarm": [
        [
            "UNSPECIFIED → PENDING",
            "PENDING → FIRING",
            ACKNOWLEDGED,
            "FIRING → RECOVERING",
            "RECOVERING → RESOLVED",
        ]
    ],
    "breakage frail": [["UNSPECIFIED → FIRING", "FIRING → RESOLVED"]],
}

_ENDS = (COMPLETED, FAILED, CANCELLED)


def known(flow: Flow) -> Shown:
    """The part of what is observed that follows from the flow alone."""
    stories = [*flow.stories, *flow.foreign, flow.backlog, *flow.broken]
    scripted = list(_scripted())
    counts = charted(flow)
    ends = Counter(kind for story in stories for _, kind in story.ended_us.values())
    ends.update(kind for kinds in scripted for kind in kinds)
    events = {
        **{_plain(flow, said.event.id): 1 for said in flow.said()},
        **{
            f"{script.name}/{number}": 1
            for script, kinds in zip(SCRIPTS, scripted, strict=True)
            for number in range(len(kinds))
        },
        **{f"{duty.name}/{number}": 1 for duty in DUTIES for number in range(len(duty.reports))},
    }
    return {
        "workflows": {
            **{_plain(flow, story.id): _row(flow, story) for story in stories},
            **{
                script.name: _steered(kinds)
                for script, kinds in zip(SCRIPTS, scripted, strict=True)
            },
        },
        "tasks": dict(_tasks(flow)),
        "agents": {
            _plain(flow, agent): {
                "state": "OFFLINE",
                "tasks": [flow.cast.completed.get(agent, 0), flow.cast.failed.get(agent, 0)],
            }
            for agent in flow.cast.agents
        },
        "events": events,
        "watched": events,
        "commands": dict(_commands()),
        "applied": {name: 1 for name, _ in _commands()},
        "alerts": ALERTS,
        "told": dict(_told()),
        "metrics": {
            **{
                f"WORKFLOW_TYPE {kind}": {
                    "60 min": {"counts": counted},
                    "15 min": {"counts": counted},
                }
                for kind, counted in counts.items()
                if kind in _KINDS
            },
            "totals": {
                "workflows": len(stories) + len(SCRIPTS),
                "completed": ends[COMPLETED],
                "failed": ends[FAILED],
                "cancelled": ends[CANCELLED],
            },
            "fleet": {"states": _states(stories)},
            "reader": {"beyond_horizon": 0, "future": 0, "skewed": 1, "undecodable": 0},
        },
    }


def charted(flow: Flow) -> Shown:
    """Started, completed, failed and cancelled of each type, of what came in time."""
    stories = [*flow.stories, *flow.foreign, flow.backlog, *flow.broken]
    scripted = list(_scripted())
    return {kind: _counts(stories, scripted, flow, kind) for kind in (*_KINDS, "late")}


_KINDS = ("build", "review", "alarm", "frail", "steered", "foreign")


def _plain(flow: Flow, text: str) -> str:
    return text.replace(flow.prefix, "")


def _row(flow: Flow, story: Story) -> Shown:
    began_us = story.started_us.get(story.attempt)
    ended_us = story.ended_us.get(story.attempt, (None, 0))[0]
    taken = None if began_us is None or ended_us is None else max(0, ended_us - began_us)
    return {
        "type": _plain(flow, story.kind),
        "source": _plain(flow, story.source),
        "state": _state(story.state),
        "attempt": story.attempt,
        "tokens": story.tokens,
        "start_time": began_us,
        "end_time": ended_us,
        "duration": taken,
        "error": "BROKEN" if story.state == WorkflowState.WORKFLOW_STATE_FAILED else "",
    }


def _state(state: WorkflowState.ValueType) -> str:
    return WorkflowState.Name(state).removeprefix("WORKFLOW_STATE_")


def _tasks(flow: Flow) -> Iterable[tuple[str, Shown]]:
    for story in (*flow.stories, *flow.foreign):
        for name, task in story.tasks.items():
            yield (
                f"{_plain(flow, story.id)}/{_plain(flow, name)}",
                {
                    "state": WorkState.Name(task.state).removeprefix("WORK_STATE_"),
                    "attempt": task.attempt,
                    "agent": _plain(flow, task.agent),
                    "start_time": task.started_us,
                    "end_time": task.ended_us,
                },
            )
    for number in range(BACKLOG):
        yield f"backlog/t{number:02}", {"state": "QUEUED", "attempt": 1}


# The steered part


def _scripted() -> Iterable[list[EventType.ValueType]]:
    """What the engine reports of each steered workflow, in order."""
    for script in SCRIPTS:
        yield [*script.begins, *(kind for ask in script.asks for kind in ask.reports), *script.ends]


def _steered(kinds: list[EventType.ValueType]) -> Shown:
    ended = EventType.Name(kinds[-1]).removeprefix("EVENT_TYPE_WORKFLOW_")
    began = max(number for number, kind in enumerate(kinds) if kind == STARTED)
    start_us, end_us = (FIRST_STEP_US + number * STEP_US for number in (began, len(kinds) - 1))
    return {
        "state": ended,
        "attempt": 1 + kinds.count(RETRIED),
        "pending": False,
        "start_time": start_us,
        "end_time": end_us,
        "duration": end_us - start_us,
    }


def _commands() -> Iterable[tuple[str, Shown]]:
    for script in SCRIPTS:
        for ask in script.asks:
            state, _, error = ask.ends.partition(" ")
            name = f"{script.name} {ControlAction.Name(ask.action)}"
            yield name, {"state": state, "error": error, "taken": True, "attempt": 1}
    for duty in DUTIES:
        for action, _ in duty.asks:
            name = f"{duty.name} {ControlAction.Name(action)}"
            yield name, {"state": "EFFECTIVE", "error": "", "taken": True, "attempt": 0}


def _told() -> Iterable[tuple[str, int]]:
    for name, command in _commands():
        for kind in ("REQUESTED", "ACCEPTED", command["state"]):
            about = name.partition(" ")[0]
            yield f"COMMAND_{kind} {name} of {'steered' if about == HOLD else about}", 1
    for alert in ALERTS:
        rule, _, kind = alert.partition(" ")
        for state in ("FIRING", "RESOLVED"):
            yield f"ALERT_{state} {rule} of {kind}", 1


# Numbers


def _counts(
    stories: Iterable[Story], scripted: Iterable[list[EventType.ValueType]], flow: Flow, kind: str
) -> list[int]:
    """Started, completed, failed, cancelled, of what came in time."""
    happened: Counter[int] = Counter()
    for story in stories:
        if _plain(flow, story.kind) == kind:
            happened[STARTED] += sum(at > LONG_AGO_US / 2 for at in story.started_us.values())
            happened.update(end for at, end in story.ended_us.values() if at > LONG_AGO_US / 2)
    if kind == "steered":
        happened.update(each for kinds in scripted for each in kinds)
    return [happened[each] for each in (STARTED, *_ENDS)]


def _states(stories: Iterable[Story]) -> Shown:
    """How many more there are of those that have not ended; what they wait for is in an ended one's tasks too."""
    states = Counter(_state(story.state).lower() for story in stories)
    return {state: states[state] for state in ("queued", "running", "waiting", "paused")}
