"""The project's HTTP service as a child of the tool, on a port that the system chose."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Self

START_SECONDS = 10.0


class ServiceBroken(Exception):
    """The service did something that it should not; the words say what."""


@contextmanager
def serving(program: str) -> Generator[Client]:
    """Start `program` (a folder or a zipped application), wait for its port, and stop it at the end."""
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", program, "serve"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        line = child.stdout.readline() if child.stdout else b""
        if not line:
            raise ServiceBroken(
                f"the service ended with {child.wait(START_SECONDS)} before it listened"
            )
        with Client(int(line)) as client:
            yield client
    finally:
        child.terminate()
        try:
            child.wait(3)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdout is not None:
            child.stdout.close()


class Client:
    """Asks the service, over one connection that is kept."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seconds: list[float] = []
        """How long each request took."""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self, method: str, path: str, body: str | None = None) -> tuple[int, object]:
        """Status and JSON of the answer."""
        begin = time.perf_counter()
        try:
            self._connection.request(method, path, body)
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise ServiceBroken(f"{method} {path}: {type(error).__name__} {error}") from error
        self.seconds.append(time.perf_counter() - begin)
        try:
            return answer.status, json.loads(text)
        except ValueError as error:
            raise ServiceBroken(
                f"{method} {path}: the answer is not JSON: {text[:80]!r}"
            ) from error

    def expect(self, status: int, method: str, path: str, body: str | None = None) -> object:
        """The JSON of an answer that must have this status."""
        found, answer = self.ask(method, path, body)
        if found != status:
            raise ServiceBroken(f"{method} {path} answers {found} instead of {status}")
        return answer

    def watch_health(self, seconds: float, every: float) -> float:
        """Ask for its health at a steady rate; the slowest of the fastest 95 % in seconds."""
        self.seconds.clear()
        end = time.monotonic() + seconds
        due = time.monotonic()
        while due < end:
            time.sleep(max(0.0, due - time.monotonic()))
            self.expect(200, "GET", "/health")
            due += every
        return sorted(self.seconds)[int(len(self.seconds) * 0.95)]
