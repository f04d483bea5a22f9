"""What is wrong with what was reported, gathered and put into words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pilothouse_server.domain.traces.model import Problem, ProblemKind, Span, SpanKind, TimeKind

NAMED: Final = 10
"""Spans that a problem names."""
OUTSIDE_US: Final = 1000
"""So far a span may reach beyond the one above it: two reports of one moment may be that far apart."""

_WORDS: Final[Mapping[ProblemKind, tuple[str, str]]] = {
    ProblemKind.CYCLE: (
        "1 span names what is below it as above it",
        "{count:,} spans name each other as the ones above them",
    ),
    ProblemKind.ORPHAN: (
        "1 span is part of a span that was not reported",
        "{count:,} spans are part of spans that were not reported",
    ),
    ProblemKind.NEGATIVE: (
        "1 span ends before it begins; it is shown without a length",
        "{count:,} spans end before they begin; they are shown without a length",
    ),
    ProblemKind.OUTSIDE_PARENT: (
        "1 span reaches beyond the one above it",
        "{count:,} spans reach beyond the ones above them",
    ),
    ProblemKind.DUPLICATE: (
        "1 id is used for different spans; the first of them is shown",
        "{count:,} ids are used for different spans; the first of them is shown",
    ),
}


@dataclass(slots=True)
class Found:
    """Problems as they are found."""

    counts: dict[ProblemKind, int] = field(default_factory=dict[ProblemKind, int])
    ids: dict[ProblemKind, list[str]] = field(default_factory=dict[ProblemKind, "list[str]"])
    told: list[Problem] = field(default_factory=list[Problem])

    def note(self, kind: ProblemKind, span_id: str) -> None:
        """One span has it."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        ids = self.ids.setdefault(kind, [])
        if span_id < (ids[-1] if len(ids) == NAMED else "\U0010ffff"):
            ids.append(span_id)
            ids.sort()
            del ids[NAMED:]

    def tell(self, problem: Problem) -> None:
        """One that has words of its own."""
        self.told.append(problem)

    def problems(self) -> tuple[Problem, ...]:
        """By kind."""
        for kind, count in self.counts.items():
            one, many = _WORDS[kind]
            text = one if count == 1 else many.format(count=count)
            self.told.append(Problem(kind, text, count, tuple(self.ids[kind])))
        return tuple(sorted(self.told, key=lambda problem: problem.kind))


def outside(found: Found, spans: Sequence[Span], by_id: Mapping[str, Span]) -> None:
    """Notes the spans that reach beyond the ones above them. A task may be queued before its stage begins."""
    for span in spans:
        above = by_id.get(span.parent_id)
        if above is None:
            continue
        start_us = span.start_us
        if span.kind == SpanKind.TASK and span.waits and span.waits[-1].kind <= TimeKind.RETRY:
            start_us = span.waits[-1].end_us or above.start_us
        early = start_us < above.start_us - OUTSIDE_US
        end_us = above.end_us
        late = end_us is not None and (span.end_us or end_us) > end_us + OUTSIDE_US
        if early or late:
            found.note(ProblemKind.OUTSIDE_PARENT, span.id)
