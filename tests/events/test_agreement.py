"""What is found and counted is what the filter language means, by whatever way it is looked for, on both databases."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from pilothouse_server.adapters.sql import (
    bulk,
    event_counts,
    event_lists,
    event_search,
    event_tallies,
)
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.event_lists import EventList, Search, Window, parts_of
from pilothouse_server.adapters.sql.event_search import BUCKET_BITS
from pilothouse_server.adapters.sql.event_tallies import by_severity, by_type, tally
from pilothouse_server.adapters.sql.tables_events import EVENT_COUNTS
from pilothouse_server.domain.event_fields import EVENT_FIELDS
from pilothouse_server.domain.events import Event, Severity
from pilothouse_server.domain.filters import (
    And,
    Compare,
    Contains,
    Filter,
    Not,
    OneOf,
    Or,
    Stated,
    Words,
    without,
    words_of,
)
from tests.databases import Place, open_database
from tests.events.build import KINDS, NAMES, TEXTS, fulfilling, scatter, some_events
from tests.projection.build import NOON, SECOND

COUNT = 300
texts = st.sampled_from(
    [name for name, about in EVENT_FIELDS.fields.items() if about.kind.name == "TEXT"]
)
operators = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])


def _begun(text: str, length: int) -> tuple[str, ...]:
    return tuple(word[:length] for word in words_of(text)[:2])


def _part(text: str, begin: int, length: int) -> str:
    return text[begin : begin + length]


def _moment(second: int, micro: int) -> int:
    return NOON + second * SECOND + micro


beginnings = st.builds(
    _begun, st.sampled_from([text for text in TEXTS if words_of(text)]), st.integers(1, 70)
)
parts = st.builds(_part, st.sampled_from(TEXTS), st.integers(0, 8), st.integers(0, 20))
times = st.builds(_moment, st.integers(-3 * 3600, 3600), st.sampled_from([0, 0, 1, 999_999]))
leaves: st.SearchStrategy[Filter] = st.one_of(
    st.builds(Compare, texts, st.sampled_from(["=", "=", "!="]), st.sampled_from(NAMES)),
    st.builds(Compare, st.just("id"), st.just("="), st.sampled_from(["e7", "e300", "no"])),
    st.builds(Compare, st.just("type"), st.sampled_from(["=", "!="]), st.sampled_from(KINDS)),
    st.builds(Compare, st.just("severity"), operators, st.sampled_from(list(Severity))),
    st.builds(OneOf, st.just("type"), st.frozensets(st.sampled_from(KINDS), min_size=1)),
    st.builds(Compare, st.just("occur_time"), operators, times),
    st.builds(Words, st.just("words"), beginnings),
    st.builds(Contains, st.just(("message",)), parts),
    st.builds(Stated, texts),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, max_size=4).map(tuple)),
        st.builds(Or, st.lists(inner, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


class Stored:
    """Events and where they are."""

    def __init__(self, database: Database, events: list[Event], places: dict[str, int]) -> None:
        self.database = database
        self.events = events
        self.places = places

    def within(self) -> Window:
        return Window(1, max(self.places.values()))


@pytest.fixture
async def stored(place: Place, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stored]:
    """Events around the borders of three buckets."""
    # Their places are far apart: as if each look took the few events that it would find elsewhere.
    monkeypatch.setattr(event_lists, "LOOK", 1 << BUCKET_BITS)
    monkeypatch.setattr(event_tallies, "MOST_AT_EDGES", 8 << BUCKET_BITS)
    database, events = open_database(place), list(some_events(COUNT))
    yield Stored(database, events, await scatter(database, events, 3))
    await database.close()


def pages_of(
    connection: Connection,
    stored: Stored,
    tree: Filter,
    *,
    ascending: bool,
    size: int,
    patience: float,
) -> list[int]:
    """The places on all pages, one after another."""
    within, found = stored.within(), list[int]()
    for _ in range(10_000):
        search = Search(connection, parts_of(tree), within, ascending, first_look=3)
        listed = EventList(search, tree, size, patience)
        listed.look()
        found += listed.places
        if listed.end is None:
            return found
        assert listed.looked or len(listed.places) == size
        within = Window(
            listed.end + 1 if ascending else within.low,
            within.high if ascending else listed.end - 1,
        )
    raise AssertionError("there is no end to the pages")


unhurried = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@unhurried
@given(tree=trees, ascending=st.booleans(), size=st.integers(5, 60))
async def test_pages_hold_what_the_filter_means_in_order(
    stored: Stored, tree: Filter, ascending: bool, size: int
) -> None:
    expected = sorted(
        (stored.places[event.id] for event in fulfilling(tree, stored.events)),
        reverse=not ascending,
    )
    found = await stored.database.read(
        lambda c: pages_of(c, stored, tree, ascending=ascending, size=size, patience=60)
    )
    assert found == expected


@unhurried
@given(tree=trees, ascending=st.booleans())
async def test_pages_that_end_for_want_of_time_leave_nothing_out(
    stored: Stored, tree: Filter, ascending: bool
) -> None:
    found = await stored.database.read(
        lambda c: pages_of(c, stored, tree, ascending=ascending, size=20, patience=0)
    )
    expected = {stored.places[event.id] for event in fulfilling(tree, stored.events)}
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert found == sorted(found, reverse=not ascending)


def kinds(events: list[Event]) -> Counter[int]:
    return Counter(int(event.type) for event in events)


@unhurried
@given(tree=trees)
async def test_counts_are_those_of_what_the_filter_means(stored: Stored, tree: Filter) -> None:
    counted = await stored.database.read(lambda c: tally(c, tree, stored.within()))
    if counted.down_to is not None:
        return  # it was a matter of time
    assert sum(counted.chosen.values()) == len(fulfilling(tree, stored.events))
    for name, found in (
        ("type", by_type(counted.any_type)),
        ("severity", by_severity(counted.any_severity)),
    ):
        others = fulfilling(without(tree, name), stored.events)
        assert found == Counter(getattr(event, name) for event in others)


@unhurried
@given(since=times, length=st.integers(0, 4 * 3600 * SECOND), open_end=st.booleans())
async def test_any_range_of_time_is_counted_exactly(
    stored: Stored, since: int, length: int, open_end: bool
) -> None:
    terms: tuple[Filter, ...] = (Compare("occur_time", ">=", since),)
    if not open_end:
        terms = (*terms, Compare("occur_time", "<", since + length))
    tree = And(terms)
    counted = await stored.database.read(lambda c: tally(c, tree, stored.within()))
    assert counted.down_to is None
    assert counted.chosen == Counter(
        (event.type, event.severity) for event in fulfilling(tree, stored.events)
    )


async def test_the_counts_that_are_kept_are_those_of_the_events(stored: Stored) -> None:
    def kept(connection: Connection) -> list[tuple[int, ...]]:
        return sorted(tuple(row) for row in connection.execute(select(EVENT_COUNTS)))

    counted = [
        event_counts.Counted(
            stored.places[each.id], each.occur_us, each.receive_us, each.type, each.severity
        )
        for each in stored.events
    ]
    assert await stored.database.read(kept) == event_counts.rows_of(counted)


@pytest.mark.parametrize("message", TEXTS)
async def test_both_databases_know_an_event_by_the_same_terms(
    database: Database, message: str
) -> None:
    said = event_search.Said(
        70_000, 32, 4, "engine", "type ä", "stage", "task", "agent", "kind", message
    )
    terms = set(event_search.terms_of(said))
    longest = max(map(len, terms))

    def known(connection: Connection) -> set[str]:
        if not bulk.is_postgres(connection):
            return terms
        values = ", ".join(["%s"] * len(said))
        casts = "CAST(%s AS bigint), %s, %s, " + ", ".join(["CAST(%s AS text)"] * 7)
        assert values.count("%s") == casts.count("%s")
        query = f"SELECT tsvector_to_array(event_terms({casts}))"
        found = connection.exec_driver_sql(query, tuple(said)).scalar_one()
        # What stands behind the last word of a message is the bucket alone, which nobody asks for; and where it hurts
        # nobody, words are not cut off.
        bucket = event_search.prefix_of(said.position >> BUCKET_BITS)
        return {term[:longest] for term in found} - {bucket}

    assert await database.read(known) == terms
