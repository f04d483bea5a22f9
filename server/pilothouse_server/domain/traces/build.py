"""From facts to a trace. Nothing is invented: what was not said is not shown, or said to be estimated.

Ids of spans: `workflow`; `attempt:2` where there are several; `stage:NAME:ATTEMPT` with the workflow's attempt;
`task:ID:ATTEMPT` with the task's own, and `task:ID:ATTEMPT:N` where that attempt was begun anew in attempt N of the
workflow; for OpenTelemetry's spans their span ids (`span:…` where one of ours has that id). `trace` stands above the
spans of a trace whose first span was not reported, or that has several.

What had not ended when its attempt failed, was cancelled or was followed by another one ended with it, as CANCELLED.
A task that names another span as the one above it is shown below it if it ends in it; if it goes on after it, the task
follows it and stays in its stage. OpenTelemetry's spans above the workflow's own are not part of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from pilothouse_server.domain.commands import Command
from pilothouse_server.domain.projection.spans import WorkState
from pilothouse_server.domain.projection.workflow import WorkflowRecord
from pilothouse_server.domain.traces import runs
from pilothouse_server.domain.traces.drafts import Draft, draft, waits_of
from pilothouse_server.domain.traces.drafts import runs as parts_of
from pilothouse_server.domain.traces.facts import RawSpan, Report, TraceFacts, Work
from pilothouse_server.domain.traces.model import (
    Link,
    LinkKind,
    Problem,
    ProblemKind,
    Span,
    SpanKind,
    Trace,
)
from pilothouse_server.domain.traces.nesting import cyclic, in_order, in_parts
from pilothouse_server.domain.traces.problems import Found, outside
from pilothouse_server.domain.traces.runs import ROOT, Run
from pilothouse_server.domain.traces.skew import skews
from pilothouse_server.domain.workflows import WorkflowState

MOST_LINKS: Final = 100
UNKNOWN_ROOT: Final = "trace"
"""The id of what stands above the spans of a trace whose first span is not known."""


@dataclass(slots=True)
class _Building:
    """A trace on its way."""

    spans: dict[str, Span] = field(default_factory=dict[str, Span])
    """By id, without the root."""
    fallback: dict[str, str] = field(default_factory=dict[str, str])
    """Where a span of ours is whatever else it names."""
    named: dict[str, str] = field(default_factory=dict[str, str])
    """The span that an id of OpenTelemetry's names."""
    above: dict[str, tuple[str, ...]] = field(default_factory=dict[str, "tuple[str, ...]"])
    """What a span of ours names as above it, by OpenTelemetry's ids."""
    found: Found = field(default_factory=Found)


def trace(
    facts: TraceFacts,
    *,
    record: WorkflowRecord | None = None,
    commands: Sequence[Command] = (),
    removed: bool = False,
) -> Trace:
    """The trace as far as it is known. `record` is the workflow as it is stored, where that knows more than the events
    which are left; `removed` tells that some are not."""
    if facts.workflow_id:
        return _of_workflow(facts, record or facts.record, commands, removed)
    return _of_spans(facts, removed)


def _of_workflow(
    facts: TraceFacts, record: WorkflowRecord, commands: Sequence[Command], removed: bool
) -> Trace:
    run = Run(facts, record)
    building = _Building()
    root, *attempts = runs.spans_of(run, record, commands)
    building.named.update((ref, root.id) for ref in facts.roots)
    for span in attempts:
        building.spans[span.id] = span
        building.fallback[span.id] = ROOT
    stages = _stages(building, facts, run, record)
    _tasks(building, facts, run, stages)
    _end_with_attempts(building, run)
    _raw(building, facts, omitted=_omitted(facts))
    _nest_tasks(building)
    spans = _placed(building, root)
    return _finished(
        building, facts, spans,
        Trace(
            record.id, record.id, record.type[1], record.name[1], record.source[2], record.state, record.attempt,
            tuple(sorted(facts.trace_ids)), 0, root.end_us, spans, revision=facts.revision,
        ),
        removed=removed,
    )  # fmt: skip


def _of_spans(facts: TraceFacts, removed: bool) -> Trace:
    building = _Building()
    _raw(building, facts, omitted=frozenset())
    first = [span for span in building.spans.values() if not span.parent_id]
    root = first[0] if len(first) == 1 else _unknown_root(facts, building.spans.values())
    building.spans.pop(root.id, None)
    spans = _placed(building, root)
    open_spans = any(span.end_us is None for span in spans)
    failed = root.error is not None or (root.id == UNKNOWN_ROOT and any(s.error for s in first))
    state = WorkflowState.FAILED if failed else WorkflowState.COMPLETED
    ends = [span.end_us for span in spans if span.end_us is not None]
    return _finished(
        building, facts, spans,
        Trace(
            min(facts.trace_ids, default=""), "", root.source, root.name, root.source,
            WorkflowState.RUNNING if open_spans else state, 0, tuple(sorted(facts.trace_ids)), 0,
            None if open_spans else max(ends, default=None), spans, revision=facts.revision,
        ),
        removed=removed,
    )  # fmt: skip


def _finished(
    building: _Building, facts: TraceFacts, spans: Sequence[Span], made: Trace, *, removed: bool
) -> Trace:
    """What can be told once all spans are in their places."""
    by_id = {span.id: span for span in spans}
    found = building.found
    outside(found, spans, by_id)
    made.skews = skews(facts, spans, by_id)
    if made.skews:
        sources = ", ".join(dict.fromkeys(skew.source for skew in made.skews[:5]))
        text = f"clocks disagree ({sources}): times are shown as they were reported"
        found.tell(Problem(ProblemKind.CLOCK_SKEW, text, len(made.skews)))
    if facts.refused:
        text = f"only the {facts.count:,} spans that came first are shown"
        found.tell(Problem(ProblemKind.TOO_MANY_SPANS, text, facts.refused))
    if removed:
        text = "events of it were removed with age; what they said is missing"
        found.tell(Problem(ProblemKind.REMOVED, text))
    made.problems = found.problems()
    made.start_us = min((span.start_us for span in spans), default=0)
    return made


def _unknown_root(facts: TraceFacts, spans: Iterable[Span]) -> Span:
    starts: list[int] = []
    ends: list[int] = []
    running = False
    for span in spans:
        starts.append(span.start_us)
        if span.end_us is None:
            running = True
        else:
            ends.append(span.end_us)
    end_us = None if running else max(ends, default=None)
    state = WorkState.RUNNING if end_us is None else WorkState.COMPLETED
    name = min(facts.trace_ids, default="")
    return Span(
        UNKNOWN_ROOT, "", SpanKind.SPAN, name, min(starts, default=0), end_us, state, start_estimated=True
    )  # fmt: skip


def _stages(
    building: _Building, facts: TraceFacts, run: Run, record: WorkflowRecord
) -> dict[str, list[int]]:
    """Adds the stages; the attempts in which each of them was."""
    begun = _begun_in_stages(facts, run)
    where: dict[str, list[int]] = {}
    for (name, attempt), work in sorted(facts.stages.items()):
        made = draft(work.reports)
        start_us, estimated = made.begin_us, made.estimated
        if made.work_us is None:
            start_us = min(start_us, begun.get((name, attempt), start_us))
        span = _span(f"stage:{name}:{attempt}", SpanKind.STAGE, name, made, start_us)
        span.stage, span.attempt, span.start_estimated = name, attempt, estimated
        _add(building, span, work, made, run.parent_of(attempt))
        where.setdefault(name, []).append(attempt)
        before = building.spans.get(f"stage:{name}:{attempt - 1}")
        if before is not None and before.state == WorkState.FAILED:
            span.links.append(Link(LinkKind.RETRY_OF, before.id))
    for each in run.attempts:
        _follow(building, each.number, record.plan[2])
    return where


def _follow(building: _Building, attempt: int, plan: Sequence[str]) -> None:
    """Each stage of the plan that began when the one before it had ended followed it."""
    before: Span | None = None
    for name in plan:
        span = building.spans.get(f"stage:{name}:{attempt}")
        if span is None or span.state == WorkState.SKIPPED:
            continue
        if before is not None and before.end_us is not None and span.start_us >= before.end_us:
            span.links.append(Link(LinkKind.FOLLOWS, before.id))
        before = span


def _begun_in_stages(facts: TraceFacts, run: Run) -> dict[tuple[str, int], int]:
    """When the first task of each attempt of a stage was first heard of, of stages whose beginning was not told."""
    begun: dict[tuple[str, int], int] = {}
    unknown = {key for key, work in facts.stages.items() if draft(work.reports).work_us is None}
    if not unknown:
        return begun
    for work in facts.tasks.values():
        for report in work.reports:
            key = (work.stage[1], run.at(report.occur_us))
            if key in unknown:
                begun[key] = min(begun.get(key, report.occur_us), report.occur_us)
    return begun


def _tasks(
    building: _Building, facts: TraceFacts, run: Run, stages: Mapping[str, list[int]]
) -> None:
    failed: dict[str, tuple[str, Draft]] = {}
    for (task_id, number), work in in_parts(facts.tasks.items(), _key):
        parts = parts_of(work.reports, run.at) if run.several else [work.reports]
        for place, reports in enumerate(parts):
            made = draft(reports)
            attempt = run.at(made.begin_us)
            suffix = f":{attempt}" if place else ""
            before = failed.get(task_id)
            failed_us = None
            if before is not None and before[1].state == WorkState.FAILED:
                failed_us = _failed_before(before[1], made)
            waits = waits_of(made, failed_us, work.queue[1])
            start_us = made.begin_us
            if waits and waits[0].start_us < start_us:
                start_us = waits[0].start_us
            name = _name_of(task_id, work, reports)
            span = _span(f"task:{task_id}:{number}{suffix}", SpanKind.TASK, name, made, start_us)
            span.task_id, span.stage, span.attempt = task_id, work.stage[1], number
            span.waits, span.start_estimated = waits, made.estimated
            if before is not None and before[1].state == WorkState.FAILED:
                span.links.append(Link(LinkKind.RETRY_OF, before[0]))
            _clip_waits(span)
            _add(building, span, work, made, _stage_of(work.stage[1], attempt, run, stages))
            failed[task_id] = (span.id, made)


def _key(item: tuple[tuple[str, int], Work]) -> tuple[str, int]:
    return item[0]


def _name_of(task_id: str, work: Work, reports: Sequence[Report]) -> str:
    """Its id, unless that is only the id of a span: then what was said when it began, or its stage."""
    if task_id not in work.spans:
        return task_id
    first = min(reports, key=lambda report: (report.occur_us, report.type, report.event_id))
    return first.message or work.stage[1] or task_id


def _failed_before(before: Draft, made: Draft) -> int | None:
    """When the attempt before failed, if that was before this one was heard of."""
    end_us = before.end_us
    return end_us if end_us is not None and end_us <= made.begin_us else None


def _stage_of(name: str, attempt: int, run: Run, stages: Mapping[str, list[int]]) -> str:
    """The attempt of its stage in which a task is: that of its time, or the nearest before."""
    known = [each for each in stages.get(name, ()) if each <= attempt]
    return f"stage:{name}:{known[-1]}" if known else run.parent_of(attempt)


def _span(span_id: str, kind: SpanKind, name: str, made: Draft, start_us: int) -> Span:
    end_us = made.end_us
    return Span(
        span_id, "", kind, name, start_us, None if end_us is None else max(start_us, end_us), made.state,
        agent_id=made.agent[1], agent_type=made.agent_type[1], source=made.source, error=made.error, usage=made.usage,
        event_id=made.event_id,
    )  # fmt: skip


def _clip_waits(span: Span) -> None:
    """Waits are within their span."""
    if span.end_us is not None:
        for wait in span.waits:
            wait.end_us = span.end_us if wait.end_us is None else min(wait.end_us, span.end_us)
        span.waits = [wait for wait in span.waits if (wait.end_us or 0) > wait.start_us]


def _add(building: _Building, span: Span, work: Work, made: Draft, parent: str) -> None:
    began_us = made.work_us if made.work_us is not None else made.begin_us
    if made.end_us is not None and made.end_us < began_us:
        building.found.note(ProblemKind.NEGATIVE, span.id)
    span.parent_id = building.fallback[span.id] = parent
    building.spans[span.id] = span
    for ref in work.spans:
        building.named.setdefault(ref, span.id)
    if work.parents:
        building.above[span.id] = work.parents


def _end_with_attempts(building: _Building, run: Run) -> None:
    """What nobody ended ended with its attempt, if that did not end well."""
    attempts = {attempt.number: attempt for attempt in run.attempts}
    for span in building.spans.values():
        if span.end_us is not None or span.kind not in (SpanKind.STAGE, SpanKind.TASK):
            continue
        attempt = attempts[run.at(span.start_us)]
        if attempt.end_us is not None and attempt.state != WorkState.COMPLETED:
            span.end_us, span.state = max(span.start_us, attempt.end_us), WorkState.CANCELLED
            _clip_waits(span)


def _omitted(facts: TraceFacts) -> frozenset[str]:
    """OpenTelemetry's ids of what is no part of the workflow: what is above it, and what others do."""
    omitted = set(facts.elsewhere) - set(facts.roots)
    for ref in facts.above:
        at = ref
        while at and at not in omitted and at not in facts.roots:
            omitted.add(at)
            raw = facts.raw.get(at)
            at = "" if raw is None else raw.parent
    return frozenset(omitted)


def _raw(building: _Building, facts: TraceFacts, *, omitted: frozenset[str]) -> None:
    """Adds OpenTelemetry's spans that are none of ours, below what they name."""
    ids: dict[str, str] = {}
    for raw in facts.raw.values():
        if raw.id in building.named or raw.id in omitted:
            continue
        taken = raw.id in building.spans or raw.id in (ROOT, UNKNOWN_ROOT)
        ids[raw.id] = f"span:{raw.id}" if taken else raw.id
    for ref, span_id in ids.items():
        raw = facts.raw[ref]
        span = _raw_span(building, raw, span_id)
        parent = raw.parent
        if not parent or parent in omitted:
            span.parent_id = parent and f"\0{parent}"  # of what is left out
        elif parent in building.named:
            span.parent_id = building.named[parent]
        elif parent in ids:
            span.parent_id = ids[parent]
        else:
            span.parent_id = "\0"
            building.found.note(ProblemKind.ORPHAN, span_id)
        building.spans[span_id] = span
    for ref, span_id in ids.items():
        building.named.setdefault(ref, span_id)


def _raw_span(building: _Building, raw: RawSpan, span_id: str) -> Span:
    begin_us, end_us = raw.begin_us, raw.end_us
    estimated = begin_us is None
    start_us = begin_us if begin_us is not None else (end_us or 0)
    if end_us is None:
        state = WorkState.RUNNING
    else:
        state = WorkState.COMPLETED if raw.error is None else WorkState.FAILED
        if end_us < start_us:
            building.found.note(ProblemKind.NEGATIVE, span_id)
            end_us = start_us
    if raw.twice:
        building.found.note(ProblemKind.DUPLICATE, span_id)
    return Span(
        span_id, "", SpanKind.SPAN, raw.name, start_us, end_us, state, stage=raw.stage, task_id=raw.task_id,
        agent_id=raw.agent_id, agent_type=raw.agent_type, source=raw.source, error=raw.error, usage=raw.usage,
        event_id=raw.event_id, start_estimated=estimated, links=_links(raw.links),
    )  # fmt: skip


def _links(told: str) -> list[Link]:
    """Links as OpenTelemetry's spans tell them. Whoever publishes such an event may say anything."""
    if not told:
        return []
    try:
        items: object = json.loads(told)
    except (ValueError, RecursionError):
        return []
    links: list[Link] = []
    for item in cast("list[object]", items)[:MOST_LINKS] if isinstance(items, list) else ():
        if isinstance(item, dict):
            fields = cast("dict[str, object]", item)
            span_id, trace_id = fields.get("span_id"), fields.get("trace_id")
            if isinstance(span_id, str) and isinstance(trace_id, str) and span_id:
                links.append(Link(LinkKind.RELATED, span_id, trace_id))
    return links


def _nest_tasks(building: _Building) -> None:
    """Puts tasks below the spans that they name, if they end in them."""
    for span_id, refs in building.above.items():
        span = building.spans[span_id]
        for ref in refs:
            above = building.spans.get(building.named.get(ref, ""))
            if above is None or above is span or span.kind != SpanKind.TASK:
                continue
            if above.end_us is None or (span.end_us or above.end_us + 1) <= above.end_us:
                span.parent_id = above.id
            else:
                follows = _worked_from(span) >= above.end_us
                kind = LinkKind.FOLLOWS if follows else LinkKind.RELATED
                span.links.append(Link(kind, above.id))
            break


def _worked_from(span: Span) -> int:
    """When work on it began."""
    return max((wait.end_us or wait.start_us for wait in span.waits), default=span.start_us)


def _placed(building: _Building, root: Span) -> list[Span]:
    """All spans in order, below the root."""
    spans, fallback = building.spans, building.fallback
    for span in spans.values():
        if span.parent_id in ("", "\0"):
            span.parent_id = root.id
    for span_id in cyclic({span.id: span.parent_id for span in spans.values()}):
        building.found.note(ProblemKind.CYCLE, span_id)
        spans[span_id].parent_id = fallback.get(span_id, root.id)
    ordered = in_order(root, spans.values())
    if len(ordered) <= len(spans):
        shown = {span.id for span in ordered}
        lost = [span_id for span_id in fallback if span_id not in shown]
        if lost:  # tasks below what is left out
            for span_id in lost:
                spans[span_id].parent_id = fallback[span_id]
            ordered = in_order(root, spans.values())
    return ordered
