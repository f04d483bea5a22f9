"""Work that belongs to a lease: done while it is ours, ended when it is not, and taken up again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.leases import OwnLeases
from pilothouse_server.domain.errors import LeaseLost, Unavailable
from pilothouse_server.ports import Tenure
from pilothouse_server.services.tenure import Parts, serve
from tests.replicas.conftest import Start
from tests.support import wait_until


class Work:
    """Notes what becomes of each tenure; each has one part that waits until it is told to fail."""

    def __init__(self) -> None:
        self.tenures: list[Tenure] = []
        self.ended: list[int] = []
        self.fail: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @asynccontextmanager
    async def begin(self, tenure: Tenure) -> AsyncGenerator[Parts]:
        self.tenures.append(tenure)
        self.fail = asyncio.get_running_loop().create_future()
        try:
            yield {"part": self._part()}
        finally:
            self.ended.append(tenure.fence.epoch)

    async def _part(self) -> None:
        await self.fail


async def test_a_tenure_that_is_over_ends_its_parts_and_the_next_makes_new_ones(
    replicas: Start,
) -> None:
    work, leases = Work(), replicas("one")
    running = asyncio.create_task(serve(leases, "shard-0", work.begin, SystemClock()))
    await wait_until(lambda: len(work.tenures) == 1)

    work.tenures[0].surrender()
    await wait_until(lambda: len(work.tenures) == 2)

    assert work.ended == [work.tenures[0].fence.epoch]
    assert work.tenures[0].fence.epoch < work.tenures[1].fence.epoch
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(work.ended) == 2


@pytest.mark.parametrize("error", [LeaseLost("shard-0", 1), Unavailable("database", "away")])
async def test_a_part_that_lost_its_lease_or_its_database_ends_the_tenure_and_no_more(
    error: Exception,
) -> None:
    work = Work()
    running = asyncio.create_task(serve(OwnLeases(1, "one"), "shard-0", work.begin, SystemClock()))
    await wait_until(lambda: len(work.tenures) == 1)

    work.fail.set_exception(error)
    await wait_until(lambda: len(work.tenures) == 2)

    running.cancel()
    await asyncio.wait([running])


async def test_a_part_that_fails_otherwise_ends_the_process() -> None:
    work = Work()
    running = asyncio.create_task(serve(OwnLeases(1, "one"), "shard-0", work.begin, SystemClock()))
    await wait_until(lambda: len(work.tenures) == 1)

    work.fail.set_exception(ZeroDivisionError())

    with pytest.raises(ExceptionGroup) as caught:
        await running
    assert caught.group_contains(ZeroDivisionError)


async def test_what_cannot_be_stored_at_the_end_does_not_keep_a_cancelled_tenure_alive() -> None:
    class Failing(Work):
        async def _part(self) -> None:
            try:
                await self.fail
            except asyncio.CancelledError:
                raise Unavailable("database", "away") from None

    work = Failing()
    running = asyncio.create_task(serve(OwnLeases(1, "one"), "shard-0", work.begin, SystemClock()))
    await wait_until(lambda: len(work.tenures) == 1)

    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 5)
    assert len(work.tenures) == 1
