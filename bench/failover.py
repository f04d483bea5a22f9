"""How long nobody leads after kill -9 of the replica that does, and whether anything is lost or counted twice by it.

    python -m bench.failover [--kills 50] [--rate 500]

Two `pilothouse-server serve` on one Valkey and PostgreSQL. Events come all the time, to both in turn, each batch again
until it is acknowledged. Then, as often as asked: the process that holds the lease of shard 0 is killed with SIGKILL;
what counts is the time until the other one serves a snapshot of its own making, asked for every 10 ms, and until a row
is stored of an event that came after the kill. The killed one is started again, both catch up, and it begins anew. At
the end rows, totals and history are compared with what was published.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil

from bench.process import Server, start_server
from bench.progress import Rows
from bench.report import milliseconds, percentile, provenance, seconds_of, table
from bench.steady import SteadyLoad, compare
from bench.storage import Storage, running_storage
from pilothouse.v1 import metrics_pb2, metrics_pb2_grpc
from tests.support import wait_until

POLL = 0.01
GOAL = 5.0
"""Seconds."""
DEADLINE = 60.0
"""Seconds after which a failover has failed."""
LEADER_PORTS = (
    "SELECT a.client_port FROM leases l JOIN pg_stat_activity a "
    "ON strpos(a.application_name, left(l.holder, 40)) > 0 "
    "WHERE l.name = 'shard-0' AND a.datname = current_database() AND l.holder <> ''"
)
"""From where the connections come on which the lease may be held."""
AFTER_KILL = (
    "SELECT count(*) FROM (SELECT 1 FROM events "
    "WHERE position > :position AND receive_us > :killed_us LIMIT 1) AS one"
)


@dataclass(frozen=True, slots=True)
class Failover:
    """One kill. Seconds."""

    snapshot: float
    """Until the other one served a snapshot of its own."""
    rows: float
    """Until an event that came after the kill was in a row."""


class Pair:
    """Two replicas, of which one leads."""

    def __init__(self, directory: Path, storage: Storage) -> None:
        self.servers: list[Server] = []
        self._directory = directory
        self._storage = storage

    async def start(self) -> None:
        """Starts both; the first is given a moment to lead."""
        for number in (0, 1):
            data_dir = self._directory / str(number)
            self.servers.append(await start_server("serve", data_dir, self._storage))

    async def end(self) -> None:
        """Ends both."""
        for server in self.servers:
            await server.end()

    async def start_again(self, dead: Server) -> None:
        """Puts a new process into the place of one that was killed."""
        new = await start_server("serve", dead.data_dir, self._storage)
        self.servers.append(new)

    async def leader(self, rows: Rows) -> Server:
        """Which one holds the lease, as PostgreSQL knows."""

        async def holders() -> list[Server]:
            ports = {int(port) for port in await rows.texts(LEADER_PORTS) if port.isdigit()}
            return [each for each in self.servers if ports & _local_ports(each)]

        return (await wait_until(holders, within=DEADLINE, what="a leader"))[0]


def _local_ports(server: Server) -> set[int]:
    with suppress(psutil.NoSuchProcess):
        return {int(each.laddr[1]) for each in server.process.net_connections("tcp")}
    return set()


class Snapshots:
    """What one replica serves, asked again and again."""

    def __init__(self, server: Server) -> None:
        self._channel = grpc.aio.insecure_channel(server.grpc)
        self._stub = metrics_pb2_grpc.MetricsServiceStub(self._channel)

    async def newest(self) -> metrics_pb2.MetricsSnapshot:
        """What it serves now; empty while it has nothing to serve."""
        try:
            answer = await self._stub.GetMetrics(metrics_pb2.GetMetricsRequest(), timeout=2)
        except grpc.aio.AioRpcError as error:
            if error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
                raise
            return metrics_pb2.MetricsSnapshot()
        return answer.snapshot

    async def other_than(self, epoch: str, killed_us: int) -> float:
        """When it served the first one that another process made after that moment, monotonic seconds."""
        async with asyncio.timeout(DEADLINE):
            while True:
                snapshot = await self.newest()
                made_us = snapshot.as_of_time.ToMicroseconds()
                if snapshot.epoch not in {"", epoch} and made_us >= killed_us:
                    return time.monotonic()
                await asyncio.sleep(POLL)

    async def close(self) -> None:
        """Ends the connection."""
        await self._channel.close()


async def row_after(rows: Rows, position: int, killed_us: int) -> float:
    """When the first row of an event was stored that came after that moment, monotonic seconds."""

    async def there() -> int:
        return await rows.number(AFTER_KILL, position=position, killed_us=killed_us)

    await wait_until(there, within=DEADLINE, what="a row")
    return time.monotonic()


async def fail_over(pair: Pair, rows: Rows) -> Failover:
    """One kill, and the time until the other one leads. The killed one is started again."""
    leader = await pair.leader(rows)
    other = next(each for each in pair.servers if each is not leader)
    snapshots = Snapshots(other)
    try:
        epoch = (await snapshots.newest()).epoch
        position = await rows.events()
        pair.servers.remove(leader)
        killed_us = time.time_ns() // 1000
        killed = time.monotonic()
        leader.process.kill()
        async with asyncio.TaskGroup() as group:
            shown = group.create_task(snapshots.other_than(epoch, killed_us))
            stored = group.create_task(row_after(rows, position, killed_us))
        await leader.kill()
    finally:
        await snapshots.close()
    await pair.start_again(leader)
    return Failover(shown.result() - killed, stored.result() - killed)


async def settled(pair: Pair, rows: Rows, events: int) -> None:
    """Returns when rows and both replicas' snapshots have so many events."""
    for server in pair.servers:
        snapshots = Snapshots(server)

        async def has_all(snapshots: Snapshots = snapshots) -> bool:
            shown = (await snapshots.newest()).totals.events
            return shown >= events and await rows.events() >= events

        try:
            await wait_until(has_all, within=DEADLINE, what=f"{events:,} events")
        finally:
            await snapshots.close()


async def measure(storage: Storage, kills: int, rate: int) -> str:
    """Both tables."""
    storage.renew()
    found: list[Failover] = []
    with tempfile.TemporaryDirectory(prefix="pilothouse-bench-") as directory:
        pair = Pair(Path(directory), storage)
        try:
            await pair.start()
            rows = Rows.of(pair.servers[0], storage)
            load = SteadyLoad(pair.servers, rate)
            loading = asyncio.create_task(load.run())
            for number in range(1, kills + 1):
                await settled(pair, rows, load.account.events)
                found.append(await fail_over(pair, rows))
                print(f"  {number:3}: {_told(found[-1])}", flush=True)
            load.stop.set()
            await loading
            await settled(pair, rows, load.account.events)
            differences = await compare(load.account, pair.servers[0], rows)
            rows.close()
        finally:
            await pair.end()
    account = load.account
    counted = [
        [each.what, f"{each.expected:,}", f"{each.found:,}", f"{each.lost:,}", f"{each.twice:,}"]
        for each in differences
    ]
    title = (
        f"Counted after {kills} kills: {account.events:,} events published meanwhile, "
        f"{account.repeated:,} batches more than once"
    )
    slowest = f"The slowest batch was acknowledged after {seconds_of(account.longest)}.\n"
    header = ["what", "published", "found", "lost", "twice"]
    return "\n".join([_times(found, kills, rate), table(title, header, counted), slowest])


def _times(found: list[Failover], kills: int, rate: int) -> str:
    rows: list[list[str]] = []
    for name, values in (
        ("next snapshot from the new lead", [each.snapshot for each in found]),
        ("next row stored", [each.rows for each in found]),
    ):
        figures = [seconds_of(percentile(values, share)) for share in (0.5, 0.99)]
        verdict = "met" if max(values) < GOAL else "missed"
        rows.append([name, *figures, seconds_of(max(values)), f"{GOAL:.0f} s: {verdict}"])
    title = f"{kills} times kill -9 of the replica that leads, at {rate:,} events/s"
    return table(title, ["until the", "p50", "p99", "max", "goal"], rows)


def _told(failover: Failover) -> str:
    return (
        f"snapshot after {milliseconds(failover.snapshot)}, row after {milliseconds(failover.rows)}"
    )


async def run(kills: int, rate: int) -> str:
    """Starts the servers of both, and measures."""
    with running_storage(with_redis=True, with_postgres=True) as storage:
        print(provenance(*storage.names), flush=True)
        return await measure(storage, kills, rate)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rate", type=int, default=500)
    given = parser.parse_args()
    print(asyncio.run(run(given.kills, given.rate)))


if __name__ == "__main__":
    main()
