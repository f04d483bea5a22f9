"""Events of many kinds, some late, at places far apart, and what a filter says of each."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, update

from pilothouse_server.adapters.sql import event_rows
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.event_rows import Arrived, arrived
from pilothouse_server.adapters.sql.event_search import BUCKET_BITS
from pilothouse_server.adapters.sql.tables_projection import COUNTERS
from pilothouse_server.domain.event_fields import WORDS
from pilothouse_server.domain.events import Event, EventType, Severity
from pilothouse_server.domain.filters import Filter, Read, Value, matches, words_of
from pilothouse_server.wire.events import decode_stored, encode_events
from tests.projection.build import NOON, SECOND

MINUTE = 60 * SECOND
KINDS = (EventType.LOG, EventType.TASK_FAILED, EventType.WORKFLOW_STARTED)
NAMES = ("", "a", "b c", "ä")
TEXTS = (
    "", "Connection refused", "refused-Connection", "connect", "ÄRGER mit äpfeln", "日本語 text", "x" * 70, "a_b%c*[d]",
    "one\ttwo\nthree", "two one", "مرحبا", "\u202eright\u202c to left", "word" * 300 + " end",
    "'quoted' \"text\" \\", "-",
)  # fmt: skip


def some_events(count: int, seed: int = 7) -> Iterator[Event]:
    """A few in each second; one in five is late."""
    drawn = random.Random(seed)
    for n in range(count):
        receive_us = NOON + n * 7 * SECOND
        late_us = drawn.choice((0, 0, 0, 0, drawn.randrange(3 * 3600) * SECOND))
        yield Event(
            f"e{n}",
            drawn.choice(KINDS),
            receive_us - late_us,
            receive_us,
            drawn.choice(NAMES),
            drawn.choice(NAMES),
            drawn.choice(NAMES),
            stage=drawn.choice(NAMES),
            task_id=drawn.choice(NAMES),
            agent_id=drawn.choice(NAMES),
            agent_type=drawn.choice(NAMES),
            trace_id=drawn.choice(NAMES),
            severity=drawn.choice(list(Severity)),
            message=drawn.choice(TEXTS),
        )


def arrivals(events: Sequence[Event]) -> list[Arrived]:
    """As they come from the log."""
    return [arrived(*each, "c") for each in decode_stored(encode_events(events))]


async def store(database: Database, events: Sequence[Event], begin: int = 0) -> None:
    """Stores them at places behind `begin`, or behind those that are there."""

    def run(connection: Connection) -> None:
        if begin:
            at = update(COUNTERS).where(COUNTERS.c.name == "position").values(value=begin)
            connection.execute(at)
        event_rows.store(connection, arrivals(events))

    await database.write(run)


async def scatter(database: Database, events: Sequence[Event], buckets: int) -> dict[str, int]:
    """Stores them in so many buckets of the index, around their borders; returns the place of each, by id."""
    places: dict[str, int] = {}
    size = -(-len(events) // buckets)
    for n in range(buckets):
        some = events[n * size : (n + 1) * size]
        begin = ((2 * n + 1) << BUCKET_BITS) - size // 2
        await store(database, some, begin)
        places |= {event.id: begin + 1 + at for at, event in enumerate(some)}
    return places


def reader(event: Event) -> Read:
    """The fields of an event."""

    def read(name: str) -> Value | None:
        if name == "occur_time":
            return event.occur_us
        if name == WORDS:
            return " ".join(words_of(event.message))
        value: Value = getattr(event, name)
        return value

    return read


def fulfilling(tree: Filter, events: Sequence[Event]) -> list[Event]:
    """Those that fulfil the filter, by the meaning of the language."""
    return [event for event in events if matches(tree, reader(event))]
