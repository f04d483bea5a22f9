"""A database of each kind for the tests of what is built on one: empty, of the newest schema.

The schema is made once; each test has a copy. Ask for `place` and open it with `open_database`, or for `database`.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from pilothouse_server.adapters.sql import migrate
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.postgres import PostgresDatabase
from pilothouse_server.adapters.sql.sqlite import SqliteDatabase

Place = Path | str
"""Where a database is: a file of SQLite, or the URL of PostgreSQL."""

KINDS = ("sqlite", "postgresql")


def open_database(place: Place) -> Database:
    """The database that is there."""
    return SqliteDatabase(place) if isinstance(place, Path) else PostgresDatabase(place)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty file of the newest schema, to be copied."""
    path = tmp_path_factory.mktemp("template") / "state.db"
    migrate.upgrade(path)
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str) -> Iterator[str]:
    """The name of an empty database of the newest schema, to be copied."""
    name = f"template_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    migrate.upgrade(_beside(postgres_url, name))
    yield name
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


@pytest.fixture
def sqlite_place(sqlite_template: Path, tmp_path: Path) -> Path:
    """An empty database of SQLite."""
    path = tmp_path / "state.db"
    shutil.copyfile(sqlite_template, path)
    return path


@pytest.fixture
def postgres_place(postgres_url: str, postgres_template: str) -> Iterator[str]:
    """An empty database of PostgreSQL."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{postgres_template}"'.encode())
        yield _beside(postgres_url, name)
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest) -> Place:
    """An empty database of each kind."""
    name = "sqlite_place" if request.param == "sqlite" else "postgres_place"
    found: Place = request.getfixturevalue(name)
    return found


@pytest.fixture
async def database(place: Place) -> AsyncIterator[Database]:
    """The same, open."""
    database = open_database(place)
    yield database
    await database.close()


def _beside(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
