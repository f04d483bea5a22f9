"""The real server as a process of its own: started, killed and started again on the same ports and data."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any, Self

import httpx

from tests.support import free_port, wait_until

PATIENCE = 30.0
"""Seconds that an answer may take on a machine that is busy with other tests."""


class Pilothouse:
    """One `pilothouse-server` on free ports; `async with` starts it and ends it."""

    def __init__(self, data_dir: Path, command: str = "up", **environment: str) -> None:
        self.data_dir = data_dir
        self.command = command
        self.http_port = free_port()
        self.grpc_port = free_port()
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """The bridge."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def grpc(self) -> str:
        """The gRPC server."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def pid(self) -> int:
        """Of the process that was started last."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """Everything that was printed, by all starts."""
        path = self.data_dir.with_suffix(".log")
        return path.read_text("utf-8") if path.exists() else ""

    async def start(self, *, within: float = 90.0) -> None:
        """Starts it and waits until it is ready. Fails with what it printed when it ends instead.

        Whatever fails, no process is left behind.
        """
        with self.data_dir.with_suffix(".log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "pilothouse_server", self.command),
                env={
                    **os.environ,
                    "PILOTHOUSE_DATA_DIR": str(self.data_dir),
                    "PILOTHOUSE_HTTP_PORT": str(self.http_port),
                    "PILOTHOUSE_GRPC_PORT": str(self.grpc_port),
                    **self._environment,
                },
                stdout=log,
                stderr=log,
            )
        async with self._http() as client:

            async def ready() -> bool:
                assert self._process is not None
                assert self._process.returncode is None, f"the server ended:\n{self.log}"
                try:
                    return (await client.get("/readyz")).status_code == 200
                except httpx.TransportError:
                    return False

            try:
                await wait_until(ready, within=within, what="readiness")
            except BaseException:
                await self.kill()
                raise

    def _http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=PATIENCE)

    async def kill(self) -> None:
        """SIGKILL: nothing is said, nothing is saved."""
        await self._end(signal.SIGKILL)

    async def stop(self, *, within: float = 40.0) -> int:
        """SIGTERM; returns the exit code."""
        return await self._end(signal.SIGTERM, within)

    async def interrupt(self, *, within: float = 40.0) -> int:
        """Ctrl-C; returns the exit code."""
        return await self._end(signal.SIGINT, within)

    async def _end(self, number: signal.Signals, within: float = 40.0) -> int:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)
        async with asyncio.timeout(within):
            return await self._process.wait()

    async def get(self, path: str) -> dict[str, Any]:
        """A REST answer that has to be good."""
        async with self._http() as client:
            answer = await client.get(path)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        body: dict[str, Any] = answer.json()
        return body

    async def post(self, path: str, body: Any) -> httpx.Response:
        """A REST answer, whatever it is."""
        async with self._http() as client:
            return await client.post(path, json=body)

    async def until_obeyed(self, source: str, *, within: float = PATIENCE) -> None:
        """Waits until the executor of that name is there for commands: its events may be there long before it is."""
        await self._until_connected(source, True, within)

    async def until_alone(self, source: str, *, within: float = PATIENCE) -> None:
        """Waits until the server has noticed that the executor of that name is gone."""
        await self._until_connected(source, False, within)

    async def _until_connected(self, source: str, connected: bool, within: float) -> None:
        async def said() -> bool:
            found = (await self.get("/api/v1/executors"))["executors"]
            return any(each["connected"] for each in found if each["source"] == source) is connected

        what = "there" if connected else "gone"
        await wait_until(said, within=within, what=f"that {source} is {what}")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.returncode is None:
            try:
                await self.stop()
            except TimeoutError:
                await self.kill()
                raise
