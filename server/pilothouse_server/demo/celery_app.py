"""A small Celery app for the demo, which knows nothing of Pilothouse: it measures how fast Python parses its own
library.

A survey picks a package and sends a measurement for each of a few modules, so one survey is one workflow. A module
that cannot be parsed fails; one that is busy reading is tried again.
"""

from __future__ import annotations

import ast
import os
import random
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from pilothouse_server.demo.library import PACKAGES, modules_of

SAMPLES = 10
PAUSE = 0.3
"""Seconds between two samples, so that a measurement does not heat the machine that it measures."""

# Celery has no types: what is its own is Any.
_celery: Any = import_module("celery")

app: Any = _celery.Celery("demo", broker=os.environ.get("PILOTHOUSE_DEMO_BROKER", "memory://"))
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    task_send_sent_event=True,
    worker_prefetch_multiplier=1,
    worker_send_task_events=True,
    task_routes={"parsing.survey": {"queue": "surveys"}, "parsing.measure": {"queue": "modules"}},
)


def survey(package: str) -> int:
    """Sends a measurement for some modules of a package; returns how many."""
    modules = list(modules_of(package).values())
    chosen = random.sample(modules, min(len(modules), 5))
    for path in chosen:
        app.send_task("parsing.measure", args=(str(path),))
    return len(chosen)


def measure(path: str) -> float:
    """The fastest of ten times that it takes to parse a module, in milliseconds."""
    source = Path(path).read_text("utf-8")
    times: list[float] = []
    for _ in range(SAMPLES):
        begun = time.perf_counter()
        ast.parse(source, path)
        times.append(time.perf_counter() - begun)
        time.sleep(PAUSE)
    return min(times) * 1000


app.task(survey, name="parsing.survey")
app.task(measure, name="parsing.measure", autoretry_for=(OSError,), max_retries=2)


def send_survey() -> None:
    """As a timer or a web page would."""
    app.send_task("parsing.survey", args=(random.choice(PACKAGES),))  # noqa: S311 - any will do
