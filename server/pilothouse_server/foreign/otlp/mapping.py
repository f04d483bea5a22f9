"""A span as events.

A span that is work becomes the events of that work, which carry its trace and its ids, so that spans below it hang
below the work; any other becomes one SPAN_ENDED, or SPAN_STARTED while it runs. A workflow that is also a task (an
agent that is the root of its trace) gives the ids to the task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags, Status

from pilothouse.v1 import enums_pb2
from pilothouse.v1 import events_pb2 as pb
from pilothouse_server.domain.events import EventType
from pilothouse_server.foreign.judging import clipped
from pilothouse_server.foreign.otlp import attributes as kept
from pilothouse_server.foreign.otlp import conventions as said
from pilothouse_server.foreign.otlp.conventions import Outcome, Part
from pilothouse_server.foreign.otlp.meaning import Meaning, Standing, meaning_of, owner_of
from pilothouse_server.foreign.otlp.presence import Presence
from pilothouse_server.foreign.otlp.reading import (
    FARTHEST_US,
    Origin,
    Refused,
    Reported,
    Times,
    ids_of,
    times_of,
)
from pilothouse_server.foreign.otlp.runs import Root, Runs

NOT_RUNNING: Final = "its last span ended"
"""Why an agent is not there: that its span ended is all that is known."""
BEATS_US: Final = 30_000_000
"""One sign of life of a running span in so long is kept."""

MOST_EXCEPTIONS: Final = 8
"""Of a span that are looked at for words of what went wrong."""

_ERROR: Final = Status.STATUS_CODE_ERROR
_IS_REMOTE: Final = SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
_KINDS: Final = {
    Span.SPAN_KIND_SERVER: "server",
    Span.SPAN_KIND_CLIENT: "client",
    Span.SPAN_KIND_PRODUCER: "producer",
    Span.SPAN_KIND_CONSUMER: "consumer",
}
"""Those that say something: internal is what a span is when nobody says."""


class Sighting(NamedTuple):
    """A span that can be taken, read once."""

    trace_id: str
    span_id: str
    parent_id: str
    times: Times
    origin: Origin
    texts: Mapping[str, str]
    """Its attributes."""
    span: Span
    heartbeat_us: int
    """0 when it says none."""


class Mapper:
    """Makes events of spans."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._present = Presence()
        self.cut = 0
        """Attributes that were shortened or left out."""

    def events_of(self, reported: Reported, now_us: int) -> list[pb.Event]:
        """What a span says; its ids, so those of its events, do not depend on when it is read. Raises Refused."""
        seen = _sighting(reported, now_us)
        remote = bool(seen.span.flags & _IS_REMOTE)
        standing = Standing(seen.trace_id, seen.parent_id, seen.span.kind, remote)
        meaning = meaning_of(seen.texts, seen.origin, standing)
        if meaning is None:
            return self._plain(seen)
        return self._work(seen, meaning)

    def _plain(self, seen: Sighting) -> list[pb.Event]:
        events = [self._span_event(seen), *self._beats(seen)]
        if not seen.parent_id:
            error = _error_of(seen)
            root = Root(
                seen.trace_id, seen.span_id, seen.span.name, seen.origin.source, *seen.times,
                Outcome.COMPLETED if error is None else Outcome.FAILED,
                "" if error is None else error.message,
            )  # fmt: skip
            if self._runs.root(root):
                events += _run_of(root)
        return events

    def _span_event(self, seen: Sighting) -> pb.Event:
        start_us, end_us = seen.times
        if end_us is None:
            event = self._event(seen, EventType.SPAN_STARTED, "s", start_us)
        else:
            event = self._event(seen, EventType.SPAN_ENDED, "e", end_us)
            _measure(event, end_us - start_us)
        event.workflow_id = owner_of(seen.texts, seen.origin)
        self._tell(event, seen)
        return event

    def _beats(self, seen: Sighting) -> list[pb.Event]:
        """That a span which has run for a while is still under way; what is new says so by beginning."""
        if seen.heartbeat_us - seen.times.start_us < BEATS_US:
            return []
        suffix = f"b{seen.heartbeat_us // BEATS_US}"
        beat = self._event(seen, EventType.SPAN_STARTED, suffix, seen.times.start_us)
        beat.workflow_id = owner_of(seen.texts, seen.origin)
        beat.attributes[said.HEARTBEAT] = str(seen.heartbeat_us)
        return [beat]

    def _work(self, seen: Sighting, meaning: Meaning) -> list[pb.Event]:
        parts = self._parts(seen, meaning)
        events: list[pb.Event] = []
        for part in parts:
            events += self._part(seen, meaning, part, tells=part is parts[-1])
        if meaning.is_agent:
            events += self._presence(seen, meaning)
        if meaning.by_trace and Part.WORKFLOW not in parts:
            root = self._runs.work(seen.trace_id)
            if root is not None:
                events += _run_of(root)
        return events + self._beats(seen)

    def _parts(self, seen: Sighting, meaning: Meaning) -> Sequence[Part]:
        """What it is in its trace: only one span is the run, others that call themselves one are stages of it."""
        if Part.WORKFLOW not in meaning.parts or not meaning.by_trace:
            return meaning.parts
        first = self._runs.is_run(seen.trace_id, seen.span_id)
        if first or meaning.certain:
            return meaning.parts
        return [Part.STAGE if part is Part.WORKFLOW else part for part in meaning.parts]

    def _part(self, seen: Sighting, meaning: Meaning, part: Part, *, tells: bool) -> list[pb.Event]:
        """Its start and, once there is one, its end; the last that is said of a span tells everything about it."""
        start_us, end_us = seen.times
        start = self._event(seen, part.start, f"{part.letter}s", start_us)
        _place(start, meaning, part)
        events = [start]
        if end_us is not None:
            error = _error_of(seen)
            outcome = meaning.outcome
            if outcome is None:
                outcome = Outcome.COMPLETED if error is None else Outcome.FAILED
            end = self._event(seen, part.ends[outcome.value], f"{part.letter}e", end_us)
            _place(end, meaning, part)
            _measure(end, end_us - start_us)
            if error is not None and outcome is not Outcome.COMPLETED:
                end.error.CopyFrom(error)
            if tells and (meaning.input_tokens or meaning.output_tokens):
                end.usage.input_tokens = meaning.input_tokens
                end.usage.output_tokens = meaning.output_tokens
            events.append(end)
        if tells:
            self._tell(events[-1], seen, errors=False)
        else:
            for event in events:
                event.ClearField("span_id")
                event.ClearField("parent_span_id")
        return events

    def _presence(self, seen: Sighting, meaning: Meaning) -> list[pb.Event]:
        """That the agent is there while it works; when its span has ended nobody knows whether it still is."""
        start_us, end_us = seen.times
        present = [self._event(seen, EventType.AGENT_HEARTBEAT, "as", start_us)]
        if seen.heartbeat_us:
            suffix = f"ab{seen.heartbeat_us}"
            present.append(self._event(seen, EventType.AGENT_HEARTBEAT, suffix, seen.heartbeat_us))
        for event in present:
            event.workflow_id, event.task_id = meaning.workflow_id, meaning.task_id or seen.span_id
            event.message = ""
        span = f"{seen.trace_id}:{seen.span_id}"
        if end_us is None:
            self._present.runs(meaning.agent_id, span, seen.heartbeat_us)
        elif self._present.ended(meaning.agent_id, span, end_us):
            goodbye = self._event(seen, EventType.AGENT_OFFLINE, "ae", end_us)
            goodbye.message = NOT_RUNNING
            present.append(goodbye)
        for event in present:
            event.agent_id, event.agent_type = meaning.agent_id, meaning.agent_type
            event.ClearField("span_id")
            event.ClearField("parent_span_id")
        return present

    def _event(self, seen: Sighting, kind: EventType, suffix: str, at_us: int) -> pb.Event:
        return _made(
            kind, seen.trace_id, seen.span_id, suffix, at_us,
            source=seen.origin.source,
            parent_id=seen.parent_id,
            message=clipped(seen.span.name.replace("\0", "�")),
        )  # fmt: skip

    def _tell(self, event: pb.Event, seen: Sighting, *, errors: bool = True) -> None:
        """Its attributes, within bounds, and what went wrong."""
        span = seen.span
        bounded = kept.Attributes()
        put = bounded.put
        if seen.heartbeat_us:
            put(said.HEARTBEAT, str(seen.heartbeat_us))
        if kind := _KINDS.get(span.kind):
            put(kept.KIND, kind)
        if seen.origin.scope:
            put(kept.SCOPE, seen.origin.scope)
        for key in said.OF_RESOURCE:
            if value := seen.origin.resource.get(key):
                put(key, value)
        for key, value in kept.told(span, seen.times.start_us).items():
            put(key, value)
        bounded.put_all(seen.texts)
        bounded.cut += span.dropped_attributes_count + max(len(span.attributes) - kept.MOST_READ, 0)
        self.cut += bounded.cut
        event.attributes.update(bounded.finish())
        if errors and (error := _error_of(seen)) is not None:
            event.error.CopyFrom(error)
            event.severity = enums_pb2.SEVERITY_ERROR


def _sighting(reported: Reported, now_us: int) -> Sighting:
    origin, span = reported
    texts = kept.texts_of(span.attributes)
    heartbeat_us = 0
    if not span.end_time_unix_nano:
        beat = texts.pop(said.HEARTBEAT, "")
        heartbeat_us = int(beat) // 1000 if beat.isdecimal() and len(beat) < 20 else 0
        if heartbeat_us > now_us + FARTHEST_US:
            raise Refused(f"{said.HEARTBEAT}: more than a day ahead of the server")
    return Sighting(
        *ids_of(span), times_of(span, bool(heartbeat_us), now_us), origin, texts, span, heartbeat_us
    )


def _made(
    kind: EventType,
    trace_id: str,
    span_id: str,
    suffix: str,
    at_us: int,
    *,
    source: str,
    parent_id: str = "",
    message: str = "",
) -> pb.Event:
    event = pb.Event(
        id=f"otel:{trace_id}:{span_id}:{suffix}",
        type=pb.EventType.ValueType(kind),
        source=source,
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=parent_id,
        message=message,
    )
    seconds, rest = divmod(at_us, 1_000_000)
    time = event.occur_time
    time.seconds, time.nanos = seconds, rest * 1000
    return event


def _measure(event: pb.Event, us: int) -> None:
    event.duration.FromMicroseconds(us)


def _place(event: pb.Event, meaning: Meaning, part: Part) -> None:
    """Where in the work it belongs."""
    event.workflow_id = meaning.workflow_id
    if part is Part.WORKFLOW:
        event.workflow_type = meaning.workflow_type
        event.workflow_name = meaning.name or kept.name_of(event.message, 512)
        return
    event.stage = meaning.stage or (meaning.workflow_type if part is Part.STAGE else "")
    if part is Part.TASK:
        event.task_id = meaning.task_id or event.span_id
        event.agent_id, event.agent_type = meaning.agent_id, meaning.agent_type


def _error_of(seen: Sighting) -> pb.EventError | None:
    """What went wrong: by the status, in the words of the exception where the status has none."""
    span, texts = seen.span, seen.texts
    if span.status.code != _ERROR and said.ERROR_TYPE not in texts:
        return None
    code, message = texts.get(said.ERROR_TYPE, ""), span.status.message
    exceptions = (event for event in span.events if event.name == said.EXCEPTION)
    for exception in islice(exceptions, MOST_EXCEPTIONS):
        if not (code and message):
            told = kept.texts_of(exception.attributes)
            code = code or told.get(said.EXCEPTION_TYPE, "")
            message = message or told.get(said.EXCEPTION_MESSAGE, "")
    message = clipped(message.replace("\0", "�"))
    return pb.EventError(code=kept.name_of(code), message=message)


def _run_of(root: Root) -> list[pb.Event]:
    """The events of a run that is the whole of a trace whose root is no work itself."""
    name = kept.name_of(root.name, 512)
    start = _made(
        Part.WORKFLOW.start, root.trace_id, root.span_id, "ws", root.start_us, source=root.source
    )
    events = [start]
    if root.end_us is not None:
        kind = Part.WORKFLOW.ends[root.outcome.value]
        end = _made(
            kind, root.trace_id, root.span_id, "we", root.end_us,
            source=root.source, message=root.message,
        )  # fmt: skip
        _measure(end, root.end_us - root.start_us)
        events.append(end)
    for event in events:
        event.workflow_id, event.workflow_type, event.workflow_name = (
            root.trace_id,
            root.source,
            name,
        )
        event.ClearField("span_id")
    return events
