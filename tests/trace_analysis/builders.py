"""Traces written down in a few words, and random ones."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from pilothouse_server.domain.projection.spans import WorkState
from pilothouse_server.domain.traces.causes import Causes, causes_of
from pilothouse_server.domain.traces.model import (
    Link,
    LinkKind,
    Span,
    SpanKind,
    TimeKind,
    Trace,
    Wait,
)
from pilothouse_server.domain.workflows import WorkflowState

NOW = 60


def span(
    id: str,
    above: str,
    start_us: int,
    end_us: int | None,
    kind: SpanKind = SpanKind.TASK,
    *,
    after: Sequence[str] = (),
    retries: str = "",
    waits: Sequence[Wait] = (),
    state: WorkState = WorkState.COMPLETED,
    stage: str = "",
    agent_type: str = "",
    task_id: str = "",
    attempt: int = 1,
    name: str = "",
) -> Span:
    """One span, named as its id where nothing else is said; `after` are those that it FOLLOWS."""
    links = [Link(LinkKind.FOLLOWS, each) for each in after]
    if retries:
        links.append(Link(LinkKind.RETRY_OF, retries))
    return Span(
        id, above, kind, name or id, start_us, end_us, state,
        stage=stage, task_id=task_id, attempt=attempt, agent_type=agent_type, waits=list(waits), links=links,
    )  # fmt: skip


def trace(*spans: Span, end_us: int | None = None, state: WorkflowState | None = None) -> Trace:
    """Of a workflow; it ends with its root."""
    root = spans[0]
    ended = root.end_us if end_us is None else end_us
    stands = state or (WorkflowState.RUNNING if ended is None else WorkflowState.COMPLETED)
    return Trace(
        "run-1", "run-1", "review", "a run", "engine", stands, 1, (), root.start_us, ended, list(spans)
    )  # fmt: skip


def causes(of: Trace, now_us: int = NOW) -> Causes:
    """Its causes, which are known to be there."""
    found = causes_of(of, now_us)
    assert isinstance(found, Causes)
    return found


@st.composite
def traces(draw: st.DrawFn, most: int = 9, length: int = 14) -> Trace:
    """Trees of spans of small times, with links anywhere, waits, some outside of the one above, some without an end."""
    ended = draw(st.booleans())
    root = span(
        "0", "", 0, length if ended else None, SpanKind.WORKFLOW, waits=draw(_waits(length))
    )
    spans = [root]
    for place in range(1, draw(st.integers(0, most)) + 1):
        above = draw(st.integers(0, place - 1))
        begins = draw(st.integers(-2, length + 1))
        ends = draw(st.one_of(st.none(), st.integers(begins, length + 3)))
        kind = draw(st.sampled_from([SpanKind.STAGE, SpanKind.TASK, SpanKind.SPAN]))
        others = st.integers(0, place + 1).map(str)
        after = draw(st.lists(others, max_size=2))
        retries = draw(st.one_of(st.just(""), others))
        spans.append(
            span(str(place), str(above), begins, ends, kind, after=after, retries=retries, waits=draw(_waits(length)))
        )  # fmt: skip
    return trace(*spans)


@st.composite
def _waits(draw: st.DrawFn, length: int) -> list[Wait]:
    edges = sorted(draw(st.lists(st.integers(0, length), max_size=4)))
    kinds = st.sampled_from([each for each in TimeKind if each != TimeKind.WORK])
    return [
        Wait(draw(kinds), low, high)
        for low, high in zip(edges[::2], edges[1::2], strict=False)
        if low < high
    ]
