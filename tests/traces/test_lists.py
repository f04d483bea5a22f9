"""Lists of traces: workflows and OpenTelemetry's as one, in every order, however they are cut into pages."""

from __future__ import annotations

from functools import partial
from itertools import product

import pytest

from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.projection_store import SqlProjectionStore
from pilothouse_server.adapters.sql.retention_store import remove_events
from pilothouse_server.adapters.sql.trace_lists import asked, page
from pilothouse_server.adapters.sql.trace_views import SqlTraces
from pilothouse_server.domain.errors import InvalidArgument, InvalidFilter, InvalidPageToken
from pilothouse_server.domain.events import Event, EventError
from pilothouse_server.domain.workflows import WorkflowState
from pilothouse_server.ports import LogEntry
from pilothouse_server.services.retention import Cut
from pilothouse_server.services.views import PageRequest
from pilothouse_server.wire.events import decode_stored, encode_events
from tests.projection.build import NOON, event
from tests.services.conftest import SetClock
from tests.storage.explained import ExplainedDatabase
from tests.traces.build import E, otel

ORDERS = ("start_time", "start_time desc", "duration", "duration desc")


async def tell(database: Database, *events: Event) -> None:
    store = SqlProjectionStore(database, decode_stored)
    await store.apply([LogEntry("c", encode_events(events))])


def fleet() -> list[Event]:
    """Workflows w0 … w5 that take so many seconds, and traces 00 … 55 that take twice as many; the last two of each
    have not ended."""
    events: list[Event] = []
    for n in range(6):
        named = {
            "workflow_id": f"w{n}",
            "workflow_type": f"kind{n % 2}",
            "workflow_name": f"run {n}",
        }
        events.append(event(E.WORKFLOW_CREATED, at=10 * n, **named))
        events.append(event(E.WORKFLOW_STARTED, at=10 * n, **named))
        if n < 4:
            events.append(event(E.WORKFLOW_COMPLETED, at=11 * n, **named))
        end = None if n >= 4 else 5 + 12 * n
        events += otel(f"s{n}", 5 + 10 * n, end, trace_id=f"{n}" * 32, message=f"GET {n}")
    return events


async def ids(database: Database, size: int, filter_text: str = "", order: str = "") -> list[str]:
    views, found, token = SqlTraces(database, SetClock()), list[str](), ""
    while True:
        got = await views.page(PageRequest(size, token, filter_text, order))
        assert len(got.traces) <= size
        found += [row.trace.id[:2] for row in got.traces]
        token = got.next_token
        if not token:
            return found


async def test_both_are_one_list_in_every_order_and_however_it_is_cut(database: Database) -> None:
    await tell(database, *fleet())
    both = [each for n in range(6) for each in (f"w{n}", f"{n}{n}")]
    lasting = ["00", "w0", "w1", "11", "w2", "w3", "22", "33"]
    ended = {
        "start_time": both,
        "start_time desc": both[::-1],
        "duration": [*lasting, "44", "55", "w4", "w5"],
        "duration desc": [*lasting[::-1], "w5", "w4", "55", "44"],
    }
    for order, size in product(ORDERS, (1, 3, 5, 100)):
        assert await ids(database, size, order=order) == ended[order], (order, size)
    assert await ids(database, 100) == both[::-1]


async def test_a_page_that_runs_out_of_time_repeats_and_leaves_out_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tell(database, *fleet())
    for name in ("FIRST_LOOK", "LOOK"):
        monkeypatch.setattr(f"pilothouse_server.adapters.sql.workflow_lists.{name}", 1)
    for order in ORDERS:
        token, found = "", list[str]()
        while True:
            request = asked(PageRequest(2, token, "1 OR 3 OR 5", order), NOON)
            got = await database.read(partial(page, request=request, patience=-1.0))
            found += [row.trace.id[:2] for row in got.traces]
            if not (token := got.next_token):
                break
        assert found == await ids(database, 100, "1 OR 3 OR 5", order), order


FILTERS = {
    "workflow_type = kind1": ["w5", "w3", "w1"],
    "workflow_type = svc AND state = COMPLETED": ["33", "22", "11", "00"],
    "state = RUNNING": ["55", "w5", "44", "w4"],
    "duration > 2": ["33", "w3", "22"],
    "duration >= 2s duration < 3000ms": ["w2", "11"],
    "NOT (duration >= 2 duration < 3) AND duration < 0.1m": ["w3", "22", "w1", "00", "w0"],
    "duration >= 999999999999999999": [],
    '"run 3"': ["w3"],
    "GET": ["55", "44", "33", "22", "11", "00"],
    "attempt = 0": ["55", "44", "33", "22", "11", "00"],
    "id = w2": ["w2"],
    'source = engine AND start_time < "2027-01-15T08:00:15Z"': ["w1", "w0"],
}


@pytest.mark.parametrize("filter_text", FILTERS)
async def test_filters_mean_the_same_for_both(database: Database, filter_text: str) -> None:
    await tell(database, *fleet())
    assert await ids(database, 2, filter_text) == FILTERS[filter_text]


async def test_a_trace_that_a_workflow_names_is_the_workflows_only(database: Database) -> None:
    spans = otel("a", 0, 1, trace_id="f" * 32)
    run = event(E.WORKFLOW_STARTED, trace_id="f" * 32)
    await tell(database, *spans)
    assert await ids(database, 9) == ["ff"]
    await tell(database, run)
    await tell(database, *otel("b", 0, 1, trace_id="f" * 32))
    assert await ids(database, 9) == ["w"]


async def test_a_trace_is_named_by_its_first_span_whenever_that_comes(database: Database) -> None:
    await tell(database, *otel("late", 3, 4, "root"), *otel("part", 1, 2, "root"))
    views = SqlTraces(database, SetClock())
    (row,) = (await views.page(PageRequest(9))).traces
    assert (row.trace.name, row.spans, row.errors) == ("part", 2, 0)
    await tell(database, *otel("root", 0, 5, source="front", error=EventError("E")))
    (row,) = (await views.page(PageRequest(9))).traces
    assert (row.trace.name, row.trace.source, row.spans, row.errors) == ("root", "front", 3, 1)
    assert row.trace.state == WorkflowState.FAILED
    assert (row.trace.start_us, row.trace.end_us) == (NOON, NOON + 5_000_000)


async def test_heartbeats_of_a_span_are_no_spans(database: Database) -> None:
    beat = {"pilothouse.heartbeat": "1"}
    await tell(database, *otel("a", 0, None), *otel("a", 0, None, id="beat", attributes=beat))
    views = SqlTraces(database, SetClock())
    (row,) = (await views.page(PageRequest(9))).traces
    assert (row.spans, row.trace.state, row.trace.end_us) == (1, WorkflowState.RUNNING, None)
    await tell(database, *otel("a", 0, 5))
    (row,) = (await views.page(PageRequest(9))).traces
    assert row.trace.state == WorkflowState.COMPLETED


async def test_a_trace_runs_as_long_as_one_of_its_spans_does(database: Database) -> None:
    views = SqlTraces(database, SetClock())
    await tell(database, *otel("root", 0, None, attributes={"pilothouse.heartbeat": "1"}))
    await tell(database, *otel("a", 1, 2, "root"), *otel("b", 1, 3, "root"))
    (row,) = (await views.page(PageRequest(9))).traces
    assert (row.spans, row.trace.end_us) == (3, None)
    await tell(database, *otel("root", 0, 4), *otel("b", 1, None, "root"))  # a start that is late
    (row,) = (await views.page(PageRequest(9))).traces
    assert (row.spans, row.trace.end_us) == (3, NOON + 4_000_000)


async def test_a_trace_goes_with_the_last_of_its_events(database: Database) -> None:
    await tell(database, *otel("a", 0, 1))
    await tell(database, *otel("b", 0, 1), *otel("c", 0, 1, trace_id="c" * 32))
    cut = Cut(before_us=NOON + 10_000_000, spared_us=0, newest=0, now_us=NOON + 20_000_000)
    await database.write(lambda c: remove_events(c, cut, 1))
    assert await ids(database, 9) == ["cc", "aa"]
    await tell(database, *otel("d", 8, 9, trace_id="d" * 32))
    await database.write(lambda c: remove_events(c, cut, 100))
    assert await ids(database, 9) == ["dd"]


async def test_what_cannot_be_asked_is_named(database: Database) -> None:
    await tell(database, *fleet())
    views = SqlTraces(database, SetClock())
    with pytest.raises(InvalidFilter):
        await views.page(PageRequest(1, filter="duration >"))
    with pytest.raises(InvalidArgument):
        await views.page(PageRequest(1, order_by="name"))
    first = await views.page(PageRequest(1))
    for other in (
        PageRequest(1, "made-up"),
        PageRequest(1, first.next_token, order_by="duration"),
        PageRequest(1, first.next_token, filter="state = RUNNING"),
    ):
        with pytest.raises(InvalidPageToken):
            await views.page(other)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("filter_text", ["", *FILTERS])
async def test_no_list_reads_a_table_from_end_to_end(
    database: Database, order: str, filter_text: str
) -> None:
    await tell(database, *fleet())
    explained = ExplainedDatabase(database)
    views = SqlTraces(explained, SetClock())
    first = await views.page(PageRequest(1, "", filter_text, order))
    if first.next_token:
        await views.page(PageRequest(1, first.next_token, filter_text, order))
    # What a look has taken is looked at, and no table.
    assert [each for each in explained.scanned if each[0] != "some"] == []
