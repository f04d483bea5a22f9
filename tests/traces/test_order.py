"""Any order of events, and any number of each, leads to one trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pilothouse_server.domain.events import SPAN_TYPES, Event, EventError, EventType
from pilothouse_server.domain.traces.analysis import analyse
from pilothouse_server.domain.traces.comparison import compare
from pilothouse_server.domain.traces.model import SpanKind as K
from pilothouse_server.domain.traces.model import Trace
from pilothouse_server.domain.traces.summary import placed, summary_of
from tests.projection.build import NOON, SECOND, event, histories
from tests.traces.build import E, made

_SPANS = st.fixed_dictionaries(
    {
        "kind": st.sampled_from([E.SPAN_STARTED, E.SPAN_ENDED]),
        "at": st.integers(0, 6),
        "received": st.integers(0, 20),
        "source": st.sampled_from(["", "engine", "svc"]),
        "workflow_id": st.sampled_from(["", "w", "v"]),
        "span_id": st.sampled_from(["1", "2", "3", "t"]),
        "parent_span_id": st.sampled_from(["", "1", "2", "3", "t"]),
        "duration_us": st.none() | st.integers(-2, 3).map(lambda n: n * SECOND),
        "message": st.sampled_from(["one", "two"]),
        "error": st.none() | st.just(EventError("E")),
    }
)


def _span_of(number: int, drawn: dict[str, Any]) -> Event:
    kind, at, received = drawn.pop("kind"), drawn.pop("at"), drawn.pop("received")
    received_us = NOON + received * SECOND
    return event(
        EventType(kind), at=at, id=f"span-{number}", trace_id="tr", receive_us=received_us, **drawn
    )


def _related(each: Event, number: int) -> Event:
    """Some events of work name spans too."""
    spans = ("", "t", "1", "2")
    return each._replace(span_id=spans[number % 4], parent_span_id=spans[number // 4 % 4])


_spans = st.lists(_SPANS, max_size=12).map(
    lambda drawn: [_span_of(number, dict(each)) for number, each in enumerate(drawn)]
)
_work = histories.map(lambda events: [_related(each, n) for n, each in enumerate(events)])


@st.composite
def _orders(draw: st.DrawFn) -> tuple[Sequence[Event], Sequence[Event]]:
    events = [*draw(_work), *draw(_spans)]
    again = draw(st.lists(st.sampled_from(events), max_size=8)) if events else []
    return events, draw(st.permutations([*events, *again]))


def _seen(found: Trace) -> Trace:
    found.revision = 0
    return found


@given(_orders(), st.sampled_from(["w", "v", ""]))
def test_any_order_and_any_repeats_give_one_trace(
    both: tuple[Sequence[Event], Sequence[Event]], workflow_id: str
) -> None:
    events, reordered = both
    assert _seen(made(reordered, workflow_id)) == _seen(made(events, workflow_id))


@given(_orders())
def test_a_trace_is_a_tree_in_order_whatever_was_reported(
    both: tuple[Sequence[Event], Sequence[Event]],
) -> None:
    found = made(both[0])
    seen: set[str] = set()
    last: dict[str, tuple[int, str]] = {}
    for place, span in enumerate(found.spans):
        assert (span.parent_id in seen) == (place > 0)
        assert span.id not in seen
        assert span.end_us is None or span.end_us >= span.start_us
        assert last.get(span.parent_id, (0, "")) <= (span.start_us, span.id)
        seen.add(span.id)
        last[span.parent_id] = (span.start_us, span.id)
        for before, after in zip(span.waits, span.waits[1:], strict=False):
            assert before.end_us is not None
            assert before.end_us <= after.start_us
        for wait in span.waits:
            assert wait.start_us >= span.start_us
            assert wait.end_us is None or wait.end_us > wait.start_us
            if span.end_us is not None:
                assert wait.end_us is not None
                assert wait.end_us <= span.end_us


@given(_orders(), st.sampled_from(["w", "v", ""]))
def test_the_critical_path_of_whatever_was_reported_adds_up(
    both: tuple[Sequence[Event], Sequence[Event]], workflow_id: str
) -> None:
    # Spans are published with ids only.
    told = [each for each in both[0] if each.span_id or each.type not in SPAN_TYPES]
    found = made(told, workflow_id)
    analysis = analyse(found, NOON + 9 * SECOND)
    assert analysis.path is not None
    whole = analysis.until_us - found.start_us
    assert sum(step.length_us for step in analysis.path.steps) == whole
    assert sum(analysis.split.values()) == whole
    assert all(0 <= each.saving_us <= each.critical_us for each in analysis.bottlenecks)
    summary = summary_of(analysis)
    assert summary.duration_us == sum(summary.critical.values()) == whole
    pieces = placed(analysis)
    assert len(pieces) == sum(span.kind not in (K.WORKFLOW, K.ATTEMPT) for span in found.spans[1:])
    assert all(row.words == "no difference" for row in compare([pieces, pieces]))
