"""Events for tests: single ones by keyword, and whole histories for Hypothesis."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any

from hypothesis import strategies as st

from pilothouse_server.domain.events import AgentLoad, Event, EventError, EventType, Usage
from pilothouse_server.domain.projection.fold import Projection

SECOND = 1_000_000
NOON = 1_800_000_000 * SECOND

_E = EventType
_numbers = itertools.count()


def event(kind: EventType, *, at: float = 0, **fields: Any) -> Event:
    """An event `at` seconds after noon; with an id of its own where none is given."""
    fields.setdefault("id", f"event-{next(_numbers)}")
    fields.setdefault("source", "engine")
    if kind not in (_E.AGENT_REGISTERED, _E.AGENT_HEARTBEAT, _E.AGENT_DRAINING, _E.AGENT_OFFLINE):
        fields.setdefault("workflow_id", "w")
    occur_us = NOON + round(at * SECOND)
    fields.setdefault("receive_us", occur_us)
    return Event(type=kind, occur_us=occur_us, **fields)


def fold(events: Iterable[Event]) -> Projection:
    """What the events make of nothing, each taken once."""
    projection = Projection({}, {}, {})
    for each in {each.id: each for each in events}.values():
        projection.apply(each)
    return projection


def seen(projection: Projection) -> dict[str, Any]:
    """All that a projection holds, without the order in which it came."""
    workflows = {key: _sorted(record.dump(), 13) for key, record in projection.workflows.items()}
    tasks = {key: _sorted(record.dump(), 3) for key, record in projection.tasks.items()}
    agents = {key: record.dump() for key, record in projection.agents.items()}
    return {"workflows": workflows, "tasks": tasks, "agents": agents}


def _sorted(dumped: str, spans_at: int) -> list[Any]:
    fields: list[Any] = json.loads(dumped)
    fields[spans_at].sort(key=_key)
    return fields


def _key(span: list[Any]) -> list[Any]:
    return span[:2] if isinstance(span[1], str) else span[:1]


def _event_of(number: int, drawn: dict[str, Any]) -> Event:
    kind: EventType = drawn.pop("kind")
    name = kind.name
    fields: dict[str, Any] = {"id": f"{number}", "source": drawn["source"]}
    if name.startswith("AGENT"):
        fields |= {"agent_id": drawn["agent_id"] or "a", "load": drawn["load"], "workflow_id": ""}
    else:
        fields |= {
            "workflow_id": drawn["workflow_id"],
            "workflow_name": drawn["workflow_name"],
            "attempt": drawn["attempt"],
            "usage": drawn["usage"],
            "message": drawn["message"],
            "error": drawn["error"] if name.endswith("FAILED") else None,
        }
    if name.startswith(("STAGE", "TASK")):
        fields["stage"] = drawn["stage"]
    if name.startswith("TASK"):
        fields |= {name: drawn[name] for name in ("task_id", "agent_id", "agent_type", "queue")}
    if name in ("WORKFLOW_FAILED", "WORKFLOW_CANCELLED") and drawn["forced"] is not None:
        fields["forced_after_us"] = NOON + drawn["forced"] * SECOND
    if name in ("WORKFLOW_CREATED", "WORKFLOW_STARTED"):
        fields["stage_plan"] = drawn["stage_plan"]
    received = NOON + drawn["received"] * SECOND
    return event(kind, at=drawn["at"], receive_us=received, **fields)


_drawn = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(EventType),
        "at": st.integers(0, 6),
        "received": st.integers(0, 20),
        "source": st.sampled_from(["", "engine", "other"]),
        "workflow_id": st.sampled_from(["w", "v"]),
        "workflow_name": st.sampled_from(["", "one", "two"]),
        "attempt": st.integers(1, 3),
        "stage": st.sampled_from(["build", "test"]),
        "task_id": st.sampled_from(["t", "u"]),
        "agent_id": st.sampled_from(["", "a", "b"]),
        "message": st.sampled_from(["", "hello"]),
        "usage": st.none() | st.builds(Usage, st.integers(0, 5), st.integers(0, 5)),
        "error": st.none() | st.builds(EventError, st.sampled_from(["E1", "E2"])),
        "load": st.none() | st.builds(AgentLoad, st.integers(0, 2), st.just(2)),
        "stage_plan": st.sampled_from([(), ("build", "test"), ("test",)]),
        "agent_type": st.sampled_from(["", "coder", "tester"]),
        "queue": st.sampled_from(["", "fast"]),
        "forced": st.none() | st.integers(0, 6),
    }
)

histories: st.SearchStrategy[Sequence[Event]] = st.lists(_drawn, max_size=25).map(
    lambda drawn: [_event_of(number, dict(each)) for number, each in enumerate(drawn)]
)
"""Events of few workflows, stages, tasks and agents at few times, so that they meet. Attempts are numbered: one that is
not belongs to the newest attempt known when it is read, and then the order matters."""


@st.composite
def reorderings(draw: st.DrawFn) -> tuple[Sequence[Event], Sequence[Event]]:
    """A history, and the same in another order with some events twice."""
    history = draw(histories)
    again = draw(st.lists(st.sampled_from(history), max_size=10)) if history else []
    return history, draw(st.permutations([*history, *again]))
