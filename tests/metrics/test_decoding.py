"""The cheap decoding says what the full one says."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from pilothouse.v1 import events_pb2 as pb
from pilothouse_server.domain.events import AgentLoad, Event, EventType, Signal, signal_of
from pilothouse_server.wire.events import (
    decode_events,
    decode_signals,
    decode_stored,
    encode_events,
)
from tests.metrics.support import T0

EVERY_FIELD = {
    "workflow_id": "w",
    "workflow_type": "build",
    "stage": "plan",
    "task_id": "t",
    "agent_id": "a",
    "agent_type": "coder",
}


def test_signals_are_a_part_of_their_events() -> None:
    events = [
        Event(f"e{kind}", kind, T0 + kind, T0 + 5_000_000 * kind, **EVERY_FIELD, attempt=kind)  # type: ignore[arg-type]
        for kind in EventType
    ]
    events += [
        Event("ahead", EventType.LOG, T0 + 61_000_000, T0),
        Event("took", EventType.TASK_COMPLETED, T0, T0, duration_us=-1_500_000),
        Event("load", EventType.AGENT_HEARTBEAT, T0, T0, load=AgentLoad(active=0, capacity=3)),
    ]
    payload = encode_events(events)
    signals = decode_signals(payload)
    assert signals == [signal_of(event) for event in decode_events(payload)]
    assert all(type(signal) is Signal for signal in signals)
    assert [signal.active for signal in signals if signal.active >= 0] == [0]
    assert [signal.id for signal in signals if signal.future] == ["ahead"]


@pytest.mark.parametrize(
    ("event", "wrong"),
    [
        (pb.Event(type=pb.EventType.ValueType(0)), "0 is no type"),
        (pb.Event(type=pb.EventType.ValueType(-5)), "-5 is no type"),
        (
            pb.Event(type=pb.EVENT_TYPE_LOG, receive_time=Timestamp(seconds=-1)),
            "no time of receipt",
        ),
        (
            pb.Event(type=pb.EVENT_TYPE_LOG, receive_time=Timestamp(seconds=1 << 50)),
            "no time of receipt",
        ),
        (pb.Event(type=pb.EVENT_TYPE_WORKFLOW_STARTED, workflow_id="w" * 257), "longer than 256"),
        (pb.Event(type=pb.EVENT_TYPE_LOG, id="i" * 10_000), "longer than 256"),
    ],
)
def test_what_ingest_cannot_have_stamped_is_no_entry_of_ours(event: pb.Event, wrong: str) -> None:
    payload = pb.EventBatch(events=[event]).SerializeToString()
    for decode in (decode_events, decode_signals, decode_stored):
        with pytest.raises(ValueError, match=wrong):
            decode(payload)


def test_the_longest_names_and_the_types_of_a_newer_server_are_taken() -> None:
    longest = dict.fromkeys(("id", "workflow_id", "task_id", "agent_id", "stage"), "n" * 256)
    event = pb.Event(type=pb.EventType.ValueType(99), **longest)  # type: ignore[arg-type]
    payload = pb.EventBatch(events=[event]).SerializeToString()
    assert decode_signals(payload) == [signal_of(each) for each in decode_events(payload)]
