"""The topology of teams: two replicas of the server and a bridge on one Redis and one PostgreSQL, each way between them
with a proxy in it.

What the servers answered must survive their death, so Redis syncs its file before it answers. PostgreSQL commits before
it answers; neither waits for the disk, since no fault here takes the machine's power.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
import redis
import redis.asyncio

from pilothouse_server.adapters.sql import migrate
from pilothouse_server.adapters.sql.alert_store import SqlAlerts
from pilothouse_server.adapters.sql.postgres import PostgresDatabase
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
from tests.servers.postgres import Postgres
from tests.servers.process import give
from tests.servers.proxy import Proxy
from tests.servers.valkey import Valkey
from tests.support import free_port

REPLICAS = 2
READERS = ("projector", "aggregator")
"""A replica that does not lead charts what is stored, which is some seconds behind what the other has in memory."""


class Replicas:
    """See the module."""

    disk: Path | None = None

    def __init__(self, directory: Path, *, shards: int) -> None:
        give(directory)
        self._directory = directory
        self._shards = shards
        self._redis = Valkey(directory / "redis", appendfsync="always")
        self._postgres = Postgres(directory / "postgres", fsync="off")
        self.backings: Mapping[str, Backing] = {"redis": self._redis, "postgres": self._postgres}
        self._ports = [free_port() for _ in range(REPLICAS)]
        self._clients = [Proxy("127.0.0.1", port) for port in self._ports]
        self._to_redis = [Proxy("127.0.0.1", self._redis.port) for _ in self._ports]
        self._to_postgres = [Proxy("127.0.0.1", self._postgres.port) for _ in self._ports]
        numbers = range(1, REPLICAS + 1)
        self.ways: Mapping[str, Proxy] = {
            **{f"clients-{n}": way for n, way in zip(numbers, self._clients, strict=True)},
            **{f"{n}-redis": way for n, way in zip(numbers, self._to_redis, strict=True)},
            **{f"{n}-postgres": way for n, way in zip(numbers, self._to_postgres, strict=True)},
        }
        self.servers: Sequence[Supervised] = []
        # redis-py's own annotations leave its generics open.
        self._producer: Any = redis.asyncio.Redis(host="127.0.0.1", port=self._redis.port)

    @property
    def target(self) -> str:
        return ",".join(f"127.0.0.1:{way.port}" for way in self._clients)

    @property
    def direct(self) -> Sequence[str]:
        return [f"127.0.0.1:{port}" for port in self._ports]

    async def start(self) -> None:
        await asyncio.to_thread(self._redis.start)
        await asyncio.to_thread(self._postgres.start)
        await asyncio.to_thread(migrate.upgrade, self._postgres.url())
        database = PostgresDatabase(self._postgres.url())
        await SqlAlerts(database).restore(RULES)
        await database.close()
        for way in self.ways.values():
            await way.start()
        self.servers = [*(self._replica(number) for number in range(REPLICAS)), self._bridge()]
        for server in self.servers:
            server.start()
        for target in self.direct:
            await ready(target)

    def _replica(self, number: int) -> Supervised:
        to_redis, to_postgres = self._to_redis[number].port, self._to_postgres[number].port
        environment = {
            **SETTINGS,
            "PILOTHOUSE_REDIS_URL": f"redis://127.0.0.1:{to_redis}/0",
            "PILOTHOUSE_DATABASE_URL": f"postgresql://pilothouse@127.0.0.1:{to_postgres}/postgres",
            "PILOTHOUSE_LOG_SHARDS": str(self._shards),
            "PILOTHOUSE_GRPC_PORT": str(self._ports[number]),
            "PILOTHOUSE_DATA_DIR": str(self._directory / f"data-{number + 1}"),
        }
        return Supervised(f"replica-{number + 1}", "serve", self._directory, environment)

    def _bridge(self) -> Supervised:
        environment = {"PILOTHOUSE_SERVER": self.target, "PILOTHOUSE_HTTP_PORT": "0"}
        return Supervised("bridge", "bridge", self._directory, environment)

    async def finish(self) -> None:
        for server in self.servers:
            await server.finish()
        for way in self.ways.values():
            await way.stop()
        await self._producer.aclose()
        for backing in self.backings.values():
            await asyncio.to_thread(backing.stop)

    async def add_foreign(self, event: str | bytes) -> None:
        """See `AddForeign`."""
        try:
            await self._producer.xadd("workflow:events", {"event": event})
        except redis.RedisError as error:
            raise OSError(str(error)) from error

    def standing(self) -> Standing:
        tails: list[str] = []
        looking: Any = redis.Redis(host="127.0.0.1", port=self._redis.port)
        with looking:
            for shard in range(self._shards):
                stream = f"workflow:events:{shard}" if shard else "workflow:events"
                newest = looking.xrevrange(stream, count=1)
                tails.append(newest[0][0].decode() if newest else "")
        with psycopg.connect(self._postgres.url(), connect_timeout=3, autocommit=True) as state:
            (outbox,) = state.execute(OUTBOX).fetchone() or (0,)
            (pending,) = state.execute(PENDING).fetchone() or (0,)
            rolled = [int(newest) for (newest,) in state.execute(ROLLED)]
            cursors = {str(name): str(cursor) for name, cursor in state.execute(CURSORS)}
            return Standing(tails, cursors, int(outbox), int(pending), rolled, READERS)
