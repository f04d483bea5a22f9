"""Leases on a real PostgreSQL: one holder at a time, whatever becomes of the holder."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.postgres_leases import PostgresLeases, PostgresTenure
from tests.replicas.conftest import QUICK, TABLE, Start
from tests.servers.postgres import Postgres
from tests.servers.process import end, spawn
from tests.support import wait_until

HOLDER = """
import asyncio, sys
from dataclasses import replace
from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.postgres_leases import PostgresLeases
from tests.replicas.conftest import QUICK, TABLE

async def main():
    leases = PostgresLeases(sys.argv[1], "holder", SystemClock(), replace(QUICK, session=1.0))
    running = asyncio.create_task(leases.run())
    async with leases.hold("shard-0") as tenure:
        print("holding", tenure.fence.epoch, flush=True)
        await tenure.lost()
        print("lost", flush=True)

asyncio.run(main())
"""


async def test_a_lease_has_one_holder_and_the_next_has_a_greater_epoch(replicas: Start) -> None:
    one, two = replicas("one"), replicas("two")
    async with AsyncExitStack() as stack:
        tenure = await stack.enter_async_context(one.hold("shard-0"))
        waiting = asyncio.create_task(_hold_until_lost(two, "shard-0"))
        await wait_until(lambda: len(one.replicas) == 2)
        assert not waiting.done()

        await stack.aclose()
        second = await _tenure_of(two, "shard-0")

        assert tenure.fence.lease == second.fence.lease == "shard-0"
        assert tenure.fence.epoch < second.fence.epoch
        waiting.cancel()


async def test_who_stops_waiting_leaves_the_lease_to_others(replicas: Start) -> None:
    one, two = replicas("one"), replicas("two")
    async with one.hold("shard-0"):
        waiting = asyncio.create_task(_hold_until_lost(two, "shard-0"))
        await wait_until(lambda: len(one.replicas) == 2)
        waiting.cancel()
        await asyncio.wait([waiting])
    async with asyncio.timeout(20), one.hold("shard-0"):
        pass


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_another_replica_takes_over_from_one_that_was_killed_or_frozen(
    replicas: Start,
    lease_url: str,
    number: signal.Signals,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    log = tmp_path_factory.mktemp("holder") / "log"
    holder = spawn([sys.executable, "-c", HOLDER, lease_url], log, cwd=Path())
    try:
        said = await wait_until(
            lambda: re.search(r"^holding (\d+)\n", log.read_text("utf-8"), re.MULTILINE),
            within=60,
        )
        assert said is not None
        epoch = int(said[1])
        holder.send_signal(number)
        two = replicas("two")
        async with asyncio.timeout(40), two.hold("shard-0") as tenure:
            assert tenure.fence.epoch > epoch
            if number == signal.SIGSTOP:
                holder.send_signal(signal.SIGCONT)
                await wait_until(
                    lambda: b"\nlost" in log.read_bytes(), within=30, what="notice of the loss"
                )
    finally:
        end(holder, signal.SIGKILL)


@pytest.mark.timeout(180)
async def test_a_tenure_is_in_doubt_while_postgresql_is_away_and_goes_on_when_it_is_back(
    servers_directory: Path,
) -> None:
    server = Postgres(servers_directory / "leases")
    server.start()
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(TABLE)
    try:
        leases = PostgresLeases(server.url(), "one", SystemClock(), QUICK)
        running = asyncio.create_task(leases.run())
        async with leases.hold("shard-0") as tenure:
            await asyncio.to_thread(server.kill)
            await wait_until(lambda: tenure.waiting_for, what="doubt")
            await asyncio.to_thread(server.start)
            await wait_until(lambda: not tenure.waiting_for, within=30, what="certainty")

            assert not tenure.over
            assert _epoch(server.url()) == tenure.fence.epoch
        running.cancel()
        await asyncio.wait([running])
    finally:
        server.stop()


async def test_a_tenure_is_over_when_another_began_while_it_was_in_doubt(
    replicas: Start, lease_url: str
) -> None:
    away = Away()
    one, two = replicas("one", away), replicas("two")
    async with one.hold("shard-0") as tenure:
        await wait_until(lambda: len(one.replicas) == 2)
        waiting = asyncio.create_task(_hold_until_lost(two, "shard-0"))
        _cut_off(lease_url, "one")
        await _tenure_of(two, "shard-0")
        await wait_until(lambda: tenure.waiting_for, what="doubt")
        away.is_over.set()

        async with asyncio.timeout(20):
            await tenure.lost()
        waiting.cancel()


class Away(SystemClock):
    """Who lost its connection stays without one until this is over."""

    def __init__(self) -> None:
        super().__init__()
        self.is_over = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        await self.is_over.wait()


async def test_leases_are_shared_out_and_given_up_to_who_comes_later(replicas: Start) -> None:
    one = replicas("one")
    names = [f"shard-{number}" for number in range(4)]
    holding = [asyncio.create_task(_hold_again_and_again(one, name)) for name in names]
    await wait_until(lambda: len(one.held) == 4)

    two = replicas("two")
    holding += [asyncio.create_task(_hold_again_and_again(two, name)) for name in names]
    await wait_until(lambda: (len(one.held), len(two.held)) == (2, 2), within=40)

    assert "shard-0" in one.held
    for task in holding:
        task.cancel()
    await asyncio.wait(holding)


async def test_a_lease_that_nobody_takes_is_taken_beyond_the_share(replicas: Start) -> None:
    one, idle = replicas("one"), replicas("idle")
    await wait_until(lambda: len(one.replicas) == len(idle.replicas) == 2)
    holding = [asyncio.create_task(_hold_until_lost(one, f"shard-{n}")) for n in range(2)]

    await wait_until(lambda: len(one.held) == 2)
    seen_at = SystemClock().monotonic()
    await wait_until(lambda: SystemClock().monotonic() > seen_at + 3 * QUICK.settled)
    assert len(one.held) == 2, "given up though nobody else takes it"

    for task in holding:
        task.cancel()
    await asyncio.wait(holding)


async def test_a_transaction_that_stands_still_puts_no_other_lease_in_doubt(
    replicas: Start, lease_url: str
) -> None:
    one = replicas("one")
    holding = asyncio.create_task(_hold_until_lost(one, "shard-1"))
    other = await _tenure_of(one, "shard-1")
    with psycopg.connect(lease_url) as frozen:
        frozen.execute("INSERT INTO leases VALUES ('shard-0', 7, 'frozen', 0)")
        frozen.commit()
        frozen.execute("SELECT epoch FROM leases WHERE name = 'shard-0' FOR SHARE")
        waiting = asyncio.create_task(_hold_until_lost(one, "shard-0"))
        begun = SystemClock().monotonic()
        while SystemClock().monotonic() < begun + 2 * QUICK.answer:
            assert one.waiting_for == other.waiting_for == ""
            await asyncio.sleep(0.01)
        assert not waiting.done()
        frozen.rollback()
        assert (await _tenure_of(one, "shard-0")).fence.epoch > 7
    for task in (holding, waiting):
        task.cancel()
    await asyncio.wait([holding, waiting])


async def test_a_lease_given_back_while_others_are_confirmed_is_free(
    replicas: Start, lease_url: str
) -> None:
    one = Interrupted(lease_url, "one", SystemClock(), QUICK)
    running = asyncio.create_task(one.run())
    holding = {
        name: asyncio.create_task(_hold_until_lost(one, name)) for name in ("shard-0", "shard-1")
    }
    await _tenure_of(one, "shard-0")
    await _tenure_of(one, "shard-1")
    one.given_back = holding["shard-1"]
    _cut_off(lease_url, "one")
    await wait_until(lambda: one.given_back is None)

    async with asyncio.timeout(20), replicas("two").hold("shard-1"):
        pass
    for task in (running, *holding.values()):
        task.cancel()
    await asyncio.wait([running, *holding.values()])


class Interrupted(PostgresLeases):
    """While it confirms its first lease, another one is given back."""

    given_back: asyncio.Task[None] | None = None

    async def _confirm(
        self, connection: psycopg.AsyncConnection[Any], name: str, tenure: PostgresTenure
    ) -> None:
        if self.given_back is not None and name == "shard-0":
            self.given_back.cancel()
            await asyncio.wait([self.given_back])
            self.given_back = None
        await super()._confirm(connection, name, tenure)


async def _hold_until_lost(leases: PostgresLeases, name: str) -> None:
    async with leases.hold(name) as tenure:
        await tenure.lost()


async def _hold_again_and_again(leases: PostgresLeases, name: str) -> None:
    while True:
        await _hold_until_lost(leases, name)


async def _tenure_of(leases: PostgresLeases, name: str) -> PostgresTenure:
    await wait_until(lambda: name in leases.held)
    return leases.held[name]


def _cut_off(url: str, replica: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s",
            (f"pilothouse-lease {replica}",),
        )


def _epoch(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT epoch FROM leases").fetchone()
        assert row is not None
        epoch: int = row[0]
        return epoch
