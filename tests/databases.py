"""A database of each kind for the tests of what is built on one: empty, of the newest schema.

The schema is made once. Ask for `place` and open it with `open_database`, or for `database`.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg.rows import TupleRow

from pilothouse_server.adapters.sql import migrate
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.postgres import PostgresDatabase
from pilothouse_server.adapters.sql.sqlite import SqliteDatabase
from tests.support import wait_until_sync

Place = Path | str
"""Where a database is: a file of SQLite, or the URL of PostgreSQL."""

KINDS = ("sqlite", "postgresql")


class Emptied:
    """A database that can be made again what the migrations left."""

    def __init__(self, url: str, connection: psycopg.Connection[TupleRow]) -> None:
        self.url = url
        self._connection = connection
        tables = [row[0] for row in connection.execute(_TABLES)]
        steps = [f'DELETE FROM "{table}"' for table in tables]
        steps += [f'ALTER SEQUENCE "{row[0]}" RESTART' for row in connection.execute(_SEQUENCES)]
        for table in tables:
            rows = connection.execute(f'SELECT quote_literal(t::text) FROM "{table}" t'.encode())
            steps += [f"""INSERT INTO "{table}" SELECT ({row[0]}::"{table}").*""" for row in rows]
        self._steps = "; ".join(steps).encode()

    def empty(self) -> None:
        """Cuts off whoever uses it, too."""
        # What they were about to commit must not come after what is removed here.
        wait_until_sync(self._cut_off_others, within=30, what="the end of those who used it")
        self._connection.execute(self._steps)

    def _cut_off_others(self) -> bool:
        """Whether there are none any more."""
        return not self._connection.execute(_OTHERS).fetchall()


_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
_TABLES = (
    "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
)
_SEQUENCES = "SELECT sequencename FROM pg_sequences WHERE schemaname = 'public'"


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
def postgres_database(postgres_url: str) -> Iterator[Emptied]:
    """A database of PostgreSQL that is emptied for each test: it takes a tenth of the time to make another one."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    url = urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
        migrate.upgrade(url)
        with psycopg.connect(url, autocommit=True) as inside:
            yield Emptied(url, inside)
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


@pytest.fixture(scope="module")
def module_database_url(postgres_url: str) -> Iterator[str]:
    """A database of PostgreSQL without a schema, for all tests of a file."""
    name = f"module_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
        yield urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


@pytest.fixture
def sqlite_place(sqlite_template: Path, tmp_path: Path) -> Path:
    """An empty database of SQLite."""
    path = tmp_path / "state.db"
    shutil.copyfile(sqlite_template, path)
    return path


@pytest.fixture
def postgres_place(postgres_database: Emptied) -> str:
    """An empty database of PostgreSQL."""
    postgres_database.empty()
    return postgres_database.url


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of database."""
    found: str = request.param
    return found


@pytest.fixture
def place(request: pytest.FixtureRequest, kind: str) -> Place:
    """An empty database of each kind."""
    name = "sqlite_place" if kind == "sqlite" else "postgres_place"
    found: Place = request.getfixturevalue(name)
    return found


@pytest.fixture
async def database(place: Place) -> AsyncIterator[Database]:
    """The same, open."""
    database = open_database(place)
    yield database
    await database.close()
