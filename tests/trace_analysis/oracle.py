"""The definitions of `causes`, followed by the letter, slowly: every pair of spans is looked at, a trace is solved
again for every length, and the path is asked about instant by instant."""

from __future__ import annotations

from collections.abc import Callable

from pilothouse_server.domain.traces.model import LinkKind, Trace

Left = Callable[[int, int, int, bool], int]
"""How much is left of own time of a span, from one instant to another; whether it lies between two attempts."""


def _all(_place: int, low: int, high: int, _again: bool) -> int:
    return high - low


class Oracle:
    """Of traces with few spans and small times."""

    def __init__(self, trace: Trace, now_us: int) -> None:
        self.spans = trace.spans
        self.at = {each.id: place for place, each in enumerate(trace.spans)}
        self.interval: dict[int, tuple[int, int]] = {
            0: (trace.start_us, now_us if trace.end_us is None else trace.end_us)
        }
        for place, span in enumerate(trace.spans):
            above = self.at.get(span.parent_id)
            if above not in self.interval:
                continue
            low, high = self.interval[above]
            ends = max(high, span.start_us) if span.end_us is None else span.end_us
            within = any(
                span.start_us <= at <= ends and low <= at <= high for at in range(low, high + 1)
            )
            leaves = (span.start_us == high < ends) or (span.start_us < low == ends)
            if within and not leaves:
                self.interval[place] = (max(span.start_us, low), min(ends, high))

    def below(self, above: int) -> list[int]:
        """Its children that have a part."""
        return [
            each
            for each in self.interval
            if each and self.spans[each].parent_id == self.spans[above].id
        ]

    def possible(self, place: int) -> list[int]:
        """Siblings that it can have waited for."""
        begins, ends = self.interval[place]
        found: list[int] = []
        for other in self.below(self.at[self.spans[place].parent_id]):
            low, high = self.interval[other]
            same = low == high == begins == ends
            if high <= begins and (other < place if same else other != place):
                found.append(other)
        return found

    def waited_for(self, place: int) -> list[int]:
        """Siblings that it is known, or else taken, to have waited for."""
        possible = self.possible(place)
        named = [
            self.at[link.span_id]
            for link in self.spans[place].links
            if link.kind != LinkKind.RELATED and link.span_id in self.at
        ]
        return [each for each in possible if each in named] or possible

    def _latest(self, places: list[int]) -> int | None:
        if not places:
            return None
        return max(
            places, key=lambda each: (self.interval[each][1], -self.interval[each][0], -each)
        )

    def answering(self, instant: int) -> int:
        """Which span answers for the time from this instant to the next."""
        return self._answering(0, instant)

    def _answering(self, above: int, instant: int) -> int:
        child = self._latest(self.below(above))
        while child is not None:
            low, until = self.interval[child]
            if instant >= until:
                return above
            if instant >= low:
                return self._answering(child, instant)
            child = self._latest(self.waited_for(child))
        return above

    def length_with(self, longer: int, by: int, left: Left = _all) -> int:
        """How long the whole takes when one span goes on so much longer, and only so much is left of own time."""
        return self._length(0, longer, by, left)

    def again(self, place: int) -> bool:
        """Whether what it waited for last is what it is another attempt at."""
        latest = self._latest(self.waited_for(place))
        return latest is not None and any(
            link.kind == LinkKind.RETRY_OF and self.at.get(link.span_id) == latest
            for link in self.spans[place].links
        )

    def _length(self, above: int, longer: int, by: int, left: Left) -> int:
        low, high = self.interval[above]
        more = by if above == longer else 0
        below = self.below(above)
        if not below:
            return left(above, low, high, False) + more
        ends: dict[int, int] = {}

        def ended(place: int) -> int:
            if place not in ends:
                waited = self.waited_for(place)
                ready = max((self.interval[each][1] for each in waited), default=low)
                gap = left(above, ready, self.interval[place][0], self.again(place))
                begins = max((ended(each) for each in waited), default=0) + gap
                ends[place] = begins + self._length(place, longer, by, left)
            return ends[place]

        tail = left(above, max(self.interval[each][1] for each in below), high, False)
        return max(ended(each) for each in below) + tail + more
