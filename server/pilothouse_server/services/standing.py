"""How this server is, put together from what its parts say of themselves.

Every part that waits for something says what in `waiting_for`. Whether the log and the database answer is also asked
for, every few seconds, because on a replica that leads nothing no part may be using them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeVar

from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.ports import Clock
from pilothouse_server.services.status import (
    NOT_SERVING,
    Component,
    ComponentState,
    Lease,
    LogShard,
    Look,
    Readiness,
    Replica,
    ServerStatus,
    Watchman,
    readiness_of,
)

T = TypeVar("T")

ASK_EVERY: Final = 2.0
"""Seconds between two questions whether somebody answers."""
ANSWER_WITHIN: Final = 2.0
"""Seconds after which no answer is an answer."""
_NAMES: Final = {"log": "event log"}
LATE_US: Final = 5_000_000
"""A reader of the log that is further behind is degraded."""


class Waiting(Protocol):
    """A part that says what it waits for."""

    @property
    def waiting_for(self) -> str:
        """Why it cannot go on; "" when all is well."""
        ...


class Reader(Waiting, Protocol):
    """A part that reads the log."""

    @property
    def cursor(self) -> str:
        """Where it is."""
        ...


def waits(
    name: str,
    part: Waiting,
    *,
    shard: int | None = None,
    without: ComponentState = ComponentState.DEGRADED,
) -> Look:
    """A part that is well while it waits for nothing, and else `without`."""

    def look() -> Component:
        reason = part.waiting_for
        state = without if reason else ComponentState.OK
        return Component(name=name, shard=shard, state=state, reason=reason)

    return look


def reads(
    name: str, part: Reader, *, shard: int, lag_us: Callable[[], int | None] = lambda: None
) -> Look:
    """A reader of the log, which may also be late."""

    def look() -> Component:
        lag, reason = lag_us(), part.waiting_for
        if not reason and lag is not None and lag > LATE_US:
            reason = f"{lag / 1_000_000:,.0f} s behind the log"
        state = ComponentState.DEGRADED if reason else ComponentState.OK
        return Component(
            name=name, shard=shard, state=state, reason=reason, cursor=part.cursor, lag_us=lag
        )

    return look


class Asked:
    """Asks something again and again, to know whether there is an answer. `waiting_for` tells why there is none."""

    def __init__(self, ask: Callable[[], Awaitable[object]], clock: Clock) -> None:
        self.waiting_for = ""
        self._ask = ask
        self._clock = clock

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self.look()
            await self._clock.sleep(ASK_EVERY)

    async def look(self) -> None:
        """Asks once."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await self._ask()
        except Unavailable as error:
            self.waiting_for = error.detail
        except TimeoutError:
            self.waiting_for = f"no answer within {ANSWER_WITHIN:g} s"
        else:
            self.waiting_for = ""


class Others(Protocol):
    """What only the database knows of all replicas. Both raise Unavailable."""

    async def leases(self) -> Sequence[Lease]:
        """Who holds what."""
        ...

    async def replicas(self) -> Sequence[Replica]:
        """Who is alive, ourselves included."""
        ...


class Alone:
    """A server that shares nothing: it holds everything."""

    async def leases(self) -> Sequence[Lease]:
        """None is kept."""
        return ()

    async def replicas(self) -> Sequence[Replica]:
        """Only the one that answers, which knows itself."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What does not change while a process lives."""

    version: str
    replica_id: str
    log_address: str
    """Without a password."""
    database_address: str
    """Without a password."""


class Standing:
    """The StatusSource of a server. Parts are watched from when they are there until they are gone."""

    def __init__(
        self,
        identity: Identity,
        clock: Clock,
        *,
        others: Others | None = None,
        log_shards: Callable[[], Awaitable[Sequence[LogShard]]] | None = None,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        self.identity = identity
        self.serving = False
        """Whether callers are let in: not before the start is over, and not once the end has begun."""
        self._clock = clock
        self._began = clock.monotonic()
        self._start_us = clock.now_us()
        self._watchman = Watchman(clock.now_us)
        self._others = others or Alone()
        self._log_shards = log_shards
        self._leads = leads

    def watch(self, key: str, look: Look) -> None:
        """Looks at a part from now on, under a key of its own."""
        self._watchman.watch(key, look)

    def leave(self, key: str) -> None:
        """The part is gone, as it should be."""
        self._watchman.leave(key)

    def readiness(self) -> Readiness:
        """See StatusSource."""
        found = readiness_of(self._watchman.components())
        if self.serving:
            return found
        return replace(NOT_SERVING, reasons=(*NOT_SERVING.reasons, *found.reasons))

    def troubles(self) -> Sequence[str]:
        """What everybody who looks at numbers should know: what this server stands on is away, and for how long. In few
        words, for a line of a page; `status` has the rest."""
        now_us = self._clock.now_us()
        return [
            f"the {_NAMES.get(each.name, each.name)} has not answered for"
            f" {_span(now_us - (each.since_us or now_us))}"
            for each in self._watchman.components()
            if each.state is ComponentState.DOWN
        ]

    async def status(self) -> ServerStatus:
        """See StatusSource."""
        leases, replicas, shards = await asyncio.gather(
            _in_time(self._others.leases()),
            _in_time(self._others.replicas()),
            _in_time(self._log_shards()) if self._log_shards else _nothing(),
        )
        identity = self.identity
        ours = Replica(
            id=identity.replica_id,
            version=identity.version,
            start_us=self._start_us,
            leads=self._leads(),
            answers=True,
        )
        return ServerStatus(
            readiness=self.readiness(),
            version=identity.version,
            replica_id=identity.replica_id,
            start_us=self._start_us,
            uptime_us=round((self._clock.monotonic() - self._began) * 1_000_000),
            log_address=identity.log_address,
            database_address=identity.database_address,
            components=self._watchman.components(),
            log_shards=shards,
            leases=leases,
            replicas=[ours, *(each for each in replicas if each.id != ours.id)],
        )


def _span(us: int) -> str:
    seconds = max(us, 0) // 1_000_000
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


async def _in_time(answer: Awaitable[Sequence[T]]) -> Sequence[T]:
    """What is answered soon; nothing when it is not."""
    with suppress(Unavailable, TimeoutError):
        async with asyncio.timeout(ANSWER_WITHIN / 2):
            return await answer
    return ()


async def _nothing() -> Sequence[LogShard]:
    return ()
