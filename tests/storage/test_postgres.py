"""What is PostgreSQL's alone: writers beside each other, connections that break, servers that refuse."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from sqlalchemy import Connection, text

from pilothouse_server.adapters.sql.postgres import PostgresDatabase
from pilothouse_server.adapters.sql.postgres_unit import Limits
from pilothouse_server.domain.errors import Misconfigured, Unavailable
from tests.servers.postgres import Postgres
from tests.storage.databases import Held, holding, numbers, put
from tests.support import wait_until

pytestmark = pytest.mark.timeout(240)  # servers are stopped and started

BRIEF = Limits(lock_seconds=1.0, still_seconds=0.5)


async def opened(url: str, limits: Limits | None = None) -> PostgresDatabase:
    database = PostgresDatabase(url, limits=limits)
    make = text("CREATE TABLE IF NOT EXISTS numbers (number INTEGER PRIMARY KEY)")
    await database.write(lambda c: c.execute(make).close())
    return database


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[PostgresDatabase]:
    database = await opened(database_url)
    yield database
    await database.close()


def end_others(url: str) -> None:
    """What an administrator, or a restart, does to connections."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


async def test_writes_beside_each_other_overlap_and_plain_ones_exclude_all(
    database: PostgresDatabase, database_url: str
) -> None:
    one, other = Held(put(1)), Held(put(2))
    beside = [asyncio.create_task(database.write(held, beside=True)) for held in (one, other)]
    await one.begun()
    await other.begun()
    second = PostgresDatabase(database_url)
    plain = asyncio.create_task(second.write(numbers))
    one.release()
    assert await beside[0]
    assert not plain.done()
    other.release()
    assert await beside[1]
    assert await plain == [1, 2]
    await second.close()


async def test_who_lost_against_another_runs_again(database: PostgresDatabase) -> None:
    await database.write(put(0))
    both = threading.Barrier(2, timeout=30)
    runs: list[int] = []

    def crosswise(first: int, then: int) -> Callable[[Connection], None]:
        def run(connection: Connection) -> None:
            runs.append(first)
            put(first)(connection)
            if len(runs) <= 2:
                both.wait()
            put(then)(connection)
            connection.execute(text("DELETE FROM numbers"))

        return run

    await asyncio.gather(
        database.write(crosswise(1, 2), beside=True), database.write(crosswise(2, 1), beside=True)
    )
    assert len(runs) > 2
    assert database.counts.repeated == len(runs) - 2
    assert await database.read(numbers) == []


async def test_a_connection_that_broke_while_nobody_used_it_is_not_noticed(
    database: PostgresDatabase, database_url: str
) -> None:
    await database.read(numbers)
    end_others(database_url)
    assert await database.read(numbers) == []
    assert await database.write(put(1)) == 1
    assert database.counts.broken > 0


async def test_a_transaction_whose_connection_breaks_runs_again(
    database: PostgresDatabase, database_url: str
) -> None:
    runs: list[int] = []

    def interrupted(connection: Connection) -> None:
        runs.append(1)
        put(1)(connection)
        if len(runs) == 1:
            end_others(database_url)
        put(2)(connection)

    await database.write(interrupted)
    assert (len(runs), await database.read(numbers)) == (2, [1, 2])


async def test_a_connection_that_breaks_while_committing_leaves_it_open(
    database: PostgresDatabase, database_url: str
) -> None:
    def last(connection: Connection) -> None:
        put(1)(connection)
        end_others(database_url)

    with pytest.raises(Unavailable, match="nobody knows whether this was kept"):
        await database.write(last)
    assert await database.write(put(2)) == 2


async def test_a_statement_that_failed_unnoticed_does_not_look_like_success(
    database: PostgresDatabase,
) -> None:
    def swallow(connection: Connection) -> None:
        put(1)(connection)
        try:
            put(1)(connection)
        except Exception:  # noqa: BLE001 - on purpose
            return

    with pytest.raises(RuntimeError, match="use a savepoint"):
        await database.write(swallow)


async def test_a_transaction_that_stands_still_lets_go_of_its_locks(database_url: str) -> None:
    frozen, other = await opened(database_url, BRIEF), await opened(database_url)
    held = Held(put(1))
    standing = await holding(frozen, held)
    assert await other.write(put(2)) == 2
    held.release()
    # It finds its connection gone, and runs again.
    assert await standing
    assert await other.read(numbers) == [1, 2]
    await frozen.close()
    await other.close()


async def test_who_waits_for_a_lock_too_long_is_told(database_url: str) -> None:
    patient, brief = await opened(database_url), await opened(database_url, BRIEF)
    held = Held()
    holder = await holding(patient, held)
    with pytest.raises(Unavailable, match="holds a lock for too long"):
        await brief.write(put(1))
    held.release()
    await holder
    await patient.close()
    await brief.close()


async def test_a_text_that_postgresql_cannot_hold_is_made_one_that_it_can(
    database: PostgresDatabase,
) -> None:
    def said(word: str) -> Callable[[Connection], str]:
        return lambda c: str(c.execute(text("SELECT CAST(:w AS text)"), {"w": word}).scalar())

    for run in (database.write, database.read):
        assert await run(said("a\0b")) == "a\ufffdb"
        assert "\ufffd" in await run(said("a\ud800b"))
        assert await run(said("😀 漢")) == "😀 漢"


@pytest.fixture(scope="module")
def server(servers_directory: Path) -> Iterator[Postgres]:
    """A server to be broken; who breaks it starts it again."""
    server = Postgres(servers_directory / f"broken-{os.urandom(4).hex()}", fsync="off")
    server.start()
    yield server
    server.stop()


async def test_a_server_that_comes_back_is_used_again(server: Postgres) -> None:
    database = await opened(server.create_database("comes_back"))
    await database.write(put(1))
    server.kill()
    try:
        for ask in (lambda: database.write(put(2)), lambda: database.read(numbers)):
            with pytest.raises(Unavailable, match="nothing listens there; start PostgreSQL"):
                await ask()
    finally:
        server.start()
    assert await database.read(numbers) == [1]
    assert await database.write(put(2), beside=True) == 2
    await database.close()


async def test_a_server_that_does_not_answer_is_given_up(server: Postgres) -> None:
    database = await opened(f"{server.url()}?connect_timeout=2", Limits(whole_seconds=2.0))
    await database.read(numbers)
    before = database.counts.cut
    # First the one that starts and buries the others.
    frozen = [server.pid]
    os.kill(server.pid, signal.SIGSTOP)
    try:
        frozen += children(server.pid)
        for pid in frozen[1:]:
            os.kill(pid, signal.SIGSTOP)
        with pytest.raises(Unavailable, match="does not answer"):
            await database.read(numbers)
        assert database.counts.cut == before + 1
    finally:
        for pid in reversed(frozen):
            os.kill(pid, signal.SIGCONT)

    async def back() -> bool:
        try:
            return await database.read(numbers) == []
        except Unavailable:
            return False

    await wait_until(back, within=20)
    await database.close()


def children(pid: int) -> list[int]:
    """The processes of a server."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    return [int(each) for each in listed.split()]


async def test_closing_does_not_wait_for_a_server_that_is_away(server: Postgres) -> None:
    database = await opened(server.url(), Limits(close_seconds=60))
    server.stop()
    try:
        writing = [asyncio.create_task(database.write(put(number))) for number in range(100)]
        await asyncio.sleep(0)
        async with asyncio.timeout(20):
            await database.close()
        refused = await asyncio.gather(*writing, return_exceptions=True)
        assert all(isinstance(each, Unavailable) for each in refused)
    finally:
        server.start()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"database": "nowhere"}, "there is no such database"),
        ({"user": "stranger"}, "does not know this user"),
        ({"port": 1}, "nothing listens there"),
        ({"host": "nowhere.invalid"}, "there is no such host"),
    ],
)
async def test_a_refusal_says_what_to_do(
    database_url: str, change: dict[str, object], said: str
) -> None:
    parts = urlsplit(database_url)
    place: dict[str, object] = {"user": parts.username, "host": parts.hostname, "port": parts.port}
    place |= {"database": parts.path[1:]} | change
    url = "postgresql://{user}:s3cret@{host}:{port}/{database}".format_map(place)
    database = PostgresDatabase(url)
    with pytest.raises(Unavailable, match=said) as refused:
        await database.read(numbers)
    assert "s3cret" not in refused.value.message
    await database.close()


@pytest.mark.parametrize(
    "url",
    [
        "mysql://me:s3cret@host/database",
        "host=here password=s3cret",
        "postgresql://me:s3/cret@host/database",
        "postgresql://me:s3@cret@host/database",
        "postgresql://me:s3%zzcret@host/database",
        "postgresql://me:s3cret@host:port/database",
        "postgresql://me:s3cret@host/",
    ],
)
def test_a_wrong_address_is_refused_without_showing_the_password(url: str) -> None:
    with pytest.raises(Misconfigured, match="postgresql://user:password@host") as refused:
        PostgresDatabase(url)
    assert "cret" not in refused.value.message


async def test_a_wrong_password_is_said_without_showing_it(server: Postgres) -> None:
    server.execute("CREATE USER locked PASSWORD 'right'")
    rules = "host all locked 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
    (server.directory / "data" / "pg_hba.conf").write_text(rules, "ascii")
    server.stop()
    server.start()
    database = PostgresDatabase(server.url().replace("pilothouse@", "locked:wr0ng@"))
    with pytest.raises(Misconfigured, match="does not let this user in") as refused:
        await database.read(numbers)
    assert "wr0ng" not in refused.value.message
    await database.close()


async def test_what_was_given_up_never_overtakes_what_is_written_next(
    database: PostgresDatabase,
) -> None:
    await database.write(put(0))
    held = Held(lambda c: c.execute(text("SELECT 1")))

    def late(connection: Connection) -> None:
        held(connection)
        connection.execute(text("UPDATE numbers SET number = 1"))

    writing = asyncio.create_task(database.write(late, beside=True))
    await held.begun()
    writing.cancel()
    ended = asyncio.create_task(asyncio.wait([writing]))
    await asyncio.sleep(0)
    held.release()
    await ended
    update = text("UPDATE numbers SET number = 2")
    await database.write(lambda c: c.execute(update).close(), beside=True)
    assert database.waiting == 0
    assert await database.read(numbers) == [2]


async def test_a_write_that_was_given_up_and_does_not_end_is_cut(
    database: PostgresDatabase, database_url: str
) -> None:
    with (
        psycopg.connect(database_url) as other,
        psycopg.connect(database_url, autocommit=True) as looking,
    ):
        other.execute("LOCK TABLE numbers")
        writing = asyncio.create_task(database.write(put(1)))
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"

        def is_waiting() -> bool:
            row = looking.execute(waits).fetchone()
            return bool(row and row[0])

        await wait_until(is_waiting)
        writing.cancel()
        async with asyncio.timeout(8):  # sooner than the lock would be given up
            await asyncio.wait([writing])
        assert writing.cancelled()
    assert await database.write(put(2)) == 2
    assert await database.read(numbers) == [2]
