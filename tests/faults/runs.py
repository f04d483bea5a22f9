"""Seeds, one after another, through one cluster, while a second one that nothing befalls shows what should come out."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from tests.faults.afterwards import look_back
from tests.faults.cluster import Cluster
from tests.faults.compare import differences, report
from tests.faults.embedded import Embedded
from tests.faults.flow import BREAKS_US, Flow
from tests.faults.observe import Shown
from tests.faults.perform import Performance
from tests.faults.plan import Fault, plan
from tests.faults.reference import known
from tests.faults.replicas import Replicas

FRESH_EVERY = 20
"""Flows that one cluster lives through: the names of more would not fit the limits of its metrics."""
WITHIN = 150.0
"""Seconds until a seed is given up."""

Topology = Callable[[Path], Cluster]

TOPOLOGIES: dict[str, Topology] = {
    "embedded": Embedded,
    "replicas": partial(Replicas, shards=1),
    "shards": partial(Replicas, shards=2),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one seed."""

    topology: str
    seed: int
    faults: tuple[Fault, ...]
    found: tuple[str, ...]
    """What is not as it should be; nothing when all is well."""
    seconds: float
    kept: Path | None = None
    """Where the logs of the processes are, when something was found."""

    def __str__(self) -> str:
        befell = "; ".join(str(fault) for fault in self.faults)
        said = "equal" if not self.found else f"{len(self.found)} DIFFERENCES"
        line = f"seed {self.seed} {self.topology} {self.seconds:5.1f} s  {said}  [{befell}]"
        if not self.found:
            return line
        again = f"make faults RUNS=1 SEED={self.seed} TOPOLOGY={self.topology}"
        return f"{line}\n{report(list(self.found))}\n    logs: {self.kept}\n    again: {again}"


class Runs:
    """One topology. `async with` makes a folder for the clusters and removes what is not worth keeping."""

    def __init__(self, topology: str) -> None:
        self.topology = topology
        self._folder = Path(tempfile.mkdtemp(prefix=f"pilothouse-faults-{topology}-"))
        self._folder.chmod(0o755)
        self._stack: AsyncExitStack | None = None
        self._calm: Cluster | None = None
        self._disturbed: Cluster | None = None
        self._charted: dict[str, Shown] = {}
        """What was charted of each flow that the clusters lived through."""
        self._newest_us = 0
        """Of every shard there is something as new as that to be stored."""
        self._clusters = 0
        self._kept = False

    async def one(self, seed: int, *, last: bool = False) -> Verdict:
        """Runs one seed on both clusters at once; on the `last` of a cluster it looks back at all of them."""
        begun = time.monotonic()
        calm, disturbed = await self._clusters_for_one_more()
        faults = plan(seed, disturbed)
        found: list[str] = []
        try:
            async with asyncio.timeout(WITHIN):
                found += await self._compared(calm, disturbed, seed, faults)
                last |= len(self._charted) >= FRESH_EVERY
                if last and not found:
                    found += await look_back(disturbed, self._charted, self._newest_us)
        except Exception as error:  # noqa: BLE001 - whatever went wrong is what this seed found
            found += _told(error)
        for server in (*calm.servers, *disturbed.servers):
            found += server.troubles()
        seconds = time.monotonic() - begun
        self._kept |= bool(found)
        if found or last:
            # What was looked back at lives in another time; what is in doubt is no measure for other seeds.
            await self._end()
        kept = self._folder if found else None
        return Verdict(self.topology, seed, tuple(faults), tuple(found), seconds, kept)

    async def _compared(
        self, calm: Cluster, disturbed: Cluster, seed: int, faults: Sequence[Fault]
    ) -> list[str]:
        flow = Flow(seed, f"d{seed}-")
        performance = Performance(disturbed, flow)
        (expected,), shown = await asyncio.gather(
            Performance(calm, Flow(seed, f"c{seed}-")).run(), performance.run(faults)
        )
        self._newest_us = performance.began_us + BREAKS_US
        self._charted[flow.prefix] = expected["history"]
        found = [f"undisturbed: {each}" for each in differences(known(flow), expected, whole=False)]
        for target, seen in zip(disturbed.direct, shown, strict=True):
            found += [f"by {target}: {each}" for each in differences(expected, seen)]
        return found

    async def _clusters_for_one_more(self) -> tuple[Cluster, Cluster]:
        if self._stack is None or self._calm is None or self._disturbed is None:
            self._clusters += 1
            self._stack, self._charted = AsyncExitStack(), {}
            self._calm = await self._begin(Embedded, "calm")
            self._disturbed = await self._begin(TOPOLOGIES[self.topology], "disturbed")
        return self._calm, self._disturbed

    async def _begin(self, topology: Topology, name: str) -> Cluster:
        assert self._stack is not None
        folder = self._folder / f"{self._clusters}-{name}"
        folder.mkdir()
        folder.chmod(0o755)
        cluster = topology(folder)
        self._stack.push_async_callback(cluster.finish)
        await cluster.start()
        return cluster

    async def _end(self) -> None:
        stack, self._stack = self._stack, None
        self._calm = self._disturbed = None
        if stack is not None:
            await stack.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._end()
        if not self._kept:
            shutil.rmtree(self._folder, ignore_errors=True)


def _told(error: BaseException) -> list[str]:
    """What went wrong, and where in this suite; of several things, each."""
    if isinstance(error, BaseExceptionGroup):
        several = cast("BaseExceptionGroup[BaseException]", error)
        return [line for each in several.exceptions for line in _told(each)]
    frames = traceback.extract_tb(error.__traceback__)
    ours = [
        f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames if "faults" in f.filename
    ]
    return [f"{type(error).__name__}: {error}", f"  at {' > '.join(ours[-5:])}"]
