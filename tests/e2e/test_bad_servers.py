"""Wrong addresses, passwords, schemas and servers, given to the real program: one clear line, and no password in it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import psycopg
import pytest
import redis

from tests.servers.postgres import Postgres
from tests.servers.valkey import Valkey
from tests.support import free_port, wait_until

SECRET = "tr0ub4dor&3"
SECRET_IN_URL = "tr0ub4dor%263"
NOBODY = f"127.0.0.1:{free_port()}"
PATIENCE = 60.0
"""Seconds that a program may take to start, or to end, on a machine that is busy with other tests."""
pytestmark = pytest.mark.timeout(240)


@dataclass
class Ended:
    """What became of a process."""

    code: int
    said: str


def environment(tmp_path: Path, **settings: str) -> dict[str, str]:
    """Of a server with these settings and no others."""
    inherited = {name: value for name, value in os.environ.items() if "PILOTHOUSE_" not in name}
    return inherited | {
        "PILOTHOUSE_DATA_DIR": str(tmp_path / "data"),
        "PILOTHOUSE_GRPC_PORT": "0",
        "PILOTHOUSE_HTTP_PORT": "0",
        "PILOTHOUSE_START_TIMEOUT": "0",
        **{f"PILOTHOUSE_{name}": value for name, value in settings.items()},
    }


@asynccontextmanager
async def running(
    tmp_path: Path, command: str = "serve", **settings: str
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """The program, killed at the end if it has not ended."""
    with (tmp_path / "out").open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "pilothouse_server", command),
            env=environment(tmp_path, **settings),
            stdout=out,
            stderr=out,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ended(tmp_path: Path, command: str = "serve", **settings: str) -> Ended:
    """What the program says when it ends by itself, as it must within seconds."""
    async with running(tmp_path, command, **settings) as process, asyncio.timeout(PATIENCE):
        code = await process.wait()
    return Ended(code, said(tmp_path))


def said(tmp_path: Path) -> str:
    return (tmp_path / "out").read_text("utf-8")


def refused(found: Ended, *words: str, code: int = 2) -> None:
    """One line that has all these words, no traceback, and no password."""
    assert found.code == code, found.said
    assert SECRET not in found.said
    assert SECRET_IN_URL not in found.said
    assert "Traceback" not in found.said
    last = found.said.strip().splitlines()[-1]
    assert last.startswith("pilothouse-server: "), found.said
    for word in words:
        assert word in last, found.said


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"http://ann:{SECRET_IN_URL}@cache:1", ["not the URL of a Redis", "***"]),
        (f"redis://:{SECRET_IN_URL}@127.0.0.1:99999/0", ["redis://", "port"]),
    ],
)
async def test_what_is_not_the_url_of_a_redis_is_named(
    tmp_path: Path, url: str, words: Sequence[str]
) -> None:
    refused(await ended(tmp_path, REDIS_URL=url), *words)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"mysql://ann:{SECRET}@db/ops", ["postgresql://"]),
        (f"postgresql://ann:{SECRET_IN_URL}@127.0.0.1", ["names no database"]),
    ],
)
async def test_what_is_not_the_url_of_a_postgresql_is_named(
    tmp_path: Path, url: str, words: Sequence[str]
) -> None:
    refused(await ended(tmp_path, DATABASE_URL=url), *words)


async def test_several_shards_need_a_redis(tmp_path: Path) -> None:
    refused(await ended(tmp_path, LOG_SHARDS="2"), "PILOTHOUSE_REDIS_URL", "PILOTHOUSE_LOG_SHARDS")


@pytest.mark.parametrize(
    "settings",
    [
        {"REDIS_URL": f"redis://:{SECRET_IN_URL}@{NOBODY}/0"},
        {"DATABASE_URL": f"postgresql://ann:{SECRET_IN_URL}@{NOBODY}/ops"},
    ],
    ids=["redis", "postgresql"],
)
async def test_a_server_that_never_comes_is_named_when_the_time_is_over(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    found = await ended(tmp_path, START_TIMEOUT="1", **settings)

    refused(found, NOBODY, code=1)
    assert found.said.count("waiting at the start") == 1


async def test_a_server_that_comes_late_is_waited_for(tmp_path: Path, database_url: str) -> None:
    valkey = Valkey(tmp_path / "valkey")
    settings = {"REDIS_URL": valkey.url, "DATABASE_URL": database_url, "START_TIMEOUT": "120"}
    async with running(tmp_path, **settings) as process:
        await wait_until(lambda: "waiting at the start" in said(tmp_path), within=PATIENCE)
        await asyncio.to_thread(valkey.start)
        try:
            await wait_until(lambda: "serves gRPC" in said(tmp_path), within=PATIENCE)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(PATIENCE):
                assert await process.wait() == 0, said(tmp_path)
        finally:
            await asyncio.to_thread(valkey.stop)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Valkey]:
    """A Valkey with a password."""
    valkey = Valkey(tmp_path / "guarded", password="right")
    valkey.start()
    yield valkey
    valkey.stop()


@pytest.mark.parametrize("password", [f":{SECRET_IN_URL}@", ""], ids=["wrong", "missing"])
async def test_a_password_that_redis_does_not_take_is_said(
    tmp_path: Path, guarded: Valkey, password: str
) -> None:
    url = f"redis://{password}127.0.0.1:{guarded.port}/0"
    refused(await ended(tmp_path, REDIS_URL=url), "password", "PILOTHOUSE_REDIS_URL")


async def test_a_redis_without_streams_is_said(tmp_path: Path, guarded: Valkey) -> None:
    rules = ["on", ">right", "~*", "&*", "+@all", "-@stream"]
    with redis.Redis(port=guarded.port, password="right") as admin:
        cast("Any", admin).execute_command("ACL", "SETUSER", "old", *rules)
    url = f"redis://old:right@127.0.0.1:{guarded.port}/0"
    refused(await ended(tmp_path, REDIS_URL=url), "does not permit", "@stream")


async def test_what_speaks_another_protocol_is_not_taken_for_a_redis(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = await ended(tmp_path, REDIS_URL=f"redis://127.0.0.1:{port}/0")
    assert found.code in {1, 2}
    assert f"127.0.0.1:{port}" in found.said
    assert "Traceback" not in found.said


async def test_a_database_that_does_not_exist_is_said(tmp_path: Path, postgres_url: str) -> None:
    url = postgres_url.rpartition("/")[0] + "/nowhere"
    refused(await ended(tmp_path, DATABASE_URL=url), "nowhere", "does not exist")


@pytest.fixture
def strict(servers_directory: Path) -> Iterator[Postgres]:
    """A PostgreSQL that wants a password."""
    server = Postgres(servers_directory / f"strict-{free_port()}", fsync="off")
    server.start()
    try:
        want_a_password(server)
        yield server
    finally:
        server.stop()


def want_a_password(server: Postgres) -> None:
    """From now on."""
    server.execute("ALTER USER pilothouse PASSWORD 'right'")
    rules = server.directory / "data" / "pg_hba.conf"
    rules.write_text("host all all 127.0.0.1/32 scram-sha-256\n", "utf-8")
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("SELECT pg_reload_conf()")


async def test_a_wrong_password_of_postgresql_is_said(tmp_path: Path, strict: Postgres) -> None:
    url = f"postgresql://pilothouse:{SECRET_IN_URL}@127.0.0.1:{strict.port}/postgres"
    refused(await ended(tmp_path, DATABASE_URL=url), "password", "in the URL")


async def test_a_schema_of_a_newer_version_is_left_alone(tmp_path: Path, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        connection.execute("INSERT INTO alembic_version VALUES ('9999_future')")

    refused(await ended(tmp_path, DATABASE_URL=database_url), "9999_future", "newer")

    with psycopg.connect(database_url) as connection:
        tables = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        ).fetchall()
    assert tables == [("alembic_version",)]


async def test_a_bridge_without_its_server_starts_and_says_so(tmp_path: Path) -> None:
    port = free_port()
    settings = {"SERVER": f"{NOBODY},{NOBODY}", "HTTP_PORT": str(port)}
    async with (
        running(tmp_path, "bridge", **settings),
        httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http,
    ):
        await wait_until(lambda: "is ready at" in said(tmp_path), within=PATIENCE)
        answer = await http.get(f"http://127.0.0.1:{port}/readyz")
    assert answer.status_code == 503
    assert NOBODY in answer.json()["reasons"][0]


async def test_a_bridge_is_told_what_an_address_looks_like(tmp_path: Path) -> None:
    found = await ended(tmp_path, "bridge", SERVER="server-without-a-port")
    assert found.code == 2
    assert "host:port" in found.said
