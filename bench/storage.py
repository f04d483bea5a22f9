"""Where a server under measurement keeps things: in its own directory, or in a real Valkey and PostgreSQL of ours.

The servers are those of the tests (from wheels, on free ports), set up as for production: PostgreSQL with fsync and
synchronous commits, Valkey with an append-only file synced each second.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import psutil
import psycopg
import redis

from tests.servers.postgres import Postgres
from tests.servers.process import give
from tests.servers.valkey import Valkey

POSTGRES = {"shared_buffers": "256MB", "max_wal_size": "4GB"}
"""What differs from PostgreSQL's own settings: those are for a machine with 128 MB."""


class Storage:
    """Servers, when there are any; each measurement is given them empty."""

    def __init__(self, valkey: Valkey | None = None, postgres: Postgres | None = None) -> None:
        self.valkey = valkey
        self.postgres = postgres
        self.redis_url = valkey.url if valkey else ""
        self.database_url = ""
        log = f"Valkey {_valkey_version(valkey)}" if valkey else "embedded log"
        rows = f"PostgreSQL {_postgres_version(postgres)}" if postgres else "embedded database"
        self.names = [log, rows]
        """What holds log and database, with versions."""

    def renew(self) -> None:
        """Empties it: a new database, and nothing in Redis."""
        if self.valkey:
            with connected(self.valkey.url) as connection:
                connection.flushall()
        if self.postgres:
            self.database_url = self.postgres.create_database(f"bench_{uuid.uuid4().hex[:12]}")

    def environment(self) -> dict[str, str]:
        """What a server is told of it."""
        return {
            "PILOTHOUSE_REDIS_URL": self.redis_url,
            "PILOTHOUSE_DATABASE_URL": self.database_url,
        }

    def processes(self) -> dict[str, psutil.Process]:
        """Its servers' first processes."""
        found: dict[str, psutil.Process] = {}
        if self.valkey:
            found["Valkey"] = psutil.Process(self.valkey.pid)
        if self.postgres:
            found["PostgreSQL"] = psutil.Process(self.postgres.pid)
        return found


@contextmanager
def running_storage(*, with_redis: bool, with_postgres: bool) -> Generator[Storage]:
    """Starts what is asked for, and ends it after."""
    directory = Path(tempfile.mkdtemp(prefix="pilothouse-bench-"))
    directory.chmod(0o755)
    give(directory)
    valkey = Valkey(directory / "valkey") if with_redis else None
    postgres = Postgres(directory / "postgres", **POSTGRES) if with_postgres else None
    try:
        for server in (valkey, postgres):
            if server:
                server.start()
        yield Storage(valkey, postgres)
    finally:
        for server in (valkey, postgres):
            if server:
                server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def connected(url: str) -> Any:
    """A Redis client; its library leaves most arguments untyped."""
    return cast("Any", redis.Redis).from_url(url)


def add_storage(parser: argparse.ArgumentParser) -> None:
    """The options that say where the server keeps things."""
    parser.add_argument("--redis", action="store_true", help="the event log in Valkey")
    parser.add_argument("--postgres", action="store_true", help="the database in PostgreSQL")


def cpu_seconds(process: psutil.Process) -> float:
    """Processor time of a process and of all that it started, those that have ended too."""
    own = process.cpu_times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in process.children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def memory_mib(process: psutil.Process) -> float:
    """Memory of a process and of all that it started; what they share is counted once (PSS)."""
    total = 0
    for each in (process, *process.children(recursive=True)):
        try:
            total += each.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total / 2**20


def _valkey_version(valkey: Valkey) -> str:
    with connected(valkey.url) as connection:
        told = connection.info("server")
    return str(told.get("valkey_version", told["redis_version"]))


def _postgres_version(postgres: Postgres) -> str:
    with psycopg.connect(postgres.url()) as connection:
        number = connection.info.server_version
    return f"{number // 10_000}.{number % 10_000}"
