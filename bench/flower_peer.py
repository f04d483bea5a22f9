"""Flower as a child process, the publisher of Celery's events as another, and what Flower says of itself."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx
import psutil

from bench.storage import Storage, connected
from tests.servers.process import end_with_parent
from tests.support import free_port, wait_until

TOGETHER = 24
"""Events that a Celery worker sends together at most."""
QUIET = 5.0
"""Seconds without a further event after which nothing more is expected."""
_BINDINGS = "_kombu.binding.celeryev"


class Fed(NamedTuple):
    """What became of events that were published. Monotonic seconds."""

    published: float
    """Seconds that publishing took."""
    digested: float
    """Seconds from the first until the last that ever came."""
    seen: int
    """How many Flower has in its state."""


class RunningFlower:
    """Flower on a database of Valkey of its own. `persistent`: it saves its state each second, so that it has
    something to go on from."""

    def __init__(self, storage: Storage, tasks: int, *, persistent: bool = False) -> None:
        self._options = [f"--max_tasks={tasks + 1}", f"--persistent={str(persistent).lower()}"]
        self._options += ["--state_save_interval=1000"] if persistent else []
        self._broker = storage.redis_url.removesuffix("/0") + "/1"
        self._port = free_port()
        self._directory = tempfile.TemporaryDirectory(prefix="pilothouse-bench-")
        self._child: asyncio.subprocess.Process | None = None
        self._client = httpx.AsyncClient(trust_env=False, timeout=60)

    async def __aenter__(self) -> Self:
        try:
            with connected(self._broker) as broker:
                broker.flushdb()
            await self.start()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close()

    @property
    def url(self) -> str:
        """Of its HTTP API."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def process(self) -> psutil.Process:
        """The one that was started last."""
        assert self._child is not None
        return psutil.Process(self._child.pid)

    async def start(self) -> None:
        """Returns when it answers and its queue of events is there."""
        others = self._queues()
        self._child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "celery", "--broker", self._broker, "--quiet", "flower"),
            *("--address=127.0.0.1", f"--port={self._port}", *self._options),
            *("--enable_events=false", "--logging=error"),
            cwd=self._directory.name,
            env={**os.environ, "PYTHONPATH": ""},
            preexec_fn=end_with_parent,
        )
        await wait_until(self._answers, within=60, what="Flower's answer")
        await wait_until(
            lambda: self._queues() - others, within=60, what="Flower's queue of events"
        )

    async def kill(self) -> None:
        """SIGKILL."""
        assert self._child is not None
        if self._child.returncode is None:
            self._child.kill()
        await self._child.wait()

    async def events(self) -> int:
        """Task events in its state, by the counters that its page of workers shows."""
        answer = await self._client.get(f"http://127.0.0.1:{self._port}/workers?json=1")
        workers: list[dict[str, Any]] = answer.raise_for_status().json()["data"]
        return sum(
            int(count)
            for worker in workers
            for name, count in worker.items()
            if name.startswith("task-")
        )

    async def feed(self, count: int, rate: float, together: int) -> Fed:
        """Publishes, and waits until all has come, or nothing more comes."""
        publisher = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.celery_events", "--broker", self._broker),
            *("--events", str(count), "--rate", str(rate), "--together", str(together)),
            stdout=asyncio.subprocess.PIPE,
        )
        telling = asyncio.create_task(publisher.communicate())
        seen, newest = 0, time.monotonic()
        while not telling.done() or (seen < count and time.monotonic() < newest + QUIET):
            try:
                found = await self.events()
            except httpx.TransportError:  # killed, and not there again yet
                found = seen
            if found != seen:
                seen, newest = found, time.monotonic()
            await asyncio.sleep(0.1)
        told = json.loads((await telling)[0])
        return Fed(told["ended"] - told["begun"], newest - told["begun"], seen)

    async def _answers(self) -> bool:
        assert self._child is not None
        if self._child.returncode is not None:
            raise RuntimeError("Flower did not start")
        try:
            await self.events()
        except httpx.TransportError:
            return False
        return True

    def _queues(self) -> set[bytes]:
        with connected(self._broker) as broker:
            bindings: set[bytes] = broker.smembers(_BINDINGS)
            return bindings

    async def _close(self) -> None:
        if self._child is not None and self._child.returncode is None:
            self._child.terminate()
            await self._child.wait()
        await self._client.aclose()
        self._directory.cleanup()


def celery_versions() -> str:
    """Of Flower and what it stands on; ends the program when they are not installed."""
    try:
        return ", ".join(f"{name} {version(name)}" for name in ("flower", "celery", "kombu"))
    except PackageNotFoundError:
        requirements = Path(__file__).with_name("requirements.txt")
        sys.exit(f"Flower is not installed: pip install -c constraints.txt -r {requirements}")
