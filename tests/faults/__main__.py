"""`python -m tests.faults --runs 200`: as many seeds as one likes, each with its faults, its verdict, and how to have
it again."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time

# Read by gRPC when it is imported: the servers that are started from here are programs of their own.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from tests.faults.runs import TOPOLOGIES, Runs, Verdict


def main() -> None:
    """Ends with 0 when every seed ended as if nothing had happened, else with 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="how many seeds")
    parser.add_argument("--seed", type=int, help="the first seed; any when it is not given")
    parser.add_argument("--topology", choices=("all", *TOPOLOGIES), default="all")
    given = parser.parse_args()
    first = random.SystemRandom().randrange(1, 1_000_000) if given.seed is None else given.seed
    names = list(TOPOLOGIES) if given.topology == "all" else [given.topology]
    verdicts = asyncio.run(run(range(first, first + given.runs), names))
    sys.exit(1 if any(verdict.found for verdict in verdicts) else 0)


async def run(seeds: range, names: list[str]) -> list[Verdict]:
    """Each seed on the topology that its number names, those of one topology after another."""
    begun = time.monotonic()
    print(f"seeds {seeds.start} to {seeds.stop - 1} on {', '.join(names)}", flush=True)
    verdicts: list[Verdict] = []
    for number, name in enumerate(names):
        async with Runs(name) as runs:
            own = [seed for seed in seeds if seed % len(names) == number]
            for seed in own:
                verdicts.append(await runs.one(seed, last=seed == own[-1]))
                print(verdicts[-1], flush=True)
    _sum_up(verdicts, time.monotonic() - begun)
    return verdicts


def _sum_up(verdicts: list[Verdict], seconds: float) -> None:
    bad = [verdict for verdict in verdicts if verdict.found]
    faults = sum(len(verdict.faults) for verdict in verdicts)
    each = seconds / max(len(verdicts), 1)
    print(
        f"{len(verdicts)} seeds, {faults} faults, {seconds:.0f} s ({each:.1f} s each): "
        f"{len(verdicts) - len(bad)} as if nothing had happened, {len(bad)} not"
    )
    for verdict in bad:
        print(f"  seed {verdict.seed} {verdict.topology}: {verdict.found[0]}")


if __name__ == "__main__":
    main()
