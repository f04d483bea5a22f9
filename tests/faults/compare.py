"""Where two trees of plain data differ, in words: the path, what should be there, what is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

SHOWN = 60
"""Differences that are listed; of the rest only the number."""


def differences(expected: Any, seen: Any, path: str = "", *, whole: bool = True) -> Iterator[str]:
    """Each difference, a line. What is expected is the `whole`, or else the part that has to be there."""
    if isinstance(expected, dict) and isinstance(seen, dict):
        keys: set[str] = {*expected, *seen}
        for key in sorted(keys):
            here = f"{path} › {key}" if path else key
            if key not in seen:
                yield f"{here}: missing; should be {expected[key]!r}"
            elif key in expected:
                yield from differences(expected[key], seen[key], here, whole=whole)
            elif whole:
                yield f"{here}: should not be there; is {seen[key]!r}"
    elif expected != seen:
        yield f"{path}: should be {expected!r}; is {seen!r}"


def report(found: list[str]) -> str:
    """The list as a person reads it."""
    more = len(found) - SHOWN
    rest = [f"… and {more} more"] if more > 0 else []
    return "\n".join(f"    {line}" for line in (*found[:SHOWN], *rest))
