"""How many events a second go into a log in a Redis, and out of it into metrics; one core for all of Python.

    python -m bench.redis_log [--events 200000] [--redis redis://...] [--json]

A Valkey of its own is started unless one is named (which is emptied). In: concurrent appends of batches of 100, and of
single events, through the intake that the server uses. Out: the stream is read through the follower from its beginning
and every event is decoded and folded, for batches of 100 of ours, for single events of other producers as serialized
messages and as JSON, and for entries of which nothing can be read. The rates are by the clock on the wall, with the
Redis on the same machine; the processor time of this process is shown beside them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import redis
from google.protobuf.json_format import MessageToJson

from bench.fold import stream
from pilothouse.v1 import events_pb2 as pb
from pilothouse_server.adapters.redis_intake import RedisIntake
from pilothouse_server.adapters.redis_log import RedisLog
from pilothouse_server.domain.metrics.fold import MetricsState
from pilothouse_server.domain.metrics.limits import Limits
from pilothouse_server.wire.events import decode_signals
from tests.servers.process import give
from tests.servers.valkey import Valkey

STREAM = "workflow:events"
BATCH = 100
PUBLISHERS = 64
GARBAGE = b'{"type": "workflow.started", "workflow_id": "half of'


def main() -> None:
    """Measures and prints."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--events", type=int, default=200_000)
    arguments.add_argument("--redis", default="")
    arguments.add_argument("--json", action="store_true")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="pilothouse-bench-") as directory:
        server = None
        if not given.redis:
            path = Path(directory)
            path.chmod(0o755)
            give(path)
            server = Valkey(path / "valkey")
            server.start()
        try:
            url = server.url if server else given.redis
            figures = asyncio.run(measure(url, given.events))
        finally:
            if server:
                server.stop()
    print(json.dumps(figures) if given.json else told(figures, given.events))


async def measure(url: str, events: int) -> dict[str, dict[str, float]]:
    """Every figure, by what it is of."""
    made = list(islice(stream(events, 20_000), events))
    batches = [
        pb.EventBatch(events=made[at : at + BATCH]).SerializeToString()
        for at in range(0, events, BATCH)
    ]
    sealed = [pb.EventBatch(events=[event]).SerializeToString() for event in made[: events // 4]]
    for event in made:  # from others, who say no receipt; and what happened now is not late
        event.ClearField("receive_time")
        event.ClearField("occur_time")
    singles = [event.SerializeToString() for event in made]
    texts = [MessageToJson(event, indent=None).encode() for event in made]
    found: dict[str, dict[str, float]] = {}
    found["in, batches of 100"] = await _in(url, batches, events)
    found["out, batches of 100"] = await _out(url, events)
    found["in, single events"] = await _in(url, sealed, len(sealed))
    found["out, single events of ours"] = await _out(url, len(sealed))
    for name, values in (("serialized", singles), ("JSON", texts)):
        _fill(url, "event", values)
        found[f"out, single events of others, {name}"] = await _out(url, events)
    _fill(url, "event", [GARBAGE] * (events // 4))
    found["out, entries that cannot be read"] = await _out(url, events // 4, folded=False)
    return found


async def _in(url: str, payloads: Sequence[bytes], events: int) -> dict[str, float]:
    _empty(url)
    intake = RedisIntake(url)
    await intake.append({0: b""})
    _empty(url)
    left = iter(payloads)

    async def publish() -> None:
        for payload in left:
            await intake.append({0: payload})

    timed = _timer(events)
    await asyncio.gather(*(publish() for _ in range(PUBLISHERS)))
    figures = timed()
    await intake.close()
    return figures


async def _out(url: str, entries_or_events: int, *, folded: bool = True) -> dict[str, float]:
    log = RedisLog(url)
    newest = log.position(await log.tail())
    state = MetricsState(Limits())
    timed = _timer(entries_or_events)
    after = ""
    while log.position(after) < newest:
        for entry in await log.read(after, limit=512, wait=5.0):
            state.fold(decode_signals(entry.payload))
            after = entry.cursor
    figures = timed()
    expected = entries_or_events if folded else 0
    assert state.events == expected, f"{state.events} events of {expected}"
    await log.close()
    return figures


def _fill(url: str, field: str, values: Iterable[bytes]) -> None:
    _empty(url)
    with _plain(url) as connection, connection.pipeline(transaction=False) as pipeline:
        for number, value in enumerate(values, start=1):
            pipeline.xadd(STREAM, {field: value})
            if number % 1000 == 0:
                pipeline.execute()
        pipeline.execute()


def _empty(url: str) -> None:
    with _plain(url) as connection:
        connection.flushdb()


def _plain(url: str) -> Any:
    return redis.Redis.from_url(url)  # pyright: ignore[reportUnknownMemberType]


def _timer(count: int) -> Callable[[], dict[str, float]]:
    wall, cpu = time.perf_counter(), time.process_time()

    def read() -> dict[str, float]:
        seconds, busy = time.perf_counter() - wall, time.process_time() - cpu
        return {"per_second": count / seconds, "per_core_second": count / busy}

    return read


def told(figures: dict[str, dict[str, float]], events: int) -> str:
    """For people."""
    lines = [f"{events:,} events; load {os.getloadavg()[0]:.1f} at the end of measuring"]
    lines += [
        f"  {name:45} {each['per_second']:>12,.0f} a second {each['per_core_second']:>12,.0f} a second of one core"
        for name, each in figures.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
