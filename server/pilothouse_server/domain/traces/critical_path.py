"""The critical path: what the end of a trace waited for, back to its beginning, without a gap.

It is walked backwards. From the end of a span one goes to the child that ended last (of several the longest); from the
beginning of a child to the one that it waited for (`Causes.before`), and from the first one back to the beginning of
the span. What lies between is the span's own time. Inside a child the same is done. So the steps are a partition of the
whole, from the trace's start to its end or until now, to the microsecond, whatever was reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

from pilothouse_server.domain.traces.causes import NONE, Causes
from pilothouse_server.domain.traces.model import SpanKind, TimeKind
from pilothouse_server.domain.traces.own_time import OwnTime, Step


class Basis(IntEnum):
    """From what it is known which span waited for which. The numbers are those of the contract."""

    KNOWN = 1
    NESTING = 2
    MIXED = 3


@dataclass(frozen=True, slots=True)
class CriticalPath:
    """`steps` in the order of time; each begins where the one before it ends, and none is empty."""

    steps: Sequence[Step]
    basis: Basis


def critical_path(causes: Causes, own_time: OwnTime) -> CriticalPath:
    """Linear in the spans that it visits; no recursion, so any depth will do."""
    steps: list[Step] = []
    known = guessed = False
    start, end, before, last = causes.start, causes.end, causes.before, causes.last
    spans, again, estimated = causes.trace.spans, causes.again, causes.estimated
    nested = SpanKind.SPAN
    above: list[tuple[int, int]] = []
    at, high, child, retried = 0, end[0], last[0], False
    while True:
        if child != NONE:
            if end[child] < high:
                steps += own_time.of(at, end[child], high, again=retried)[::-1]
            if spans[child].kind is nested:
                guessed = True
            else:
                known = True
            above.append((at, child))
            at, high, child, retried = child, end[child], last[child], False
            continue
        if start[at] < high:
            steps += own_time.of(at, start[at], high)[::-1]
        if not above:
            break
        at, came = above.pop()
        high, child, retried = start[came], before[came], came in again
        if child != NONE:
            guessed = guessed or came in estimated
            known = known or came not in estimated
    steps.reverse()
    basis = Basis.MIXED if known and guessed else Basis.NESTING if guessed else Basis.KNOWN
    return CriticalPath(_joined(steps), basis)


def _joined(steps: Sequence[Step]) -> list[Step]:
    """Neighbours that are the same are one."""
    found: list[Step] = []
    for step in steps:
        if found and found[-1].span == step.span and found[-1].kind == step.kind:
            found[-1] = found[-1]._replace(end_us=step.end_us)
        else:
            found.append(step)
    return found


def condensed(steps: Sequence[Step], limit: int) -> Sequence[Step]:
    """At most so many steps over the same time: the longest stay, and what lies between two of them is told as one
    step, in the name of the longest in it."""
    if len(steps) <= limit:
        return steps
    ranked = sorted(
        range(len(steps)), key=lambda place: steps[place].end_us - steps[place].start_us
    )
    kept = sorted(ranked[len(steps) - (limit - 1) // 2 :])
    found: list[Step] = []
    for place, following in pairwise([NONE, *kept, len(steps)]):
        if place != NONE:
            found.append(steps[place])
        between = steps[place + 1 : following]
        if between:
            longest = max(between, key=lambda step: step.end_us - step.start_us)
            found.append(longest._replace(start_us=between[0].start_us, end_us=between[-1].end_us))
    return found


def by_span(steps: Sequence[Step]) -> dict[int, int]:
    """How much of the path each span answers for, by its place in the trace."""
    found: dict[int, int] = {}
    for span, start_us, end_us, _ in steps:
        found[span] = found.get(span, 0) + end_us - start_us
    return found


def split(steps: Sequence[Step]) -> dict[TimeKind, int]:
    """How long the path was on each kind; only those that there are."""
    found: dict[TimeKind, int] = {}
    for _, start_us, end_us, kind in steps:
        found[kind] = found.get(kind, 0) + end_us - start_us
    return found
