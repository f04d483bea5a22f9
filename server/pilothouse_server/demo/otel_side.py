"""An agent that is instrumented with OpenTelemetry beside the demo engine: asked something from time to time, and
watched while it looks for the answer.

`python -m pilothouse_server.demo.otel_side --server HOST:PORT`. The span processor that `run` sets up is all that such
an agent needs. Nothing is kept: what is under way when the process is told to end, fails and says so.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from contextlib import suppress

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from pilothouse.otel import PilothouseSpanProcessor
from pilothouse_server.demo.beside import command, rounds, serve
from pilothouse_server.demo.otel_app import BOOKS, QUESTIONS, Librarian, NothingRead

EVERY = 20.0
"""Seconds between two questions; the answer to one takes about half of it."""
PAUSE = 0.5
"""Seconds between two pieces of work."""


class Closing(Exception):
    """The process ends."""


async def run(given: argparse.Namespace, stop: asyncio.Event) -> None:
    """Ask until told to stop."""

    async def rest() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(given.pause):
                await stop.wait()
                raise Closing("the process was told to end")

    provider = TracerProvider(resource=Resource.create({"service.name": given.source}))
    provider.add_span_processor(PilothouseSpanProcessor(given.server))
    librarian = Librarian(provider.get_tracer("pilothouse.demo"), rest)
    try:
        async for _ in rounds(stop, given.every):
            question, package = random.choice(tuple(QUESTIONS)), random.choice(BOOKS)  # noqa: S311 - any will do
            with suppress(NothingRead, Closing):
                await librarian.ask(question, package)
    finally:
        await asyncio.to_thread(provider.shutdown)


def main() -> int:
    """The command."""
    return serve(command(__doc__, source="opentelemetry", every=EVERY, pause=PAUSE), run)


if __name__ == "__main__":
    sys.exit(main())
