"""What held a workflow up: groups of time on the critical path, and what the end would gain without each.

A group is all own time of one kind in one stage, or all queueing for one kind of agents, wherever it lies: what is on
the critical path and what would be, were the rest removed. The saving is found by solving the causes again without the
group's time (`Causes.duration_with`); it is never more than what the group has of the critical path, so the groups with
most of that are tried first, and as many as `MAX_WORK` allows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pilothouse_server.domain.traces.alignment import stable
from pilothouse_server.domain.traces.causes import NONE, Causes
from pilothouse_server.domain.traces.critical_path import CriticalPath
from pilothouse_server.domain.traces.model import SpanKind, TimeKind
from pilothouse_server.domain.traces.own_time import OwnTime, Step

MAX_BOTTLENECKS: Final = 50
MAX_WORK: Final = 500_000
"""Spans visited while traces are solved again."""
SHOWN_SPANS: Final = 20
_KINDS: Final = max(TimeKind) + 1
_NAMED: Final = {SpanKind.TASK: "tasks", SpanKind.SPAN: "spans"}
"""Work of its own; all other kinds are made of such work."""


class Group(NamedTuple):
    """What belongs together; empty words do not matter to it."""

    kind: TimeKind
    stage: str
    agent_type: str
    beside: SpanKind | None
    """Of what the time is told that is in no task: of the stage, an attempt or the workflow itself."""
    named: str
    """Of what OpenTelemetry reported and is in no stage: what it is and its name, as "tasks named chat"."""

    @property
    def label(self) -> str:
        """In words."""
        where = f" of stage {self.stage}" if self.stage else ""
        match self.kind:
            case TimeKind.QUEUE if self.agent_type:
                return f"queue for agents of type {self.agent_type}"
            case TimeKind.QUEUE:
                return f"queue{where or ' before the start'}"
            case TimeKind.RETRY:
                return f"retries{where or self._whose}"
            case TimeKind.WAIT:
                return f"waiting{where or self._whose}"
            case TimeKind.PAUSE:
                return f"pauses{where or self._whose}"
            case TimeKind.WORK if self.beside == SpanKind.STAGE:
                return f"stage {self.stage} beside its tasks"
            case TimeKind.WORK if self.beside is not None:
                return "between stages"
            case TimeKind.WORK:
                return self.named or f"tasks{where}"

    @property
    def _whose(self) -> str:
        return f" of {self.named or 'the workflow'}"


@dataclass(slots=True)
class Bottleneck:
    """What held the workflow up; `span_ids` are those with most of the critical path, that first."""

    group: Group
    critical_us: int
    saving_us: int
    span_ids: Sequence[str]


@dataclass(slots=True)
class _Time:
    """A group's time: in which gaps and tails of the causes it lies."""

    gaps: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    tails: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])


class Grouping:
    """To which group the time of each span belongs."""

    def __init__(self, causes: Causes) -> None:
        self._spans = causes.trace.spans
        self._workflow_id = causes.trace.workflow_id
        self._stable: dict[str, str] = {}
        self.groups: list[Group] = []
        self._numbers: dict[Group, int] = {}
        self._known: dict[int, int] = {}
        self.stages = [""] * len(self._spans)
        """The stage that each span is in; "" for none."""
        for place, (span, above) in enumerate(zip(self._spans, causes.parent, strict=True)):
            self.stages[place] = span.stage or ("" if above == NONE else self.stages[above])

    def of(self, place: int, kind: TimeKind) -> int:
        """The group of time of that kind of that span, by its number in `groups`."""
        # A number is found sooner than a tuple with an enum in it, and there are many.
        key = place * _KINDS + kind
        found = self._known.get(key)
        if found is None:
            group = self._of(place, kind)
            found = self._known[key] = self._numbers.setdefault(group, len(self.groups))
            if found == len(self.groups):
                self.groups.append(group)
        return found

    def named(self, place: int) -> str:
        """What OpenTelemetry reported in no stage, in words; "" for all else."""
        span = self._spans[place]
        # Who reports tasks to us names them by stage; by ids, which all differ, nothing would come together.
        if self.stages[place] or span.name == span.task_id or span.kind not in _NAMED:
            return ""
        name = self._stable.get(span.name)
        if name is None:
            name = self._stable[span.name] = stable(span.name, self._workflow_id)
        return f"{_NAMED[span.kind]} named {name}" if name else ""

    def _of(self, place: int, kind: TimeKind) -> Group:
        span, stage = self._spans[place], self.stages[place]
        if kind == TimeKind.QUEUE and span.agent_type:
            return Group(kind, "", span.agent_type, None, "")
        own = span.kind not in _NAMED
        beside = span.kind if own and kind == TimeKind.WORK else None
        if beside == SpanKind.ATTEMPT:
            beside = SpanKind.WORKFLOW
        return Group(kind, stage, "", beside, self.named(place))


def bottlenecks(
    causes: Causes, own_time: OwnTime, path: CriticalPath, grouping: Grouping
) -> Sequence[Bottleneck]:
    """By what removing them would save, most first."""
    critical: dict[int, dict[int, int]] = {}
    for step in path.steps:
        spans = critical.setdefault(grouping.of(step.span, step.kind), {})
        spans[step.span] = spans.get(step.span, 0) + step.length_us
    totals = {group: sum(spans.values()) for group, spans in critical.items()}
    tries = max(1, min(MAX_BOTTLENECKS, MAX_WORK // len(causes.start)))
    tried = sorted(totals, key=lambda group: (-totals[group], group))[:tries]
    times = _times(causes, own_time, grouping, tried)
    found: list[Bottleneck] = []
    gaps, tails = causes.gaps(), causes.tails()
    for group in tried:
        spans = critical[group]
        longest = sorted(spans, key=lambda place: (-spans[place], place))[:SHOWN_SPANS]
        ids = [causes.trace.spans[place].id for place in longest]
        without = causes.duration_with(
            _less(gaps, times[group].gaps), _less(tails, times[group].tails)
        )
        saving = causes.length_us - without
        found.append(Bottleneck(grouping.groups[group], totals[group], saving, ids))
    return sorted(found, key=lambda each: (-each.saving_us, -each.critical_us, each.group.label))


def _times(
    causes: Causes, own_time: OwnTime, grouping: Grouping, groups: Sequence[int]
) -> Mapping[int, _Time]:
    """Where the time of these groups lies, on the critical path and off it."""
    times = {group: _Time() for group in groups}

    def note(steps: Sequence[Step], place: int, *, gap: bool) -> None:
        for step in steps:
            time = times.get(grouping.of(step.span, step.kind))
            if time is not None:
                (time.gaps if gap else time.tails).append((place, step.length_us))

    start, end, ready, done = causes.start, causes.end, causes.ready, causes.done
    for place, inside in enumerate(causes.inside):
        if not inside:
            continue
        if done[place] < end[place]:
            note(own_time.of(place, done[place], end[place]), place, gap=False)
        if place and ready[place] < start[place]:
            again = place in causes.again
            steps = own_time.of(causes.parent[place], ready[place], start[place], again=again)
            note(steps, place, gap=True)
    return times


def _less(lengths: list[int], removed: Sequence[tuple[int, int]]) -> list[int]:
    left = list(lengths)
    for place, length in removed:
        left[place] -= length
    return left
