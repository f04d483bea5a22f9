"""Processes that send through Apprise: few, started when there is something to send, ended when idle, and killed when a
service does not come to an end, so that one that hangs holds up nobody but itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pilothouse_server.domain.notifications.receipts import DeliveryFailed

MOST_WORKERS: Final = 4
IDLE_SECONDS: Final = 60.0
MOST_ANSWER: Final = 256 << 10
"""Bytes of an answer."""
START_SECONDS: Final = 15.0
"""For a process to begin, beside the time of what it is asked."""
PASSED_ON: Final = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
)
"""Variables that a worker gets; our settings, which have passwords, are not among them."""


class Worker:
    """One process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise ValueError("a process without pipes cannot be asked")
        self._process = process
        self._questions = process.stdin
        self._answers = process.stdout
        self.fresh = True

    @classmethod
    async def started(cls, allowed: Sequence[str]) -> Worker:
        """A new one."""
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-m",
            "pilothouse_server.adapters.notifying.apprise_worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
            cwd="/",
            start_new_session=True,
            limit=MOST_ANSWER,
        )
        worker = cls(process)
        worker._write({"allowed": list(allowed)})
        return worker

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.returncode is None

    async def ask(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Its answer. Raises ConnectionError when it ended instead."""
        self.fresh = False
        self._write(asked)
        try:
            line = await self._answers.readline()
        except ValueError as error:
            raise ConnectionError("the answer was too long") from error
        if not line.endswith(b"\n"):
            raise ConnectionError("the process that sends ended")
        found: dict[str, Any] = json.loads(line)
        return found

    async def end(self) -> None:
        """Kills it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._questions.close()
        await self._process.wait()

    def _write(self, message: Mapping[str, Any]) -> None:
        self._questions.write(json.dumps(message).encode() + b"\n")


class AppriseWorkers:
    """Asks whoever is free."""

    def __init__(self, allowed: Sequence[str], most: int = MOST_WORKERS) -> None:
        self._allowed = allowed
        self._free = asyncio.Semaphore(most)
        self._idle: list[Worker] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.killed = 0
        """Tries that did not come to an end."""

    async def ask(self, asked: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """The answer. Raises DeliveryFailed when there is none in time."""
        try:
            async with asyncio.timeout(timeout):
                await self._free.acquire()
        except TimeoutError as error:
            raise DeliveryFailed(
                "all processes that send are busy with services that do not answer", retryable=True
            ) from error
        try:
            return await self._asked({**asked, "timeout": timeout}, timeout)
        finally:
            self._free.release()

    async def close(self) -> None:
        """Ends all processes."""
        if self._timer is not None:
            self._timer.cancel()
        idle, self._idle = self._idle, []
        for worker in idle:
            await worker.end()
        if self._ending:
            await asyncio.wait(self._ending)

    async def _asked(self, asked: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        worker = await self._worker()
        done = False
        try:
            async with asyncio.timeout(timeout + (START_SECONDS if worker.fresh else 0)):
                answer = await worker.ask(asked)
        except TimeoutError as error:
            self.killed += 1
            raise DeliveryFailed(
                f"the service did not answer within {timeout:g} s", retryable=True
            ) from error
        except ConnectionError as error:
            self.killed += 1
            raise DeliveryFailed(str(error), retryable=True) from error
        else:
            done = True
            return answer
        finally:
            if done:
                self._idle.append(worker)
                self._watch_idle()
            else:
                self._end(worker)

    async def _worker(self) -> Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.alive:
                return worker
            self._end(worker)
        return await Worker.started(self._allowed)

    def _end(self, worker: Worker) -> None:
        task = asyncio.get_running_loop().create_task(worker.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _watch_idle(self) -> None:
        """Nobody asked for a while: none is kept."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._end_idle)

    def _end_idle(self) -> None:
        idle, self._idle = self._idle, []
        for worker in idle:
            self._end(worker)
