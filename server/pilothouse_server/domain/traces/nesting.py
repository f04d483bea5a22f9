"""Which span is in which: parents that were named, and in what order they are shown. Nothing here is recursive, so that
a chain as long as a trace can be is no deeper than any other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from heapq import merge
from itertools import islice
from typing import Any, Final, TypeVar

from pilothouse_server.domain.traces.model import Span

T = TypeVar("T")

AT_ONCE: Final = 4096
"""Spans that are sorted in one go, so that nobody waits long for the interpreter."""


def cyclic(parents: Mapping[str, str]) -> list[str]:
    """The ids that are above themselves, in the order of `parents`."""
    done: set[str] = set()
    found: set[str] = set()
    for first in parents:
        path: list[str] = []
        place: dict[str, int] = {}
        at = first
        while at in parents and at not in done and at not in place:
            place[at] = len(path)
            path.append(at)
            at = parents[at]
        if at in place:
            found.update(path[place[at] :])
        done.update(path)
    return [each for each in parents if each in found]


def in_order(root: Span, spans: Iterable[Span]) -> list[Span]:
    """The root first, each span after the one above it, siblings by their beginning. What is not below the root is left
    out."""
    below: dict[str, list[Span]] = {}
    for span in spans:
        below.setdefault(span.parent_id, []).append(span)
    ordered: list[Span] = []
    waiting = [root]
    while waiting:
        span = waiting.pop()
        ordered.append(span)
        children = below.pop(span.id, None)
        if children:
            waiting.extend(reversed(by_beginning(children)))
    return ordered


def by_beginning(spans: Collection[Span]) -> list[Span]:
    """Sorted by (start, id)."""
    return in_parts(spans, _beginning)


def in_parts(items: Collection[T], key: Callable[[T], tuple[Any, ...]]) -> list[T]:
    """Sorted, at most `AT_ONCE` in one go: sorting lets nobody else have the interpreter, merging does."""
    if len(items) <= AT_ONCE:
        return sorted(items, key=key)
    remaining = iter(items)
    parts: list[list[T]] = []
    while some := list(islice(remaining, AT_ONCE)):
        parts.append(sorted(some, key=key))
    return list(merge(*parts, key=key))


def _beginning(span: Span) -> tuple[int, str]:
    return span.start_us, span.id
