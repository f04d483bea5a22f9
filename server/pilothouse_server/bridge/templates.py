"""Path templates of google.api.http, matched against the path as it was sent, before percent-decoding.

    Template = "/" Segments [ Verb ]      Segment  = "*" | "**" | LITERAL | Variable
    Segments = Segment { "/" Segment }    Variable = "{" FieldPath [ "=" Segments ] "}"      Verb = ":" LITERAL

Matching first and decoding after keeps an id that holds a slash or a colon (`%2F`, `%3A`) in one piece. A
verb is what follows the last colon of the path. Of two templates that match, the one with more literal text
wins.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote

_TOKEN = re.compile(r"\*\*|\*|[{}=/:]|[^*{}=/:]+")
_FIELD_PATH = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
_KEPT_SLASH = re.compile("%2f", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PathTemplate:
    """A template that was understood."""

    text: str
    pattern: re.Pattern[str]
    variables: tuple[str, ...]
    """The field paths, in the order of the groups of the pattern."""
    single: frozenset[str]
    """Those that match one segment."""
    literals: int
    """How many characters are literal."""

    def match(self, raw_path: str) -> dict[str, str] | None:
        """The values of the variables, decoded, or None. ValueError where one is not UTF-8."""
        found = self.pattern.fullmatch(raw_path)
        if found is None:
            return None
        return {name: self._decode(name, found[i + 1]) for i, name in enumerate(self.variables)}

    def _decode(self, name: str, raw: str) -> str:
        if name not in self.single:
            raw = _KEPT_SLASH.sub("%252F", raw)
        return unquote(raw, errors="strict")


def parse(text: str) -> PathTemplate:
    """Understand a template; ValueError says what is wrong with it."""
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _TOKEN.findall(text)
        self._at = 0
        self._variables: list[str] = []
        self._single: set[str] = set()
        self._literals = 0

    def parse(self) -> PathTemplate:
        self._expect("/")
        pattern = "/" + self._segments()
        if self._peek() == ":":
            self._at += 1
            pattern += ":" + self._literal()
        if self._peek():
            raise self._wrong("nothing more")
        if len(set(self._variables)) != len(self._variables):
            raise self._wrong("each field once")
        variables, single = tuple(self._variables), frozenset(self._single)
        return PathTemplate(self._text, re.compile(pattern), variables, single, self._literals)

    def _segments(self) -> str:
        parts = [self._segment()]
        while self._peek() == "/":
            self._at += 1
            parts.append(self._segment())
        return "/".join(parts)

    def _segment(self) -> str:
        match self._peek():
            case "**":
                self._at += 1
                return ".*"
            case "*":
                self._at += 1
                return "[^/]+"
            case "{":
                return self._variable()
            case _:
                return self._literal()

    def _variable(self) -> str:
        self._expect("{")
        name = self._next()
        if not _FIELD_PATH.fullmatch(name):
            raise self._wrong("a field")
        self._variables.append(name)
        inner = "[^/]+"
        if self._peek() == "=":
            self._at += 1
            if self._peek() == "{":
                raise self._wrong("no variable in a variable")
            inner = self._segments()
        self._expect("}")
        if inner == "[^/]+":
            self._single.add(name)
        return f"({inner})"

    def _literal(self) -> str:
        text = self._next()
        if not text or text[0] in "*{}=/:":
            raise self._wrong("a literal")
        self._literals += len(text)
        return re.escape(text)

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def _expect(self, token: str) -> None:
        if self._next() != token:
            raise self._wrong(repr(token))

    def _wrong(self, expected: str) -> ValueError:
        place = len("".join(self._tokens[: max(0, self._at - 1)]))
        return ValueError(f"path template {self._text!r}: at {place} expected {expected}")
