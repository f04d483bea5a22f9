"""Ways of putting events in: batches over gRPC, and single entries of the Redis stream, in our own form and as JSON.

Each producer is given a flow and a pace, and says how many events have been acknowledged: durable in the log, as far as
the log's own settings make them so.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import grpc
import redis.asyncio

from pilothouse.v1 import events_pb2, events_pb2_grpc
from tests.support import wait_until

STREAM = "workflow:events"
BATCH = 100
FORMS = ("batches", "protobuf", "json")
UNDER_WAY = 50
"""Batches over gRPC that may wait for their answer; the producer holds back beyond."""

HELD_BACK = 120.0
"""Seconds that a producer may be held back in all; then something stands still."""

Give = Callable[[int], list[events_pb2.Event]]
"""The next events of a flow, as many as are asked for."""


@dataclass(slots=True)
class Pace:
    """When the next batch is due: by the clock, or whenever `may_go` says so."""

    rate: float
    """Events a second; 0 is as many as `may_go` lets through."""
    seconds: float
    events: int = 0
    """After so many it ends; 0 is no end but that of time."""
    may_go: Callable[[], bool] = lambda: True
    late: int = 0
    """Batches that left more than 50 ms late: the producer, or what holds it back, could not keep up."""
    begun: float = 0.0

    async def batches(self) -> AsyncIterator[int]:
        """The number of each batch, when it is due."""
        begin = self.begun = time.monotonic()
        number = 0
        while (now := time.monotonic()) < begin + self.seconds:
            if self.events and number * BATCH >= self.events:
                break
            due = begin + number * BATCH / self.rate if self.rate else now
            if due >= begin + self.seconds:
                break
            if now < due:
                await asyncio.sleep(due - now)
            elif now > due + 0.05:
                self.late += 1
            await wait_until(self.may_go, within=HELD_BACK, what="room for more events")
            yield number
            number += 1


class Producer(Protocol):
    """Puts events in."""

    name: str
    acknowledged: int
    """Events so far."""

    async def run(self, give: Give, pace: Pace) -> None:
        """Runs to the end of the pace, and until all is acknowledged."""
        ...


@dataclass(slots=True)
class GrpcBatches:
    """Batches of 100 over one client stream."""

    address: str
    name: str = "gRPC, batches of 100"
    acknowledged: int = 0
    _sent: int = 0
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(UNDER_WAY))

    async def run(self, give: Give, pace: Pace) -> None:
        async with grpc.aio.insecure_channel(self.address) as channel:
            stub = events_pb2_grpc.EventServiceStub(channel)
            async for answer in stub.PublishEventStream(self._requests(give, pace)):
                if answer.rejected:
                    raise RuntimeError(f"rejected: {answer.rejected[0].reason}")
                self.acknowledged += answer.accepted_count
                self._room.release()

    async def _requests(
        self, give: Give, pace: Pace
    ) -> AsyncIterator[events_pb2.PublishEventStreamRequest]:
        async for number in pace.batches():
            await self._room.acquire()
            yield events_pb2.PublishEventStreamRequest(events=give(BATCH), batch_sequence=number)


Encode = Callable[[events_pb2.Event], dict[str, bytes]]


@dataclass(slots=True)
class StreamEntries:
    """One XADD for each event, 100 in a pipeline, as other programs would write them."""

    url: str
    name: str
    encode: Encode
    acknowledged: int = 0

    async def run(self, give: Give, pace: Pace) -> None:
        client = cast("Any", redis.asyncio.Redis)  # its arguments are not typed
        async with client.from_url(self.url) as connection:
            async for _ in pace.batches():
                await self._add(connection, give(BATCH))

    async def _add(self, connection: Any, events: Sequence[events_pb2.Event]) -> None:
        pipeline = connection.pipeline(transaction=False)
        for event in events:
            pipeline.xadd(STREAM, self.encode(event))
        await pipeline.execute()
        self.acknowledged += len(events)


def as_protobuf(event: events_pb2.Event) -> dict[str, bytes]:
    """The fields of an entry: one serialized event."""
    return {"event": event.SerializeToString()}


def as_json(event: events_pb2.Event) -> dict[str, bytes]:
    """The fields of an entry: a plain JSON object."""
    occurred = event.occur_time
    value = {
        "id": event.id,
        "type": events_pb2.EventType.Name(event.type).removeprefix("EVENT_TYPE_"),
        "source": event.source,
        "workflow_id": event.workflow_id,
        "workflow_type": event.workflow_type,
        "stage": event.stage,
        "task_id": event.task_id,
        "agent_id": event.agent_id,
        "agent_type": event.agent_type,
        "attempt": event.attempt,
        "timestamp": occurred.seconds + occurred.nanos / 1e9,
    }
    return {"event": json.dumps({key: said for key, said in value.items() if said}).encode()}


def producer(form: str, *, grpc_address: str, redis_url: str) -> Producer:
    """The producer of one of FORMS."""
    match form:
        case "batches":
            return GrpcBatches(grpc_address)
        case "protobuf":
            return StreamEntries(redis_url, "XADD, one protobuf event an entry", as_protobuf)
        case "json":
            return StreamEntries(redis_url, "XADD, one JSON event an entry", as_json)
        case _:
            raise ValueError(form)
