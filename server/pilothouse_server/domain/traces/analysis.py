"""All that one trace tells by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pilothouse_server.domain.traces.bottlenecks import Bottleneck, Grouping, bottlenecks
from pilothouse_server.domain.traces.causes import Unanalysable, causes_of
from pilothouse_server.domain.traces.critical_path import (
    CriticalPath,
    by_span,
    critical_path,
    split,
)
from pilothouse_server.domain.traces.model import TimeKind, Trace
from pilothouse_server.domain.traces.own_time import OwnTime
from pilothouse_server.domain.traces.recovery import Recovery, recoveries


@dataclass(frozen=True, slots=True)
class Analysis:
    """`path` is None where `unavailable_reason` tells why; `until_us` is the trace's end, or now."""

    trace: Trace
    until_us: int
    path: CriticalPath | None = None
    unavailable_reason: str = ""
    split: Mapping[TimeKind, int] = field(default_factory=dict[TimeKind, int])
    bottlenecks: Sequence[Bottleneck] = ()
    recoveries: Sequence[Recovery] = ()
    critical_by_span: Mapping[int, int] = field(default_factory=dict[int, int])
    """By places in `trace.spans`."""
    critical_within: Mapping[int, int] = field(default_factory=dict[int, int])
    """The same, with what is below each."""
    critical_by_stage: Mapping[str, int] = field(default_factory=dict[str, int])


def analyse(trace: Trace, now_us: int, *, path_only: bool = False) -> Analysis:
    """`path_only` leaves out what held it up and what failed, which is most of the work."""
    until_us = max(trace.start_us, now_us if trace.end_us is None else trace.end_us)
    failures = () if path_only else recoveries(trace, until_us)
    causes = causes_of(trace, until_us)
    if isinstance(causes, Unanalysable):
        return Analysis(trace, until_us, unavailable_reason=causes.reason, recoveries=failures)
    own_time, grouping = OwnTime(causes), Grouping(causes)
    path = critical_path(causes, own_time)
    spans = by_span(path.steps)
    within = dict(spans)
    for place in range(len(trace.spans) - 1, 0, -1):
        if place in within:
            above = causes.parent[place]
            within[above] = within.get(above, 0) + within[place]
    stages: dict[str, int] = {}
    for place, us in spans.items():
        stage = grouping.stages[place] or grouping.named(place)
        stages[stage] = stages.get(stage, 0) + us
    held_up = () if path_only else bottlenecks(causes, own_time, path, grouping)
    return Analysis(
        trace, until_us, path, "", split(path.steps), held_up, failures, spans, within, stages
    )
