"""One PostgreSQL and one Valkey for all tests of a process; each test has a database of its own, and an empty Redis.

TEST_DATABASE_URL and TEST_REDIS_URL name servers to be used instead; the user must be allowed to create databases, and
the Redis database is emptied.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import redis

from tests.servers.postgres import Postgres
from tests.servers.process import give
from tests.servers.valkey import Valkey


@pytest.fixture(scope="session")
def servers_directory() -> Iterator[Path]:
    """A directory that servers under any user can reach; pytest's own is closed to others."""
    path = Path(tempfile.mkdtemp(prefix="pilothouse-servers-"))
    path.chmod(0o755)
    give(path)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url(servers_directory: Path) -> Iterator[str]:
    """The URL of a PostgreSQL in which databases can be made; use `database_url`."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    # What is lost when the machine fails matters to no test; what is lost when a process fails does.
    server = Postgres(servers_directory / "postgres", synchronous_commit="off", fsync="off")
    server.start()
    yield server.url()
    server.stop()


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    """An empty PostgreSQL database."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    yield urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


@pytest.fixture(scope="session")
def valkey_url(servers_directory: Path) -> Iterator[str]:
    """The URL of a Redis; use `redis_url`."""
    if given := os.environ.get("TEST_REDIS_URL"):
        yield given
        return
    server = Valkey(servers_directory / "valkey")
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
def redis_url(valkey_url: str) -> str:
    """An empty Redis."""
    with redis.Redis.from_url(valkey_url) as connection:  # pyright: ignore[reportUnknownMemberType] - untyped there
        connection.flushdb()  # pyright: ignore[reportUnknownMemberType]
    return valkey_url
