"""The last look at a cluster: two hours later, when all that is left of its flows' numbers is the stored history.

The wall clocks are put forward at once, by more than is in memory, and events of then let the readers know. What the
live windows showed of each flow has to be what the minutes in the database add up to.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from uuid import uuid4

import pilothouse.aio
from pilothouse.errors import Unavailable
from pilothouse.v1 import events_pb2
from tests.faults.cluster import LOOKING, Cluster
from tests.faults.compare import differences
from tests.faults.observe import Shown, history
from tests.support import NeverHappened, wait_until

LATER = 2 * 3600
"""Seconds: memory is an hour long."""
WITHIN = 60.0


async def look_back(cluster: Cluster, shown: Mapping[str, Shown], newest_us: int) -> list[str]:
    """Differences between the stored history and what was `shown` of each flow, by prefix; each shard has
    something of `newest_us` to store."""
    minute = newest_us // 60_000_000
    await _put_clocks(cluster, LATER)

    async def rolled_up() -> bool:
        try:
            return (await asyncio.to_thread(cluster.standing)).rolled_up(minute)
        except LOOKING:
            return False

    await wait_until(rolled_up, within=WITHIN, what="the roll-up of the minutes")
    found: list[str] = []
    deadline = time.monotonic() + WITHIN
    for target in cluster.direct:
        async with pilothouse.aio.Client(target) as client:
            for prefix, expected in shown.items():
                seen = await _until_equal(client, prefix, expected, deadline)
                where = f"two hours later, by {target}"
                found += differences({prefix: expected}, {prefix: seen}, where)
    return found


async def _put_clocks(cluster: Cluster, seconds: float) -> None:
    for server in cluster.servers:
        server.put_clock(seconds)
    async with pilothouse.aio.Client(cluster.direct[0]) as client:
        await _publish(client)


async def _publish(client: pilothouse.aio.Client) -> None:
    """An event of now, wherever there are shards."""
    events = [
        events_pb2.Event(type=events_pb2.EVENT_TYPE_LOG, workflow_id=str(uuid4()), message="later")
        for _ in range(32)
    ]
    await client.events.PublishEvents(events_pb2.PublishEventsRequest(events=events))


async def _until_equal(
    client: pilothouse.aio.Client, prefix: str, expected: Shown, deadline: float
) -> Shown:
    """What is stored, once it is what was expected, or what it is after the deadline."""
    begun_us = time.time_ns() // 1000 - 3600 * 1_000_000
    seen: Shown = {}

    async def equal() -> bool:
        with suppress(Unavailable):
            seen.update(await history(client, prefix, begun_us))
        return seen == expected

    with suppress(NeverHappened):
        await wait_until(equal, within=deadline - time.monotonic())
    return seen
