"""A channel keeps its promise to a follower that stalls at any time: every frame once and in order, or told
how many it lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from pilothouse.v1.events_pb2 import Event
from pilothouse.v1.live_pb2 import LiveFrame
from pilothouse.v1.metrics_pb2 import MetricsSnapshot
from pilothouse.v1.workflows_pb2 import Workflow
from pilothouse_server.bridge.channel import Channel, Place
from pilothouse_server.bridge.channels import make_channels
from pilothouse_server.bridge.frames import Form
from pilothouse_server.bridge.settings import BridgeSettings

SMALL = BridgeSettings(
    ring_frames=4, events_batch=3, events_pending=10, events_backlog=5, workflows_backlog=6
)
steps = st.lists(st.one_of(st.integers(1, 14), st.none()), max_size=30)


def channel(name: str) -> Channel:
    return make_channels(SMALL, lambda: 0)[name]


@dataclass
class Follower:
    """A client as the contract sees it."""

    channel: Channel
    place: Place | None = None
    frames: list[LiveFrame] = field(default_factory=list[LiveFrame])

    def read(self, budget: int = 10_000) -> None:
        while True:
            frames, self.place = self.channel.step(self.place, Form.BINARY, budget)
            if not frames:
                return
            self.frames += [frame.live for frame in frames]


@given(steps, st.integers(1, 500))
def test_events_arrive_once_and_in_order_or_are_counted_in_a_gap(
    script: list[int | None], budget: int
) -> None:
    """A number is so many events and a flush; None is the follower reading."""
    events = channel("events:live")
    events.caught_up()
    follower = Follower(events)
    follower.read()
    made = 0
    for step in [*script, None]:
        if step is None:
            follower.read(budget)
            continue
        for _ in range(step):
            made += 1
            events.put(Event(id=str(made)))
        events.flush()
    seen, last = 0, 0
    for frame in follower.frames[1:]:
        if frame.HasField("gap"):
            assert frame.gap.from_sequence == last + 1
            seen += frame.gap.missed_count
            last = frame.gap.to_sequence
            continue
        assert frame.sequence == last + 1
        last = frame.sequence
        for event in frame.events.events:
            seen += 1
            assert event.id == str(seen)
    assert seen == made


@given(steps, st.booleans())
def test_a_follower_of_workflows_ends_with_the_same_state_as_the_channel(
    script: list[int | None], reset: bool
) -> None:
    workflows = channel("workflows:changes")
    workflows.caught_up()
    follower = Follower(workflows)
    truth: dict[str, int] = {}
    for version, step in enumerate(script, 1):
        if step is None:
            follower.read()
            continue
        truth[str(step % 5)] = version
        workflows.put(Workflow(id=str(step % 5), attempt=version))
        workflows.flush()
    if reset:
        workflows.begin()
        truth = {"9": 1}
        workflows.put(Workflow(id="9", attempt=1))
        workflows.caught_up()
    follower.read()
    state: dict[str, int] = {}
    for frame in follower.frames:
        match frame.WhichOneof("payload"):
            case "snapshot":
                state = {each.id: each.attempt for each in frame.snapshot.workflows}
            case "workflow":
                state[frame.workflow.id] = frame.workflow.attempt
            case kind:
                assert kind == "gap"
    assert state == truth
    assert follower.place == workflows.place


@given(steps)
def test_metrics_are_always_the_newest_and_what_was_passed_over_is_a_gap(
    script: list[int | None],
) -> None:
    metrics = channel("metrics:realtime")
    follower = Follower(metrics)
    newest, last = 0, 0
    for step in [*script, None]:
        if step is not None:
            newest += 1
            metrics.put(MetricsSnapshot(sequence=newest))
            metrics.flush()
            continue
        follower.frames.clear()
        follower.read()
        for frame in follower.frames:
            if frame.HasField("gap"):
                assert (frame.gap.from_sequence, frame.gap.to_sequence) == (last + 1, newest - 1)
            else:
                assert frame.metrics.sequence == newest
                last = frame.sequence


def test_a_workflow_that_changed_twice_before_the_flush_is_sent_once() -> None:
    workflows = channel("workflows:changes")
    workflows.caught_up()
    for attempt in (1, 2):
        workflows.put(Workflow(id="w", attempt=attempt))
    assert workflows.flush() == 1


def test_a_snapshot_is_made_once_for_all_who_come_at_the_same_time() -> None:
    workflows = channel("workflows:changes")
    workflows.put(Workflow(id="w"))
    workflows.caught_up()
    (first,), _ = workflows.step(None, Form.TEXT, 1)
    (second,), _ = workflows.step(None, Form.TEXT, 1)
    assert first is second
    assert first.wire(Form.TEXT) is second.wire(Form.TEXT)


def test_the_ring_is_bounded_in_bytes_too() -> None:
    events = make_channels(BridgeSettings(ring_bytes=5_000, events_batch=1), lambda: 0)[
        "events:live"
    ]
    events.caught_up()
    follower = Follower(events)
    follower.read()
    for number in range(20):
        events.put(Event(id=str(number), message="x" * 1_000))
        events.flush()
    follower.read()
    assert follower.frames[1].gap.missed_count == 16


def test_events_that_the_server_left_out_are_a_counted_gap() -> None:
    events = channel("events:live")
    events.caught_up()
    follower = Follower(events)
    follower.read()

    events.skip(480)
    events.put(Event(id="newest"))
    events.flush()
    follower.read()

    gap, batch = follower.frames[-2:]
    assert gap.gap.missed_count == 480
    assert [event.id for event in batch.events.events] == ["newest"]
