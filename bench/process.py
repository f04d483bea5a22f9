"""A server of its own for each measurement: a child process on free ports and a data directory
that is deleted after."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.storage import Storage
from tests.servers.process import end_with_parent

READY = re.compile(r"(?:http://(?P<http>[\w.:\[\]]+)\b.*)?gRPC (?:on )?(?P<grpc>[\w.:\[\]]+)")
READY_BRIDGE = re.compile(r"http://(?P<http>[\w.:\[\]]+)")
ENDING = 15.0
"""Seconds that a server may take to end before it is killed."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running `pilothouse-server up`, `serve` or `bridge`."""

    http: str
    """host:port; empty without a bridge."""
    grpc: str
    """host:port"""
    data_dir: Path
    process: psutil.Process
    child: asyncio.subprocess.Process

    def rss_mib(self) -> float:
        """Resident memory."""
        return self.process.memory_info().rss / 2**20

    def cpu_seconds(self) -> float:
        """Processor time used so far."""
        times = self.process.cpu_times()
        return times.user + times.system

    async def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        if self.child.returncode is None:
            self.child.kill()
        await self.child.wait()

    async def end(self) -> None:
        """SIGTERM, and SIGKILL when that does not end it in time."""
        if self.child.returncode is None:
            self.child.terminate()
        try:
            async with asyncio.timeout(ENDING):
                await self.child.wait()
        except TimeoutError:
            print(f"process {self.child.pid} did not end within {ENDING:.0f} s: killed")
            await self.kill()


async def start_server(
    command: str,
    data_dir: Path,
    storage: Storage | None = None,
    *,
    live_interval: float = 1.0,
    **settings: str,
) -> Server:
    """Starts `up` or `serve` and waits until it is ready; settings are its environment's."""
    arguments = ["--grpc-port", "0", "--data-dir", str(data_dir)]
    arguments += ["--http-port", "0"] if command == "up" else []
    environment = {"PILOTHOUSE_LIVE_INTERVAL": str(live_interval)}
    environment |= (storage.environment() if storage else {}) | settings
    child, found = await _start([command, *arguments], environment, READY)
    return Server(found["http"] or "", found["grpc"], data_dir, psutil.Process(child.pid), child)


async def start_bridge(server: Server, data_dir: Path) -> Server:
    """Starts a bridge before a server and waits until it is ready."""
    arguments = ["bridge", "--http-port", "0", "--server", server.grpc]
    child, found = await _start(arguments, {}, READY_BRIDGE)
    return Server(found["http"], server.grpc, data_dir, psutil.Process(child.pid), child)


async def _start(
    arguments: list[str], environment: dict[str, str], ready: re.Pattern[str]
) -> tuple[asyncio.subprocess.Process, re.Match[str]]:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pilothouse_server", *arguments, "--log-level", "warning"),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | environment,
        preexec_fn=end_with_parent,
    )
    assert child.stdout is not None
    line = ""
    try:
        async with asyncio.timeout(60):
            line = (await child.stdout.readline()).decode()
    finally:
        found = ready.search(line)
        if found is None and child.returncode is None:
            child.kill()
            await child.wait()
    if found is None:
        raise RuntimeError(f"the server did not start: {line!r}")
    return child, found


@asynccontextmanager
async def running_server(
    storage: Storage | None = None,
    *,
    command: str = "up",
    live_interval: float = 1.0,
    **settings: str,
) -> AsyncGenerator[Server]:
    """A server on an empty storage; it is ended after."""
    if storage:
        storage.renew()
    with tempfile.TemporaryDirectory(prefix="pilothouse-bench-") as directory:
        server = await start_server(
            command, Path(directory), storage, live_interval=live_interval, **settings
        )
        try:
            yield server
        finally:
            await server.end()
