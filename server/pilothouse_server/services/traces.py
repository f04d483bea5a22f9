"""Traces as they are asked for: gathered from stored events when somebody asks, kept while there is room, and gone on
with from where they stand, so that a trace which is looked at again costs what is new in it.

Folding and building are done in threads, in slices: the loop is never held. Who asks for a trace that another one is
gathering waits for that and has the same.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple, Protocol, TypeVar

from pilothouse_server.domain.commands import Command
from pilothouse_server.domain.events import Event
from pilothouse_server.domain.filters import Field, Kind, Schema, enum_field
from pilothouse_server.domain.projection.workflow import WorkflowRecord
from pilothouse_server.domain.traces.build import trace
from pilothouse_server.domain.traces.facts import MAX_SPANS, TraceFacts
from pilothouse_server.domain.traces.model import Problem, ProblemKind, Span, TimeKind, Trace
from pilothouse_server.domain.workflows import WorkflowState
from pilothouse_server.services.views import PageRequest

T = TypeVar("T")

MAX_EVENTS: Final = 400_000
"""Events that are read of one trace."""
CACHED_SPANS: Final = 2 * MAX_SPANS
"""Spans of all the traces that are kept."""
CACHED_TRACES: Final = 1_000
FEW: Final = 64
"""Events that are folded at once on the loop."""


TRACE_FIELDS: Final = Schema(
    {
        "id": Field(),
        "workflow_type": Field(),
        "name": Field(),
        "source": Field(),
        "state": enum_field(WorkflowState, "WORKFLOW_STATE_"),
        "start_time": Field(Kind.TIME),
        "duration": Field(Kind.DURATION),
        "attempt": Field(Kind.NUMBER),
    },
    searched=("name", "id"),
)
"""What traces are filtered by."""


class Subject(NamedTuple):
    """What an id means. One of both is empty."""

    workflow_id: str
    trace_id: str


class Slice(NamedTuple):
    """Events of one subject, in order: with their payloads those that a trace is made of."""

    events: Sequence[tuple[int, bytes]]
    mark: int
    """Up to where events were looked at."""
    more: bool
    newest: int = 0
    """The position of the last one that has to do with the trace; 0: there was none."""


class Background(NamedTuple):
    """What is known of a subject beside its events."""

    record: WorkflowRecord | None
    first_us: int | None
    """When a trace without a workflow began, whatever is left of it; None where nobody knows."""
    commands: Sequence[Command]
    removed: bool
    """Whether events of it may have been removed."""
    database_id: str


@dataclass(frozen=True, slots=True)
class TraceRow:
    """A trace in a list. Times in microseconds; None is not known, or not yet."""

    trace: Trace
    """Without spans."""
    spans: int | None = None
    errors: int | None = None
    """None where nobody has counted them."""
    split: Mapping[TimeKind, int] = field(default_factory=dict[TimeKind, int])
    """How long its critical path was on each kind, where it has ended and was looked at."""


class TracePage(NamedTuple):
    """By the order that was asked for."""

    traces: Sequence[TraceRow]
    next_token: str


class TraceStore(Protocol):
    """All raise Unavailable."""

    async def subject(self, asked_id: str) -> Subject:
        """What the id of a workflow or a trace means. Raises NotFound."""
        ...

    async def after(self, subject: Subject, mark: int) -> Slice:
        """Events of a workflow, or those of others that name a trace, behind a place: a bounded number."""
        ...

    async def background(self, subject: Subject) -> Background: ...

    async def payloads(self, event_ids: Sequence[str]) -> Mapping[str, bytes]:
        """Those of the events that are still there."""
        ...

    async def page(self, request: PageRequest) -> TracePage:
        """Raises InvalidFilter, InvalidPageToken, InvalidArgument."""
        ...


class Shown(NamedTuple):
    """A trace as it was at one moment, with what is known of its changes. It is never changed itself."""

    trace: Trace
    by_id: Mapping[str, Span]
    changed: Mapping[str, int]
    """For each span the revision of the trace in which it became what it is, told as counted from its beginning."""
    vanished: int
    """The revision in which a span that had been shown was no more; 0: there was none."""
    made: int
    """Tells it from what was kept under the same id before, and is not any more."""
    database_id: str
    seconds: float
    """How long it took to build."""


@dataclass(eq=False)
class Kept:
    """One trace that is kept."""

    subject: Subject
    facts: TraceFacts
    made: int
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    marks: dict[str, int] = field(default_factory=dict[str, int])
    """For the workflow ("") and each trace id, up to where events were looked at."""
    read: int = 0
    seen: int = -1
    """The version of changes that its newest look saw."""
    shown: Shown | None = None


class TraceDesk:
    """`decode` reads an event as it is stored; `version` tells how often anything changed so far."""

    def __init__(
        self,
        store: TraceStore,
        decode: Callable[[bytes], Event],
        version: Callable[[], int] = lambda: -1,
    ) -> None:
        self._store = store
        self._decode = decode
        self._version = version
        self._kept: OrderedDict[Subject, Kept] = OrderedDict()

    async def trace(self, asked_id: str) -> Trace:
        """The trace of a workflow, by its id or by a trace id that it names, or one of OpenTelemetry's by its own id.
        What is returned is not to be changed: others are given the same. Raises NotFound, Unavailable."""
        return (await self.show(asked_id)).trace

    async def show(self, asked_id: str, *, seen: int | None = None) -> Shown:
        """The same, with what is known of its changes. `seen`: a look since that version of changes will do."""
        subject = await self._store.subject(asked_id)
        kept = self._keep(subject)
        async with kept.lock:
            shown = kept.shown
            if shown is None or seen is None or kept.seen < seen:
                version = self._version()
                shown = kept.shown = await self._caught_up(kept)
                kept.seen = version
        self._make_room()
        return shown

    async def page(self, request: PageRequest) -> TracePage:
        """Traces in order. Raises InvalidFilter, InvalidPageToken, InvalidArgument, Unavailable."""
        return await self._store.page(request)

    async def attributes(self, spans: Sequence[Span]) -> dict[str, Mapping[str, str]]:
        """What else was reported of these spans, by their ids."""
        payloads = await self._store.payloads([span.event_id for span in spans if span.event_id])
        found: dict[str, Mapping[str, str]] = {}
        for place, span in enumerate(spans, 1):
            payload = payloads.get(span.event_id)
            if payload is not None:
                found[span.id] = self._decode(payload).attributes
            if place % FEW == 0:
                await asyncio.sleep(0)
        return found

    @property
    def spans_kept(self) -> int:
        """Spans of all the traces that are kept."""
        return sum(kept.facts.count for kept in self._kept.values())

    def _keep(self, subject: Subject) -> Kept:
        kept = self._kept.get(subject)
        if kept is None:
            made = random.getrandbits(59)
            kept = self._kept[subject] = Kept(subject, TraceFacts(subject.workflow_id), made)
        self._kept.move_to_end(subject)
        return kept

    def _make_room(self) -> None:
        spans = self.spans_kept
        while len(self._kept) > CACHED_TRACES or (spans > CACHED_SPANS and len(self._kept) > 1):
            _, kept = self._kept.popitem(last=False)
            spans -= kept.facts.count

    async def _caught_up(self, kept: Kept) -> Shown:
        """Reads what is new, and builds the trace anew if there was anything."""
        done = set[str]()
        while kept.read < MAX_EVENTS and (key := _next_key(kept, done)) is not None:
            subject = Subject(kept.subject.workflow_id, key)
            looked = await self._store.after(subject, kept.marks.get(key, 0))
            await _threaded(
                partial(self._fold, kept.facts, looked.events), inline=len(looked.events) <= FEW
            )
            kept.facts.revision = max(kept.facts.revision, looked.newest)
            kept.marks[key] = looked.mark
            kept.read += len(looked.events)
            if not looked.more:
                done.add(key)
        if kept.shown is not None and kept.shown.trace.revision == kept.facts.revision:
            return kept.shown
        background = await self._store.background(kept.subject)
        return await _threaded(partial(_built, kept, background), inline=kept.facts.count <= FEW)

    def _fold(self, facts: TraceFacts, events: Sequence[tuple[int, bytes]]) -> None:
        for position, payload in events:
            facts.apply(self._decode(payload), position)


def _next_key(kept: Kept, done: Collection[str]) -> str | None:
    """What is to be read next: the workflow's own events, then those of the trace ids that they name."""
    own = [""] if kept.subject.workflow_id else [kept.subject.trace_id]
    keys = [*own, *sorted(kept.facts.trace_ids)]
    return next((key for key in keys if key not in done), None)


def _built(kept: Kept, background: Background) -> Shown:
    """The trace, in which each span that is as it was is the object that it was."""
    facts, begun = kept.facts, time.perf_counter()
    built = trace(
        facts,
        record=background.record,
        commands=background.commands,
        removed=background.removed and _began_before(facts, background),
    )
    if kept.read >= MAX_EVENTS and not facts.refused:
        text = f"only its first {kept.read:,} events were looked at"
        built.problems = (*built.problems, Problem(ProblemKind.TOO_MANY_SPANS, text))
    before = kept.shown
    known: Mapping[str, Span] = {} if before is None else before.by_id
    moved = before is None or before.trace.start_us != built.start_us
    changed = {} if before is None else dict(before.changed)
    by_id: dict[str, Span] = {}
    for place, span in enumerate(built.spans):
        same = known.get(span.id)
        alike = same is not None and same == span
        if same is not None and alike:
            built.spans[place] = same
        if moved or not alike:
            changed[span.id] = built.revision
        by_id[span.id] = built.spans[place]
    vanished = 0 if before is None else before.vanished
    for span_id in known:
        if span_id not in by_id:
            del changed[span_id]
            vanished = built.revision
    seconds = time.perf_counter() - begun
    return Shown(built, by_id, changed, vanished, kept.made, background.database_id, seconds)


def _began_before(facts: TraceFacts, background: Background) -> bool:
    """Whether it is known to have begun before the first event that is left of it."""
    if facts.workflow_id:
        stored, left = background.record, facts.record.first_us
        if stored is None or stored.first_us is None:
            return False
        return left is None or stored.first_us < left
    begun = background.first_us
    if begun is None or any(raw.twice for raw in facts.raw.values()):
        return False
    return all(begun < raw.first_us for raw in facts.raw.values())


async def _threaded(run: Callable[[], T], *, inline: bool) -> T:
    """What `run` returns; off the loop unless it is little. It is never left running: who is cancelled waits for it."""
    if inline:
        return run()
    running = asyncio.get_running_loop().run_in_executor(None, run)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
