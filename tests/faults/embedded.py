"""The embedded topology: `pilothouse-server up`, one process on two SQLite files."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from pilothouse_server.adapters.sql import migrate
from pilothouse_server.adapters.sql.alert_store import SqlAlerts
from pilothouse_server.adapters.sql.sqlite import SqliteDatabase
from tests.faults.cluster import (
    CURSORS,
    OUTBOX,
    PENDING,
    ROLLED,
    SETTINGS,
    Backing,
    Standing,
    ready,
)
from tests.faults.flow import RULES
from tests.faults.servers import Supervised
from tests.servers.proxy import Proxy
from tests.support import free_port


class Embedded:
    """See the module."""

    add_foreign = None

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.disk = directory / "data"
        self.backings: Mapping[str, Backing] = {}
        self._port = free_port()
        environment = {
            **SETTINGS,
            "PILOTHOUSE_DATA_DIR": str(self.disk),
            "PILOTHOUSE_GRPC_PORT": str(self._port),
            "PILOTHOUSE_HTTP_PORT": "0",
        }
        self.servers: Sequence[Supervised] = [Supervised("up", "up", directory, environment)]
        self.ways: Mapping[str, Proxy] = {"clients": Proxy("127.0.0.1", self._port)}

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.ways['clients'].port}"

    @property
    def direct(self) -> Sequence[str]:
        return [f"127.0.0.1:{self._port}"]

    async def start(self) -> None:
        self.disk.mkdir(parents=True)
        await asyncio.to_thread(migrate.upgrade, self.disk / "state.sqlite3")
        database = SqliteDatabase(self.disk / "state.sqlite3")
        # A new database is given its rules once. These are ours, so that the server ships none.
        await SqlAlerts(database).restore(RULES)
        await database.close()
        await self.ways["clients"].start()
        self.servers[0].start()
        await ready(self.direct[0])

    async def finish(self) -> None:
        await self.servers[0].finish()
        await self.ways["clients"].stop()

    def standing(self) -> Standing:
        with closing(_reading(self.disk / "log.sqlite3")) as log:
            (epoch,) = log.execute("SELECT epoch FROM identity").fetchone()
            (newest,) = log.execute("SELECT max(position) FROM entries").fetchone()
        with closing(_reading(self.disk / "state.sqlite3")) as state:
            return Standing(
                [f"{epoch}-{newest}" if newest else ""],
                dict(state.execute(CURSORS).fetchall()),
                state.execute(OUTBOX).fetchone()[0],
                state.execute(PENDING).fetchone()[0],
                [newest for (newest,) in state.execute(ROLLED)],
            )


def _reading(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True)
