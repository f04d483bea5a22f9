"""The filter language of lists and watches: a subset of AIP-160, parsed into the tree of `filters`.

    filter  = [factor {["AND"] factor}]        side by side means AND
    factor  = term {"OR" term}                 so OR binds tighter than AND, as in AIP-160
    term    = ["NOT" | "-"] ("(" filter ")" | field op value | word)
    op      = "=" | "!=" | "<" | "<=" | ">" | ">=" | ":"      ":" is "contains", and ":*" is "is stated"
    value   = word | '"' quoted '"'            backslash escapes in quotes

A word on its own is searched in the texts that the schema names, whatever its case. Times are RFC 3339 or an age such
as -1h or -30m; lengths of time are seconds, or have a unit, as 250ms or 1.5h; names of enumerations may be short and
in any case. What cannot be right is refused where it stands: an unknown field, a value that is no time, a comparison
that the field does not have.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from fractions import Fraction
from typing import Final

from pilothouse_server.domain.errors import InvalidFilter
from pilothouse_server.domain.filters import (
    And,
    Compare,
    Contains,
    Field,
    Filter,
    Kind,
    Not,
    OneOf,
    Or,
    Schema,
    Stated,
    Words,
    words_of,
)

MAX_BYTES: Final = 2048
MAX_DEPTH: Final = 16
MAX_TERMS: Final = 64


def parse(text: str, schema: Schema, now_us: int) -> Filter:
    """The filter that `text` is; `now_us` is what ages are counted from. Raises InvalidFilter."""
    if len(text.encode()) > MAX_BYTES:
        raise InvalidFilter(MAX_BYTES, f"at most {MAX_BYTES} bytes", text[:80])
    return _Parser(text, schema, now_us).parse()


_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"[^\s()\"=!<>:]+")
_OPERATOR = re.compile(r"<=|>=|!=|=|<|>|:")
_BARE_VALUE = re.compile(r"[^\s()\"]+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_AGE = re.compile(r"([+-])(\d{1,9})([smhd])")
_AGE_US = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_DURATION = re.compile(r"(\d{1,18})(?:\.(\d{1,6}))?(us|ms|s|m|h|d)?", re.ASCII)
_UNIT_US = {"us": 1, "ms": 1_000, **_AGE_US}
_LONGEST_US: Final = (1 << 63) - 1
_CONDITION = "a condition such as field = value"
_KEYWORDS = frozenset({"AND", "OR", "NOT"})
_ORDERS = frozenset({"<", "<=", ">", ">="})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST_US: Final = -62_135_596_800_000_000
_LATEST_US: Final = 253_402_300_799_999_999
"""What a time can name: more than that fits into no column."""


class _Parser:
    def __init__(self, text: str, schema: Schema, now_us: int) -> None:
        self._text = text
        self._schema = schema
        self._now_us = now_us
        self._at: int = 0
        self._terms = 0

    def parse(self) -> Filter:
        tree = self._all(0)
        if self._at < len(self._text):
            raise self._expected("nothing more here: this parenthesis closes nothing")
        return tree

    def _all(self, depth: int) -> Filter:
        factors: list[Filter] = []
        while not self._ended():
            if factors and self._keyword("AND"):
                self._must_go_on("a condition after AND")
            factors.append(self._any(depth))
        return factors[0] if len(factors) == 1 else And(tuple(factors))

    def _any(self, depth: int) -> Filter:
        terms = [self._term(depth)]
        while self._keyword("OR"):
            self._must_go_on("a condition after OR")
            terms.append(self._term(depth))
        return terms[0] if len(terms) == 1 else Or(tuple(terms))

    def _term(self, depth: int) -> Filter:
        if depth > MAX_DEPTH:
            raise self._expected(f"at most {MAX_DEPTH} levels of parentheses and negations")
        if self._keyword("NOT") or self._taken("-"):
            self._must_go_on("a condition after the negation")
            return Not(self._term(depth + 1))
        if self._taken("("):
            self._must_go_on(_CONDITION)
            tree = self._all(depth + 1)
            if not self._taken(")"):
                raise self._expected("a closing parenthesis")
            return tree
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise self._expected(f"at most {MAX_TERMS} conditions")
        return self._condition()

    def _condition(self) -> Filter:
        start = self._at
        if self._text[start] == '"':
            return self._searched(self._value(), start)
        found = _NAME.match(self._text, start)
        if found is None or found[0] in _KEYWORDS:
            raise self._expected(f"{_CONDITION}; fields: {self._fields()}")
        self._at = found.end()
        self._skip_space()
        operator = _OPERATOR.match(self._text, self._at)
        if operator is None:
            self._at = found.end()
            return self._searched(found[0], start)
        name = found[0]
        if self._schema.find(name) is None:
            self._at = start
            raise self._expected(f"one of the fields {self._fields()}")
        self._at = operator.end()
        self._skip_space()
        return self._comparison(name, operator[0], operator.start())

    def _searched(self, text: str, start: int) -> Filter:
        if not self._schema.words:
            return Contains(self._schema.searched, text)
        words = words_of(text)
        if not words:
            self._at = start
            raise self._expected("a word with a letter or a digit")
        return Words(self._schema.words, tuple(words))

    def _comparison(self, name: str, op: str, op_at: int) -> Filter:
        about = self._schema.find(name) or Field()
        start = self._at
        bare = start < len(self._text) and self._text[start] != '"'
        text = self._value()
        if op == ":" and bare and text == "*":
            return Stated(name)
        after, self._at = self._at, op_at
        if about.kind is Kind.ENUM and op in _ORDERS and not about.ordered:
            raise self._expected(f"one of = != : after {name}")
        if about.kind is Kind.LABEL and op not in ("=", "!="):
            raise self._expected(f"one of = != after {name}, or {name}:*")
        if op == ":" and about.kind in (Kind.TIME, Kind.NUMBER, Kind.DURATION):
            raise self._expected(f"one of = != < <= > >= after {name}, or {name}:*")
        self._at = start
        tree = self._typed(name, about, op, text)
        self._at = after
        return tree

    def _typed(self, name: str, about: Field, op: str, text: str) -> Filter:
        match about.kind:
            case Kind.TEXT:
                return Contains((name,), text) if op == ":" else Compare(name, op, text)
            case Kind.LABEL:
                return Compare(name, op, text)
            case Kind.ENUM:
                return self._enumerated(name, about, op, text)
            case Kind.TIME:
                return Compare(name, op, self._time(text))
            case Kind.NUMBER:
                if not re.fullmatch(r"-?\d{1,18}", text, re.ASCII):
                    raise self._expected(f"a whole number for {name}")
                return Compare(name, op, int(text))
            case Kind.DURATION:
                return Compare(name, op, self._duration(text))

    def _enumerated(self, name: str, about: Field, op: str, text: str) -> Filter:
        wanted = text.upper().removeprefix(about.prefix)
        if op == ":":
            held = frozenset(value for choice, value in about.choices.items() if wanted in choice)
            if held:
                return OneOf(name, held)
        elif wanted in about.choices:
            return Compare(name, op, about.choices[wanted])
        raise self._expected(f"one of {', '.join(about.choices)}")

    def _time(self, text: str) -> int:
        age = _AGE.fullmatch(text)
        if age is not None:
            offset = int(age[2]) * _AGE_US[age[3]]
            at_us = self._now_us + (offset if age[1] == "+" else -offset)
            if not _EARLIEST_US <= at_us <= _LATEST_US:
                raise self._expected("an age that leads to one of the years 1 to 9999")
            return at_us
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            raise self._expected(
                "a time such as 2026-01-31T12:00:00Z, or an age such as -1h"
            ) from None
        if time.tzinfo is None:
            time = time.replace(tzinfo=UTC)
        since = time - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds

    def _duration(self, text: str) -> int:
        found = _DURATION.fullmatch(text)
        if found is None:
            raise self._expected("a length of time such as 90, 250ms, 1.5s, 2m, 1h or 1d")
        whole, part, unit = found[1], found[2] or "", found[3] or "s"
        exact = Fraction(int(whole + part), 10 ** len(part)) * _UNIT_US[unit]
        return min(int(exact), _LONGEST_US)

    def _value(self) -> str:
        quoted = _QUOTED.match(self._text, self._at)
        found = quoted or _BARE_VALUE.match(self._text, self._at)
        if found is None:
            raise self._expected(
                "a closing quotation mark" if self._text.startswith('"', self._at) else "a value"
            )
        value = found[0] if quoted is None else re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL)
        if "\0" in value:
            raise self._expected("a text without NUL")
        self._at = found.end()
        return value

    def _keyword(self, word: str) -> bool:
        self._skip_space()
        found = _NAME.match(self._text, self._at)
        if found is None or found[0] != word:
            return False
        self._at = found.end()
        return True

    def _taken(self, mark: str) -> bool:
        self._skip_space()
        if not self._text.startswith(mark, self._at):
            return False
        self._at += len(mark)
        return True

    def _ended(self) -> bool:
        self._skip_space()
        return self._at >= len(self._text) or self._text[self._at] == ")"

    def _must_go_on(self, expected: str) -> None:
        if self._ended():
            raise self._expected(expected)

    def _skip_space(self) -> None:
        found = _SPACE.match(self._text, self._at)
        self._at = found.end() if found is not None else self._at

    def _fields(self) -> str:
        labels = [f"{self._schema.labels}.NAME"] if self._schema.labels else []
        return ", ".join([*self._schema.fields, *labels])

    def _expected(self, expected: str) -> InvalidFilter:
        return InvalidFilter(self._at, expected, self._text)
