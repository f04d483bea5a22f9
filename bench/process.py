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

import psutil

READY = re.compile(r"http://(?P<http>\S+?)\s.*gRPC (?P<grpc>\S+?)[,)]")


@dataclass(frozen=True, slots=True)
class Server:
    """A running `pilothouse-server up`."""

    http: str
    """host:port"""
    grpc: str
    """host:port"""
    process: psutil.Process

    def rss_mib(self) -> float:
        """Resident memory."""
        return self.process.memory_info().rss / 2**20

    def cpu_seconds(self) -> float:
        """Processor time used so far."""
        times = self.process.cpu_times()
        return times.user + times.system


@asynccontextmanager
async def running_server(*, live_interval: float = 1.0) -> AsyncGenerator[Server]:
    """Starts a server, waits until it is ready, and ends it after."""
    with tempfile.TemporaryDirectory(prefix="pilothouse-bench-") as data_dir:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "pilothouse_server", "up", "--grpc-port", "0", "--http-port", "0"),
            *("--data-dir", data_dir, "--log-level", "warning"),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PILOTHOUSE_LIVE_INTERVAL": str(live_interval)},
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(60):
                line = (await process.stdout.readline()).decode()
            found = READY.search(line)
            if found is None:
                raise RuntimeError(f"the server did not start: {line!r}")
            yield Server(found["http"], found["grpc"], psutil.Process(process.pid))
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
