"""The same task events through Flower, Celery's own monitor, and through Pilothouse: how fast, and what each lost.

    python -m bench.flower [--events 60000] [--rates 1000,5000] [--seconds 20]

Both on the same machine, one after the other, with the same Valkey. Celery's own dispatcher publishes for Flower, as
a worker does: in groups of up to 24, and one by one. Pilothouse takes the same facts as batches of 100 over gRPC, and
one by one as entries of `workflow:events`, protobuf and JSON; it keeps them in PostgreSQL, Flower in memory only.

*Burst*: all events as fast as the publisher goes. *Digested*: the last is in Flower's state (its own counters of
events), or in Pilothouse's snapshot; *in rows* too. *Killed*: the events come at a steady rate; halfway the monitor is
killed with SIGKILL and started again at once.

Flower runs with `--max_tasks` above the number of tasks, and without its periodic `enable_events`, which would cost it
time; without persistence too, except where it is killed: there it saves its state each second.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench.celery_events import LANES
from bench.flower_peer import TOGETHER, RunningFlower, celery_versions
from bench.process import Server, running_server, start_server
from bench.producers import BATCH, FORMS, Pace, Producer, producer
from bench.progress import Progress, Rows
from bench.report import provenance, seconds_of, table
from bench.storage import Storage, cpu_seconds, running_storage
from pilothouse.v1 import events_pb2
from pilothouse_server.domain.projection.spans import WorkState

KILL_SECONDS = 20.0
SETTLE = 600.0
"""Seconds in which everything must have been published and digested."""
_T = events_pb2.EventType
_LIFE = (_T.EVENT_TYPE_TASK_QUEUED, _T.EVENT_TYPE_TASK_STARTED, _T.EVENT_TYPE_TASK_COMPLETED)


@dataclass(frozen=True, slots=True)
class Result:
    """One run of one monitor."""

    who: str
    how: str
    offered: str
    published: float
    """Seconds until all were published."""
    digested: float
    """Seconds from the first until all that ever came are in what is shown."""
    stored: float
    """The same for rows; 0 when there are none."""
    events: int
    lost: int
    cpu: str

    @property
    def rate(self) -> float:
        """Events a second into what is shown."""
        return (self.events - self.lost) / self.digested

    def row(self, peer: float) -> list[str]:
        """As a row of the table; `peer` is the rate of the best of Flower's bursts."""
        return [
            f"{self.who}, {self.how}",
            self.offered,
            seconds_of(self.published),
            seconds_of(self.digested),
            seconds_of(self.stored) if self.stored else "no rows",
            f"{self.rate:,.0f}",
            f"{self.rate / peer:.1f}" if peer and self.offered == "burst" else "",
            f"{self.lost:,} of {self.events:,}",
            self.cpu,
        ]


class TaskFlow:
    """The same as Celery's task events: 20 tasks side by side, each received, started and succeeded."""

    def __init__(self) -> None:
        self._prefix = f"flower-{time.time_ns():x}"
        self._events = self._forever()

    def take(self, count: int) -> list[events_pb2.Event]:
        """The next events, stamped with the time of now."""
        events = list(itertools.islice(self._events, count))
        now = time.time_ns()
        for event in events:
            event.occur_time.FromNanoseconds(now)
        return events

    def _forever(self) -> Iterator[events_pb2.Event]:
        for canvas in itertools.count():
            for kind in _LIFE:
                for lane in range(LANES):
                    task = f"{self._prefix}-{canvas}-{lane}"
                    yield events_pb2.Event(
                        id=f"{task}-{kind}",
                        type=kind,
                        source="celery",
                        workflow_id=f"{self._prefix}-{canvas}",
                        workflow_type="canvas",
                        task_id=task,
                        agent_id="celery@bench",
                        agent_type="celery",
                        attempt=1,
                    )


async def flower(storage: Storage, together: int, count: int, rate: float) -> Result:
    """Publishes to Flower; `rate` 0 is a burst."""
    how = f"groups of {together}" if together > 1 else "one by one"
    async with RunningFlower(storage, count) as peer:
        before = cpu_seconds(peer.process)
        fed = await peer.feed(count, rate, together)
        cpu = (cpu_seconds(peer.process) - before) / max(fed.published, fed.digested)
    lost = count - fed.seen
    return Result("Flower", how, _offer(rate), *fed[:2], 0.0, count, lost, f"Flower {cpu:.2f}")


async def flower_killed(storage: Storage, count: int) -> Result:
    """At a steady rate, with a kill halfway."""
    async with RunningFlower(storage, count, persistent=True) as peer:
        rate = count / KILL_SECONDS
        feeding = asyncio.create_task(peer.feed(count, rate, TOGETHER))
        await asyncio.sleep(KILL_SECONDS / 2)
        await peer.kill()
        await peer.start()
        fed = await feeding
    lost = count - fed.seen
    return Result("Flower", "killed", _offer(rate), *fed[:2], 0.0, count, lost, "")


async def pilothouse(storage: Storage, form: str, count: int, rate: float) -> Result:
    """Publishes to Pilothouse; `rate` 0 is a burst."""
    async with running_server(storage, command="serve") as server:
        processes = {"server": server.process, **storage.processes()}
        before = {name: cpu_seconds(process) for name, process in processes.items()}
        making = producer(form, grpc_address=server.grpc, redis_url=storage.redis_url)
        begin = time.monotonic()
        publishing = asyncio.create_task(_publish(making, count, rate, begin))
        digested, stored, lost = await _digested(server, storage, making, count, begin)
        cpu = {name: cpu_seconds(each) - before[name] for name, each in processes.items()}
        published = await publishing
    used = ", ".join(f"{name} {seconds / stored:.2f}" for name, seconds in cpu.items())
    how, offered = making.name, _offer(rate)
    return Result("Pilothouse", how, offered, published, digested, stored, count, lost, used)


async def pilothouse_killed(storage: Storage, count: int) -> Result:
    """At a steady rate, with a kill of the only server halfway."""
    rate = count / KILL_SECONDS
    async with running_server(storage, command="serve") as first:
        making = producer("json", grpc_address=first.grpc, redis_url=storage.redis_url)
        begin = time.monotonic()
        publishing = asyncio.create_task(_publish(making, count, rate, begin))
        await asyncio.sleep(KILL_SECONDS / 2)
        await first.kill()
        again = await start_server("serve", first.data_dir, storage)
        try:
            published = await publishing
            digested, stored, lost = await _digested(again, storage, making, count, begin)
        finally:
            await again.end()
    offered = _offer(rate)
    return Result("Pilothouse", "killed", offered, published, digested, stored, count, lost, "")


async def _publish(making: Producer, count: int, rate: float, begin: float) -> float:
    await making.run(TaskFlow().take, Pace(rate, SETTLE, events=count))
    return time.monotonic() - begin


async def _digested(
    server: Server, storage: Storage, making: Producer, count: int, begin: float
) -> tuple[float, float, int]:
    """Seconds until the snapshot and until the rows have all, and how many events were lost."""
    rows = Rows.of(server, storage)
    progress = Progress(server, rows, lambda: making.acknowledged)
    looking = asyncio.create_task(progress.run())
    try:
        async with asyncio.TaskGroup() as group:
            shown = group.create_task(progress.reached(progress.snapshot, count, SETTLE))
            stored = group.create_task(progress.reached(progress.rows, count, SETTLE))
        ids = "SELECT count(DISTINCT id) FROM events WHERE source = 'celery'"
        done = "SELECT count(*) FROM tasks WHERE state = :state"
        kept = await rows.number(ids)
        completed = await rows.number(done, state=int(WorkState.COMPLETED))
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        rows.close()
    lost = max(count - kept, count - progress.snapshot.seen, count - completed * len(_LIFE))
    return shown.result() - begin, stored.result() - begin, lost


def whole(events: float) -> int:
    """Rounded down to whole batches in which every task is complete."""
    unit = math.lcm(BATCH, len(_LIFE) * LANES)
    return max(1, int(events) // unit) * unit


def _offer(rate: float) -> str:
    return f"{rate:,.0f}/s" if rate else "burst"


async def run(given: argparse.Namespace) -> str:
    """The whole table."""
    count = whole(given.events)
    results: list[Result] = []
    with running_storage(with_redis=True, with_postgres=True) as storage:
        print(provenance(*storage.names, celery_versions()), flush=True)

        def note(result: Result) -> None:
            results.append(result)
            print("  " + "; ".join(result.row(0)), flush=True)

        for together in (TOGETHER, 1):
            note(await flower(storage, together, count, 0))
        for form in FORMS:
            note(await pilothouse(storage, form, count, 0))
        for rate in (float(rate) for rate in given.rates.split(",") if rate):
            steady = whole(rate * given.seconds)
            note(await flower(storage, TOGETHER, steady, rate))
            note(await pilothouse(storage, "json", steady, rate))
        note(await flower_killed(storage, count))
        note(await pilothouse_killed(storage, count))
    best = max(each.rate for each in results if each.who == "Flower" and each.offered == "burst")
    header = [
        "who, and how the events come",
        "offered",
        "published in",
        "digested in",
        "in rows in",
        "events/s digested",
        "of Flower's best burst",
        "lost",
        "cores used",
    ]
    title = f"Task events through Flower and Pilothouse ({celery_versions()})"
    return table(title, header, [each.row(best) for each in results])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--rates", default="1000,5000", help="steady rates besides the burst")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each steady rate")
    print(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
