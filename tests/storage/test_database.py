"""What every database promises: transactions that are all or nothing, in order and bounded."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.domain.errors import LeaseLost, Unavailable
from tests.databases import Place
from tests.storage.databases import Held, holding, numbers, opened, put
from tests.support import wait_until


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> Place:
    """Where nothing is yet."""
    if kind == "sqlite":
        return tmp_path / "state.db"
    url: str = request.getfixturevalue("database_url")
    return url


@pytest.fixture
async def database(place: Place) -> AsyncIterator[Database]:
    database = await opened(place, writes=50, reads=10)
    yield database
    await database.close()


async def test_one_failing_write_hurts_only_itself(database: Database) -> None:
    def fail(connection: Connection) -> None:
        put(99)(connection)
        raise ValueError("on purpose")

    outcomes = await asyncio.gather(
        database.write(put(1)), database.write(fail), database.write(put(2)), return_exceptions=True
    )
    assert [outcomes[0], outcomes[2]] == [1, 2]
    assert isinstance(outcomes[1], ValueError)
    assert await database.read(numbers) == [1, 2]


@pytest.mark.parametrize("beside", [False, True])
async def test_what_a_write_raises_is_raised_and_keeps_nothing(
    database: Database, beside: bool
) -> None:
    def lose(connection: Connection) -> None:
        put(1)(connection)
        raise LeaseLost("shard-0", 7)

    with pytest.raises(LeaseLost):
        await database.write(lose, beside=beside)

    def twice(connection: Connection) -> None:
        put(1)(connection)
        put(1)(connection)

    with pytest.raises(IntegrityError):
        await database.write(twice, beside=beside)
    assert await database.read(numbers) == []


async def test_a_statement_that_failed_within_a_savepoint_does_not_spoil_the_rest(
    database: Database,
) -> None:
    def careful(connection: Connection) -> None:
        put(1)(connection)
        with contextlib.suppress(IntegrityError), connection.begin_nested():
            put(1)(connection)
        put(2)(connection)

    await database.write(careful)
    assert await database.read(numbers) == [1, 2]


async def test_writes_run_one_after_another_in_the_order_they_were_asked_for(
    database: Database,
) -> None:
    seen: list[int] = []

    def next_number(connection: Connection) -> None:
        newest = max(numbers(connection), default=0) + 1
        put(newest)(connection)
        seen.append(newest)

    await asyncio.gather(*(database.write(next_number) for _ in range(30)))
    assert seen == list(range(1, 31))


async def test_more_writes_than_may_wait_are_refused(database: Database) -> None:
    held = Held()
    first = await holding(database, held)
    waiting = [asyncio.create_task(database.write(put(number))) for number in range(50)]
    await wait_until(lambda: database.waiting == 50)
    with pytest.raises(Unavailable, match="too many writes"):
        await database.write(put(99))
    held.release()
    assert await first
    assert await asyncio.gather(*waiting) == list(range(50))


async def test_more_reads_than_may_wait_are_refused(database: Database) -> None:
    held = Held()
    reading = [asyncio.create_task(database.read(held)) for _ in range(10)]
    await held.begun()
    with pytest.raises(Unavailable, match="too many reads"):
        await database.read(numbers)
    held.release()
    assert all(await asyncio.gather(*reading))
    assert await database.read(numbers) == []


async def test_a_write_that_nobody_waits_for_any_more_is_left_out(database: Database) -> None:
    held = Held()
    first = await holding(database, held)
    given_up = asyncio.create_task(database.write(put(1)))
    await wait_until(lambda: database.waiting == 1)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    held.release()
    await first
    assert await database.read(numbers) == []


async def test_a_write_goes_on_when_its_caller_gives_up(database: Database) -> None:
    held = Held(put(1))
    task = await holding(database, held)
    task.cancel()
    held.release()
    await asyncio.gather(task, return_exceptions=True)

    async def kept() -> bool:
        return await database.read(numbers) == [1]

    await wait_until(kept)


async def test_a_reader_neither_waits_for_the_writer_nor_sees_its_half(database: Database) -> None:
    held = Held(put(1))
    writing = await holding(database, held)
    assert await database.read(numbers) == []
    held.release()
    await writing
    assert await database.read(numbers) == [1]


async def test_all_that_a_read_sees_is_of_one_moment(database: Database) -> None:
    looks: list[list[int]] = []
    held = Held(lambda c: looks.append(numbers(c)))

    def twice(connection: Connection) -> None:
        held(connection)
        looks.append(numbers(connection))

    reading = asyncio.create_task(database.read(twice))
    await held.begun()
    await database.write(put(1))
    held.release()
    await reading
    assert looks == [[], []]


async def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(Unavailable, match=r"read-?only"):
        await database.read(put(1))


async def test_a_read_that_takes_too_long_is_ended(place: Place) -> None:
    database = await opened(place, read_seconds=1.5)  # what is looked up afterwards is given it too
    endless = text(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    )
    with pytest.raises(Unavailable, match="took too long"):
        await database.read(lambda c: c.execute(endless).scalar_one())
    assert await database.read(numbers) == []
    await database.close()


async def test_closing_commits_what_waits_and_then_refuses(place: Place) -> None:
    database = await opened(place)
    writing = [asyncio.create_task(database.write(put(number))) for number in range(20)]
    await asyncio.sleep(0)
    await database.close()
    await database.close()
    assert await asyncio.gather(*writing) == list(range(20))
    for refused in (database.write(put(99)), database.read(numbers)):
        with pytest.raises(Unavailable, match="closed"):
            await refused


WRITER = """
import asyncio, sys
from pathlib import Path
from tests.storage.databases import opened, put

async def main():
    place = sys.argv[1]
    database = await opened(place if "://" in place else Path(place))

    async def one_after_another(start):
        for number in range(start, start + 1_000_000):
            await database.write(put(number), beside=True)
            sys.stdout.write(f"{number}\\n")
            sys.stdout.flush()

    await asyncio.gather(*(one_after_another(n * 1_000_000) for n in range(10)))

asyncio.run(main())
"""


@pytest.mark.timeout(150)
async def test_what_was_acknowledged_survives_a_kill(place: Place, tmp_path: Path) -> None:
    acknowledged = tmp_path / "acknowledged"
    with acknowledged.open("wb") as output:
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, str(place), stdout=output, cwd=Path(__file__).parents[2]
        )
        try:
            await wait_until(lambda: acknowledged.stat().st_size > 5_000, within=90)
        finally:
            writer.kill()
            await writer.wait()
    database = await opened(place)
    kept = set(await database.read(numbers))
    told = acknowledged.read_bytes().splitlines(keepends=True)
    assert {int(line) for line in told if line.endswith(b"\n")} <= kept
    await database.close()
