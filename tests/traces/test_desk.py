"""Traces from stored events: by any id, growing, kept while there is room, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.projection_store import SqlProjectionStore
from pilothouse_server.adapters.sql.retention_store import remove_events
from pilothouse_server.adapters.sql.trace_views import SqlTraces
from pilothouse_server.domain.errors import InvalidResumeToken, NotFound
from pilothouse_server.domain.events import Event
from pilothouse_server.domain.traces.model import ProblemKind
from pilothouse_server.ports import LogEntry
from pilothouse_server.services import traces
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.retention import Cut
from pilothouse_server.services.trace_watch import Changed, TraceUpdate, watch_trace
from pilothouse_server.services.traces import TraceDesk
from pilothouse_server.services.watch import CaughtUp, Reset
from pilothouse_server.wire.events import decode_one, decode_stored, encode_events
from tests.projection.build import NOON, event
from tests.services.conftest import SetClock
from tests.traces.build import TRACE, E, kinds, made, otel, task

OTHER = "b" * 32


@dataclass
class House:
    """A desk, and the projector that feeds it."""

    database: Database
    desk: TraceDesk
    changes: Changes
    entries: int = 0

    async def tell(self, *events: Event) -> None:
        self.entries += 1
        store = SqlProjectionStore(self.database, decode_stored)
        await store.apply([LogEntry(f"c{self.entries}", encode_events(events))])
        self.changes.notify()


@pytest.fixture
def house(database: Database) -> House:
    changes = Changes()
    desk = TraceDesk(SqlTraces(database, SetClock()), decode_one, lambda: changes.version)
    return House(database, desk, changes)


def run() -> list[Event]:
    return [
        event(E.WORKFLOW_STARTED, trace_id=TRACE),
        event(E.STAGE_STARTED, stage="build"),
        task("t", E.TASK_STARTED, 1, span_id="s", agent_id="a"),
        *otel("http", 2, 3, "s", attributes={"http.method": "GET"}),
        task("t", E.TASK_COMPLETED, 4),
    ]


async def test_a_trace_is_that_of_its_events_by_the_workflows_id_and_by_its_trace_id(
    house: House,
) -> None:
    events = run()
    await house.tell(*events)
    by_workflow, by_trace = await house.desk.trace("w"), await house.desk.trace(TRACE)
    assert by_workflow.spans == made(events).spans
    assert by_trace is by_workflow
    assert by_workflow.revision == len(events)


async def test_a_trace_without_a_workflow_is_found_by_its_own_id(house: House) -> None:
    await house.tell(*otel("a", 0, 2), *otel("b", 1, 2, "a"))
    found = await house.desk.trace(TRACE)
    assert (found.id, found.workflow_id, len(found.spans)) == (TRACE, "", 2)
    await house.tell(*run())
    assert (await house.desk.trace(TRACE)).id == "w"


@pytest.mark.parametrize("unknown", ["x", "", "\0", "w' OR 1=1", "\u202e", "é" * 100])
async def test_unknown_ids_are_named(house: House, unknown: str) -> None:
    with pytest.raises(NotFound) as refused:
        await house.desk.trace(unknown)
    assert (refused.value.reason, refused.value.id) == ("TRACE_NOT_FOUND", unknown)


async def test_a_trace_goes_on_from_where_it_stands_and_keeps_what_did_not_change(
    house: House,
) -> None:
    await house.tell(*run())
    before = await house.desk.trace("w")
    await house.tell(task("u", E.TASK_STARTED, 5))
    after = await house.desk.trace("w")
    assert after.revision > before.revision
    known = {span.id: span for span in before.spans}
    fresh = [span.id for span in after.spans if known.get(span.id) is not span]
    assert fresh == ["task:u:1"]
    assert await house.desk.trace("w") is after


async def test_spans_that_come_in_slices_and_trace_ids_that_come_late_are_all_there(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pilothouse_server.adapters.sql.trace_views.AT_ONCE", 3)
    await house.tell(*otel("early", 2, 3, "s"))
    await house.tell(*run())
    await house.tell(*otel("late", 2, 3, "s2", trace_id=OTHER), task("u", E.TASK_STARTED, 1))
    await house.tell(task("u", E.TASK_COMPLETED, 5, trace_id=OTHER, span_id="s2"))
    spans = {span.id: span.parent_id for span in (await house.desk.trace("w")).spans}
    assert (spans["early"], spans["late"]) == ("task:t:1", "task:u:1")


async def test_many_who_ask_at_once_have_one_trace(house: House) -> None:
    await house.tell(*run())
    found = await asyncio.gather(*(house.desk.trace("w") for _ in range(20)))
    assert len({id(each) for each in found}) == 1


async def test_who_is_cancelled_spoils_nothing(house: House) -> None:
    await house.tell(*run(), *(task(f"t{n}", E.TASK_STARTED, n) for n in range(200)))
    asking = [asyncio.create_task(house.desk.trace("w")) for _ in range(5)]
    await asyncio.sleep(0)
    asking[0].cancel()
    first, *others = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(first, asyncio.CancelledError)
    assert len({id(each) for each in others}) == 1
    assert len((await house.desk.trace("w")).spans) == 4 + 200


async def test_only_so_many_spans_are_kept(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "CACHED_SPANS", 10)
    for name in "uvw":
        await house.tell(*(task(f"{n}", E.TASK_STARTED, n, workflow_id=name) for n in range(4)))
        await house.desk.trace(name)
    assert house.desk.spans_kept == 8
    assert len((await house.desk.trace("u")).spans) == 5


async def test_of_more_events_than_are_read_it_is_told(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "MAX_EVENTS", 3)
    await house.tell(*run())
    found = await house.desk.trace("w")
    assert ProblemKind.TOO_MANY_SPANS in kinds(found)


async def test_what_was_removed_with_age_is_told(house: House) -> None:
    await house.tell(*run())
    cut = Cut(before_us=NOON + 10_000_000, spared_us=0, newest=0, now_us=NOON + 20_000_000)
    await house.database.write(lambda c: remove_events(c, cut, 2))
    found = await house.desk.trace("w")
    assert kinds(found)[ProblemKind.REMOVED] == 1
    assert (found.spans[0].id, found.spans[0].start_us) == ("workflow", NOON)


async def test_what_was_removed_of_a_trace_without_a_workflow_is_told(house: House) -> None:
    await house.tell(*otel("root", 0, None), *otel("a", 1, 2, "root"), *otel("b", 2, 3, "root"))
    assert kinds(await house.desk.trace(TRACE)) == {}
    cut = Cut(before_us=NOON + 10_000_000, spared_us=0, newest=0, now_us=NOON + 20_000_000)
    await house.database.write(lambda c: remove_events(c, cut, 1))
    found = await TraceDesk(SqlTraces(house.database, SetClock()), decode_one).trace(TRACE)
    assert kinds(found) == {ProblemKind.ORPHAN: 2, ProblemKind.REMOVED: 1}


async def test_attributes_are_those_of_the_event_that_tells_most(house: House) -> None:
    await house.tell(*run())
    spans = (await house.desk.trace("w")).spans
    assert await house.desk.attributes(spans) == {
        span.id: {"http.method": "GET"} if span.id == "http" else {} for span in spans
    }


class Watcher:
    """Keeps each span by its id, as a page does."""

    def __init__(self, house: House, token: str = "") -> None:
        self.updates = watch_trace(house.desk, "w", house.changes, token, heartbeat=60)
        self.spans: dict[str, str] = {}
        self.token = token
        self.said: list[str] = []

    async def until(self, kind: type[TraceUpdate]) -> None:
        """Takes in updates up to one of a kind."""
        async with asyncio.timeout(20):
            async for update in self.updates:
                self._take(update)
                if isinstance(update, kind):
                    return

    def _take(self, update: TraceUpdate) -> None:
        self.token = update.token
        self.said.append(type(update).__name__)
        if isinstance(update, Reset):
            self.spans.clear()
        if isinstance(update, Changed):
            self.spans.update((span.id, span.state.name) for span in update.spans)
            self.said[-1] += f":{len(update.spans)}"


async def test_a_watch_sends_everything_then_what_changed(house: House) -> None:
    await house.tell(*run())
    watcher = Watcher(house)
    await watcher.until(CaughtUp)
    await house.tell(event(E.STAGE_COMPLETED, at=5, stage="build"))
    await watcher.until(Changed)
    assert watcher.said == ["Changed:4", "CaughtUp", "Changed:1"]
    assert watcher.spans["stage:build:1"] == "COMPLETED"


async def test_what_is_counted_from_the_beginning_is_sent_again_when_that_turns_out_to_be_earlier(
    house: House,
) -> None:
    await house.tell(*run())
    watcher = Watcher(house)
    await watcher.until(CaughtUp)
    await house.tell(*otel("early", -5, 1, "s"))
    await watcher.until(Changed)
    assert watcher.said[-1] == "Changed:5"


async def test_a_watch_resumes_with_what_it_missed(house: House) -> None:
    await house.tell(*run())
    before = Watcher(house)
    await before.until(CaughtUp)
    await house.tell(event(E.STAGE_COMPLETED, at=5, stage="build"))
    after = Watcher(house, before.token)
    await after.until(CaughtUp)
    assert after.said == ["Changed:1", "CaughtUp"]
    again = Watcher(house, after.token)
    await again.until(CaughtUp)
    assert again.spans == {}


async def test_a_watch_of_another_history_or_of_what_is_not_kept_any_more_starts_anew(
    house: House,
) -> None:
    await house.tell(*run())
    before = Watcher(house)
    await before.until(CaughtUp)
    database_id, _, _ = before.token.partition(".")
    for token in ("other.1.1", f"{database_id}.1.1", f"{database_id}.99999.1"):
        watcher = Watcher(house, token)
        await watcher.until(CaughtUp)
        assert watcher.said == ["Reset", "Changed:4", "CaughtUp"]


@pytest.mark.parametrize("token", ["nonsense", "a.b.c", "a.-1.2", "....", "a.1.1.1"])
async def test_a_made_up_token_is_named(house: House, token: str) -> None:
    await house.tell(*run())
    with pytest.raises(InvalidResumeToken):
        await Watcher(house, token).until(CaughtUp)


async def test_a_watch_starts_anew_when_spans_become_others(house: House) -> None:
    await house.tell(*run(), *otel("s9", 5, None, "s"))
    watcher = Watcher(house)
    await watcher.until(CaughtUp)
    assert "s9" in watcher.spans
    await house.tell(task("u", E.TASK_STARTED, 5, span_id="s9"))
    await watcher.until(CaughtUp)
    assert "Reset" in watcher.said
    assert set(watcher.spans) == {span.id for span in (await house.desk.trace("w")).spans}


def feed(count: int) -> Iterable[Event]:
    yield event(E.WORKFLOW_STARTED)
    for n in range(count):
        yield task(f"t{n}", E.TASK_STARTED, n)


async def test_a_large_trace_comes_in_parts_and_only_the_last_moves_the_token(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pilothouse_server.services.trace_watch.AT_ONCE", 4)
    await house.tell(*feed(9))
    tokens: list[str] = []
    async for update in watch_trace(house.desk, "w", house.changes, ""):
        if isinstance(update, CaughtUp):
            break
        tokens.append(update.token)
    assert [bool(token) for token in tokens] == [False, False, True]
