"""The `pilothouse` command, as a person has it."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import Process
from pathlib import Path

from tests.e2e.support import Pilothouse


async def cli(server: Pilothouse, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the `pilothouse` command."""
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("pilothouse")),
        *("--server", server.grpc, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await ended(process)
    return process.returncode or 0, out, err


async def ended(process: Process, *, within: float = 60.0) -> tuple[str, str]:
    """What it said until its end, on both outputs; whatever fails, nothing of it is left."""
    try:
        async with asyncio.timeout(within):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return out.decode(), (err or b"").decode()
