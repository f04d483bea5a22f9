"""What traces tell: one by itself, several side by side, many of one type together.

Analysing is work for the processor, so it is done in a thread, one at a time; what a trace tells is kept for the next
who asks, and of one that goes on for a second. Reading many runs is done some at a time, so that it holds nobody up.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, NamedTuple, Protocol

from pilothouse_server.domain.errors import InvalidArgument
from pilothouse_server.domain.traces.aggregate import Aggregate, Alike, Together
from pilothouse_server.domain.traces.alignment import Piece
from pilothouse_server.domain.traces.analysis import Analysis, analyse
from pilothouse_server.domain.traces.causes import Unanalysable, causes_of
from pilothouse_server.domain.traces.comparison import Placed, Row, compare
from pilothouse_server.domain.traces.estimate import Estimate, estimate, place_of, why_not
from pilothouse_server.domain.traces.model import Trace
from pilothouse_server.domain.traces.slack import slack_of
from pilothouse_server.domain.traces.summary import KeptPiece, median_of, past_of, placed
from pilothouse_server.domain.workflows import WorkflowState
from pilothouse_server.ports import Clock
from pilothouse_server.services.trace_analyst import Traces

MAX_RUNS: Final = 100_000
"""Runs that are put together."""
MAX_VALUES: Final = 2_000_000
"""Of them, each counted once for each stage that it went through."""
PAGE: Final = 5_000
"""Runs in one read."""
READERS: Final = 2
"""Who read many runs at the same time; others wait."""
PAST_RUNS: Final = 300
"""Runs, those that ended last, that medians and estimates are made of."""
KEPT: Final = 64
"""Analyses that are kept for the next who asks."""
KEPT_SPANS: Final = 200_000
"""Spans of all of them together."""
FRESH_US: Final = 1_000_000
"""So long what was found of a trace that goes on is told to others who ask."""
WEEK_US: Final = 7 * 24 * 3600 * 1_000_000


class Key(NamedTuple):
    """Where a run stands among those of its type."""

    end_us: int
    workflow_id: str


class Window(NamedTuple):
    """Runs that ended from `start_us` on and before `end_us`."""

    start_us: int
    end_us: int


class Page(NamedTuple):
    """Some runs; `last` is None when there are no more."""

    runs: Sequence[Alike]
    last: Key | None


class Ended(NamedTuple):
    """A run that has ended, with its pieces."""

    workflow_id: str
    state: WorkflowState
    duration_us: int
    pieces: Sequence[KeptPiece]


class PastRuns(Protocol):
    """Summaries of runs that ended."""

    async def page(
        self, workflow_type: str, window: Window, before: Key | None, limit: int
    ) -> Page: ...

    async def newest(self, workflow_type: str, limit: int) -> Sequence[Ended]: ...


@dataclass(frozen=True, slots=True)
class Told:
    """An analysis, and when the trace may end: an estimate, why there is none, or None when it has ended."""

    analysis: Analysis
    now_us: int
    estimate: Estimate | str | None


@dataclass(frozen=True, slots=True)
class Median:
    """The median of past runs; a state among what is compared as a trace is."""

    workflow_type: str
    duration_us: int
    runs: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """`traces` in the order of the columns of `rows`."""

    traces: Sequence[Median | Analysis]
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Runs:
    """Many runs of a window of time; `truncated`: there are more than were looked at."""

    window: Window
    together: Together
    truncated: bool


class TraceAnalysis:
    """Raises NotFound for a trace that nobody knows, and Unavailable."""

    def __init__(self, traces: Traces, past: PastRuns, clock: Clock) -> None:
        self._traces = traces
        self._past = past
        self._clock = clock
        self._turn = asyncio.Semaphore(1)
        self._reading = asyncio.Semaphore(READERS)
        self._kept: OrderedDict[str, Analysis] = OrderedDict()
        self._slack: tuple[Trace, int, Mapping[str, int]] | None = None

    async def analyse(self, trace_id: str) -> Told:
        """What one trace tells."""
        trace = await self._traces.trace(trace_id)
        now_us = self._clock.now_us()
        analysis = await self._analysis(trace, now_us)
        if trace.end_us is not None:
            return Told(analysis, now_us, None)
        reason = why_not(trace)
        if reason:
            return Told(analysis, now_us, reason)
        ended = await self._past.newest(trace.workflow_type, PAST_RUNS)
        past = [
            past_of(each.duration_us, each.pieces)
            for each in ended
            if each.state != WorkflowState.CANCELLED
        ]
        return Told(analysis, now_us, estimate(place_of(trace, now_us), past))

    async def slack(self, trace: Trace) -> Mapping[str, int]:
        """By the id of a span how much longer it could take without the trace ending later, as far as that is known.
        Remembered for the trace that was asked about last, since its pages come one after another."""
        known = self._known_slack(trace)
        if known is not None:
            return known
        async with self._turn:
            known = self._known_slack(trace)
            if known is None:
                now_us = self._clock.now_us()
                known = await asyncio.to_thread(_slack_by_id, trace, now_us)
                self._slack = (trace, now_us, known)
        return known

    def _known_slack(self, trace: Trace) -> Mapping[str, int] | None:
        if self._slack is None or self._slack[0] is not trace:
            return None
        _, at_us, known = self._slack
        return known if _still(trace, at_us, self._clock.now_us()) else None

    async def compare(self, trace_ids: Sequence[str], *, with_median: bool) -> Comparison:
        """What differs from the first, or with the median from that."""
        if len(set(trace_ids)) < len(trace_ids):
            raise InvalidArgument("ids", "each trace once")
        if len(trace_ids) < 2 and not with_median:
            raise InvalidArgument("ids", "two to five, or one with type_median")
        analyses = [await self._of(each) for each in trace_ids]
        columns: list[Median | Analysis] = list(analyses)
        pieces: list[Mapping[Piece, Placed]] = []
        if with_median:
            column, found = await self._median(analyses[0].trace)
            columns.insert(0, column)
            pieces.append(found)

        def align() -> Sequence[Row]:
            running = [each.trace.end_us is None for each in analyses]
            found = [*pieces, *(placed(each) for each in analyses)]
            return compare(found, [False] * len(pieces) + running)

        async with self._turn:
            return Comparison(columns, await asyncio.to_thread(align))

    async def aggregate(self, workflow_type: str, window: Window) -> tuple[Runs, Runs]:
        """Runs that ended in the window, and those that did so a week before."""
        if window.start_us >= window.end_us:
            raise InvalidArgument("start_time", "before end_time")
        earlier = Window(window.start_us - WEEK_US, window.end_us - WEEK_US)
        async with self._reading:
            current = await self._together(workflow_type, window)
            return current, await self._together(workflow_type, earlier)

    async def _together(self, workflow_type: str, window: Window) -> Runs:
        runs, last, left, values = list[Alike](), None, MAX_RUNS, 0
        while True:
            page = await self._past.page(workflow_type, window, last, min(PAGE, left))
            runs += page.runs
            values += sum(each.values for each in page.runs)
            left -= PAGE
            last = page.last
            if last is None or left <= 0 or values >= MAX_VALUES:
                break
        truncated = False
        if last is not None:
            more = await self._past.page(workflow_type, window, last, 1)
            truncated = more.last is not None

        def together() -> Together:
            aggregate = Aggregate()
            for alike in runs:
                aggregate.add(alike)
            return aggregate.together()

        return Runs(window, await asyncio.to_thread(together), truncated)

    async def _of(self, trace_id: str) -> Analysis:
        trace = await self._traces.trace(trace_id)
        return await self._analysis(trace, self._clock.now_us())

    async def _analysis(self, trace: Trace, now_us: int) -> Analysis:
        known = self._known(trace, now_us)
        if known is not None:
            return known
        async with self._turn:
            # Somebody may have asked for the same meanwhile.
            known = self._known(trace, now_us)
            if known is None:
                known = await asyncio.to_thread(analyse, trace, now_us)
                self._keep(known)
        return known

    def _known(self, trace: Trace, now_us: int) -> Analysis | None:
        known = self._kept.get(trace.id)
        if known is None or known.trace.revision != trace.revision:
            return None
        if not _still(known.trace, known.until_us, now_us):
            return None
        self._kept.move_to_end(trace.id)
        return known

    def _keep(self, analysis: Analysis) -> None:
        self._kept[analysis.trace.id] = analysis
        self._kept.move_to_end(analysis.trace.id)
        spans = sum(len(each.trace.spans) for each in self._kept.values())
        while self._kept and (len(self._kept) > KEPT or spans > KEPT_SPANS):
            _, dropped = self._kept.popitem(last=False)
            spans -= len(dropped.trace.spans)

    async def _median(self, of: Trace) -> tuple[Median, Mapping[Piece, Placed]]:
        """Of past runs of its type that completed, but for itself."""
        if not of.workflow_id:
            raise InvalidArgument("type_median", "only workflows have past runs of their type")
        ended = await self._past.newest(of.workflow_type, PAST_RUNS)
        done = [
            each
            for each in ended
            if each.state == WorkflowState.COMPLETED and each.workflow_id != of.workflow_id
        ]
        if not done:
            raise InvalidArgument(
                "type_median", f"no other run of type {of.workflow_type!r} completed so far"
            )
        duration = round(median(each.duration_us for each in done))
        pieces = await asyncio.to_thread(median_of, [each.pieces for each in done])
        return Median(of.workflow_type, duration, len(done)), pieces


def _still(trace: Trace, at_us: int, now_us: int) -> bool:
    """Whether what was found of it then is so now."""
    return trace.end_us is not None or 0 <= now_us - at_us < FRESH_US


def _slack_by_id(trace: Trace, now_us: int) -> Mapping[str, int]:
    causes = causes_of(trace, max(trace.start_us, now_us))
    if isinstance(causes, Unanalysable):
        return {}
    pairs = zip(trace.spans, slack_of(causes), strict=True)
    return {span.id: slack for span, slack in pairs if slack is not None}
