"""The part of PromQL that conditions are written in: `metric{matchers} <op> number` joined by `and` and `or`.

What else PromQL has is recognised so far that it can be refused by its name and place. The parser is ours because the
one that there is for Python gives no places. `and` binds closer than `or`; parentheses are kept, since
`a and (b and c)` is another tree than `a and b and c`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from pilothouse_server.domain.alerts.matchers import Matcher, MatchType, check
from pilothouse_server.domain.errors import InvalidArgument

MOST_DEEP = 20
"""Parentheses."""
MOST_CHARACTERS = 65_536


class NotInSubset(Exception):
    """What is not understood, and where: the characters before it."""

    def __init__(self, position: int, description: str) -> None:
        super().__init__(f"character {position + 1}: {description}")
        self.position = position
        self.description = description


@dataclass(frozen=True, slots=True)
class Compared:
    """The series of a metric that stand so to a number."""

    metric: str
    matchers: tuple[Matcher, ...]
    sign: str
    number: float
    position: int = 0

    def holds(self, value: float) -> bool:
        """Whether a value stands so to the number; of what is not a number only `!=` holds."""
        match self.sign:
            case ">":
                return value > self.number
            case ">=":
                return value >= self.number
            case "<":
                return value < self.number
            case "<=":
                return value <= self.number
            case "==":
                return value == self.number
            case _:
                return value != self.number


@dataclass(frozen=True, slots=True)
class And:
    """Series of the first for which there are series with the same labels in all others."""

    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Series of the first, then those of each other whose labels were not there yet."""

    operands: tuple[Expression, ...]


Expression = Compared | And | Or


def parse(text: str) -> Expression:
    """The condition in it. Raises NotInSubset."""
    if len(text) > MOST_CHARACTERS:
        raise NotInSubset(0, f"an expression has at most {MOST_CHARACTERS:,} characters")
    return _Parser(text).whole()


def comparisons(expression: Expression) -> Iterator[Compared]:
    """Those of the tree, in their order."""
    if isinstance(expression, Compared):
        yield expression
    else:
        for each in expression.operands:
            yield from comparisons(each)


def parse_number(text: str) -> float:
    """As PromQL reads digits: those with a 0 before them are octal where they can be, in 64 bits. Raises ValueError."""
    hexadecimal = text[:2] in {"0x", "0X"}
    if hexadecimal or re.fullmatch(r"0[0-7]{1,30}", text):
        value = int(text, 16 if hexadecimal else 8)
        if value < 1 << 63:
            return float(value)
        if hexadecimal:
            raise ValueError(f"{text} does not fit into 64 bits")
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is greater than any number")
    return number


_BYTE = re.compile(r"(?<!\\)(?:\\\\)*\\C")
"""What RE2 has and Go's regular expressions have not."""


def unquoted(quoted: str) -> str:
    """A text in any of PromQL's three quotes. Raises ValueError."""
    if quoted[0] == "`":
        return quoted[1:-1]
    other = "'" if quoted[0] == '"' else '"'
    if re.search(rf"(?<!\\)(?:\\\\)*\\{other}", quoted):
        raise ValueError(f"\\{other} is not known between {quoted[0]}")
    return re.sub(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", _unescaped, quoted[1:-1])


_ESCAPES = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"', "'": "'",
}  # fmt: skip


def _unescaped(found: re.Match[str]) -> str:
    said = found[1]
    if said[0] in "xu" and len(said) > 1:
        code = int(said[1:], 16)
        if (said[0] == "x" and code > 0x7F) or 0xD800 <= code <= 0xDFFF:
            raise ValueError(f"\\{said} is no letter")
        return chr(code)
    if said not in _ESCAPES:
        raise ValueError(f"\\{said} is not known")
    return _ESCAPES[said]


class Token(NamedTuple):
    """A word of the expression, and the characters before it."""

    kind: str
    text: str
    at: int


TEXT = r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|`[^`]*`"
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_TOKEN = re.compile(
    rf"""(?:[\ \t\r\n]+|\#[^\r\n]*)|
    (?P<number>0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?P<unit>[a-zA-Z_0-9]*)
  | (?P<name>{NAME})
  | (?P<text>{TEXT})
  | (?P<sign>=~|!~|!=|==|>=|<=|[=<>(){{}},+\-*/%^@\[\]])
  | (?P<odd>.)""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)


def tokens(text: str) -> Iterator[Token]:
    """The words, then one that is empty. Raises NotInSubset."""
    for found in _TOKEN.finditer(text):
        if found["unit"]:
            if found["unit"] not in _UNITS:
                raise NotInSubset(found.start(), f"{found[0]!r} is no number")
            yield Token("duration", found[0], found.start())
            continue
        if found["odd"]:
            said = (
                "a text has no end" if found["odd"] in "\"'`" else f"{found['odd']!r} is not known"
            )
            raise NotInSubset(found.start(), said)
        for kind in ("number", "name", "text", "sign"):
            if found[kind] is not None:
                yield Token(kind, found[kind], found.start())
    yield Token("end", "", len(text))


_UNITS = {"ms", "s", "m", "h", "d", "w", "y"}
_COMPARISONS = {">", ">=", "<", "<=", "==", "!="}
_ARITHMETIC = {"+", "-", "*", "/", "%", "^", "atan2"}
_AGGREGATIONS = {
    "sum", "min", "max", "avg", "count", "group", "stddev", "stdvar", "topk", "bottomk", "count_values", "quantile",
}  # fmt: skip
_WORDS = {
    "unless": "unless",
    "on": "on(…), matching by some of the labels,",
    "ignoring": "ignoring(…), matching by some of the labels,",
    "group_left": "group_left",
    "group_right": "group_right",
    "bool": "bool",
    "offset": "offset",
    "atan2": "arithmetic (atan2)",
    "@": "@, a fixed time,",
    "[": "a range in […]",
}
_MATCH = {
    "=": MatchType.EQUAL,
    "!=": MatchType.NOT_EQUAL,
    "=~": MatchType.REGEX,
    "!~": MatchType.NOT_REGEX,
}
OWN_METRICS = ("ALERTS", "ALERTS_FOR_STATE")
"""What Prometheus makes of alerts themselves."""


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = list(tokens(text))
        self._next = 0

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    def _word(self) -> str:
        """The next word, in lower case where it is one of PromQL's own."""
        return self._token.text.lower() if self._token.kind == "name" else self._token.text

    def _take(self) -> Token:
        token = self._token
        self._next += token.kind != "end"
        return token

    def _expect(self, sign: str) -> None:
        if self._token.text != sign or self._token.kind != "sign":
            self._refuse(f"expected {sign}")
        self._take()

    def whole(self) -> Expression:
        expression = self._disjunction(0)
        if self._token.kind != "end":
            self._refuse("expected and, or, or the end")
        return expression

    def _disjunction(self, deep: int) -> Expression:
        operands = [self._conjunction(deep)]
        while self._word() == "or":
            self._take()
            operands.append(self._conjunction(deep))
        return operands[0] if len(operands) == 1 else Or(tuple(operands))

    def _conjunction(self, deep: int) -> Expression:
        operands = [self._operand(deep)]
        while self._word() == "and":
            self._take()
            operands.append(self._operand(deep))
        return operands[0] if len(operands) == 1 else And(tuple(operands))

    def _operand(self, deep: int) -> Expression:
        if self._token.text != "(" or self._token.kind != "sign":
            return self._compared()
        if deep == MOST_DEEP:
            raise NotInSubset(self._token.at, f"more than {MOST_DEEP} parentheses in one another")
        self._take()
        inner = self._disjunction(deep + 1)
        self._expect(")")
        if self._token.text in _COMPARISONS:
            self._refuse("a condition in parentheses is not compared again")
        return inner

    def _compared(self) -> Compared:
        token = self._token
        metric, matchers = self._selector()
        if self._token.text not in _COMPARISONS:
            self._refuse(f"{metric} has to be compared with a number, as {metric} > 0.5")
        sign = self._take().text
        number = self._number()
        if self._token.text in _COMPARISONS:
            self._refuse("what was compared is not compared again")
        return Compared(metric, matchers, sign, number, token.at)

    def _selector(self) -> tuple[str, tuple[Matcher, ...]]:
        token = self._token
        if token.kind == "sign" and token.text == "{":
            self._refuse("the name of a metric has to stand before {")
        if token.kind in {"number", "text"} or token.text in {"-", "+"}:
            self._refuse("the metric stands on the left, and the number on the right")
        if token.kind != "name":
            self._refuse("expected the name of a metric")
        following = self._tokens[self._next + 1].text
        if token.text.lower() in _AGGREGATIONS and following.lower() in {"(", "by", "without"}:
            raise NotInSubset(token.at, f"the aggregation {token.text} is not taken here")
        if following == "(" and token.text.lower() not in _WORDS:
            raise NotInSubset(token.at, f"the function {token.text} is not taken here")
        if token.text.lower() in {*_WORDS, "and", "or", "inf", "nan"}:
            self._refuse("expected the name of a metric")
        if token.text in OWN_METRICS:
            raise NotInSubset(token.at, f"{token.text}, alerts about alerts, is not taken here")
        self._take()
        matchers = tuple(self._matchers()) if self._token.text == "{" else ()
        return token.text, matchers

    def _matchers(self) -> Iterator[Matcher]:
        self._expect("{")
        while self._token.text != "}":
            yield self._matcher()
            if self._token.text != "}":
                self._expect(",")
        self._take()

    def _matcher(self) -> Matcher:
        name = self._take()
        if name.kind != "name" or ":" in name.text:
            raise NotInSubset(name.at, "expected the name of a label")
        if name.text == "__name__":
            raise NotInSubset(name.at, "the name of the metric stands before {, once")
        sign = self._take()
        if sign.kind != "sign" or sign.text not in _MATCH:
            raise NotInSubset(sign.at, f"expected one of {', '.join(_MATCH)}")
        value = self._take()
        if value.kind != "text":
            raise NotInSubset(value.at, "expected a text in quotes")
        try:
            matcher = Matcher(name.text, _MATCH[sign.text], unquoted(value.text))
            if "~" in sign.text and _BYTE.search(matcher.value):
                raise NotInSubset(value.at, "\\C, one byte of a letter, is not taken here")
            check(matcher, name.text)
        except ValueError as error:
            raise NotInSubset(value.at, str(error)) from error
        except InvalidArgument as error:
            raise NotInSubset(value.at, error.description) from error
        return matcher

    def _number(self) -> float:
        sign = 1.0
        while self._token.text in {"+", "-"} and self._token.kind == "sign":
            sign = -sign if self._take().text == "-" else sign
        token = self._token
        word = self._word()
        if token.kind == "number":
            try:
                value = parse_number(token.text)
            except ValueError as error:
                raise NotInSubset(token.at, str(error)) from error
        elif word in {"inf", "nan"}:
            value = math.inf if word == "inf" else math.nan
        elif token.kind == "name" and word not in _WORDS:
            self._refuse(f"a metric is compared with a number, not with {token.text}")
        else:
            self._refuse("expected a number")
        self._take()
        return sign * value

    def _refuse(self, expected: str) -> NoReturn:
        """Names what is known of PromQL and not taken, or says what was expected."""
        token, word = self._token, self._word()
        if token.kind == "end":
            raise NotInSubset(token.at, f"{expected}, and this is the end")
        if token.kind == "duration":
            raise NotInSubset(token.at, f"{expected}, and {token.text} is a duration")
        if word in _WORDS and token.kind != "text":
            raise NotInSubset(token.at, f"{_WORDS[word]} is not taken here")
        if word in _ARITHMETIC and self._next and token.kind == "sign":
            raise NotInSubset(token.at, f"arithmetic ({word}) is not taken here")
        raise NotInSubset(token.at, f"{expected}, and this is {token.text!r}")
