"""The fields of a mapping in a file, each taken once, so that what nobody knows is refused with its line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pilothouse_server.rulefiles.yaml_text import Entries, Items, Node, Refused, Text, scalar

_DURATION = re.compile(
    r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII
)
_UNITS_US = (
    31_536_000_000_000, 604_800_000_000, 86_400_000_000, 3_600_000_000, 60_000_000, 1_000_000, 1000,
)  # fmt: skip
MOST_US = 100 * _UNITS_US[0]


class Fields:
    """One mapping; `what` is what it should be, for those who wrote something else."""

    def __init__(self, node: Node, what: str) -> None:
        if not isinstance(node, Entries):
            raise Refused(node.line, f"expected {what}")
        self.line = node.line
        self._entries = node
        self._left = dict(node.entries)
        self._known: list[str] = []

    def line_of(self, key: str) -> int:
        """Where a field is; where the mapping begins if it is not there."""
        return self._entries.lines.get(key, self.line)

    def get(self, key: str) -> Node | None:
        """One field, if it is there and says something."""
        self._known.append(key)
        node = self._left.pop(key, None)
        nothing = isinstance(node, Text) and scalar(node) is None
        return None if nothing else node

    def text(self, key: str, default: str | None = None) -> str:
        """A scalar as it was written."""
        node = self.get(key)
        if node is None:
            if default is None:
                raise Refused(self.line, f"{key} is missing")
            return default
        return text_of(node, key)

    def texts(self, key: str) -> dict[str, str]:
        """A mapping of scalars."""
        node = self.get(key)
        if node is None:
            return {}
        if not isinstance(node, Entries):
            raise Refused(node.line, f"{key} is a mapping of texts")
        return {name: text_of(each, f"{key}.{name}") for name, each in node.entries.items()}

    def items(self, key: str) -> list[Node]:
        """A list; empty when it is not there."""
        node = self.get(key)
        if node is None:
            return []
        if not isinstance(node, Items):
            raise Refused(node.line, f"{key} is a list")
        return node.items

    def duration(self, key: str, default: int | None = 0) -> int:
        """Microseconds of `1h30m`, as Prometheus writes it."""
        node = self.get(key)
        if node is None:
            if default is None:
                raise Refused(self.line, f"{key} is missing")
            return default
        return duration_of(text_of(node, key), self.line_of(key), key)

    def refuse(self, key: str, why: str) -> None:
        """A field that is known and not taken."""
        if key in self._left:
            raise Refused(self.line_of(key), f"{key} {why}")

    def end(self) -> None:
        """Raises Refused when something is left."""
        for key in self._left:
            known = ", ".join(self._known)
            raise Refused(self.line_of(key), f"{key!r} is not known here; known are {known}")


def text_of(node: Node, what: str) -> str:
    """A scalar as it was written."""
    if not isinstance(node, Text):
        raise Refused(node.line, f"{what} is a text")
    return "" if scalar(node) is None else node.text


def duration_of(text: str, line: int, what: str) -> int:
    """Microseconds."""
    if text == "0":
        return 0
    found = _DURATION.fullmatch(text)
    if found is None or not text or len(text) > 64:
        raise Refused(line, f"{what}: {text!r} is no duration, as 30s, 5m or 1h30m")
    us = sum(
        int(amount or 0) * size for amount, size in zip(found.groups(), _UNITS_US, strict=True)
    )
    if us > MOST_US:
        raise Refused(line, f"{what}: {text} is longer than 100 years")
    return us


def numbered(nodes: list[Node], what: str) -> Iterator[Fields]:
    """Each of a list as a mapping."""
    for node in nodes:
        yield Fields(node, what)
