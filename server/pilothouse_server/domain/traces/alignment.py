"""What of one trace is what of another: pieces are named so that runs of one type give the same names.

A stage is named by its name. A task is named by its stage and its id, of which the workflow's own id, the stage's name
before it, UUIDs, long hex and long numbers are left out; by its name where nothing else of the id remains. Tasks that
have one name then are told apart by their order in time, and attempts at one thing by theirs. OpenTelemetry's spans are
named by their name and that of the one above them, and counted in their order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from pilothouse_server.domain.traces.model import Span, SpanKind, Trace

_VOLATILE: Final = re.compile(
    r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|\b[0-9a-f]*\d[0-9a-f]{7,}\b|\d{5,}", re.IGNORECASE
)
_BETWEEN: Final = " -_:/."
_WORDS: Final = re.compile(r"[^\W_]")


class Piece(NamedTuple):
    """A name; `task` is "" for a stage, `which` counts those that would have one name, from 1."""

    stage: str
    task: str
    which: int
    attempt: int

    @property
    def thing(self) -> tuple[str, str, int]:
        """What it is an attempt at."""
        return self[:3]

    def label(self, *, numbered: bool) -> str:
        """For people; `numbered`: there are several attempts."""
        words = " / ".join(part for part in (self.stage, self.task) if part) or "(no stage)"
        if self.which > 1:
            words += f" ({self.which})"
        return f"{words}, attempt {self.attempt}" if numbered else words


def stable(text: str, workflow_id: str) -> str:
    """The text without what differs from run to run."""
    shorter = text.replace(workflow_id, "") if workflow_id else text
    kept = _VOLATILE.sub("#", shorter)
    return kept.strip(_BETWEEN) if _WORDS.search(kept) else ""


def pieces_of(trace: Trace) -> Mapping[Piece, int]:
    """Places in `trace.spans` by their names; the root and attempts of the workflow have none."""
    naming, found = _Naming(trace), dict[Piece, int]()
    spans = trace.spans
    for place in sorted(range(len(spans)), key=lambda place: (spans[place].start_us, place)):
        span = spans[place]
        if span.parent_id and span.kind != SpanKind.ATTEMPT:
            found[naming.of(span)] = place
    return found


class _Naming:
    """In the order of time."""

    def __init__(self, trace: Trace) -> None:
        self._workflow_id = trace.workflow_id
        self._spans = {each.id: each for each in trace.spans}
        self._attempts: dict[tuple[str, str, str], int] = {}
        self._which: dict[tuple[str, str, str], int] = {}
        self._counts: dict[tuple[str, str], int] = {}

    def of(self, span: Span) -> Piece:
        """The next piece of that name."""
        match span.kind:
            case SpanKind.STAGE:
                return Piece(span.stage or span.name, "", 1, self._attempt(span.stage, "", ""))
            case SpanKind.TASK:
                own = span.task_id.removeprefix(self._workflow_id).lstrip(_BETWEEN)
                if span.stage and own.removeprefix(span.stage).startswith(tuple(_BETWEEN)):
                    own = own.removeprefix(span.stage)
                task = stable(own, self._workflow_id)
                task = task or stable(span.name, self._workflow_id) or "task"
                thing = (span.stage, task, span.task_id)
                if thing not in self._which:
                    self._which[thing] = self._count(span.stage, task)
                return Piece(span.stage, task, self._which[thing], self._attempt(*thing))
            case _:
                above = self._spans.get(span.parent_id)
                names = [each.name for each in (above, span) if each is not None]
                task = " > ".join(stable(each, self._workflow_id) or "span" for each in names)
                return Piece(span.stage, task, self._count(span.stage, task), 1)

    def _attempt(self, stage: str, task: str, task_id: str) -> int:
        key = (stage, task, task_id)
        self._attempts[key] = self._attempts.get(key, 0) + 1
        return self._attempts[key]

    def _count(self, stage: str, task: str) -> int:
        key = (stage, task)
        self._counts[key] = self._counts.get(key, 0) + 1
        return self._counts[key]
