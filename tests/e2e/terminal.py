"""The `pilothouse` command, as a person has it."""

from __future__ import annotations

import asyncio
import sys
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
    try:
        async with asyncio.timeout(60):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out.decode(), err.decode()
