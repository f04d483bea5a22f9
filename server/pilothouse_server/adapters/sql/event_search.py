"""The index of what events say: the words of their messages, and the values that many events share.

A term names the bucket of places that its event is in, so that the index is asked for one bucket after another, newest
or oldest first, and what one question may find is bounded, however frequent a word is. Alike for both databases:

- SQLite: an FTS5 table without content, written and removed from with the events.
- PostgreSQL: a GIN index over a function of the event, which the database keeps by itself.

The index may find too much, never too little: what it finds is looked at with the filter itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import ge, gt, le, lt
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, text

from pilothouse_server.adapters.sql import bulk
from pilothouse_server.domain.event_fields import WORDS
from pilothouse_server.domain.events import Severity
from pilothouse_server.domain.filters import (
    And,
    Compare,
    Contains,
    Filter,
    OneOf,
    Or,
    Words,
    words_of,
)

BUCKET_BITS: Final = 15
"""A bucket has 32,768 places."""
MARK: Final = "\u00b7"
"""Begins the terms that are no words."""
TERMS_AT_ONCE: Final = 256
"""Terms in one question."""
ROWS_AT_ONCE: Final = 64

LETTERS: Final[Mapping[str, str]] = {
    "source": "s",
    "workflow_type": "t",
    "stage": "g",
    "task_id": "k",
    "agent_id": "a",
    "agent_type": "y",
}
"""For each text that is a term as a whole, the letter of its terms."""
_RANGES: Final[Mapping[str, Callable[[int, int], bool]]] = {"<": lt, "<=": le, ">": gt, ">=": ge}
_NUMBERS: Final = {"type": "e", "severity": "v"}


class Said(NamedTuple):
    """What the index knows of an event."""

    position: int
    type: int
    severity: int
    source: str
    workflow_type: str
    stage: str
    task_id: str
    agent_id: str
    agent_type: str
    message: str


@dataclass(frozen=True, slots=True)
class Term:
    """What an event has; `begins`: a word that begins so."""

    text: str
    begins: bool = False


@dataclass(frozen=True, slots=True)
class All:
    """Each of these."""

    terms: tuple[Asked, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """At least one of these."""

    terms: tuple[Asked, ...]


Asked = Term | All | Either


def asked_of(tree: Filter) -> Asked | None:
    """What the index can be asked for: every event that fulfils the filter has it. None: nothing."""
    match tree:
        case And(terms=terms):
            known = tuple(each for term in terms if (each := asked_of(term)) is not None)
            return All(known) if known else None
        case Or(terms=terms):
            found = [asked_of(term) for term in terms]
            known = tuple(each for each in found if each is not None)
            return Either(known) if known and len(known) == len(found) else None
        case Words(field=name, words=words) if name == WORDS:
            return _begun(words)
        case Contains(fields=("message",), text=part):
            # Of its first word the beginning may be missing.
            return _begun(words_of(part)[bool(words_of(part[:1])) :])
        case _:
            return _valued(tree)


def _valued(term: Filter) -> Asked | None:
    match term:
        case Compare(field=name, op="=", value=str(value)) if name in LETTERS and value:
            return Term(_shared(LETTERS[name], value))
        case Compare(field=name, op="=", value=int(value)) if name in _NUMBERS:
            return Term(f"{MARK}{_NUMBERS[name]}{value}")
        case Compare(field="severity", op=op, value=int(value)) if op in _RANGES:
            return _either("severity", [each for each in Severity if _RANGES[op](each, value)])
        case OneOf(field=name, values=values) if name in _NUMBERS:
            return _either(name, sorted(values))
        case _:
            return None


def count_of(asked: Asked) -> int:
    """How many terms it has."""
    return 1 if isinstance(asked, Term) else sum(map(count_of, asked.terms))


def found(
    connection: Connection, asked: Asked, buckets: range, behind: int, limit: int
) -> list[int]:
    """The places of events in these buckets that have it, in the order of the buckets, those behind a place."""
    descending = buckets.step < 0
    order = "DESC" if descending else "ASC"
    beyond = "<" if descending else ">"
    if bulk.is_postgres(connection):
        # Apart, so that only the index of terms can answer.
        query = (
            "WITH found AS MATERIALIZED (SELECT position FROM events"  # noqa: S608 - our own words
            f" WHERE {FUNCTION_OF_ROW} @@ CAST(:asked AS tsquery))"
            f" SELECT position FROM found WHERE position {beyond} :behind ORDER BY position {order} LIMIT :limit"
        )
        wanted = " | ".join(f"({_tsquery(asked, prefix_of(each))})" for each in buckets)
    else:
        query = (
            "SELECT rowid FROM event_search WHERE event_search MATCH :asked"  # noqa: S608 - our own words
            f" AND rowid {beyond} :behind ORDER BY rowid {order} LIMIT :limit"
        )
        wanted = " OR ".join(f"({_match(asked, prefix_of(each))})" for each in buckets)
    values = {"asked": wanted, "behind": behind, "limit": limit}
    return list(connection.execute(text(query), values).scalars())


def add(connection: Connection, events: Iterable[Said]) -> None:
    """Makes events that are stored known to the index, in the transaction that stores them."""
    if not bulk.is_postgres(connection):
        _write("INSERT INTO event_search(rowid, terms)", "(?, ?)", connection, events)


def remove(connection: Connection, events: Iterable[Said]) -> None:
    """Takes events that are removed out of the index, with the values that they had."""
    if not bulk.is_postgres(connection):
        head = "INSERT INTO event_search(event_search, rowid, terms)"
        _write(head, "('delete', ?, ?)", connection, events)


def prefix_of(bucket: int) -> str:
    """How the terms of a bucket begin."""
    return f"{bucket:06x}"


def terms_of(event: Said) -> Iterator[str]:
    """All terms of an event, as the function of PostgreSQL has them too."""
    prefix = prefix_of(event.position >> BUCKET_BITS)
    yield f"{prefix}{MARK}e{event.type}"
    yield f"{prefix}{MARK}v{event.severity}"
    for letter, value in zip(LETTERS.values(), event[3:9], strict=True):
        if value:
            yield prefix + _shared(letter, value)
    for word in words_of(event.message):
        yield prefix + word


def _write(head: str, row: str, connection: Connection, events: Iterable[Said]) -> None:
    values: list[Any] = []
    for event in events:
        values += (event.position, " ".join(terms_of(event)))
    done = 0
    while done < len(values):
        count = min(ROWS_AT_ONCE, 1 << (((len(values) - done) // 2).bit_length() - 1))
        statement = f"{head} VALUES {', '.join([row] * count)}"
        connection.exec_driver_sql(statement, tuple(values[done : done + 2 * count]))
        done += 2 * count


@lru_cache(maxsize=4096)
def _shared(letter: str, value: str) -> str:
    digest = hashlib.md5(value.encode(), usedforsecurity=False).hexdigest()
    return f"{MARK}{letter}{digest[:10]}"


def _either(name: str, values: Sequence[int]) -> Asked | None:
    terms = tuple(Term(f"{MARK}{_NUMBERS[name]}{value}") for value in values)
    return Either(terms) if terms else None


def _begun(words: Sequence[str]) -> Asked | None:
    return All(tuple(Term(word, begins=True) for word in words)) if words else None


def _match(asked: Asked, prefix: str) -> str:
    match asked:
        case Term(text=term, begins=begins):
            return f'"{prefix}{term}"{"*" if begins else ""}'
        case All(terms=terms):
            return " AND ".join(f"({_match(each, prefix)})" for each in terms)
        case Either(terms=terms):
            return " OR ".join(f"({_match(each, prefix)})" for each in terms)


def _tsquery(asked: Asked, prefix: str) -> str:
    match asked:
        case Term(text=term, begins=begins):
            return f"'{prefix}{term}'{':*' if begins else ''}"
        case All(terms=terms):
            return " & ".join(f"({_tsquery(each, prefix)})" for each in terms)
        case Either(terms=terms):
            return " | ".join(f"({_tsquery(each, prefix)})" for each in terms)


FUNCTION_OF_ROW: Final = f"event_terms({', '.join(Said._fields)})"
"""As the index of PostgreSQL says it."""
