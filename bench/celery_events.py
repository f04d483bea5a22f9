"""Publishes task events as a Celery worker does, through Celery's own dispatcher: a process beside bench.flower.

    python -m bench.celery_events --broker redis://… --events 60000 --rate 0 --together 24

A worker sends events of tasks in groups of up to 24 when it is busy (`--together 24`, Celery's own limit), and one by
one under some pools (`--together 1`). Prints when it began and ended, as JSON, by the monotonic clock.
"""

from __future__ import annotations

import argparse
import json
import time
import uuid
from collections.abc import Iterator
from importlib import import_module
from typing import Any

LANES = 20
"""Tasks side by side."""
NAMES = ("feature", "bugfix", "release", "nightly")


def events() -> Iterator[tuple[str, dict[str, Any]]]:
    """Type and fields of one event after another: three for each task."""
    while True:
        ids = [str(uuid.uuid4()) for _ in range(LANES)]
        for lane, task in enumerate(ids):
            received = {"name": NAMES[lane % len(NAMES)], "args": "()", "kwargs": "{}"}
            lineage = {"root_id": ids[0], "parent_id": None, "retries": 0, "eta": None}
            yield "task-received", {"uuid": task, "expires": None, **received, **lineage}
        for task in ids:
            yield "task-started", {"uuid": task}
        for task in ids:
            yield "task-succeeded", {"uuid": task, "result": "None", "runtime": 0.01}


def publish(broker: str, count: int, rate: float, together: int) -> tuple[float, float]:
    """Sends `count` events; `rate` 0 is as fast as it goes. Returns when it began and ended."""
    # Celery has no types and is only here for measurements, so it is not imported where types are checked.
    celery: Any = import_module("celery")
    app = celery.Celery(broker=broker)
    grouped = {"buffer_group": ["task"], "buffer_limit": together} if together > 1 else {}
    made = events()
    with app.connection_for_write() as connection:
        dispatcher = app.events.Dispatcher(connection, hostname="celery@bench", **grouped)
        begin = time.monotonic()
        for number in range(count):
            if rate and number % together == 0:
                time.sleep(max(0.0, begin + number / rate - time.monotonic()))
            kind, fields = next(made)
            dispatcher.send(kind, **fields)
        dispatcher.flush()
        end = time.monotonic()
        dispatcher.close()
    return begin, end


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--broker", required=True)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--together", type=int, default=24)
    given = parser.parse_args()
    begun, ended = publish(given.broker, given.events, given.rate, given.together)
    print(json.dumps({"begun": begun, "ended": ended}))


if __name__ == "__main__":
    main()
