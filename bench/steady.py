"""A publisher that gives up on nothing: each batch is sent again, to the next server, until one has acknowledged it.

The ids stay the same, so what was taken twice must be counted once. It keeps the account of what it published, with
which snapshot, rows and history are compared afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import grpc

from bench.load import Flow
from bench.process import Server
from bench.progress import Rows
from pilothouse.v1 import events_pb2, events_pb2_grpc, metrics_pb2, metrics_pb2_grpc

EVERY = 0.05
"""Seconds between batches."""
ANSWER = 5.0
"""Seconds in which a server has to answer; then the next one is asked."""
_COMPLETED = events_pb2.EventType.EVENT_TYPE_WORKFLOW_COMPLETED


@dataclass(slots=True)
class Account:
    """What was acknowledged."""

    events: int = 0
    completed: int = 0
    """Workflows that ended."""
    workflows: set[str] = field(default_factory=set[str])
    repeated: int = 0
    """Batches that were sent more than once."""
    longest: float = 0.0
    """Seconds that the slowest batch took to be acknowledged, all its attempts together."""
    begun_us: int = field(default_factory=lambda: time.time_ns() // 1000)

    def add(self, events: Sequence[events_pb2.Event]) -> None:
        """One batch that is in."""
        self.events += len(events)
        self.workflows.update(event.workflow_id for event in events)
        self.completed += sum(event.type == _COMPLETED for event in events)


class SteadyLoad:
    """Publishes `rate` events a second until `stop` is set, to any of `servers`, a list that may change meanwhile."""

    def __init__(self, servers: list[Server], rate: int) -> None:
        self.account = Account()
        self.stop = asyncio.Event()
        self._servers = servers
        self._rate = rate
        self._turn = 0
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def run(self) -> None:
        """To the end of the batch under way when `stop` was set."""
        flow = Flow(f"steady-{time.time_ns():x}")
        count = max(1, round(self._rate * EVERY))
        due = time.monotonic()
        try:
            while not self.stop.is_set():
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                due = max(due + EVERY, time.monotonic() - 1.0)
                await self._publish(flow.take(count))
        finally:
            for channel in self._channels.values():
                await channel.close()

    async def _publish(self, events: list[events_pb2.Event]) -> None:
        request = events_pb2.PublishEventsRequest(events=events)
        begin = time.monotonic()
        attempts = 1
        while not await self._sent(request):
            attempts += 1
            await asyncio.sleep(0.02)
        self.account.repeated += attempts > 1
        self.account.longest = max(self.account.longest, time.monotonic() - begin)
        self.account.add(events)

    async def _sent(self, request: events_pb2.PublishEventsRequest) -> bool:
        self._turn += 1
        address = self._servers[self._turn % len(self._servers)].grpc
        channel = self._channels.get(address)
        if channel is None:
            channel = self._channels[address] = grpc.aio.insecure_channel(address)
        stub = events_pb2_grpc.EventServiceStub(channel)
        try:
            answer = await stub.PublishEvents(request, timeout=ANSWER)
        except grpc.aio.AioRpcError as error:
            if error.code() not in {
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.DEADLINE_EXCEEDED,
                grpc.StatusCode.CANCELLED,
            }:
                raise
            return False
        if answer.rejected:
            raise RuntimeError(f"rejected: {answer.rejected[0].reason}")
        return True


@dataclass(frozen=True, slots=True)
class Difference:
    """One count that was compared."""

    what: str
    expected: int
    found: int

    @property
    def lost(self) -> int:
        """How many are missing."""
        return max(0, self.expected - self.found)

    @property
    def twice(self) -> int:
        """How many are too many."""
        return max(0, self.found - self.expected)


async def compare(account: Account, server: Server, rows: Rows) -> list[Difference]:
    """Rows, totals and history against the account, once all has arrived."""
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        stub = metrics_pb2_grpc.MetricsServiceStub(channel)
        totals = (await stub.GetMetrics(metrics_pb2.GetMetricsRequest())).snapshot.totals
        request = metrics_pb2.QueryMetricsRequest()
        request.start_time.FromMicroseconds(account.begun_us - 120_000_000)
        request.end_time.FromMicroseconds(time.time_ns() // 1000 + 60_000_000)
        request.step.FromSeconds(60)
        points = (await stub.QueryMetrics(request)).points
    stored = await rows.number("SELECT count(*) FROM events WHERE source = 'bench'")
    ids = await rows.number("SELECT count(DISTINCT id) FROM events WHERE source = 'bench'")
    ended = await rows.number("SELECT count(*) FROM workflows WHERE end_us IS NOT NULL")
    return [
        Difference("rows of events", account.events, stored),
        Difference("different ids among them", account.events, ids),
        Difference("workflows ended, by their rows", account.completed, ended),
        Difference("workflows seen, by the snapshot", len(account.workflows), totals.workflows),
        Difference("workflows completed, by the snapshot", account.completed, totals.completed),
        Difference(
            "workflows completed, by history",
            account.completed,
            sum(point.completed for point in points),
        ),
    ]
