"""What is disturbed: the system's processes, what they stand on, and the ways between them.

A cluster lives through several flows. Each topology says which parts it has; the faults are chosen from those.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import psycopg
import redis

import pilothouse.aio
from pilothouse.errors import CallError
from pilothouse.retry import NO_RETRY
from tests.faults.servers import Supervised
from tests.servers.proxy import Proxy
from tests.support import wait_until

SETTINGS = {
    "PILOTHOUSE_ACCEPT_DEADLINE": "600",
    "PILOTHOUSE_AGENT_OFFLINE_AFTER": "3600",
    "PILOTHOUSE_DRAIN_GRACE": "1",
}
"""Commands and agents outlive every disturbance: what is waited for here is no part of what is tested."""

PENDING = "SELECT count(*) FROM commands WHERE state IN (1, 2)"
CURSORS = "SELECT consumer, cursor FROM cursors"
OUTBOX = "SELECT count(*) FROM outbox"
ROLLED = "SELECT max(start) FROM metric_minutes GROUP BY shard"


LOOKING = (OSError, sqlite3.Error, psycopg.Error, redis.RedisError)
"""What looking may raise while the servers are being disturbed."""


class Backing(Protocol):
    """A server that the system stands on."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...


class Standing(NamedTuple):
    """How far everybody is, read from where it is kept."""

    tails: Sequence[str]
    """The newest entry of each shard of the log."""
    cursors: Mapping[str, str]
    """By consumer."""
    outbox: int
    pending: int
    rolled: Sequence[int]
    """Of each shard that has history: the newest minute of it, counted since the epoch."""
    readers: Sequence[str] = ("projector",)
    """Consumers of each shard whose stored cursors tell that all is there."""

    def behind(self) -> str:
        """Who has not read the log to its end, or has something left to do."""
        if self.outbox or self.pending:
            return f"{self.outbox} events in the outbox, {self.pending} pending commands"
        for shard, tail in enumerate(self.tails):
            for consumer in self.readers:
                name = f"{consumer}:{shard}" if shard else consumer
                if (at := self.cursors.get(name, "")) != tail:
                    return f"{name} is at {at} of {tail}"
        return ""

    def rolled_up(self, minute: int) -> bool:
        """Whether every shard has history as new as that."""
        return len(self.rolled) == len(self.tails) and min(self.rolled) >= minute

    @property
    def covered(self) -> str:
        """The cursor of a snapshot of all of it."""
        tails = self.tails
        if len(tails) == 1:
            return tails[0]
        return ",".join(f"{shard}:{tail}" for shard, tail in enumerate(tails))


AddForeign = Callable[[str | bytes], Awaitable[None]]
"""Puts an event into the stream, past the server. Raises OSError while it cannot."""


class Cluster(Protocol):
    """One topology, running."""

    @property
    def servers(self) -> Sequence[Supervised]:
        """Those that the faults end and stop."""
        ...

    @property
    def backings(self) -> Mapping[str, Backing]:
        """By name."""
        ...

    @property
    def ways(self) -> Mapping[str, Proxy]:
        """By what they connect."""
        ...

    @property
    def disk(self) -> Path | None:
        """Where the embedded files are; None when there are none."""
        ...

    @property
    def target(self) -> str:
        """Where clients connect, by the ways that are disturbed."""
        ...

    @property
    def direct(self) -> Sequence[str]:
        """Where a client connects that looks on: each of them has to show the same."""
        ...

    @property
    def add_foreign(self) -> AddForeign | None:
        """How others put events into the log themselves; None where they cannot."""
        ...

    async def start(self) -> None: ...
    async def finish(self) -> None: ...

    def standing(self) -> Standing:
        """How far everybody is. Blocks; raises what the servers' own clients raise."""
        ...


async def restless(cluster: Cluster) -> str:
    """What is still on its way to somewhere; "" when all is quiet."""
    try:
        standing = await asyncio.to_thread(cluster.standing)
    except LOOKING as error:
        return f"looking: {error}"
    # By clocks that differ, one shard is always some seconds behind another, and the snapshot says so.
    lags = any(server.clock_was_put for server in cluster.servers)
    return standing.behind() or await _snapshots_behind(cluster.direct, standing, lags=lags)


async def _snapshots_behind(direct: Sequence[str], standing: Standing, *, lags: bool) -> str:
    for target in direct:
        if told := await _behind(target, standing.covered, lags=lags):
            return told
    return ""


async def _behind(target: str, covered: str, *, lags: bool) -> str:
    async with pilothouse.aio.Client(target, timeout=2, retry=NO_RETRY) as client:
        try:
            snapshot = await client.get_metrics()
        except CallError as error:
            return f"the snapshot of {target}: {error}"
    if snapshot.cursor != covered:
        return f"the snapshot of {target} is at {snapshot.cursor} of {covered}"
    lag_us = snapshot.reader_lag.ToMicroseconds()
    return f"the snapshot of {target} lags by {lag_us / 1e6} s" if lag_us and not lags else ""


async def ready(target: str, within: float = 60.0) -> None:
    """Waits until there are metrics."""

    async def answers() -> bool:
        async with pilothouse.aio.Client(target, timeout=1, retry=NO_RETRY) as client:
            try:
                await client.get_metrics()
            except CallError:
                return False
            return True

    await wait_until(answers, within=within, what=f"a snapshot of {target}")
