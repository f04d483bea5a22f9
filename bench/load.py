"""A steady flow of realistic events at a set rate: whole lives of workflows, several under way at
once."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc

from pilothouse.v1 import events_pb2, events_pb2_grpc

SLOT = 0.01
"""Seconds between batches."""

_T = events_pb2.EventType
_LIFE: tuple[tuple[Any, str], ...] = (
    (_T.EVENT_TYPE_WORKFLOW_CREATED, ""),
    (_T.EVENT_TYPE_WORKFLOW_STARTED, ""),
    (_T.EVENT_TYPE_STAGE_STARTED, "build"),
    (_T.EVENT_TYPE_TASK_QUEUED, "build"),
    (_T.EVENT_TYPE_TASK_STARTED, "build"),
    (_T.EVENT_TYPE_TASK_COMPLETED, "build"),
    (_T.EVENT_TYPE_STAGE_COMPLETED, "build"),
    (_T.EVENT_TYPE_STAGE_STARTED, "deploy"),
    (_T.EVENT_TYPE_STAGE_COMPLETED, "deploy"),
    (_T.EVENT_TYPE_WORKFLOW_COMPLETED, ""),
)
_AT_ONCE = 50
_TYPES = ("feature", "bugfix", "release", "nightly")


class Flow:
    """Makes events: `_AT_ONCE` workflows side by side, each living through ten events."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._events = self._forever()

    def take(self, count: int) -> list[events_pb2.Event]:
        """The next events, stamped with the time of now."""
        events = list(itertools.islice(self._events, count))
        now = time.time_ns()
        for event in events:
            event.occur_time.FromNanoseconds(now)
        return events

    def _forever(self) -> Iterator[events_pb2.Event]:
        for round_ in itertools.count():
            for step, (event_type, stage) in enumerate(_LIFE):
                for lane in range(_AT_ONCE):
                    workflow = f"{self._prefix}-{round_}-{lane}"
                    task = "compile" if 3 <= step <= 5 else ""
                    yield events_pb2.Event(
                        id=f"{workflow}-{step}",
                        type=event_type,
                        source="bench",
                        workflow_id=workflow,
                        workflow_type=_TYPES[lane % len(_TYPES)],
                        stage=stage,
                        task_id=task,
                        agent_id=f"agent-{lane % 8}" if task else "",
                        agent_type="builder" if task else "",
                        attempt=1,
                    )


@dataclass(slots=True)
class Published:
    """One batch that the server acknowledged."""

    total: int
    """Events acknowledged so far, this batch included."""
    sent: float
    """Monotonic seconds when it was handed to the channel."""
    acknowledged: float
    """Monotonic seconds when its answer came."""


@dataclass(slots=True)
class Load:
    """Publishes `rate` events a second over one stream until `seconds` have passed."""

    address: str
    rate: int
    seconds: float
    on_sent: Callable[[list[events_pb2.Event], float], None] | None = None
    published: list[Published] = field(default_factory=list[Published])
    late_slots: int = 0
    """Slots that began more than one slot late: the generator, not the server, was short of time."""
    finished: bool = False

    async def run(self) -> None:
        """Runs to the end. Raises when any event is rejected."""
        sent: dict[int, float] = {}
        async with grpc.aio.insecure_channel(self.address) as channel:
            stub = events_pb2_grpc.EventServiceStub(channel)
            total = 0
            async for answer in stub.PublishEventStream(self._batches(sent)):
                if answer.rejected:
                    raise RuntimeError(f"rejected: {answer.rejected[0].reason}")
                total += answer.accepted_count
                self.published.append(
                    Published(total, sent.pop(answer.batch_sequence), time.monotonic())
                )
        self.finished = True

    async def _batches(
        self, sent: dict[int, float]
    ) -> AsyncIterator[events_pb2.PublishEventStreamRequest]:
        flow = Flow(f"load-{time.time_ns():x}")
        begin = time.monotonic()
        owed = 0.0
        for number in range(int(self.seconds / SLOT)):
            due = begin + number * SLOT
            now = time.monotonic()
            if now < due:
                await asyncio.sleep(due - now)
            elif now > due + SLOT:
                self.late_slots += 1
            owed += self.rate * SLOT
            count, owed = int(owed), owed - int(owed)
            if count == 0:
                continue
            events = flow.take(count)
            sent[number] = time.monotonic()
            if self.on_sent is not None:
                self.on_sent(events, sent[number])
            yield events_pb2.PublishEventStreamRequest(events=events, batch_sequence=number)
