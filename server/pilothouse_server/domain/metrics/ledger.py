"""Counts the starts and ends of spans in series, and corrects what was counted when a better fact comes.

Whether a bucket may still be changed is judged by the event's own lateness (its receipt minus the time in
question), not by the clock at the moment of reading: so a replay decides as live operation did.
"""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse_server.domain.events import EventType
from pilothouse_server.domain.metrics.limits import BUCKET_US, LATENESS_US
from pilothouse_server.domain.metrics.records import Span
from pilothouse_server.domain.metrics.series import (
    CANCELLED,
    COMPLETED,
    FAILED,
    SKIPPED,
    Cell,
    Series,
)

_OUTCOME = {
    EventType.WORKFLOW_COMPLETED: COMPLETED,
    EventType.WORKFLOW_FAILED: FAILED,
    EventType.WORKFLOW_CANCELLED: CANCELLED,
    EventType.STAGE_COMPLETED: COMPLETED,
    EventType.STAGE_FAILED: FAILED,
    EventType.STAGE_SKIPPED: SKIPPED,
    EventType.TASK_COMPLETED: COMPLETED,
    EventType.TASK_FAILED: FAILED,
    EventType.TASK_RETRYING: FAILED,
    EventType.TASK_CANCELLED: CANCELLED,
}
OUTCOME: tuple[int, ...] = tuple(
    _OUTCOME.get(EventType(n), -1) if n else -1 for n in range(max(EventType) + 1)
)
"""How an event of a type's number ends something; -1 when it does not."""


class Ledger:
    """Writes to the fresh cells of series."""

    __slots__ = ("closed", "duplicates", "skewed")

    def __init__(self) -> None:
        self.closed = 0
        """Buckets before this one are closed, and never written."""
        self.duplicates = 0
        self.skewed = 0

    def start(self, span: Span, occur: int, receive: int, series: Sequence[Series]) -> None:
        """A report that the span started."""
        known = span.started
        if known is not None and occur >= known:
            self.duplicates += 1
            if occur > known or span.start_in >= 0:
                return
        span.started = occur
        if span.start_in >= self.closed and known is not None and receive - known <= LATENESS_US:
            _add_start(span.start_in, series, -1)
            span.start_in = -1
        bucket = occur // BUCKET_US
        if receive - occur <= LATENESS_US and bucket >= self.closed:
            span.start_in = bucket
            for one in series:
                cell = one.fresh.get(bucket)
                if cell is None:
                    cell = one.fresh[bucket] = Cell()
                cell.started += 1
        if span.ended is not None and known != occur:
            self.measure(span, receive, series)

    def end(
        self,
        span: Span,
        event_type: int,
        occur: int,
        receive: int,
        duration: int | None,
        series: Sequence[Series],
    ) -> bool:
        """A report that the span ended: the earliest stands. Returns whether this one does, for the first time."""
        known = span.ended
        news = True
        if known is not None:
            order = _order(occur, event_type, duration), _order(known, span.end_type, span.duration)
            if order[0] <= order[1]:
                self.duplicates += 1
                if order[0] < order[1] or span.end_in >= 0:
                    return False
                news = False
            self.withdraw_end(span, receive, series)
        span.ended = occur
        span.end_type = event_type
        span.duration = duration
        outcome = OUTCOME[event_type]
        latency = self._latency(span, outcome)
        bucket = occur // BUCKET_US
        if receive - occur <= LATENESS_US and bucket >= self.closed:
            span.end_in = bucket
            span.latency = latency
            for one in series:
                cell = one.fresh.get(bucket)
                if cell is None:
                    cell = one.fresh[bucket] = Cell()
                cell.add_end(outcome, latency)
        return news

    def opened(self, span: Span, occur: int, receive: int, series: Sequence[Series]) -> None:
        """A report that the span was opened: the earliest stands, and is its start while no start is known."""
        if span.opened is not None and occur >= span.opened:
            self.duplicates += 1
            return
        span.opened = occur
        if span.ended is not None and span.started is None:
            self.measure(span, receive, series)

    def _latency(self, span: Span, outcome: int) -> int:
        """How long the span took; -1 when that is not known or not measured. Keeps the count of skewed ones."""
        start = span.opened if span.started is None else span.started
        if outcome > FAILED or span.ended is None:
            latency = -1
            skewed = False
        else:
            taken = span.duration if start is None else span.ended - start
            skewed = taken is not None and taken < 0
            latency = -1 if taken is None else max(taken, 0)
        if skewed is not span.skewed:
            self.skewed += 1 if skewed else -1
            span.skewed = skewed
        return latency

    def measure(self, span: Span, receive: int, series: Sequence[Series]) -> None:
        """The start of an ended span changed: counts the duration anew, if the bucket of the end is open."""
        outcome = OUTCOME[span.end_type]
        latency = self._latency(span, outcome)
        if span.ended is None or span.end_in < 0 or receive - span.ended > LATENESS_US:
            return
        if latency != span.latency and span.end_in >= self.closed:
            for one in series:
                durations = one.cell(span.end_in).durations
                if span.latency >= 0:
                    durations.add(span.latency, -1)
                if latency >= 0:
                    durations.add(latency)
            span.latency = latency

    def withdraw_end(self, span: Span, receive: int, series: Sequence[Series]) -> None:
        """Takes the end out of its bucket, if that is open."""
        if span.ended is None or span.end_in < 0 or receive - span.ended > LATENESS_US:
            return
        if span.end_in >= self.closed:
            for one in series:
                one.cell(span.end_in).add_end(OUTCOME[span.end_type], span.latency, -1)
        span.end_in = span.latency = -1

    def move(
        self, span: Span, receive: int, before: Sequence[Series], after: Sequence[Series]
    ) -> None:
        """The span belongs to other series than was known: moves what is counted in open buckets."""
        if span.start_in >= self.closed and span.started is not None:  # noqa: SIM102
            if receive - span.started <= LATENESS_US:
                _add_start(span.start_in, before, -1)
                _add_start(span.start_in, after, 1)
        if span.end_in >= self.closed and span.ended is not None:  # noqa: SIM102
            if receive - span.ended <= LATENESS_US:
                outcome = OUTCOME[span.end_type]
                for one in before:
                    one.cell(span.end_in).add_end(outcome, span.latency, -1)
                for one in after:
                    one.cell(span.end_in).add_end(outcome, span.latency)


def _order(occur: int, event_type: int, duration: int | None) -> tuple[int, int, int]:
    return (-occur, event_type, -1 if duration is None else duration)


def _add_start(bucket: int, series: Sequence[Series], times: int) -> None:
    for one in series:
        one.cell(bucket).started += times
