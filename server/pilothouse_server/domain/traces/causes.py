"""Which span waited for which: what the critical path, slack and savings are computed over.

Times first. The root is from the trace's start to its end, or until now. Every other span is clipped to the one above
it; one that has not ended is taken to go on as long as that one. A span of which nothing lies within the one above has
no part in this, nor has what is below it: it held nothing up.

Then causes, always among spans below the same one. One *can* have waited for another if that had ended when it began.
It is *known* to have waited for those that its links name (FOLLOWS, RETRY_OF), as far as the times allow that; without
any, it is *taken* to have waited for all that had ended. What lay between the last of those (its `ready`) and its
beginning was its parent's own time, and so was what lay between the end of the last child and the parent's end.

So a trace is a system of "begins so long after", which can be solved again with other lengths: `duration_with`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pilothouse_server.domain.traces.model import LinkKind, ProblemKind, Span, SpanKind, Trace

MAX_SPANS: Final = 100_000
"""Spans of one trace that are analysed."""
NONE: Final = -1


@dataclass(frozen=True, slots=True)
class Unanalysable:
    """Why there is nothing to compute over, in words."""

    reason: str


class Causes:
    """Spans are told by their place in `trace.spans`; `NONE` is no span."""

    __slots__ = (
        "again",
        "before",
        "children",
        "done",
        "end",
        "estimated",
        "inside",
        "known",
        "last",
        "parent",
        "reach",
        "ready",
        "sorted_by_end",
        "start",
        "trace",
    )

    def __init__(
        self, trace: Trace, places: Mapping[str, int], parent: list[int], until_us: int
    ) -> None:
        count = len(trace.spans)
        self.trace = trace
        self.parent = parent
        self.start = [0] * count
        self.end = [0] * count
        self.inside = bytearray(count)
        """Whether it has a part in this."""
        self.children: dict[int, list[int]] = {}
        """By (start, end, place): none can have waited for a later one. Only of those that have any."""
        self.sorted_by_end: dict[int, list[int]] = {}
        self.known: dict[int, list[int]] = {}
        """For which ones it is known to have waited."""
        self.again: set[int] = set()
        """Those that are another attempt at the one before them."""
        self.estimated: set[int] = set()
        """Those of which `before` is taken from the times alone."""
        self.before = [NONE] * count
        """Of those that it waited for the one that ended last; of several the longest."""
        self.reach = [0] * count
        """How many of its siblings, sorted by their ends, it is taken to have waited for."""
        self.ready: list[int]
        """When all had ended for which it waited; its parent's start where there are none."""
        self.last = [NONE] * count
        """Of its children the one that ended last; of several the longest."""
        self.done: list[int]
        """When all its children had ended; its start without any."""
        self._clip(until_us)
        self.ready = list(self.start)
        self.done = list(self.start)
        self._link(places)
        for above, below in self.children.items():
            if len(below) == 1:
                only = below[0]
                self.last[above], self.done[above] = only, self.end[only]
                self.ready[only] = self.start[above]
            else:
                self._order(above, below)

    def _clip(self, until_us: int) -> None:
        trace, start, end, inside = self.trace, self.start, self.end, self.inside
        start[0] = trace.start_us
        end[0] = max(trace.start_us, until_us if trace.end_us is None else trace.end_us)
        inside[0] = 1
        children = self.children
        for place, span in enumerate(trace.spans):
            above = self.parent[place]
            if above == NONE or not inside[above]:
                continue
            low, high = start[above], end[above]
            begins = span.start_us
            ends = max(high, begins) if span.end_us is None else span.end_us
            if begins > high or ends < low:
                continue
            if (begins == high and ends > high) or (ends == low and begins < low):
                continue
            inside[place] = 1
            start[place] = max(begins, low)
            end[place] = min(ends, high)
            if above in children:
                children[above].append(place)
            else:
                children[above] = [place]

    def can_wait(self, place: int, other: int) -> bool:
        """Whether the other one had ended when this one began. Of two moments at the same time the first in the list
        came first, so that nothing waits for itself."""
        begins = self.start[place]
        if self.end[other] != begins:
            return self.end[other] < begins
        same_moment = self.start[other] == begins == self.end[place]
        return not same_moment or other < place

    def _link(self, places: Mapping[str, int]) -> None:
        """What is known of causes."""
        inside, parent, known = self.inside, self.parent, self.known
        # Members of an enumeration are found slowly, and there are many spans.
        related, retry = LinkKind.RELATED, LinkKind.RETRY_OF
        for place, span in enumerate(self.trace.spans):
            links = span.links
            if not links or not inside[place]:
                continue
            above = parent[place]
            for link in links:
                kind = link.kind
                if kind is related or link.trace_id:
                    continue
                other = places.get(link.span_id, place)
                if other == place or parent[other] != above or not inside[other]:
                    continue
                if not self.can_wait(place, other):
                    continue
                if place in known:
                    known[place].append(other)
                else:
                    known[place] = [other]
                if kind is retry:
                    self.again.add(place)

    def _order(self, above: int, below: list[int]) -> None:
        """For all children of one span, several: for which ones each waited."""
        start, end = self.start, self.end
        # They came by place, and sorting keeps the order of equals: so the first are by (start, end, place), and the
        # second by (end, start, place).
        below.sort(key=end.__getitem__)
        below.sort(key=start.__getitem__)
        by_end = self.sorted_by_end[above] = sorted(below, key=end.__getitem__)
        ready, at, longest, count = start[above], 0, NONE, len(by_end)
        for place in below:
            begins = start[place]
            moment = end[place] == begins
            while at < count:
                other = by_end[at]
                ended = end[other]
                if ended > begins or (moment and start[other] == begins and other >= place):
                    break
                if longest == NONE or ended > ready:
                    longest, ready = other, ended
                at += 1
            self.reach[place] = at
            self.ready[place] = ready
            self.before[place] = longest
            if place in self.known:
                self._take_known(place)
            elif longest != NONE:
                self.estimated.add(place)
        final = by_end[-1]
        for other in reversed(by_end):
            if end[other] != end[final]:
                break
            self.last[above] = other
        self.done[above] = end[final]

    def _take_known(self, place: int) -> None:
        known, start, end = self.known[place], self.start, self.end
        longest = known[0]
        if len(known) > 1:
            longest = max(known, key=lambda other: (end[other], -start[other], -other))
        self.before[place] = longest
        self.ready[place] = end[longest]
        if place in self.again:
            links = self.trace.spans[place].links
            retried = {each.span_id for each in links if each.kind == LinkKind.RETRY_OF}
            if self.trace.spans[longest].id not in retried:
                self.again.discard(place)

    @property
    def length_us(self) -> int:
        """How long the whole took."""
        return self.end[0] - self.start[0]

    def gaps(self) -> list[int]:
        """For each span how long after it was ready it began."""
        return [begins - ready for begins, ready in zip(self.start, self.ready, strict=True)]

    def tails(self) -> list[int]:
        """For each span how long it went on after its last child; the whole of it where it has none."""
        return [ends - done for ends, done in zip(self.end, self.done, strict=True)]

    def duration_with(self, gaps: Sequence[int], tails: Sequence[int]) -> int:
        """How long the whole would have taken had these been the gaps and tails. Linear in the number of spans."""
        lengths = list(tails)
        finish = [0] * len(lengths)
        known, reach = self.known, self.reach
        # Children stand behind the one above them, so backwards they are done before it.
        for above in reversed(self.children):
            below = self.children[above]
            if len(below) == 1:
                lengths[above] += gaps[below[0]] + lengths[below[0]]
                continue
            by_end = self.sorted_by_end[above]
            at = latest = final = 0
            for place in below:
                until = reach[place]
                while at < until:
                    ended = finish[by_end[at]]
                    latest = max(latest, ended)
                    at += 1
                named = known.get(place)
                ready = latest if named is None else max(finish[other] for other in named)
                ended = finish[place] = ready + gaps[place] + lengths[place]
                final = max(final, ended)
            lengths[above] += final
        return lengths[0]


def causes_of(trace: Trace, now_us: int) -> Causes | Unanalysable:
    """What can be known of causes in the trace; `now_us` matters while it has not ended."""
    if not trace.spans:
        return Unanalysable("the trace has no spans")
    for problem in trace.problems:
        if problem.kind == ProblemKind.TOO_MANY_SPANS:
            return Unanalysable(f"not all of its spans are known: {problem.message}")
    if len(trace.spans) > MAX_SPANS:
        return Unanalysable(
            f"it has {len(trace.spans):,} spans; at most {MAX_SPANS:,} are looked at"
        )
    places: dict[str, int] = {}
    parent = [NONE] * len(trace.spans)
    for place, span in enumerate(trace.spans):
        if place:
            above = places.get(span.parent_id, NONE)
            if above == NONE:
                return Unanalysable(_rootless(span))
            parent[place] = above
        elif span.parent_id:
            return Unanalysable(_rootless(span))
        places[span.id] = place
    return Causes(trace, places, parent, now_us)


def _rootless(span: Span) -> str:
    return f"its root is not known: {span.id!r} has none of its spans above it"


CONTAINERS: Final = frozenset({SpanKind.WORKFLOW, SpanKind.ATTEMPT, SpanKind.STAGE})
"""Spans that do nothing themselves, and stand while what they are in does."""
