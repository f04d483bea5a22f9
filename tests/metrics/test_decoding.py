"""The cheap decoding says what the full one says."""

from __future__ import annotations

from pilothouse_server.domain.events import AgentLoad, Event, EventType, Signal, signal_of
from pilothouse_server.wire.events import decode_events, decode_signals, encode_events
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
