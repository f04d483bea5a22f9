"""How many events a second go through the log into the snapshot and into rows, with both never far behind.

    python -m bench.pipeline [--forms batches,protobuf,json] [--rate 0] [--seconds 60] [--bound 5] [--embedded]

One `pilothouse-server serve` on a real Valkey and PostgreSQL (`--embedded`: on its own files), the producer in this
process, all on one machine. A rate is sustained when neither the snapshot nor the rows were ever more than `--bound`
seconds behind what was acknowledged, for `--seconds`, and at most two seconds' worth was under way at the end. Without
`--rate` the highest such rate is searched for: first as much as gets through is offered for 20 s, then rates beside
that are tried for the whole time, in steps of a tenth. At last the rows are counted: each event once, none missing.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import dataclass

from bench.load import Flow
from bench.process import Server, running_server
from bench.producers import FORMS, Pace, Producer, producer
from bench.progress import Progress, Rows
from bench.report import provenance, seconds_of, table
from bench.storage import Storage, cpu_seconds, running_storage

PROBE = 20.0
"""Seconds in which as much is offered as gets through."""
WINDOW = 5_000
"""Events that may be under way in the probe."""
TRIES = 6
LEFT = 2.0
"""Seconds' worth of events that may be under way when the last is put in: a lag that only grows is none that is
bounded."""
EVERY = 5.0
"""Seconds between lines."""
DRAIN = 300.0
"""Seconds in which everything must have arrived after the last event."""


@dataclass(frozen=True, slots=True)
class Held:
    """What came of offering one rate."""

    offered: int
    """Events a second; 0 is as many as got through."""
    events: int
    acknowledged: float
    """Events a second that were acknowledged."""
    through: float
    """Events a second that arrived in both while events came."""
    left: int
    """Events that had not arrived when the last was put in."""
    snapshot_lag: float
    rows_lag: float
    late: int
    cpu: dict[str, float]
    """Cores used, by process."""

    def within(self, bound: float) -> bool:
        """Whether neither was ever further behind, nor falling behind steadily."""
        kept_up = self.left <= LEFT * self.acknowledged
        return kept_up and max(self.snapshot_lag, self.rows_lag) <= bound


class Line:
    """One form on one server: what is offered goes on where the last offer ended."""

    def __init__(self, server: Server, storage: Storage, form: str) -> None:
        self.server, self.storage = server, storage
        self.producer: Producer = producer(
            form, grpc_address=server.grpc, redis_url=storage.redis_url
        )
        self.rows = Rows.of(server, storage)
        self.progress = Progress(server, self.rows, lambda: self.producer.acknowledged)
        self.flow = Flow(f"pipeline-{time.time_ns():x}")

    async def offer(self, rate: int, seconds: float, *, say: bool = True) -> Held:
        """Offers a rate; 0 is as much as gets through. Returns when everything has arrived."""
        progress, making = self.progress, self.producer
        pace = Pace(rate, seconds)
        if not rate:
            pace.may_go = lambda: (
                making.acknowledged - min(progress.rows.seen, progress.snapshot.seen) < WINDOW
            )
        progress.reset()
        cpu, begin, had = self._cpu(), time.monotonic(), making.acknowledged
        arrived = min(progress.rows.seen, progress.snapshot.seen)
        running = asyncio.create_task(making.run(self.flow.take, pace))
        while not running.done():
            await asyncio.wait([running], timeout=EVERY)
            if say and not running.done():
                self._say(time.monotonic() - begin)
        await running
        taken = time.monotonic() - begin
        through = min(progress.rows.seen, progress.snapshot.seen) - arrived
        used = {name: (now - cpu[name]) / taken for name, now in self._cpu().items()}
        events = making.acknowledged - had
        await progress.caught_up(DRAIN)
        return Held(
            rate, events, events / taken, through / taken, events - through,
            progress.snapshot.worst, progress.rows.worst, pace.late, used,
        )  # fmt: skip

    async def verify(self) -> str:
        """Whether each event is there once."""
        there = await self.rows.number("SELECT count(*) FROM events WHERE source = 'bench'")
        ids = await self.rows.number("SELECT count(DISTINCT id) FROM events WHERE source = 'bench'")
        published = self.producer.acknowledged
        return f"{published - ids:,} lost, {there - ids:,} twice, of {published:,}"

    def _cpu(self) -> dict[str, float]:
        processes = {"server": self.server.process, **self.storage.processes()}
        return {name: cpu_seconds(process) for name, process in processes.items()}

    def _say(self, at: float) -> None:
        progress = self.progress
        print(
            f"    {at:5.0f} s: {self.producer.acknowledged:>10,} acknowledged; snapshot "
            f"{progress.snapshot.at_end:.2f} s behind, rows {progress.rows.at_end:.2f} s",
            flush=True,
        )


async def search(line: Line, seconds: float, bound: float) -> Held | None:
    """The highest rate that was sustained."""
    probe = await line.offer(0, PROBE)
    print(f"  {probe.through:,.0f} events/s got through in {PROBE:.0f} s", flush=True)
    rate, lowest_failed = int(probe.through * 0.95) // 100 * 100, 0
    best: Held | None = None
    for _ in range(TRIES):
        held = await attempt(line, rate, seconds, bound)
        if held.within(bound):
            best = held
            rate = int(rate * 1.1) // 100 * 100
            if lowest_failed and rate >= lowest_failed:
                break
        else:
            lowest_failed = rate
            if best:
                break
            rate = int(rate * 0.9) // 100 * 100
    return best


async def attempt(line: Line, rate: int, seconds: float, bound: float) -> Held:
    """Offers one rate, and says what came of it."""
    print(f"  {rate:,} events/s offered", flush=True)
    held = await line.offer(rate, seconds)
    verdict = "sustained" if held.within(bound) else "too much"
    print(f"  {verdict}: {held.acknowledged:,.0f} acknowledged a second", flush=True)
    return held


async def measure(storage: Storage, form: str, given: argparse.Namespace) -> list[str]:
    """One row of the table."""
    async with running_server(storage, command="serve") as server:
        line = Line(server, storage, form)
        print(f"{line.producer.name}", flush=True)
        looking = asyncio.create_task(line.progress.run())
        try:
            if given.rate:
                held: Held | None = await attempt(line, given.rate, given.seconds, given.bound)
            else:
                await line.offer(1_000, 3.0, say=False)
                held = await search(line, given.seconds, given.bound)
            verdict = await line.verify()
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            line.rows.close()
        if held is None:
            return [line.producer.name, "none sustained", *[""] * 5, verdict]
        return [
            line.producer.name,
            f"{held.acknowledged:,.0f}{'' if held.within(given.bound) else ' (not sustained)'}",
            f"{held.events:,}",
            seconds_of(held.snapshot_lag),
            seconds_of(held.rows_lag),
            ", ".join(f"{name} {used:.2f}" for name, used in held.cpu.items()),
            f"{server.rss_mib():.0f} MiB",
            verdict,
        ]


async def run(given: argparse.Namespace) -> str:
    """The whole table."""
    with running_storage(
        with_redis=not given.embedded, with_postgres=not given.embedded
    ) as storage:
        print(provenance(*storage.names), flush=True)
        forms = ["batches"] if given.embedded else given.forms.split(",")
        rows = [await measure(storage, form, given) for form in forms]
    title = (
        f"Sustained for {given.seconds:.0f} s with both within {given.bound:g} s "
        f"({', '.join(storage.names)})"
    )
    header = [
        "how they come",
        "events/s",
        "events",
        "snapshot behind, at most",
        "rows behind, at most",
        "cores used",
        "server resident",
        "counted at the end",
    ]
    return table(title, header, rows)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--rate", type=int, default=0, help="events/s; 0 searches the highest")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--bound", type=float, default=5.0, help="seconds behind that are allowed")
    parser.add_argument("--embedded", action="store_true")
    print(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
