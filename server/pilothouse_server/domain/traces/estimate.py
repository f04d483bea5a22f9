"""When a running workflow may end, judged by past runs of its type that were where it is now.

A run is *where this one is* when it was as long in the same stage and had not left it, or as long past the end of that
stage and had not ended; where there are too few of those, when it was as old and had not ended. What those took from
there on is what this one may: half of them at most the median, eight in ten between the earliest and the latest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from pilothouse_server.domain.projection.spans import WorkState
from pilothouse_server.domain.traces.model import SpanKind, Trace
from pilothouse_server.domain.workflows import WorkflowState

ENOUGH: Final = 10
"""Past runs from which something can be said."""


class Past(NamedTuple):
    """A run that has ended: for each stage, the last time it was entered, (beginning, end) counted from the start."""

    duration_us: int
    stages: Mapping[str, tuple[int, int]]


class Place(NamedTuple):
    """Where a running workflow is: how old, in or after which stage, and for how long."""

    elapsed_us: int
    stage: str = ""
    left: bool = False
    since_us: int = 0


class Estimate(NamedTuple):
    """From now on, in microseconds: what half, one in ten, and nine in ten took at most."""

    median_us: int
    earliest_us: int
    latest_us: int
    runs: int


def place_of(trace: Trace, now_us: int) -> Place:
    """Where it is: in the stage that it entered last of those that it has not left, or past the one it left last."""
    elapsed = max(0, now_us - trace.start_us)
    stages = [each for each in trace.spans if each.kind == SpanKind.STAGE]
    inside = [each for each in stages if each.end_us is None and each.state == WorkState.RUNNING]
    if inside:
        last = max(inside, key=lambda each: (each.start_us, each.id))
        return Place(elapsed, last.stage, False, max(0, now_us - last.start_us))
    left = [(each.end_us, each.stage) for each in stages if each.end_us is not None]
    if left:
        end_us, stage = max(left)
        return Place(elapsed, stage, True, max(0, now_us - end_us))
    return Place(elapsed)


def why_not(trace: Trace) -> str:
    """Why the past says nothing of it; "" when it may."""
    if not trace.workflow_id:
        return "it is no workflow, so there are no past runs of its type"
    if trace.state == WorkflowState.PAUSED:
        return "it is paused, and nobody can tell for how long"
    return ""


def estimate(place: Place, past: Sequence[Past]) -> Estimate | str:
    """What past runs tell, or why they do not."""
    if len(past) < ENOUGH:
        return f"{_runs(len(past))} of its type ended so far, and {ENOUGH} are needed"
    rest = _rest_from_stage(place, past)
    if len(rest) < ENOUGH:
        rest = [each.duration_us - place.elapsed_us for each in past]
        rest = [each for each in rest if each > 0]
    if len(rest) < ENOUGH:
        return f"{_runs(len(rest))} of {len(past)} took as long as this one has, and {ENOUGH} are needed"
    rest.sort()
    return Estimate(_at(rest, 0.5), _at(rest, 0.1), _at(rest, 0.9), len(rest))


def _runs(count: int) -> str:
    return "1 past run" if count == 1 else f"{count} past runs"


def _rest_from_stage(place: Place, past: Sequence[Past]) -> list[int]:
    found: list[int] = []
    for run in past:
        stage = run.stages.get(place.stage)
        if not place.stage or stage is None:
            continue
        begins, ends = stage
        if place.left:
            rest = run.duration_us - ends - place.since_us
            if rest > 0:
                found.append(rest)
        elif ends - begins > place.since_us:
            found.append(run.duration_us - begins - place.since_us)
    return found


def _at(ordered: Sequence[int], part: float) -> int:
    """So that of what comes `part` is below it: between the order statistics around part × (n + 1)."""
    at = part * (len(ordered) + 1) - 1
    low = min(max(math.floor(at), 0), len(ordered) - 1)
    high = min(low + 1, len(ordered) - 1)
    return round(ordered[low] + (ordered[high] - ordered[low]) * min(max(at - low, 0.0), 1.0))
