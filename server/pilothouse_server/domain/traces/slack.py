"""Slack: how much longer a span could take without the trace ending later, all else being as it was.

A span that takes longer ends later; what is known or taken to have waited for it (`causes`) begins so much later as it
then has to, and so on up to the root. On the critical path slack is 0. A span that has no part in the causes has none
that is known.
"""

from __future__ import annotations

from bisect import bisect_left

from pilothouse_server.domain.traces.causes import Causes


def slack_of(causes: Causes) -> list[int | None]:
    """For each span, in the trace's order, in microseconds. O(n log n)."""
    count = len(causes.start)
    slack = [0] * count
    for above, below in causes.children.items():
        limit = slack[above] + causes.done[above]
        if len(below) == 1:
            slack[below[0]] = limit - causes.end[below[0]]
        else:
            _of_children(causes, below, limit, slack)
    return [slack[place] if causes.inside[place] else None for place in range(count)]


def _of_children(causes: Causes, below: list[int], limit: int, slack: list[int]) -> None:
    """From the last to the first: those that waited for a span stand behind it."""
    start, end, ready, known = causes.start, causes.end, causes.ready, causes.known
    begins = [start[place] for place in below]
    latest = [limit] * (len(below) + 1)
    """Until when all must have ended that those from here on are taken to have waited for."""
    named: dict[int, int] = {}
    for at in range(len(below) - 1, -1, -1):
        place = below[at]
        ends = end[place]
        after = at + 1 if begins[at] == ends else bisect_left(begins, ends)
        until = min(latest[after], named.get(place, limit))
        slack[place] = until - ends
        waited_until = until - ends + ready[place]
        if place in known:
            latest[at] = latest[at + 1]
            for other in known[place]:
                named[other] = min(named.get(other, limit), waited_until)
        else:
            latest[at] = min(latest[at + 1], waited_until)
