"""Clocks that disagree, by what cannot be otherwise: nothing is received before it happens, and nothing begins before
what it is part of. What is found is told; no time is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pilothouse_server.domain.traces.facts import TraceFacts
from pilothouse_server.domain.traces.model import Skew, Span

TOLERANCE_US: Final = 1_000_000
"""Clocks may be so far apart without being told of."""
AHEAD_US: Final = 60 * 1_000_000
"""An event that is said to be from further ahead than this is taken as of its receipt."""
MAX_SKEWS: Final = 50
SERVER: Final = "pilothouse"
"""Whose clock stamps what is received."""


def skews(facts: TraceFacts, spans: Sequence[Span], by_id: Mapping[str, Span]) -> tuple[Skew, ...]:
    """The clocks that are further apart than `TOLERANCE_US`, the worst first."""
    found = [*_against_server(facts), *_against_parents(spans, by_id)]
    found.sort(key=lambda skew: (-abs(skew.offset_us), skew.source, skew.against))
    return tuple(found[:MAX_SKEWS])


def _against_server(facts: TraceFacts) -> list[Skew]:
    found: list[Skew] = []
    for source, latency in facts.latencies.items():
        if source in facts.ahead:
            told = "its events are of more than a minute after they were received, and are shown as of then"
            found.append(Skew(source, SERVER, AHEAD_US, told))
        elif -latency > TOLERANCE_US:
            told = (
                f"an event of it was received {in_words(-latency)} before it happened by its clock"
            )
            found.append(Skew(source, SERVER, -latency, told))
    return found


def _against_parents(spans: Sequence[Span], by_id: Mapping[str, Span]) -> list[Skew]:
    """A part that begins before the whole is of a clock that is behind; where every part of a source begins only after
    its whole has ended, the clock is ahead, or nothing waited for it: that is told too."""
    early: dict[tuple[str, str], tuple[int, str]] = {}
    late: dict[tuple[str, str], int] = {}
    for span in spans:
        above = by_id.get(span.parent_id)
        if above is None or not span.source or not above.source or span.source == above.source:
            continue
        pair = (span.source, above.source)
        before = above.start_us - span.start_us
        if before > TOLERANCE_US and before > early.get(pair, (0, ""))[0]:
            early[pair] = (before, span.name)
        after = span.start_us - above.end_us if above.end_us is not None else 0
        late[pair] = min(late.get(pair, after), after)
    found = [
        Skew(
            source, against, -before, f"{name} begins {in_words(before)} before what it is part of"
        )
        for (source, against), (before, name) in early.items()
    ]
    for (source, against), after in late.items():
        if after > TOLERANCE_US and (source, against) not in early:
            told = f"all of its spans begin {in_words(after)} or more after what they are part of has ended"
            found.append(Skew(source, against, after, told))
    return found


def in_words(us: int) -> str:
    """A duration for people: 1.5 s, 3 min, 1.0 h."""
    seconds = us / 1_000_000
    if seconds < 120:
        return f"{seconds:.3g} s"
    if seconds < 7200:
        return f"{seconds / 60:.3g} min"
    return f"{seconds / 3600:.3g} h"
