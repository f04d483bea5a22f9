"""A process of the system, held by a supervisor as it would be in service: whoever ends it, it is started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.faults import launch
from tests.servers.process import end, spawn

ROOT = Path(__file__).resolve().parents[2]
PAUSE = 0.3
"""Seconds until the supervisor starts again what ended by itself."""
TRACEBACK = "Traceback (most recent call last)"


class Supervised:
    """`start` and `finish` it; between the two it is killed, stopped and put right as one likes.

    What ended by itself, and what was logged with a traceback, is told by `troubles`: that is no part of any fault.
    """

    def __init__(
        self, name: str, command: str, directory: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self.clock = directory / f"{name}.clock"
        self._ended: list[str] = []
        self._read = 0
        self.starts = 0
        self.clock_was_put = False
        """Whether its clock and those of others may differ."""
        self._command = command
        self._environment = {
            **environment,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = False
        self._watch: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts it, and from now on again whenever it ends."""
        if not self.clock.exists():
            launch.put(self.clock, 0)
        self._wanted = True
        self._spawn()
        self._watch = self._watch or asyncio.create_task(self._supervise())

    def kill(self) -> None:
        """SIGKILL; it stays down until `start`."""
        self._end(signal.SIGKILL)

    async def terminate(self) -> None:
        """SIGTERM, and its own end; it stays down until `start`."""
        await asyncio.to_thread(self._end, signal.SIGTERM)

    def freeze(self) -> None:
        """SIGSTOP."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def fill_disk(self, directory: Path) -> None:
        """No file of it grows any more beyond the largest there is in `directory`."""
        largest = max(file.stat().st_size for file in directory.iterdir())
        self._limit(largest)

    def free_disk(self) -> None:
        """Files may grow again."""
        self._limit(resource.RLIM_INFINITY)

    def put_clock(self, seconds: float) -> None:
        """Its wall clock is so far ahead from now on."""
        self.clock_was_put = True
        launch.put(self.clock, round(seconds * 1e9))

    def troubles(self) -> list[str]:
        """What happened since the last look that should never happen."""
        ended, self._ended = self._ended, []
        with self.log.open("r", encoding="utf-8", errors="replace") as log:
            log.seek(self._read)
            said = log.read()
            self._read = log.tell()
        raised = [f"{self.name} logged: {_end_of(part)}" for part in said.split(TRACEBACK)[1:]]
        return ended + raised

    async def finish(self) -> None:
        """Ends it for good."""
        self._wanted = False
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            await self.terminate()
        self.kill()

    def _spawn(self) -> None:
        if self._process is None or self._process.poll() is not None:
            self.starts += 1
            command: list[str | Path] = [
                sys.executable,
                "-m",
                "tests.faults.launch",
                self.clock,
                self._command,
            ]
            self._process = spawn(command, self.log, environment=self._environment)

    async def _supervise(self) -> None:
        while True:
            await asyncio.sleep(PAUSE)
            process = self._process
            if self._wanted and process is not None and process.poll() is not None:
                self._ended.append(f"{self.name} ended by itself with {process.returncode}")
                self._spawn()

    def _end(self, number: signal.Signals) -> None:
        self._wanted = False
        if self._process is not None:
            end(self._process, number)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _limit(self, size: int) -> None:
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(
                    self._process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY)
                )


def _end_of(traceback: str) -> str:
    """The exception itself: the first line that is not indented."""
    lines = traceback.splitlines()[1:]
    return next((line for line in lines if line.strip(" |+-") and line.lstrip(" |") == line), "?")
