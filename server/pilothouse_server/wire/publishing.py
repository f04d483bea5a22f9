"""A published batch, judged and stamped in place: a request's field of events is, on the wire, an `EventBatch`.

Besides the rules that stand in the contract there are those between fields, and the one that ids and names have no
control characters. Only the server says that a command had an effect or that an alert fires: such events are refused
from others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pilothouse.v1 import enums_pb2
from pilothouse.v1 import events_pb2 as pb
from pilothouse_server.domain.events import (
    AGENT_TYPES,
    FAILURE_TYPES,
    QUEUE_TYPES,
    SPAN_TYPES,
    STAGE_TYPES,
    TASK_TYPES,
    WORKFLOW_TYPES,
    EventType,
    Severity,
)
from pilothouse_server.domain.shards import shard_of
from pilothouse_server.services.ingest import MAX_EVENT_BYTES, Rejection, Sealed
from pilothouse_server.wire.rules import violations_of
from pilothouse_server.wire.times import is_valid_duration, is_valid_timestamp

SERVERS_OWN: frozenset[int] = frozenset(
    {
        EventType.COMMAND_REQUESTED,
        EventType.COMMAND_EFFECTIVE,
        EventType.COMMAND_EXPIRED,
        EventType.ALERT_FIRING,
        EventType.ALERT_RESOLVED,
        EventType.BUDGET_WARNING,
        EventType.BUDGET_EXCEEDED,
    }
)
"""What nobody else may say."""

_WORKFLOW, _STAGE, _TASK = ("workflow_id",), ("workflow_id", "stage"), ("workflow_id", "task_id")
_NEEDED: Mapping[int, tuple[str, ...]] = {
    **dict.fromkeys(WORKFLOW_TYPES, _WORKFLOW),
    **dict.fromkeys(STAGE_TYPES, _STAGE),
    **dict.fromkeys(TASK_TYPES, _TASK),
    **dict.fromkeys(AGENT_TYPES, ("agent_id",)),
    **dict.fromkeys(QUEUE_TYPES, ("source",)),
    **dict.fromkeys(SPAN_TYPES, ("trace_id", "span_id")),
    EventType.COMMAND_ACCEPTED: ("command_id",),
    EventType.COMMAND_FAILED: ("command_id",),
}

NAMES = (
    "id", "source", "workflow_id", "workflow_type", "workflow_name", "stage", "task_id", "agent_id", "agent_type",
    "trace_id", "span_id", "parent_span_id", "command_id", "queue",
)  # fmt: skip
"""Fields that are ids or names."""

_CONTROLS = frozenset(map(chr, (*range(0x20), *range(0x7F, 0xA0))))
_ERROR = enums_pb2.SEVERITY_ERROR
_INFO = enums_pb2.SEVERITY_INFO
_LAST_TYPE, _LAST_SEVERITY = max(EventType), max(Severity)
LARGEST_USAGE = (1 << 53) - 1
"""Of tokens and of costs in one event: what every reader of JSON still counts exactly, and sums of it still fit."""
_NO_NUL = "the character NUL is not allowed"
_NO_CONTROLS = "control characters are not allowed in ids and names"


class PublishedBatch:
    """The events of one request. Owns the request: `seal` changes it."""

    def __init__(
        self,
        request: pb.PublishEventsRequest | pb.PublishEventStreamRequest,
        new_id: Callable[[], str],
    ) -> None:
        self._request = request
        self._new_id = new_id
        self._ids: list[str] = []
        self._rejected: list[Rejection] = []

    @property
    def count(self) -> int:
        return len(self._request.events)

    @property
    def size(self) -> int:
        return self._request.ByteSize()

    def judge(self, start: int, stop: int, receive_us: int) -> None:
        """Judges these events; those that pass get what the server gives: an id, the times, a severity."""
        seconds, micros = divmod(receive_us, 1_000_000)
        nanos = micros * 1000
        for index, event in enumerate(self._request.events[start:stop], start=start):
            reason = reason_against(event)
            if reason:
                self._rejected.append(Rejection(index, event.id, reason))
                continue
            received = event.receive_time
            received.seconds, received.nanos = seconds, nanos
            if not event.HasField("occur_time"):
                event.occur_time.CopyFrom(received)
            if event.cursor:
                event.ClearField("cursor")
            if not event.severity:
                kind: int = event.type
                event.severity = _ERROR if kind in FAILURE_TYPES else _INFO
            self._ids.append(event.id or self._named(event))

    def seal(self, shards: int) -> Sealed:
        """What was judged, as an entry of each shard that it belongs to."""
        request = self._request
        if isinstance(request, pb.PublishEventStreamRequest):
            request.ClearField("batch_sequence")
        request.DiscardUnknownFields()
        for rejection in reversed(self._rejected):
            del request.events[rejection.index]
        parts = {0: request.SerializeToString()} if shards == 1 else _parts(request.events, shards)
        return Sealed(parts, self._ids, self._rejected)

    def _named(self, event: pb.Event) -> str:
        event.id = self._new_id()
        return event.id


def reason_against(event: pb.Event) -> str:
    """What is wrong with an event, naming the field; "" when nothing is."""
    size = event.ByteSize()
    if size > MAX_EVENT_BYTES:
        return f"event: at most {MAX_EVENT_BYTES:,} bytes, and this is {size:,}"
    if not is_plainly_valid(event):
        broken = violations_of(event)
        if broken:
            return "; ".join(f"{path}: {wrong}" for path, wrong in broken[:5])
        reason = _hidden_characters(event) or _not_storable(event) or _impossible_times(event)
        if reason:
            return reason
    return needed_reason(event)


def needed_reason(event: pb.Event) -> str:
    """What is wrong between the type of an event and its other fields."""
    kind = event.type
    if kind in SERVERS_OWN:
        return f"type: {EventType(kind).name} is said by the server only"
    if event.HasField("forced_after_time"):
        # Left out it would be taken for the engine's own end: of an event that was read here and is published again.
        return "forced_after_time: only the server sets it; CloseWorkflow ends a workflow by force"
    for field in _NEEDED.get(kind, ()):
        if not getattr(event, field):
            return f"{field}: needed on {EventType(kind).name} events"
    if kind in QUEUE_TYPES and (event.workflow_id or event.agent_id):
        return f"workflow_id, agent_id: not on {EventType(kind).name} events, which are about a queue of the source"
    return ""


def is_plainly_valid(event: pb.Event) -> bool:
    """Whether a look at the whole shows already that no single field can be wrong; most events are of this kind.

    It only ever saves asking: where it says False the rules of the contract are asked, and where it says True they
    would say the same, which is tested. Together the texts are no longer than what each may be.
    """
    short = event.trace_id + event.span_id + event.parent_span_id + event.command_id
    names = (
        event.id + event.source + event.workflow_id + event.workflow_type + event.workflow_name + event.stage
        + event.task_id + event.agent_id + event.agent_type + event.queue + short
    )  # fmt: skip
    has = event.HasField
    return (
        names.isascii()
        and names.isprintable()
        and len(names) <= 256
        and len(short) <= 64
        and len(event.message) <= 1024
        and "\0" not in event.message
        and 1 <= event.type <= _LAST_TYPE
        and 0 <= event.severity <= _LAST_SEVERITY
        and event.attempt <= 100_000
        and not (has("error") or has("usage") or event.attributes or event.stage_plan)
        and not _impossible_times(event)
    )


def _hidden_characters(event: pb.Event) -> str:
    for name in NAMES:
        if not _CONTROLS.isdisjoint(getattr(event, name)):
            return f"{name}: {_NO_CONTROLS}"
    for index, stage in enumerate(event.stage_plan):
        if not _CONTROLS.isdisjoint(stage):
            return f"stage_plan[{index}]: {_NO_CONTROLS}"
    return ""


def _not_storable(event: pb.Event) -> str:
    """What some database cannot keep."""
    for name in ("input_tokens", "output_tokens", "cost_micros") if event.HasField("usage") else ():
        if getattr(event.usage, name) > LARGEST_USAGE:
            return f"usage.{name}: at most {LARGEST_USAGE:,}"
    error = event.error
    for name, text in (
        ("message", event.message),
        ("error.code", error.code),
        ("error.message", error.message),
    ):
        if "\0" in text:
            return f"{name}: {_NO_NUL}"
    for key, value in event.attributes.items():
        if "\0" in key or "\0" in value:
            return f'attributes["{key}"]: {_NO_NUL}'
    return ""


def _parts(events: Sequence[pb.Event], shards: int) -> dict[int, bytes]:
    parts: dict[int, list[pb.Event]] = {}
    for event in events:
        parts.setdefault(shard_of(event.workflow_id, event.agent_id, shards), []).append(event)
    return {shard: pb.EventBatch(events=part).SerializeToString() for shard, part in parts.items()}


def _impossible_times(event: pb.Event) -> str:
    if event.HasField("occur_time") and not is_valid_timestamp(event.occur_time):
        return "occur_time: not a time between 1970 and 9999"
    if event.HasField("duration") and not is_valid_duration(event.duration):
        return "duration: out of range"
    return ""
