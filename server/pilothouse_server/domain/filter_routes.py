"""Which rows can fulfil a filter at all, as values to look them up by: so that of many filters only few have to be
asked about a row.

Routes may lead to a filter that the row does not fulfil, never past one that it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Generic, NamedTuple, TypeVar

from pilothouse_server.domain.filters import (
    And,
    Compare,
    Filter,
    Kind,
    OneOf,
    Or,
    Schema,
    Value,
    Words,
    matches,
)

T = TypeVar("T")

MOST: Final = 64
"""Routes of one filter; one that would need more is asked about every row."""


class Route(NamedTuple):
    """The value that a field has; of the field of words, what one of them begins with. None stands for numbers that no
    choice of an enumeration has."""

    field: str
    value: Value | None


def routes(tree: Filter, schema: Schema) -> frozenset[Route] | None:
    """Every row that fulfils the filter has one of these; None when nothing can be said."""
    found = _routes(tree, schema)
    return None if found is None or len(found) > MOST else found


def _routes(tree: Filter, schema: Schema) -> frozenset[Route] | None:
    match tree:
        case Compare(field=name, op="=", value=value):
            return frozenset({Route(name, value)})
        case Compare(field=name, op=op, value=value) if _is_scale(schema, name) and op != "!=":
            held = [
                Route(name, choice)
                for choice in schema.fields[name].choices.values()
                if matches(tree, {name: choice}.get)
            ]
            return frozenset([*held, Route(name, None)])
        case OneOf(field=name, values=values):
            return frozenset(Route(name, value) for value in values)
        case Words(field=name, words=words) if name == schema.words and words:
            return frozenset({Route(name, max(words, key=len))})
        case And(terms=terms):
            known = [each for each in (_routes(term, schema) for term in terms) if each is not None]
            return min(known, key=_breadth, default=None)
        case Or(terms=terms):
            union: set[Route] = set()
            for term in terms:
                each = _routes(term, schema)
                if each is None:
                    return None
                union |= each
            return frozenset(union)
        case _:
            return None


def _is_scale(schema: Schema, name: str) -> bool:
    about = schema.find(name)
    return about is not None and about.kind is Kind.ENUM and about.ordered


_NARROW: Final = ("id", "task_id", "trace_id", "workflow_id", "agent_id")
_BROAD: Final = ("type", "severity")


def _breadth(found: frozenset[Route]) -> tuple[int, int, int]:
    """Less for routes on which fewer rows come; of words, the longest is the rarest."""
    fields = {route.field for route in found}
    shortest = min((len(str(route.value)) for route in found), default=0)
    if fields <= set(_NARROW):
        return 0, len(found), -shortest
    return (2 if fields & set(_BROAD) else 1), len(found), -shortest


class Crossroads(Generic[T]):
    """Who is to be asked about a row. `T` is hashable."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._known: Mapping[str, frozenset[int]] = {
            name: frozenset(about.choices.values())
            for name, about in schema.fields.items()
            if about.kind is Kind.ENUM
        }
        self._by: dict[str, dict[Value | None, dict[T, None]]] = {}
        self._lengths: dict[int, int] = {}
        """How many routes there are to the beginnings of words that are so long."""
        self._everywhere: dict[T, None] = {}

    def add(self, who: T, ways: Iterable[Route] | None) -> None:
        """`ways` None: to be asked about every row."""
        if ways is None:
            self._everywhere[who] = None
            return
        for field, value in ways:
            self._by.setdefault(field, {}).setdefault(value, {})[who] = None
            if field == self._schema.words:
                length = len(str(value))
                self._lengths[length] = self._lengths.get(length, 0) + 1

    def remove(self, who: T, ways: Iterable[Route] | None) -> None:
        """The same `ways` as it was added with."""
        if ways is None:
            del self._everywhere[who]
            return
        for field, value in ways:
            values = self._by[field]
            del values[value][who]
            if not values[value]:
                del values[value]
            if not values:
                del self._by[field]
            if field == self._schema.words:
                length = len(str(value))
                self._lengths[length] -= 1
                if not self._lengths[length]:
                    del self._lengths[length]

    def wanting(self, row: Mapping[str, Value | None]) -> Iterator[T]:
        """Who may want the row; one that has several ways to it comes as often. Nobody may be added or removed
        meanwhile."""
        for field, values in self._by.items():
            value = row.get(field)
            if field == self._schema.words:
                for beginning in self._beginnings(str(value or "")):
                    yield from values.get(beginning, ())
                continue
            yield from values.get(value, ())
            known = self._known.get(field)
            if known is not None and value is not None and value not in known:
                yield from values.get(None, ())
        yield from self._everywhere

    def _beginnings(self, text: str) -> set[str]:
        """What words of the text begin with, as long as somebody asked for."""
        words = text.split(" ")
        return {word[:length] for word in words for length in self._lengths if length <= len(word)}
