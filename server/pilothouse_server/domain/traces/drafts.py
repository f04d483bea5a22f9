"""What the reports of one attempt say together: when it was there, waited, worked and ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pilothouse_server.domain.events import EventError, EventType, Usage
from pilothouse_server.domain.projection.spans import MEANING, UNSTATED, Stated, WorkState
from pilothouse_server.domain.traces.facts import Report
from pilothouse_server.domain.traces.model import TimeKind, Wait
from pilothouse_server.domain.workflows import END, REPORTED

NEVER: Final = (1 << 63) - 1
_OPENING: Final = (EventType.TASK_QUEUED, EventType.TASK_RETRYING)


@dataclass(slots=True)
class Draft:
    """One attempt of a stage or a task. Times in microseconds; None is not known."""

    first_us: int
    """The earliest of all its times."""
    queue_us: int | None = None
    retry_us: int | None = None
    """When it was said that there would be this attempt."""
    work_us: int | None = None
    """When work began: as reported, or as the end tells it by how long it took."""
    end_us: int | None = None
    state: WorkState = WorkState.QUEUED
    error: EventError | None = None
    usage: Usage | None = None
    agent: Stated = UNSTATED
    agent_type: Stated = UNSTATED
    source: str = ""
    event_id: str = ""
    retry_reason: str = ""

    @property
    def begin_us(self) -> int:
        """When it was first there."""
        begin_us = self.queue_us
        if self.retry_us is not None and (begin_us is None or self.retry_us < begin_us):
            begin_us = self.retry_us
        if self.work_us is not None and (begin_us is None or self.work_us < begin_us):
            begin_us = self.work_us
        return self.first_us if begin_us is None else begin_us

    @property
    def estimated(self) -> bool:
        """Whether nobody said when it began."""
        return self.queue_us is None and self.retry_us is None and self.work_us is None


def draft(reports: Iterable[Report]) -> Draft:
    """What they say together, whatever their order. Among ends the earliest stands, else the latest report."""
    made = Draft(first_us=NEVER)
    greatest: tuple[int, int, int, str] = (-1, 0, 0, "")
    decisive: Report | None = None
    used: dict[str, Usage] = {}
    for report in reports:
        kind, occur_us = report.type, report.occur_us
        made.first_us = min(made.first_us, occur_us)
        rank = MEANING[kind][0]
        standing = (rank, -occur_us if rank == END else occur_us, kind, report.event_id)
        if standing > greatest:
            greatest, decisive = standing, report
        _begin(made, report, rank)
        if report.agent_id:
            made.agent = max(made.agent, (occur_us, report.agent_id))
        if report.agent_type:
            made.agent_type = max(made.agent_type, (occur_us, report.agent_type))
        if report.usage is not None:
            used[report.event_id] = report.usage
    if decisive is not None:
        _decide(made, decisive)
    for event_id in sorted(used):
        made.usage = used[event_id] if made.usage is None else made.usage + used[event_id]
    return made


def _begin(made: Draft, report: Report, rank: int) -> None:
    occur_us = report.occur_us
    if rank == REPORTED:
        made.work_us = occur_us if made.work_us is None else min(made.work_us, occur_us)
    elif report.type == EventType.TASK_QUEUED:
        made.queue_us = occur_us if made.queue_us is None else min(made.queue_us, occur_us)
    elif report.type == EventType.TASK_RETRYING and (
        made.retry_us is None or (occur_us, report.message) < (made.retry_us, made.retry_reason)
    ):
        made.retry_us, made.retry_reason = occur_us, report.message


def _decide(made: Draft, decisive: Report) -> None:
    rank, made.state = MEANING[decisive.type]
    made.event_id, made.source, made.error = decisive.event_id, decisive.source, decisive.error
    if rank != END:
        if made.state == WorkState.RETRYING:
            made.error = None  # it is what went wrong in the attempt before
        return
    made.end_us = decisive.occur_us
    if made.work_us is None and decisive.duration_us is not None and decisive.duration_us >= 0:
        made.work_us = decisive.occur_us - decisive.duration_us


def waits_of(made: Draft, failed_us: int | None, queue: str) -> list[Wait]:
    """What a task waited for until work on it began: since the attempt before had failed, and in its queue."""
    until = made.work_us
    if until is None and made.end_us is not None:
        if made.state not in (WorkState.CANCELLED, WorkState.SKIPPED):
            return []  # it was worked on, and nobody said since when
        until = made.end_us
    waits: list[Wait] = []
    retry_us = made.retry_us if made.retry_us is not None else failed_us
    queue_us = made.queue_us
    if retry_us is not None:
        queued = queue_us is not None and queue_us > retry_us
        _add(waits, TimeKind.RETRY, retry_us, queue_us if queued else until, made.retry_reason)
        if not queued:
            return waits
    if queue_us is not None:
        _add(waits, TimeKind.QUEUE, queue_us, until, queue)
    return waits


def _add(waits: list[Wait], kind: TimeKind, start_us: int, end_us: int | None, reason: str) -> None:
    if end_us is None or end_us > start_us:
        waits.append(Wait(kind, start_us, end_us, reason))


def runs(reports: Sequence[Report], attempt_at: Callable[[int], int]) -> list[list[Report]]:
    """The reports of one attempt of a task, parted where it was begun anew in a later attempt of its workflow: engines
    may count a task's attempts from 1 again."""
    ordered = sorted(reports, key=_in_time)
    parts: list[list[Report]] = [[]]
    begun, ended, where = False, False, 0
    for report in ordered:
        rank = MEANING[report.type][0]
        if rank != END:
            now = attempt_at(report.occur_us)
            anew = ended or report.type in _OPENING or (begun and rank == REPORTED)
            if parts[-1] and now > where and anew:
                parts.append([])
                begun = ended = False
            where = max(where, now)
        begun = begun or rank == REPORTED
        ended = ended or rank == END
        parts[-1].append(report)
    return parts


def _in_time(report: Report) -> tuple[int, int, str]:
    return report.occur_us, report.type, report.event_id
