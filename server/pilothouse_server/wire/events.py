"""Events: the log's bytes and the contract's messages ⇄ the domain's values.

The log keeps the time that the source stated; that it was too far ahead of the receipt is found again at each decoding,
so that no bit of it needs to be stored. Decoding is the hot path: fields are read once, a submessage only where there
is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, cast

from pilothouse.v1 import enums_pb2
from pilothouse.v1 import events_pb2 as pb
from pilothouse_server.domain.events import (
    FAILURE_TYPES,
    AgentLoad,
    Event,
    EventError,
    EventType,
    Severity,
    Signal,
    Usage,
)
from pilothouse_server.ports import StoredEvent
from pilothouse_server.wire.times import (
    LAST_SECOND,
    duration,
    duration_us,
    timestamp,
    timestamp_us,
)

AHEAD_US = 60_000_000
"""A time this far ahead of the receipt is believed; a later one is taken as the time of receipt."""

LONGEST_NAME = 256
"""Characters of an id or a name, of which ingest takes as many bytes."""

LAST_US = (LAST_SECOND + 1) * 1_000_000 - 1

FORCIBLE = (int(EventType.WORKFLOW_FAILED), int(EventType.WORKFLOW_CANCELLED))
FORCED: Final = "forced_after_time"
"""What marks an end that an operator wrote, and on which events it counts."""

LARGEST_UINT64 = (1 << 64) - 1
_NOTHING: dict[str, str] = {}

_make_signal = cast(
    "Callable[[type[Signal], tuple[object, ...]], Signal]",
    tuple.__new__,  # pyright: ignore[reportUnknownMemberType]
)
"""What Signal's own constructor does, at half its cost."""


def decode_events(payload: bytes) -> list[Event]:
    """All that an entry of the log says. Raises ValueError, as do the next two, when it is none of ours."""
    return [event_of(event) for event in pb.EventBatch.FromString(payload).events]


def decode_stored(payload: bytes) -> list[tuple[Event, bytes]]:
    """The same, each with the bytes by which it is stored."""
    return [
        (event_of(event), event.SerializeToString())
        for event in pb.EventBatch.FromString(payload).events
    ]


def decode_one(payload: bytes) -> Event:
    """One event by the bytes by which it is stored."""
    return event_of(pb.Event.FromString(payload))


def decode_signals(payload: bytes) -> list[Signal]:
    """What metrics need of an entry of the log."""
    signals: list[Signal] = []
    add, make = signals.append, _make_signal
    for event in pb.EventBatch.FromString(payload).events:
        has = event.HasField
        time = event.receive_time
        receive_us = time.seconds * 1_000_000 + time.nanos // 1000
        time = event.occur_time
        occur_us = time.seconds * 1_000_000 + time.nanos // 1000
        future = occur_us > receive_us + AHEAD_US
        fields = (
            event_id := event.id,
            kind := event.type,
            receive_us if future else occur_us,
            receive_us,
            workflow_id := event.workflow_id,
            workflow_type := event.workflow_type,
            stage := event.stage,
            task_id := event.task_id,
            agent_id := event.agent_id,
            agent_type := event.agent_type,
            event.attempt,
            duration_us(event.duration) if has("duration") else None,
            event.load.active if has("load") else -1,
            future,
            timestamp_us(event.forced_after_time) if kind in FORCIBLE and has(FORCED) else -1,
        )
        if (
            kind < 1
            or not 0 <= receive_us <= LAST_US
            or len(event_id + workflow_id + workflow_type + stage + task_id + agent_id + agent_type)
            > LONGEST_NAME
        ):
            _check(event, receive_us)
        add(make(Signal, fields))
    return signals


def encode_events(events: Sequence[Event]) -> bytes:
    """An entry of the log."""
    return pb.EventBatch(events=[event_to_proto(event) for event in events]).SerializeToString()


def event_of(event: pb.Event) -> Event:
    """The domain's value of one event of the log."""
    has = event.HasField
    time = event.receive_time
    receive_us = time.seconds * 1_000_000 + time.nanos // 1000
    time = event.occur_time
    occur_us = time.seconds * 1_000_000 + time.nanos // 1000
    future = occur_us > receive_us + AHEAD_US
    kind = event.type
    made = Event(
        event_id := event.id,
        kind,
        receive_us if future else occur_us,
        receive_us,
        event.source,
        workflow_id := event.workflow_id,
        workflow_type := event.workflow_type,
        event.workflow_name,
        stage := event.stage,
        task_id := event.task_id,
        agent_id := event.agent_id,
        agent_type := event.agent_type,
        event.trace_id,
        event.span_id,
        event.parent_span_id,
        event.severity or default_severity(kind),
        event.message,
        duration_us(event.duration) if has("duration") else None,
        event.attempt,
        error_of(event.error) if has("error") else None,
        _usage_of(event.usage) if has("usage") else None,
        dict(event.attributes) if event.attributes else _NOTHING,
        event.command_id,
        AgentLoad(event.load.active, event.load.capacity) if has("load") else None,
        tuple(event.stage_plan) if event.stage_plan else (),
        future,
        event.queue,
        timestamp_us(event.forced_after_time) if kind in FORCIBLE and has(FORCED) else None,
    )
    names = event_id + workflow_id + workflow_type + stage + task_id + agent_id + agent_type
    if kind < 1 or not 0 <= receive_us <= LAST_US or len(names) > LONGEST_NAME:
        _check(event, receive_us)
    return made


def _check(event: pb.Event, receive_us: int) -> None:
    """Whether ingest can have stamped it, and a database can hold it. Raises ValueError: who may write to the log of a
    Redis may write anything there, and it must stop no reader."""
    if event.type < 1:
        raise ValueError(f"{event.type} is no type of an event")
    if not 0 <= receive_us <= LAST_US:
        raise ValueError(f"{receive_us} is no time of receipt")
    names = (
        event.id, event.workflow_id, event.workflow_type, event.stage, event.task_id, event.agent_id, event.agent_type,
    )  # fmt: skip
    if max(map(len, names)) > LONGEST_NAME:
        raise ValueError(f"an id or a name is longer than {LONGEST_NAME}")


def default_severity(event_type: int) -> int:
    """ERROR for failures, INFO for the rest."""
    return Severity.ERROR if event_type in FAILURE_TYPES else Severity.INFO


def event_to_proto(event: Event) -> pb.Event:
    """The contract's message of one event."""
    message = pb.Event(
        id=event.id,
        type=pb.EventType.ValueType(event.type),
        occur_time=timestamp(event.occur_us),
        source=event.source,
        workflow_id=event.workflow_id,
        workflow_type=event.workflow_type,
        workflow_name=event.workflow_name,
        stage=event.stage,
        task_id=event.task_id,
        agent_id=event.agent_id,
        agent_type=event.agent_type,
        trace_id=event.trace_id,
        span_id=event.span_id,
        parent_span_id=event.parent_span_id,
        severity=enums_pb2.Severity.ValueType(event.severity),
        message=event.message,
        duration=None if event.duration_us is None else duration(event.duration_us),
        attempt=event.attempt,
        error=None if event.error is None else error_to_proto(event.error),
        usage=None if event.usage is None else usage_to_proto(event.usage),
        attributes=event.attributes,
        command_id=event.command_id,
        stage_plan=event.stage_plan,
        queue=event.queue,
        receive_time=timestamp(event.receive_us),
    )
    if event.forced_after_us is not None:
        message.forced_after_time.CopyFrom(timestamp(event.forced_after_us))
    if event.load is not None:
        message.load.CopyFrom(load_to_proto(event.load))
    return message


def stored_to_proto(stored: StoredEvent) -> pb.Event:
    """The event as it was reported, with its place in the log; a time too far ahead is shown as the time of receipt."""
    event = pb.Event.FromString(stored.payload)
    event.cursor = stored.cursor
    if timestamp_us(event.occur_time) > timestamp_us(event.receive_time) + AHEAD_US:
        event.occur_time.CopyFrom(event.receive_time)
    if not event.severity:
        event.severity = enums_pb2.Severity.ValueType(default_severity(event.type))
    return event


def batch_to_proto(stored: Iterable[StoredEvent]) -> pb.EventBatch:
    """Several of them."""
    return pb.EventBatch(events=[stored_to_proto(event) for event in stored])


def encode_stored(stored: StoredEvent) -> bytes:
    """A serialized EventBatch of one event. Put behind each other, several are a batch of theirs."""
    return batch_to_proto([stored]).SerializeToString()


def error_of(error: pb.EventError) -> EventError:
    """What went wrong, for the domain."""
    return EventError(error.code, error.message, error.retryable)


def error_to_proto(error: EventError) -> pb.EventError:
    """What went wrong, for the contract."""
    return pb.EventError(code=error.code, message=error.message, retryable=error.retryable)


def usage_to_proto(usage: Usage) -> pb.Usage:
    """What was consumed; a sum that the contract cannot say is its largest number."""
    return pb.Usage(
        input_tokens=min(usage.input_tokens, LARGEST_UINT64),
        output_tokens=min(usage.output_tokens, LARGEST_UINT64),
        cost_micros=min(usage.cost_micros, LARGEST_UINT64),
    )


def load_to_proto(load: AgentLoad) -> pb.AgentLoad:
    """The work an agent has."""
    return pb.AgentLoad(active=load.active, capacity=load.capacity)


def _usage_of(usage: pb.Usage) -> Usage:
    return Usage(usage.input_tokens, usage.output_tokens, usage.cost_micros)
