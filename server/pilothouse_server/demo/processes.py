"""A tool as a process group of its own: however the wait for it ends, nothing of it is left running."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

ENTRANCE = Path(__file__).parent / "tools" / "run.py"
MAX_OUTPUT = 64 * 1024
"""Bytes of each output that are kept; the rest is read and forgotten."""
DEADLINE = 60.0
"""Seconds that a tool may take."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a piece of work came out."""

    ok: bool
    message: str
    code: str = ""
    """For programs; empty when ok."""
    files: tuple[str, ...] = ()
    """Those to blame, when not ok."""
    cpu_seconds: float | None = None
    """Processor time of it and all that it started, as the tool measured it; None when it never said."""


async def run_tool(
    tool: str,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    on_start: Callable[[], None],
    deadline: float = DEADLINE,
) -> Verdict:
    """Run one tool to its end. Cancelling the wait kills it and all that it started."""
    try:
        async with (
            asyncio.timeout(deadline),
            _process_group(tool, arguments, environment) as process,
        ):
            on_start()
            output, errors, status = await _talk(process)
    except TimeoutError:
        return Verdict(False, f"{tool} took longer than {deadline:g} s", "DEADLINE_EXCEEDED")
    return _judge(tool, status, output, errors)


@asynccontextmanager
async def _process_group(
    tool: str, arguments: Sequence[str], environment: Mapping[str, str]
) -> AsyncGenerator[Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(ENTRANCE), tool, *arguments),
        env={"PATH": os.environ.get("PATH", os.defpath), **environment},
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        # The group outlives its leader while it has members, so this reaches what a tool left behind, and nobody else.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _talk(process: Process) -> tuple[bytes, bytes, int]:
    async with asyncio.TaskGroup() as group:
        output = group.create_task(_tail(process.stdout))
        errors = group.create_task(_tail(process.stderr))
        status = await process.wait()
    return output.result(), errors.result(), status


async def _tail(stream: asyncio.StreamReader | None) -> bytes:
    kept = b""
    while stream is not None and (chunk := await stream.read(MAX_OUTPUT)):
        kept = (kept + chunk)[-MAX_OUTPUT:]
    return kept


def _judge(tool: str, status: int, output: bytes, errors: bytes) -> Verdict:
    words: dict[str, Any] = {}
    with suppress(ValueError):
        last: object = json.loads(output.decode("utf-8", "replace").rstrip().rpartition("\n")[2])
        if isinstance(last, dict):
            words = cast("dict[str, Any]", last)
    if status in {0, 1} and "message" in words:
        files = tuple(str(file) for file in words.get("files", ()))
        code, spent = str(words.get("code", "")), words.get("cpu_seconds")
        cpu_seconds = float(spent) if isinstance(spent, int | float) else None
        return Verdict(status == 0, str(words["message"]), code, files, cpu_seconds)
    why = errors.decode("utf-8", "replace").rstrip().rpartition("\n")[2]
    return Verdict(False, f"{tool} ended with {status}: {why}", "TOOL_BROKEN")
