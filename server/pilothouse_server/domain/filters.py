"""What a filter means: a tree of checked comparisons over the fields of a row."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from operator import ge, gt, le, lt
from typing import Any

Value = str | int

_LABEL = re.compile(r"[a-zA-Z_]\w{0,63}", re.ASCII)


class Kind(Enum):
    """What a field holds."""

    TEXT = "text"
    ENUM = "enumeration"
    TIME = "time"
    NUMBER = "number"
    DURATION = "duration"
    """Microseconds; written as 250ms, 1.5s or 2m, and in seconds without a unit."""
    LABEL = "label"
    """A text that is equal or not, and "" where it is not there."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field that can be asked for. Times are microseconds, and may be None."""

    kind: Kind = Kind.TEXT
    choices: Mapping[str, int] = field(default_factory=dict[str, int])
    """The short names of an enumeration."""
    prefix: str = ""
    """What the contract writes before each of them."""
    ordered: bool = False
    """Whether an enumeration is a scale, so that < and > mean something."""


@dataclass(frozen=True, slots=True)
class Schema:
    """What a filter can be about."""

    fields: Mapping[str, Field]
    searched: tuple[str, ...]
    """The text fields in which a word on its own is searched."""
    words: str = ""
    """The field in whose words a word on its own is searched instead, and which is not asked for otherwise."""
    labels: str = ""
    """What stands before the dot in the fields that are labels, as `labels` in labels.agent_id."""

    def find(self, name: str) -> Field | None:
        """The field of that name."""
        group, _, label = name.partition(".")
        if self.labels and group == self.labels and _LABEL.fullmatch(label):
            return Field(Kind.LABEL)
        return self.fields.get(name)


@dataclass(frozen=True, slots=True)
class Compare:
    """`op` is one of =, !=, <, <=, >, >=. A field that is None fulfils none of them but !=."""

    field: str
    op: str
    value: Value


@dataclass(frozen=True, slots=True)
class Contains:
    """One of the text fields contains the text, whatever the case of its ASCII letters."""

    fields: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Words:
    """Each of these begins one of the field's words, which are in small letters with spaces between them."""

    field: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OneOf:
    """The number of an enumeration is one of these."""

    field: str
    values: frozenset[int]


@dataclass(frozen=True, slots=True)
class Stated:
    """The field is not empty."""

    field: str


@dataclass(frozen=True, slots=True)
class Not:
    """It is not so."""

    term: Filter


@dataclass(frozen=True, slots=True)
class And:
    """All of them; so no terms at all are fulfilled by everything."""

    terms: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of them."""

    terms: tuple[Filter, ...]


Filter = Compare | Contains | Words | OneOf | Stated | Not | And | Or
EVERYTHING = And(())


def enum_field(values: type[IntEnum], prefix: str = "", *, ordered: bool = False) -> Field:
    """A field that holds one of `values`."""
    return Field(Kind.ENUM, {value.name: int(value) for value in values}, prefix, ordered)


def without(tree: Filter, name: str) -> Filter:
    """The filter without its terms about one field."""
    return _without(tree, name) or EVERYTHING


def _without(tree: Filter, name: str) -> Filter | None:
    match tree:
        case Compare(field=about) | Words(field=about) | OneOf(field=about) | Stated(field=about):
            return None if about == name else tree
        case Contains(fields=fields):
            return None if fields == (name,) else tree
        case Not(term=term):
            left = _without(term, name)
            return None if left is None else Not(left)
        case And(terms=terms) | Or(terms=terms):
            rest: list[Filter] = []
            for each in terms:
                left = _without(each, name)
                if left is not None:
                    rest.append(left)
            return type(tree)(tuple(rest)) if rest else None


def fields_of(tree: Filter) -> frozenset[str]:
    """The fields that the filter says something of."""
    match tree:
        case Compare(field=about) | Words(field=about) | OneOf(field=about) | Stated(field=about):
            return frozenset((about,))
        case Contains(fields=fields):
            return frozenset(fields)
        case Not(term=term):
            return fields_of(term)
        case And(terms=terms) | Or(terms=terms):
            return frozenset[str]().union(*map(fields_of, terms))


Read = Callable[[str], Value | None]
"""A row: the value of a field, None where there is none."""


def matches(tree: Filter, read: Read) -> bool:
    """Whether a row fulfils the filter. The meaning of the language; the database's clauses are tested against it."""
    match tree:
        case Compare(field=name, op=op, value=value):
            return _compares(read(name), op, value)
        case Contains(fields=fields, text=text):
            return any(ascii_lower(text) in ascii_lower(str(read(name) or "")) for name in fields)
        case Words(field=name, words=words):
            there = str(read(name) or "").split(" ")
            return all(any(word.startswith(asked) for word in there) for asked in words)
        case OneOf(field=name, values=values):
            return read(name) in values
        case Stated(field=name):
            return read(name) not in (None, "")
        case Not(term=term):
            return not matches(term, read)
        case And(terms=terms):
            return all(matches(term, read) for term in terms)
        case Or(terms=terms):
            return any(matches(term, read) for term in terms)


LONGEST_WORD = 64
"""Letters of a word that are looked at."""

_WORD = re.compile("[0-9A-Za-z\u0080-\U0010ffff]+")


def words_of(text: str) -> list[str]:
    """The words in a text, in order: as long a row of letters and digits as there is, ASCII letters in small ones."""
    return [word[:LONGEST_WORD] for word in _WORD.findall(ascii_lower(text))]


def ascii_lower(text: str) -> str:
    """Only ASCII letters are lowered, as databases do."""
    return text.translate(_LOWER)


_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def _compares(actual: Value | None, op: str, value: Value) -> bool:
    if op == "=":
        return actual == value
    if op == "!=":
        return actual != value
    if isinstance(actual, str) and isinstance(value, str):
        return _ORDERS[op](actual, value)
    if isinstance(actual, int) and isinstance(value, int):
        return _ORDERS[op](actual, value)
    return False


_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {"<": lt, "<=": le, ">": gt, ">=": ge}
