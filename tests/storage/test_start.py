"""What a start finds on the disk, and what it says when that does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilothouse_server.adapters.sql import migrate
from pilothouse_server.adapters.sql.projection_store import SqlProjectionStore
from pilothouse_server.adapters.sql.sqlite import SqliteDatabase
from pilothouse_server.adapters.sqlite_log import SqliteLog
from pilothouse_server.config import Settings
from pilothouse_server.core import Core
from pilothouse_server.domain.errors import Misconfigured, Unavailable
from pilothouse_server.domain.events import EventType
from pilothouse_server.ports import LogEntry
from pilothouse_server.wire.events import decode_stored, encode_events
from tests.projection.build import event


async def leave_an_event(folder: Path) -> None:
    """In the log and, projected, in the database."""
    payload = encode_events([event(EventType.WORKFLOW_STARTED)])
    log = SqliteLog(folder / "log.sqlite3")
    cursor = await log.append(payload)
    await log.close()
    migrate.upgrade(folder / "state.sqlite3")
    database = SqliteDatabase(folder / "state.sqlite3")
    await SqlProjectionStore(database, decode_stored).apply([LogEntry(cursor, payload)])
    await database.close()


def lose_the_log(folder: Path) -> None:
    for file in folder.glob("log.sqlite3*"):
        file.unlink()


async def test_a_log_that_the_database_was_not_made_from_is_refused_by_name(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    await leave_an_event(tmp_path)
    async with Core.opened(settings):
        pass
    lose_the_log(tmp_path)
    with pytest.raises(Unavailable, match=r"log\.sqlite3 is not the log .* set the database aside"):
        async with Core.opened(settings):
            pass


async def test_two_servers_with_logs_of_their_own_do_not_share_a_database(
    tmp_path: Path, postgres_place: str
) -> None:
    one = Settings(data_dir=tmp_path / "one", database_url=postgres_place)
    other = Settings(data_dir=tmp_path / "other", database_url=postgres_place)
    async with Core.opened(one):
        with pytest.raises(Misconfigured, match="one log by PILOTHOUSE_REDIS_URL"):
            async with Core.opened(other):
                pass
    async with Core.opened(one):
        pass
