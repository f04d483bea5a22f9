"""The syntax of `{{ … }}`: the part of Go's text/template, as Prometheus fills it, that has no loops and no variables.

Everything that can be known beforehand is checked here: names, the number of arguments and what kind each is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, NoReturn, assert_never

from pilothouse_server.domain.alerts import formatting
from pilothouse_server.domain.alerts.formatting import NotPrintable, Verb

MOST_CHARACTERS = 4096
MOST_DEEP = 10
"""Parentheses and pipes."""

ON_NUMBERS = frozenset(
    {"humanize", "humanize1024", "humanizeDuration", "humanizePercentage", "humanizeTimestamp"}
)
ON_TEXTS = frozenset({"title", "toLower", "toUpper"})
FUNCTIONS = (*sorted(ON_NUMBERS), *sorted(ON_TEXTS), "printf")


class NotATemplate(Exception):
    """What is wrong with a template, in words."""


@dataclass(frozen=True, slots=True)
class Constant:
    value: str | float | int


@dataclass(frozen=True, slots=True)
class Label:
    """One of the alert's labels; "" when it has none of that name."""

    name: str


@dataclass(frozen=True, slots=True)
class Labels:
    """All of them, as Go prints a map."""


@dataclass(frozen=True, slots=True)
class Value:
    """What the condition was judged by."""


@dataclass(frozen=True, slots=True)
class Call:
    """One of ON_NUMBERS or ON_TEXTS."""

    function: str
    argument: Node


@dataclass(frozen=True, slots=True)
class Printf:
    verbs: tuple[Verb, ...]
    arguments: tuple[Node, ...]


Node = Constant | Label | Labels | Value | Call | Printf


def parse(text: str) -> tuple[str | Node, ...]:
    """The texts and the nodes between them. Raises NotATemplate."""
    if len(text) > MOST_CHARACTERS:
        raise NotATemplate(f"a template has at most {MOST_CHARACTERS:,} characters")
    return tuple(part for part in _Parser(text).parts() if part != "")


def needs_value(node: Node) -> bool:
    """Whether `$value` is in it."""
    match node:
        case Value():
            return True
        case Call(_, argument):
            return needs_value(argument)
        case Printf(_, arguments):
            return any(needs_value(each) for each in arguments)
        case Constant() | Label() | Labels():
            return False
        case _:
            assert_never(node)


class _Token(NamedTuple):
    kind: str
    text: str
    spaced: bool
    """Whether white space is before it."""


_COMMENT = re.compile(r"\{\{(-\s)?/\*.*?\*/(\s-)?\}\}", re.DOTALL)
_BEGIN = re.compile(r"\{\{(-(?=\s))?")
_END = re.compile(r"\s+(-)\}\}|\s*\}\}")
_TOKEN = re.compile(
    r"""(?P<space>\s*)(?:
    (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
  | (?P<name>[$.]?[^\W\d]\w*(?:\.\w+)*|[$.])
  | (?P<quoted>"(?:[^"\\\n]|\\.)*")
  | (?P<raw>`[^`]*`)
  | (?P<sign>:=|[|()=,])
  | (?P<odd>\S))""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._token: _Token | None = None
        self._trims = False

    def parts(self) -> Iterator[str | Node]:
        """Texts and nodes in turn."""
        trim_next = False
        while True:
            found = _BEGIN.search(self._text, self._at)
            plain = self._text[self._at : found.start() if found else None]
            plain = plain.lstrip(" \t\r\n") if trim_next else plain
            yield plain.rstrip(" \t\r\n") if found and found[1] else plain
            if found is None:
                return
            comment = _COMMENT.match(self._text, found.start())
            if comment is not None:
                self._at, trim_next = comment.end(), bool(comment[2])
                continue
            self._at = found.end()
            yield self._action()
            trim_next = self._trims

    def _action(self) -> Node:
        self._advance()
        node = self._pipeline(None, 1)
        if self._token is not None:
            self._refuse(self._token)
        return node

    def _advance(self) -> None:
        """Looks at the next token; None at the end of the action."""
        end = _END.match(self._text, self._at)
        if end is not None:
            self._at, self._trims, self._token = end.end(), bool(end[1]), None
            return
        found = _TOKEN.match(self._text, self._at)
        if found is None or found.lastgroup is None:
            raise NotATemplate("a {{ has no }}")
        self._at = found.end()
        self._token = _Token(found.lastgroup, found[found.lastgroup], bool(found["space"]))

    def _pipeline(self, piped: Node | None, deep: int) -> Node:
        """Commands with `|` between; what one says is the last argument of the next."""
        if deep > MOST_DEEP:
            raise NotATemplate(f"more than {MOST_DEEP} pipes and parentheses in one another")
        node = self._command(piped, deep)
        if self._token is not None and self._token.text == "|":
            self._advance()
            return self._pipeline(node, deep + 1)
        return node

    def _command(self, piped: Node | None, deep: int) -> Node:
        token = self._token
        if token is None:
            raise NotATemplate("something is missing before }}")
        if token.kind == "name" and token.text[0] not in "$.":
            if token.text not in FUNCTIONS:
                raise NotATemplate(
                    f"{token.text} is not known here; allowed are {', '.join(FUNCTIONS)}"
                )
            self._advance()
            return _call(token.text, [*self._operands(deep), *([] if piped is None else [piped])])
        first = self._operand(deep)
        if piped is not None or any(True for _ in self._operands(deep)):
            raise NotATemplate(f"{token.text!r} is no function, so it takes no argument")
        return first

    def _operands(self, deep: int) -> list[Node]:
        operands: list[Node] = []
        while self._token is not None and self._token.text not in {"|", ")"}:
            if not self._token.spaced:
                raise NotATemplate(f"a space is missing before {self._token.text!r}")
            operands.append(self._operand(deep))
        return operands

    def _operand(self, deep: int) -> Node:
        token = self._token
        if token is None:
            raise NotATemplate("something is missing before }}")
        match token.kind, token.text:
            case "sign", "(":
                self._advance()
                node = self._pipeline(None, deep + 1)
                closing = self._token
                if closing is None or closing.text != ")":
                    raise NotATemplate("a ( has no )")
            case "quoted", text:
                node = Constant(re.sub(r"\\(.)", _unescaped, text[1:-1]))
            case "raw", text:
                node = Constant(text[1:-1])
            case "number", text:
                node = _number(text)
            case "name", text:
                node = _named(text)
            case _:
                self._refuse(token)
        self._advance()
        return node

    def _refuse(self, token: _Token) -> NoReturn:
        if token.text in {":=", "="}:
            raise NotATemplate("variables cannot be set here")
        if token.text in {'"', "`"}:
            raise NotATemplate("a text in quotes has no end")
        raise NotATemplate(f"{token.text!r} was not expected")


def _unescaped(found: re.Match[str]) -> str:
    if found[1] not in _ESCAPES:
        raise NotATemplate(f"\\{found[1]} in a text is not known")
    return _ESCAPES[found[1]]


def _number(text: str) -> Constant:
    if re.fullmatch(r"[+-]?(?:0|[1-9]\d{0,17})", text):
        return Constant(int(text))
    if re.fullmatch(r"[+-]?\d+", text, re.ASCII) or math.isinf(float(text)):
        raise NotATemplate(f"{text} cannot be used as a number here")
    return Constant(float(text))


def _named(text: str) -> Node:
    match text.split("."):
        case ["$labels"] | ["", "Labels"]:
            return Labels()
        case ["$labels", name] | ["", "Labels", name]:
            return Label(name)
        case ["$value"] | ["", "Value"]:
            return Value()
        case ["$labels" | "$value", *_] | ["", "Labels" | "Value", *_]:
            raise NotATemplate(f"{text} goes too deep")
        case [name] if name in FUNCTIONS:
            raise NotATemplate(f"{name} with its arguments has to be in parentheses")
        case _:
            raise NotATemplate(
                f"{text} is not known here; allowed are $labels.name, $value and {', '.join(FUNCTIONS)}"
            )


def _call(name: str, arguments: list[Node]) -> Node:
    if name == "printf":
        return _printf(arguments)
    if len(arguments) != 1:
        raise NotATemplate(f"{name} takes one argument, and this is {len(arguments)}")
    kind = _kind(arguments[0])
    # A label is a text that may well be a number; a whole number Prometheus would refuse too.
    if kind not in ({"a text", "a number"} if name in ON_NUMBERS else {"a text"}):
        raise NotATemplate(f"{name} cannot take {kind}")
    return Call(name, arguments[0])


def _printf(arguments: list[Node]) -> Printf:
    match arguments:
        case [Constant(str(text)), *rest]:
            pass
        case _:
            raise NotATemplate('printf needs a format in quotes first, as "%.2f"')
    try:
        verbs = formatting.verbs(text)
    except NotPrintable as error:
        raise NotATemplate(f"printf: {error}") from error
    takers = [verb for verb in verbs if verb.kind]
    if len(takers) != len(rest):
        raise NotATemplate(
            f"printf: {text!r} takes {len(takers)} arguments, and this is {len(rest)}"
        )
    for verb, argument in zip(takers, rest, strict=True):
        wanted, kind = formatting.VERBS[verb.kind], _kind(argument)
        if kind == "all labels" or wanted not in ("anything", kind):
            raise NotATemplate(f"printf: {verb.text} prints {wanted}, and cannot print {kind}")
        # Go fills these up with zeros, as it does with nothing else.
        if (kind == "a text" and "0" in verb.flags) or (
            kind == "a whole number" and verb.precision
        ):
            raise NotATemplate(f"printf: {verb.text} says more than {kind} takes")
    return Printf(verbs, tuple(rest))


def _kind(node: Node) -> Literal["a text", "a number", "a whole number", "all labels"]:
    match node:
        case Constant(str()) | Label() | Call() | Printf():
            return "a text"
        case Constant(int()):
            return "a whole number"
        case Constant() | Value():
            return "a number"
        case Labels():
            return "all labels"
        case _:
            assert_never(node)
