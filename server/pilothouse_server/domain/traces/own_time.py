"""What a span's own time was spent on.

Own time is what no child of a span answers for. It is one of the span's waits, or else work; and of that

- in an attempt that failed and was tried again, work and queueing are RETRY, and so is the time between two attempts;
- while something above waits or is paused, time that is queued, and own time of a workflow, an attempt or a stage, is
  that span's WAIT or PAUSE, and told as its: nothing below could begin. A task that is at work works all the same.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final, NamedTuple

from pilothouse_server.domain.traces.causes import CONTAINERS, NONE, Causes
from pilothouse_server.domain.traces.model import LinkKind, TimeKind, Wait

_WORK: Final = TimeKind.WORK
_RETRY: Final = TimeKind.RETRY
"""Members of an enumeration are found slowly, and there are many spans."""
_HOLDS: Final = (TimeKind.WAIT, TimeKind.PAUSE)


class Step(NamedTuple):
    """A piece of time that one span answers for; `span` is its place in the trace."""

    span: int
    start_us: int
    end_us: int
    kind: TimeKind

    @property
    def length_us(self) -> int:
        """How long it is."""
        return self.end_us - self.start_us


class _Waits(NamedTuple):
    ends: list[int]
    waits: list[tuple[int, int, TimeKind]]


class OwnTime:
    """Tells what pieces of own time were spent on."""

    __slots__ = ("_causes", "_held", "_holder", "_lost", "_waits")

    def __init__(self, causes: Causes) -> None:
        self._causes = causes
        spans = causes.trace.spans
        self._waits: dict[int, _Waits] = {}
        self._held: dict[int, _Waits] = {}
        """Of the waits those that hold what is below."""
        retry = LinkKind.RETRY_OF
        retried = {
            link.span_id
            for span in spans
            for link in span.links
            if link.kind is retry and not link.trace_id
        }
        self._lost = bytearray(len(spans))
        """Whether it is, or is in, an attempt that was tried again."""
        self._holder = [NONE] * len(spans)
        """The nearest one above that held what is below it at some time."""
        for place, (span, above) in enumerate(zip(spans, causes.parent, strict=True)):
            if span.waits:
                self._note(place, span.waits)
            if above != NONE:
                self._lost[place] = self._lost[above] or span.id in retried
                self._holder[place] = above if above in self._held else self._holder[above]

    def _note(self, place: int, waits: list[Wait]) -> None:
        until = self._causes.end[0]
        all_of_it = [
            (each.start_us, until if each.end_us is None else each.end_us, each.kind)
            for each in sorted(waits, key=lambda each: each.start_us)
        ]
        self._waits[place] = _Waits([ends for _, ends, _ in all_of_it], all_of_it)
        held = [each for each in all_of_it if each[2] in _HOLDS]
        if held:
            self._held[place] = _Waits([ends for _, ends, _ in held], held)

    def of(self, place: int, start_us: int, end_us: int, *, again: bool = False) -> list[Step]:
        """The steps that are the piece, in order; `again`: it lies between two attempts."""
        if start_us >= end_us:
            return []
        base = _RETRY if again or self._lost[place] else _WORK
        if place not in self._waits and self._holder[place] == NONE:
            return [Step(place, start_us, end_us, base)]
        found: list[Step] = []
        stands = again or self._causes.trace.spans[place].kind in CONTAINERS
        for step in _cut(Step(NONE, start_us, end_us, base), self._waits.get(place), place):
            waited, kind = step.span == place, step.kind
            if kind == TimeKind.QUEUE and self._lost[place]:
                kind = TimeKind.RETRY
            named = step._replace(span=place, kind=kind)
            if kind not in _HOLDS and (waited or stands):
                found += self._explained(named)
            else:
                found.append(named)
        return found

    def _explained(self, step: Step) -> list[Step]:
        """Parts of it in which something above held all below are that one's; the nearest first."""
        open_steps, done, holder = [step], list[Step](), self._holder[step.span]
        while holder != NONE and open_steps:
            parts = [part for each in open_steps for part in _cut(each, self._held[holder], holder)]
            done += [part for part in parts if part.span == holder]
            open_steps = [part for part in parts if part.span != holder]
            holder = self._holder[holder]
        return sorted([*done, *open_steps], key=lambda part: part.start_us)


def _cut(step: Step, waits: _Waits | None, owner: int) -> list[Step]:
    """The step with the waits laid over it, told as the owner's."""
    if waits is None:
        return [step]
    found: list[Step] = []
    at = step.start_us
    for begins, ends, kind in waits.waits[bisect_right(waits.ends, at) :]:
        low, high = max(begins, at), min(ends, step.end_us)
        if begins >= step.end_us:
            break
        if low >= high:
            continue
        if low > at:
            found.append(step._replace(start_us=at, end_us=low))
        found.append(Step(owner, low, high, kind))
        at = high
    if at < step.end_us:
        found.append(step._replace(start_us=at))
    return found
