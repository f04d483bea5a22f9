"""The app under test. It knows nothing of Pilothouse."""

from __future__ import annotations

import os
import time
from importlib import import_module
from typing import Any

# Celery has no types: what it is asked for is Any here, and nowhere else.
_celery: Any = import_module("celery")

BROKER = os.environ.get("CELERY_TEST_BROKER", "memory://")

app: Any = _celery.Celery("tests", broker=BROKER, backend=os.environ.get("CELERY_TEST_RESULTS"))
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_send_sent_event=os.environ.get("CELERY_TEST_ANNOUNCE") == "1",
    worker_pool_restarts=os.environ.get("CELERY_TEST_RESTARTS") == "1",
    worker_prefetch_multiplier=1,
)


def add(left: int, right: int) -> int:
    """Adds."""
    return left + right


def hold(seconds: float) -> float:
    """Takes its time."""
    time.sleep(seconds)
    return seconds


def wait_for(path: str) -> str:
    """Ends when the file is there."""
    while not os.path.exists(path):  # noqa: PTH110 - asked often
        time.sleep(0.01)
    return path


def boom() -> None:
    """Fails."""
    raise KeyError("no such thing")


def flaky(self: Any) -> None:
    """Fails once, and is tried again."""
    if self.request.retries < 1:
        raise self.retry(exc=ConnectionError("not yet"), countdown=0)


def fan_out(count: int) -> None:
    """Starts more tasks."""
    for number in range(count):
        app.send_task("add", args=(number, 1))


def silent() -> None:
    """Ends without a word."""
    raise _celery.exceptions.Ignore


for function in (add, hold, wait_for, boom, fan_out, silent):
    app.task(function, name=function.__name__)
app.task(flaky, name="flaky", bind=True, max_retries=3)


def chained(*steps: tuple[str, tuple[Any, ...]]) -> str:
    """Sends a chain; returns the id of its first task, the root."""
    links = [app.signature(name, args=args) for name, args in steps]
    result: Any = _celery.chain(*links).apply_async()
    while result.parent is not None:
        result = result.parent
    return str(result.id)


def send(name: str, *args: object, queue: str | None = None) -> str:
    """Sends one task; returns its id."""
    return str(app.send_task(name, args=args, queue=queue).id)
