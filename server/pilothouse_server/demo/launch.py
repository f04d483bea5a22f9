"""The engine as a child process: started again when it dies, and gone when we are.

The child asks the system to be killed when its parent dies, so that even a kill -9 of the parent leaves nothing
behind; what the child itself started dies with the pipe that it holds.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

log = logging.getLogger("pilothouse.demo")

FIRST_WAIT = 0.5
"""Seconds before the first new start; each one after a short life waits twice as long."""
LONGEST_WAIT = 30.0
LONG_LIFE = 60.0
"""Seconds after which a death is not counted with those before it."""
FAREWELL = 10.0
"""Seconds that the engine has to stop its work and deliver its last events."""
PR_SET_PDEATHSIG = 1

ENGINE = "pilothouse_server.demo"
CELERY = "pilothouse_server.demo.celery_side"
LANGGRAPH = "pilothouse_server.demo.langgraph_side"
OPENTELEMETRY = "pilothouse_server.demo.otel_side"


def die_with(parent: int) -> bool:
    """Ask the system to be killed when the parent dies (Linux); False when it is dead already.

    Killed, because the server died with it and there is nobody to say goodbye to; the journal is made for that.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    return os.getppid() == parent


async def run_demo_engine(
    server: str,
    data_dir: Path,
    stop: asyncio.Event,
    options: Sequence[str] = (),
    *,
    module: str = ENGINE,
) -> None:
    """Keep an engine running against `server` until `stop` is set or it ends by itself; then nothing of it is left.

    `options` are further words of its command line.
    """
    clock = asyncio.get_running_loop().time
    wait = FIRST_WAIT
    while not stop.is_set():
        begin = clock()
        status = await _one_life(module, server, data_dir, stop, options)
        if stop.is_set() or status == 0:
            return
        if clock() - begin > LONG_LIFE:
            wait = FIRST_WAIT
        log.error("%s ended with %s; it is started again in %g s", module, status, wait)
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await stop.wait()
        wait = min(LONGEST_WAIT, wait * 2)


async def _one_life(
    module: str, server: str, data_dir: Path, stop: asyncio.Event, options: Sequence[str]
) -> int:
    words = (
        "--server",
        server,
        "--data-dir",
        str(data_dir),
        "--parent",
        str(os.getpid()),
        *options,
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *words),
        stdin=DEVNULL,
        start_new_session=True,
    )
    ended = asyncio.create_task(process.wait())
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((ended, stopped), return_when=asyncio.FIRST_COMPLETED)
        return await _end(process)
    finally:
        # Also when we are cancelled before its time is up.
        stopped.cancel()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await ended


async def _end(process: Process) -> int:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(FAREWELL):
                await process.wait()
        except TimeoutError:
            log.warning("the demo engine did not end within %g s and is killed", FAREWELL)
            process.kill()
    return await process.wait()
