"""Lists of events: where they begin and end, what they tell of themselves, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilothouse_server.adapters.sql import event_tallies, migrate
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.event_views import SqlEventViews
from pilothouse_server.adapters.sql.sqlite import SqliteDatabase
from pilothouse_server.domain.errors import InvalidFilter, InvalidPageToken, NotFound
from pilothouse_server.domain.events import Event, EventType, Severity
from pilothouse_server.services.views import EventPage, PageRequest
from pilothouse_server.wire.events import decode_one
from tests.events.build import MINUTE, TEXTS, some_events, store
from tests.projection.build import NOON, SECOND, event
from tests.services.conftest import SetClock

_T = EventType


@pytest.fixture
def views(database: Database) -> SqlEventViews:
    return SqlEventViews(database, SetClock())


def ids(page: EventPage) -> list[str]:
    """Of its events."""
    return [each.id for each in found(page)]


def found(page: EventPage) -> list[Event]:
    """Its events, decoded."""
    return [decode_one(each.payload) for each in page.events]


async def listed(views: SqlEventViews, text: str = "", **given: str | bool) -> list[str]:
    """The ids on the first page."""
    ascending = bool(given.get("ascending"))
    start = str(given.get("start", ""))
    page = await views.page(PageRequest(100, filter=text), ascending=ascending, start_id=start)
    return ids(page)


async def test_a_list_begins_behind_an_event_either_way(
    database: Database, views: SqlEventViews
) -> None:
    await store(database, [event(_T.LOG, at=n, id=f"e{n}") for n in range(5)])
    assert await listed(views, start="e2") == ["e1", "e0"]
    assert await listed(views, start="e2", ascending=True) == ["e3", "e4"]
    assert await listed(views, start="e0") == []
    with pytest.raises(NotFound) as refused:
        await listed(views, start="e9")
    assert refused.value.reason == "EVENT_NOT_FOUND"


async def test_nothing_beyond_a_last_place_is_listed(
    database: Database, views: SqlEventViews
) -> None:
    await store(database, [event(_T.LOG, at=n, id=f"e{n}") for n in range(5)])
    for ascending, expected in ((True, ["e0", "e1"]), (False, ["e1", "e0"])):
        page = await views.page(PageRequest(9), ascending=ascending, last_position=2)
        assert ids(page) == expected
        assert not page.next_token


async def test_one_event_is_given_by_its_id(database: Database, views: SqlEventViews) -> None:
    await store(database, [event(_T.LOG, id="known", message="Here")])
    assert decode_one((await views.get("known")).payload).message == "Here"
    with pytest.raises(NotFound):
        await views.get("unknown")


@pytest.mark.parametrize("text", TEXTS)
async def test_a_message_comes_back_as_it_was(
    database: Database, views: SqlEventViews, text: str
) -> None:
    message = f"{text}\x01\x1b[31m\u202e"
    await store(database, [event(_T.LOG, id="e", message=message)])
    assert [each.message for each in found(await views.page(PageRequest(9), ascending=False))] == [
        message
    ]


async def test_a_token_is_good_for_one_list_of_one_database_only(
    database: Database, views: SqlEventViews, tmp_path: Path
) -> None:
    events = [event(_T.LOG, at=n, id=f"e{n}", message="word") for n in range(5)]
    await store(database, events)
    token = (await views.page(PageRequest(2, filter="word"), ascending=False)).next_token
    page = await views.page(PageRequest(2, token, "word"), ascending=False)
    assert ids(page) == ["e2", "e1"]
    for text, ascending in (("", False), ("other", False), ("word", True)):
        with pytest.raises(InvalidPageToken):
            await views.page(PageRequest(2, token, text), ascending=ascending)
    migrate.upgrade(tmp_path / "other.db")
    other = SqliteDatabase(tmp_path / "other.db")
    try:
        await store(other, events)
        with pytest.raises(InvalidPageToken):
            await SqlEventViews(other, SetClock()).page(
                PageRequest(2, token, "word"), ascending=False
            )
    finally:
        await other.close()


async def test_an_age_means_the_same_moment_on_all_pages(database: Database) -> None:
    clock = SetClock()
    views = SqlEventViews(database, clock)
    await store(database, [event(_T.LOG, at=n, id=f"e{n}") for n in range(50)])
    for ascending, each in ((True, [*range(10, 30)]), (False, [*range(29, 9, -1)])):
        clock.us = NOON + 30 * SECOND
        token, got = "", list[str]()
        while not got or token:
            request = PageRequest(7, token, "occur_time >= -20s occur_time < -0s")
            page = await views.page(request, ascending=ascending)
            token, got = page.next_token, [*got, *ids(page)]
            clock.us += 5 * SECOND
        assert got == [f"e{n}" for n in each]


@pytest.mark.parametrize(
    "text",
    ["severity =", "words = a", "nothing = a", '"-"', "occur_time > now", "(word", "occur_time > -999999999d"],
)  # fmt: skip
async def test_what_is_no_filter_is_refused_by_name(views: SqlEventViews, text: str) -> None:
    with pytest.raises(InvalidFilter):
        await views.page(PageRequest(9, filter=text), ascending=False)
    with pytest.raises(InvalidFilter):
        await views.counts(text)


async def test_a_search_that_takes_long_ends_and_goes_on_from_there(
    database: Database, views: SqlEventViews
) -> None:
    events = [event(_T.LOG, at=n, id=f"e{n}", message=f"number {n}") for n in range(30_000)]
    for done in range(0, len(events), 10_000):
        await store(database, events[done : done + 10_000])
    # A part in the middle of a word is in no index.
    text, token, pages = "message:ber message:4567", "", list[EventPage]()
    while not pages or token:
        request = PageRequest(50, token, text)
        page = await views.page(request, ascending=True)
        token = page.next_token
        pages.append(page)
        assert (page.looked_us is not None) == (bool(token) and len(page.events) < 50)
    held = [each.id for each in events if "4567" in each.message]
    assert [each for page in pages for each in ids(page)] == held


async def test_an_event_that_was_late_is_found_at_its_time(
    database: Database, views: SqlEventViews
) -> None:
    in_time = [event(_T.LOG, at=60 * n, id=f"e{n}") for n in range(20)]
    late = event(_T.LOG, at=90, id="late", receive_us=NOON + 30 * MINUTE)
    await store(database, [*in_time, late])
    between = "occur_time >= 2027-01-15T08:01:00Z occur_time < 2027-01-15T08:03:00Z"
    assert NOON == 1_800_000_000 * SECOND
    assert await listed(views, between) == ["late", "e2", "e1"]
    assert await listed(views, between, ascending=True) == ["e1", "e2", "late"]
    counted = await views.counts(between)
    assert (counted.total, counted.counted_from_us) == (3, None)


async def test_counts_show_what_choosing_a_type_or_a_severity_would_give(
    database: Database, views: SqlEventViews
) -> None:
    await store(database, list(some_events(400)))
    for asked in ("", "refused", "workflow_id = a"):
        chosen = await views.counts(f"{asked} type = LOG severity = ERROR")
        for kind, count in chosen.types.items():
            alone = await views.counts(f"{asked} type = {kind.name} severity = ERROR")
            assert alone.total == count
        for severity, count in chosen.severities.items():
            alone = await views.counts(f"{asked} type = LOG severity = {severity.name}")
            assert alone.total == count
        assert list(chosen.severities) == sorted(chosen.severities, reverse=True)
        assert list(chosen.types.values()) == sorted(chosen.types.values(), reverse=True)


async def test_counting_that_would_take_long_says_from_when_it_counted(
    database: Database, views: SqlEventViews, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_tallies, "MOST_LOOKED", 1000)
    await store(
        database,
        [event(_T.LOG, at=n, message="often", severity=Severity.INFO) for n in range(6000)],
    )
    counted = await views.counts("often")
    assert 0 < counted.total < 6000
    assert counted.counted_from_us is not None
    assert counted.counted_from_us > NOON


async def test_late_events_of_one_minute_are_looked_at_in_bounds(
    database: Database, views: SqlEventViews, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = [
        event(_T.LOG, at=n % 60, id=f"e{n}", receive_us=NOON + (3600 + n) * SECOND)
        for n in range(200)
    ]
    await store(database, late)
    between = "occur_time >= 2027-01-15T08:00:10Z occur_time < 2027-01-15T08:00:20Z"
    counted = await views.counts(between)
    assert (counted.total, counted.counted_from_us) == (40, None)
    monkeypatch.setattr(event_tallies, "MOST_AT_EDGES", 60)
    counted = await views.counts(between)
    assert (counted.total, counted.counted_from_us) == (10, NOON + (3600 + 140) * SECOND)
