"""How many events a second one core folds into metrics, decoding included, and what memory it takes in the end.

    python -m bench.fold [--events 1000000] [--json]

Speed: the payloads of the log are made beforehand; what is timed, in processor time of one core, is decoding and
folding, and the settlement of all series once for each second of event time, as a tick does.

Memory: a process of its own for each size folds finished workflows at a constant rate of event time (hours of it), with
the checkpoint's bookkeeping cleared as a checkpoint does; the resident memory is read at the end.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pilothouse.v1 import events_pb2 as pb
from pilothouse_server.domain.metrics.fold import MetricsState
from pilothouse_server.domain.metrics.limits import BUCKET_US, CLOSING_US, SECOND_US
from pilothouse_server.wire.events import decode_signals

START_US = 1_700_000_000 * SECOND_US
STAGES = ("initialize", "scaffold", "validate", "test", "deploy")
TYPES = ("feature", "bugfix", "nightly", "release")
AGENT_TYPES = ("coder", "tester", "reviewer", "deployer")
EVENTS_IN_WORKFLOW = 3 + len(STAGES) * 6


def workflow(number: int, start_us: int, step_us: int) -> Iterator[pb.Event]:
    """The events of one workflow from creation to its end: each stage has a task that an agent does."""
    kind = number % len(TYPES)
    agent_type = AGENT_TYPES[number % len(AGENT_TYPES)]
    agent = f"{agent_type}-{number % 50}"
    at = start_us

    def event(event_type: pb.EventType.ValueType, **fields: Any) -> pb.Event:
        nonlocal at
        at += step_us
        made = pb.Event(
            id=f"0190a1b2-c3d4-7e5f-8a9b-{number:08x}{(at // 1000) % 65536:04x}",
            type=event_type,
            source="bench",
            workflow_id=f"workflow-{number:010d}",
            workflow_type=TYPES[kind],
            attempt=1,
            **fields,
        )
        for time_field, moment in ((made.occur_time, at), (made.receive_time, at + 3_000)):
            time_field.seconds, rest = divmod(moment, SECOND_US)
            time_field.nanos = rest * 1000
        return made

    yield event(pb.EVENT_TYPE_WORKFLOW_CREATED)
    yield event(pb.EVENT_TYPE_WORKFLOW_STARTED)
    for stage in STAGES:
        task = {
            "stage": stage,
            "task_id": f"{stage}-1",
            "agent_id": agent,
            "agent_type": agent_type,
        }
        yield event(pb.EVENT_TYPE_STAGE_STARTED, stage=stage)
        yield event(pb.EVENT_TYPE_TASK_QUEUED, stage=stage, task_id=f"{stage}-1")
        yield event(pb.EVENT_TYPE_TASK_ASSIGNED, **task)
        yield event(pb.EVENT_TYPE_TASK_STARTED, **task)
        yield event(pb.EVENT_TYPE_TASK_COMPLETED, **task)
        yield event(pb.EVENT_TYPE_STAGE_COMPLETED, stage=stage)
    yield event(pb.EVENT_TYPE_WORKFLOW_COMPLETED)


def stream(events: int, events_per_second: int, together: int = 40) -> Iterator[pb.Event]:
    """Events at a constant rate of event time, `together` workflows in flight at any moment."""
    gap_us = SECOND_US // events_per_second
    made = number = 0
    while made < events:
        start = START_US + made * gap_us
        running = [
            workflow(number + n, start + n * gap_us, together * gap_us) for n in range(together)
        ]
        number += together
        for row in zip(*running, strict=True):
            yield from row
            made += together


def payloads(events: int, batch: int, events_per_second: int) -> Iterator[bytes]:
    """The same as entries of the log."""
    gathered = pb.EventBatch()
    for event in stream(events, events_per_second):
        gathered.events.append(event)
        if len(gathered.events) == batch:
            yield gathered.SerializeToString()
            gathered = pb.EventBatch()


def fold_speed(events: int, batch: int) -> dict[str, Any]:
    """Events a second from entries of `batch` events."""
    entries = list(payloads(events, batch, 10_000))
    state = MetricsState()
    second = 0
    gc.collect()
    begun = time.process_time()
    for entry in entries:
        state.fold(decode_signals(entry))
        if state.clock_us // SECOND_US != second:
            second = state.clock_us // SECOND_US
            tick(state)
    taken = time.process_time() - begun
    decoding = time.process_time()
    for entry in entries:
        decode_signals(entry)
    decoding = time.process_time() - decoding
    return {
        "events": state.events,
        "batch": batch,
        "events_per_second": round(state.events / taken),
        "decode_us": round(decoding / state.events * 1e6, 2),
        "total_us": round(taken / state.events * 1e6, 2),
    }


def tick(state: MetricsState) -> None:
    """What a tick and a checkpoint do to keep the state small."""
    at = state.clock_us // BUCKET_US
    state.series.at = at
    closed = (state.clock_us - CLOSING_US) // BUCKET_US
    for series in state.series:
        series.settle(at)
        series.close(closed)
        series.unsaved.clear()
    state.memory.dirty.clear()
    state.agents.dirty.clear()


def resident_bytes() -> int:
    """What this process has in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def memory(events: int, events_per_second: int) -> dict[str, Any]:
    """Resident memory before and after folding `events` of finished workflows."""
    gc.collect()
    before = resident_bytes()
    state = MetricsState()
    second = 0
    for entry in payloads(events, 100, events_per_second):
        state.fold(decode_signals(entry))
        if state.clock_us // SECOND_US != second:
            second = state.clock_us // SECOND_US
            tick(state)
    gc.collect()
    return {
        "events": state.events,
        "hours": round((state.clock_us - START_US) / SECOND_US / 3600, 2),
        "remembered": len(state.memory.ended) + len(state.memory.tombstones),
        "resident_mb": round(resident_bytes() / 1e6, 1),
        "grown_mb": round((resident_bytes() - before) / 1e6, 1),
    }


def memory_apart(events: int, events_per_second: int) -> dict[str, Any]:
    """The same in a process of its own, so that one run does not hide in the heap of another."""
    command = [sys.executable, "-m", "bench.fold", "--memory-of", str(events)]
    command += ["--rate", str(events_per_second)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    measured: dict[str, Any] = json.loads(answer.stdout)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else ""
    )
    parser.add_argument("--events", type=int, default=1_000_000, help="events for the speed runs")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1_000_000, 5_000_000])
    parser.add_argument("--rate", type=int, default=250, help="events/s of event time for memory")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory_of:
        print(json.dumps(memory(args.memory_of, args.rate)))
        return
    result = {
        "bench": "fold",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "speed": [fold_speed(args.events, 100), fold_speed(args.events // 2, 1)],
        "memory": [memory_apart(size, args.rate) for size in args.sizes],
    }
    print(json.dumps(result) if args.json else table(result))


def table(result: dict[str, Any]) -> str:
    """For people."""
    lines = [
        f"fold: decode + fold on one core of {result['cores']}, Python {result['python']}",
        f"{'events in an entry':>20} {'events/s':>12} {'µs an event':>12} {'of it decode':>13}",
    ]
    lines += [
        f"{row['batch']:>20,} {row['events_per_second']:>12,} {row['total_us']:>12} {row['decode_us']:>13}"
        for row in result["speed"]
    ]
    lines.append(
        f"{'events folded':>20} {'event hours':>12} {'resident MB':>12} {'remembered':>13}"
    )
    lines += [
        f"{row['events']:>20,} {row['hours']:>12} {row['resident_mb']:>12} {row['remembered']:>13,}"
        for row in result["memory"]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
