"""Conditions on labels, as silences, inhibitions, rules and channels use them; the same as Alertmanager's.

Regular expressions are RE2's, which take time linear in the value whatever somebody wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any, Protocol

import re2

from pilothouse_server.domain.errors import InvalidArgument


class MatchType(IntEnum):
    """How a label is compared. The numbers are those of the contract."""

    EQUAL = 1
    NOT_EQUAL = 2
    REGEX = 3
    NOT_REGEX = 4

    @property
    def sign(self) -> str:
        """As it is written between name and value."""
        return _SIGNS[self]


_SIGNS = {
    MatchType.EQUAL: "=",
    MatchType.NOT_EQUAL: "!=",
    MatchType.REGEX: "=~",
    MatchType.NOT_REGEX: "!~",
}


@dataclass(frozen=True, slots=True)
class Matcher:
    """A condition on one label; a label that is not there is ""."""

    name: str
    type: MatchType
    value: str

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the label has such a value."""
        value = labels.get(self.name, "")
        match self.type:
            case MatchType.EQUAL:
                return value == self.value
            case MatchType.NOT_EQUAL:
                return value != self.value
            case MatchType.REGEX:
                return _compiled(self.value).fullmatch(value) is not None
            case MatchType.NOT_REGEX:
                return _compiled(self.value).fullmatch(value) is None

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.name}{self.type.sign}"{escaped}"'


def all_match(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether every one of them matches."""
    return all(matcher.matches(labels) for matcher in matchers)


def check(matcher: Matcher, field: str) -> None:
    """Raises InvalidArgument when its regular expression is none."""
    if matcher.type in (MatchType.REGEX, MatchType.NOT_REGEX):
        try:
            _compiled(matcher.value)
        except _RE2.error as error:
            raise InvalidArgument(
                field, f"{matcher.value!r} is no regular expression of RE2: {_said(error)}"
            ) from error


def _said(error: Exception) -> str:
    """RE2's words, which it gives as bytes."""
    words = error.args[0] if error.args else ""
    return words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)


class _Pattern(Protocol):
    def fullmatch(self, text: str, /) -> object | None: ...


_RE2: Any = re2
"""It says nothing of its types."""
_OPTIONS: Any = _RE2.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = 1 << 20


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> _Pattern:
    compiled: _Pattern = _RE2.compile(pattern, _OPTIONS)
    return compiled


_WRITTEN = re.compile(
    r'\s*([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*(?:"((?:[^"\\]|\\.)*)"|([^"\s]\S*|))\s*', re.ASCII
)
_OF_SIGN = {sign: type for type, sign in _SIGNS.items()}


def parse_matcher(text: str, field: str) -> Matcher:
    """The matcher in `name="value"`, `name=~"regex"` and so on; the quotes may be left out. Raises InvalidArgument."""
    found = _WRITTEN.fullmatch(text)
    if found is None:
        raise InvalidArgument(
            field, f'{text!r} is no matcher, as agent_type="coder" or stage=~"build|test"'
        )
    name, sign, quoted, bare = found.groups()
    value = bare if quoted is None else re.sub(r"\\(.)", _unescaped, quoted)
    matcher = Matcher(name, _OF_SIGN[sign], value)
    check(matcher, field)
    return matcher


def _unescaped(found: re.Match[str]) -> str:
    return {"n": "\n", "t": "\t"}.get(found[1], found[1])
