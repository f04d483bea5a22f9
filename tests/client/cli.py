"""Typing commands in tests: in this process for what is said and shown, in one of its own for how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from pilothouse.cli.app import invoke
from tests.client.support import Server

PROGRAM = (sys.executable, "-m", "pilothouse.cli")


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str


def type_command(*arguments: str) -> Done:
    """Run it here, and wait for its end."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = invoke(arguments)
    return Done(code, out.getvalue(), err.getvalue())


async def type_at(server: Server, *arguments: str) -> Done:
    """Run it against `server`, in a thread: the server needs the loop."""
    return await asyncio.to_thread(type_command, "--server", server.target, *arguments)


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """An environment in which no configuration of the machine is seen."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PILOTHOUSE_")}
    return {**kept, "PILOTHOUSE_CONFIG": str(folder / "config.yaml"), **variables}


@contextlib.contextmanager
def started(folder: Path, *arguments: str, **variables: str) -> Generator[subprocess.Popen[str]]:
    """A process of its own, which has ended when this is left."""
    with subprocess.Popen(
        [*PROGRAM, *arguments],
        env=environment(folder, **variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Who runs us in the background may have told us not to hear of it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:
        try:
            yield process
        finally:
            process.kill()
