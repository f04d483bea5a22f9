"""Traces side by side: what took longer or less long, came in addition, is missing, or ended otherwise.

The first one is what the others are compared with. Pieces are matched by their names (`alignment`), and ranked by the
greatest difference in time; a piece that is not there took none. What has not ended differs only once it has taken
longer, and what is missing of a trace that has not ended may come yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from pilothouse_server.domain.projection.spans import WorkState
from pilothouse_server.domain.traces.alignment import Piece


class Difference(IntEnum):
    """How something differs from the first. The numbers are those of the contract."""

    SAME = 1
    LONGER = 2
    SHORTER = 3
    ADDED = 4
    MISSING = 5
    STATE = 6


SAME_US: Final = 1_000
SAME_SHARE: Final = 0.01
OPEN: Final = frozenset(
    {WorkState.QUEUED, WorkState.ASSIGNED, WorkState.RUNNING, WorkState.RETRYING}
)


class Placed(NamedTuple):
    """A piece in one trace; times in microseconds, `start_us` counted from the trace's. `span_id` is "" and `state`
    None in a median; `critical_us` is None where it is not known."""

    span_id: str
    start_us: int
    duration_us: int
    critical_us: int | None
    state: WorkState | None


class Compared(NamedTuple):
    """A piece as one trace has it, None where it does not, and how that differs from the first."""

    placed: Placed | None
    difference: Difference


@dataclass(frozen=True, slots=True)
class Row:
    """One piece in all traces."""

    piece: Piece
    numbered: bool
    """Whether it has several attempts somewhere."""
    spans: Sequence[Compared]
    difference_us: int
    words: str


def compare(
    traces: Sequence[Mapping[Piece, Placed]], running: Sequence[bool] = ()
) -> Sequence[Row]:
    """Every piece that any of them has, by the size of its difference, greatest first. `running` tells which traces
    have not ended; none says that all have."""
    every = dict.fromkeys(piece for each in traces for piece in each)
    attempts: dict[tuple[str, str, int], int] = {}
    for piece in every:
        attempts[piece.thing] = max(attempts.get(piece.thing, 0), piece.attempt)
    goes_on = running or [False] * len(traces)
    rows = [_row(piece, attempts[piece.thing] > 1, traces, goes_on) for piece in every]
    return sorted(rows, key=_rank)


def _rank(row: Row) -> tuple[int, bool, Piece]:
    alike = all(each.difference == Difference.SAME for each in row.spans)
    return (-abs(row.difference_us), alike, row.piece)


def _row(
    piece: Piece,
    numbered: bool,
    traces: Sequence[Mapping[Piece, Placed]],
    running: Sequence[bool],
) -> Row:
    placed = [each.get(piece) for each in traces]
    first = placed[0]
    compared = [
        Compared(each, _difference(first, each, goes_on=goes_on or running[0]))
        for each, goes_on in zip(placed, running, strict=True)
    ]
    before = _length(first)
    differ = [each.placed for each in compared[1:] if each.difference != Difference.SAME]
    greatest = max((_length(each) - before for each in differ), key=abs, default=0)
    words = [
        (place, text)
        for place, each in enumerate(compared[1:], start=2)
        if (text := _words(first, each))
    ]
    if len(placed) > 2:
        told = "; ".join(f"{_ordinal(place)}: {text}" for place, text in words)
    else:
        told = "".join(text for _, text in words)
    return Row(piece, numbered, compared, greatest, told or "no difference")


def _length(placed: Placed | None) -> int:
    return 0 if placed is None else placed.duration_us


def _difference(first: Placed | None, other: Placed | None, *, goes_on: bool) -> Difference:
    if first is None or other is None:
        if first is other or (other is None and goes_on):
            return Difference.SAME
        return Difference.ADDED if first is None else Difference.MISSING
    states, apart = {first.state, other.state}, other.duration_us - first.duration_us
    if not states & OPEN and None not in states and len(states) > 1:
        return Difference.STATE
    if (other.state in OPEN and apart < 0) or (first.state in OPEN and apart > 0):
        return Difference.SAME
    longest = max(first.duration_us, other.duration_us)
    if abs(apart) < SAME_US or abs(apart) < SAME_SHARE * longest:
        return Difference.SAME
    return Difference.LONGER if apart > 0 else Difference.SHORTER


def _words(first: Placed | None, other: Compared) -> str:
    placed = other.placed
    match other.difference:
        case Difference.SAME:
            return ""
        case Difference.ADDED:
            return f"not in the first, took {told_time(_length(placed))}"
        case Difference.MISSING:
            return f"only in the first, where it took {told_time(_length(first))}"
        case Difference.LONGER | Difference.SHORTER:
            return _apart(_length(first), _length(placed))
        case Difference.STATE:
            was, now = _state(first), _state(placed)
            return f"{now} instead of {was}, {_apart(_length(first), _length(placed))}"


def _state(placed: Placed | None) -> str:
    return "" if placed is None or placed.state is None else placed.state.name.lower()


def _apart(before: int, after: int) -> str:
    apart = after - before
    if not apart:
        return "as long"
    words = f"{told_time(abs(apart))} {'longer' if apart > 0 else 'less'}"
    if before and after >= 2 * before:
        words += f", {after / before:,.1f} times as long"
    return words


def told_time(us: int) -> str:
    """As people say it: 850 µs, 12 ms, 3.4 s, 2 min 5 s, 3 h 4 min."""
    if us < 1_000:
        return f"{us} µs"
    if us < 1_000_000:
        return f"{us / 1_000:.3g} ms"
    if us < 60_000_000:
        return f"{us / 1_000_000:.3g} s"
    minutes, seconds = divmod(round(us / 1_000_000), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _ordinal(place: int) -> str:
    return {2: "2nd", 3: "3rd"}.get(place, f"{place}th")
