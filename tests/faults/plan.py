"""Which faults befall a cluster, and when: chosen by a seed, so that a number says it all."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.faults.cluster import Backing, Cluster
from tests.faults.flow import SPAN
from tests.faults.servers import Supervised
from tests.servers.proxy import Mode, Proxy

LEASE = 4.5
"""Seconds after which nobody holds a lease who could not be heard."""
PROCESS_LOTS = 3
"""How often each process may be drawn to be killed or frozen, for once that each way is."""
CLOCK = 25.0
"""Seconds by which a wall clock is put at most: together with all delays less than what events may be late."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: `kind` befalls `on` so many seconds after the flow began, for so long."""

    at: float
    kind: str
    on: str
    lasts: float
    amount: float = 0.0

    def __str__(self) -> str:
        amount = f" by {self.amount:+.1f} s" if self.amount else ""
        return f"{self.at:4.1f} s {self.kind} {self.on}{amount} for {self.lasts:.1f} s"


def plan(seed: int, cluster: Cluster) -> list[Fault]:
    """One to four faults. Each part is befallen once at a time."""
    chance = random.Random(f"faults of {seed}")
    kinds = list(_kinds(cluster))
    found: list[Fault] = []
    for _ in range(chance.choice((1, 1, 2, 2, 3, 4))):
        kind, on, lasts = chance.choice(kinds)
        at = chance.uniform(0.1, SPAN + 3)
        amount = chance.choice((-1, 1)) * chance.uniform(3, CLOCK) if kind == "put clock" else 0.0
        fault = Fault(at, kind, on, lasts(chance), amount)
        if not any(each.on == on and _meet(each, fault) for each in found):
            found.append(fault)
    return sorted(found, key=lambda fault: fault.at)


def _meet(one: Fault, two: Fault) -> bool:
    return one.at <= two.at + two.lasts and two.at <= one.at + one.lasts


def _kinds(cluster: Cluster) -> Iterator[tuple[str, str, Callable[[random.Random], float]]]:
    """Every fault that this cluster can have, and how long it lasts. Ways are many and processes few: these have more
    lots."""
    for server in cluster.servers:
        for _ in range(PROCESS_LOTS):
            yield "kill", server.name, _shortly
            yield "freeze", server.name, _briefly_or_long
        yield "terminate", server.name, _shortly
        yield "put clock", server.name, _shortly
        if cluster.disk is not None:
            yield "fill disk of", server.name, _briefly
    for backing in cluster.backings:
        for _ in range(PROCESS_LOTS):
            yield "kill", backing, _shortly
        yield "stop", backing, _shortly
    for way in cluster.ways:
        yield "cut", way, _shortly
        yield "slow", way, _briefly
        yield "freeze way", way, _briefly_or_long
        yield "refuse", way, _briefly


def _shortly(chance: random.Random) -> float:
    return chance.uniform(0.05, 0.8)


def _briefly(chance: random.Random) -> float:
    return chance.uniform(0.3, 2.0)


def _briefly_or_long(chance: random.Random) -> float:
    """Sometimes too long for a lease."""
    return chance.uniform(0.3, 2.0) if chance.random() < 0.6 else LEASE + chance.uniform(0, 1.5)


async def befall(cluster: Cluster, fault: Fault) -> None:
    """Waits for its moment, does it, and puts it right again."""
    await asyncio.sleep(fault.at)
    servers = {server.name: server for server in cluster.servers}
    if fault.on in servers:
        await _to_server(servers[fault.on], fault, cluster)
    elif fault.on in cluster.backings:
        await _to_backing(cluster.backings[fault.on], fault)
    else:
        await _to_way(cluster.ways[fault.on], fault)


async def _to_server(server: Supervised, fault: Fault, cluster: Cluster) -> None:
    match fault.kind:
        case "kill" | "terminate":
            if fault.kind == "kill":
                server.kill()
            else:
                await server.terminate()
            await asyncio.sleep(fault.lasts)
            server.start()
        case "freeze":
            server.freeze()
            await asyncio.sleep(fault.lasts)
            server.thaw()
        case "put clock":
            server.put_clock(fault.amount)
        case _:
            assert cluster.disk is not None
            server.fill_disk(cluster.disk)
            await asyncio.sleep(fault.lasts)
            server.free_disk()


async def _to_backing(backing: Backing, fault: Fault) -> None:
    await asyncio.to_thread(backing.kill if fault.kind == "kill" else backing.stop)
    await asyncio.sleep(fault.lasts)
    await asyncio.to_thread(backing.start)


_MODES: dict[str, Mode] = {"slow": "slow", "freeze way": "freeze", "refuse": "refuse"}


async def _to_way(way: Proxy, fault: Fault) -> None:
    if fault.kind == "cut":
        await way.cut()
        return
    way.mode = _MODES[fault.kind]
    if fault.kind == "refuse":
        await way.cut()
    await asyncio.sleep(fault.lasts)
    way.mode = "pass"
