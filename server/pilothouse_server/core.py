"""The one composition root: what callers turn to, wired to the surroundings that the settings choose.

What lives as long as the process is made by `desks`; what belongs to a lease is made by `duties` for each tenure.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Self

from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import Connection, text

from pilothouse_server import world as surroundings
from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.redis_log import RedisLog
from pilothouse_server.adapters.sql.others import SqlOthers
from pilothouse_server.adapters.sqlite_log import SqliteLog
from pilothouse_server.config import Settings
from pilothouse_server.desks import Desks, bridge_url
from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.domain.notifications.composing import Link
from pilothouse_server.duties import Common, Duties
from pilothouse_server.meters import PartsCollector
from pilothouse_server.offers import servicers
from pilothouse_server.services.standing import Alone, Asked, Identity, Others, Standing, waits
from pilothouse_server.services.status import ComponentState, LogShard
from pilothouse_server.services.tenure import Part, serve
from pilothouse_server.transport.contract import services
from pilothouse_server.transport.health import HealthKeeper
from pilothouse_server.transport.interceptor import CallMeters
from pilothouse_server.transport.server import RpcServer
from pilothouse_server.world import World


class Core:
    """Everything of one server. `opened` makes it, `serve` lets callers in, `parts` are what runs
    beside."""

    def __init__(self, settings: Settings, world: World, clock: SystemClock) -> None:
        self.registry = CollectorRegistry()
        self.desks = desks = Desks(settings, world, clock)
        self._world = world
        self._clock = clock
        self._rpc: RpcServer | None = None
        self._log = Asked(world.shards[0].tail, clock)
        self._database = Asked(lambda: world.database.read(_looked), clock)
        self.standing = self._standing()
        configured = desks.configuration.current
        self.duties = Duties(
            Common(
                world=world,
                clock=clock,
                configured=configured,
                signals=desks.signals,
                snapshots=desks.snapshots,
                alerts=desks.alerts,
                alive=self._alive,
                traces=desks.traces,
                policy=lambda: settings.retention.configured(configured()),
                standing=self.standing,
                sender=desks.sender,
                channels=desks.channels.load,
                link=_link(settings),
            )
        )
        self.registry.register(PartsCollector(desks.ingest, self.duties, world, desks.event_tail))

    @classmethod
    @asynccontextmanager
    async def opened(cls, settings: Settings) -> AsyncGenerator[Self]:
        """The server in its surroundings, the schema brought up to date. Raises Unavailable, DataDirInUse."""
        clock = SystemClock()
        async with surroundings.opened(settings, clock) as world:
            core = cls(settings, world, clock)
            await core.desks.configuration.start()
            await core.desks.executors.start(alone=not world.shared_database)
            try:
                yield core
            finally:
                await core.desks.sender.close()
                with contextlib.suppress(Unavailable):  # others notice soon that we are gone
                    await core.desks.executors.stop()

    def parts(self) -> dict[str, Part]:
        """What runs until it is cancelled, by name."""
        world = self._world
        shards: dict[str, Part] = {
            f"shard-{shard}": serve(
                world.leases, f"shard-{shard}", partial(self.duties.of_shard, shard), self._clock
            )
            for shard in range(len(world.shards))
        }
        return shards | {
            "snapshot-desk": self.desks.snapshots.run(),
            "event-tail": self.desks.event_tail.run(),
            "executors": self.desks.executors.run(),
            "configuration": self.desks.configuration.run(),
            "log-asked": self._log.run(),
            "database-asked": self._database.run(),
            "health": self._keep_health(),
        }

    @property
    def place(self) -> str:
        """Where log and database are, for people."""
        world = self._world
        return f"log in {world.log_address}, state in {world.database_address}"

    def connections(self) -> dict[str, Part]:
        """What has to run for as long as the parts do, and until they have ended."""
        return {name: run() for name, run in self._world.parts.items()}

    async def serve(self, host: str, port: int) -> int:
        """Lets callers in; returns the port. Raises PortTaken."""
        self._rpc = RpcServer(
            services(servicers(self.desks, self.standing, self.registry)), CallMeters(self.registry)
        )
        bound = await self._rpc.start(host, port)
        self.standing.serving = True
        return bound

    async def drain(self, grace: float) -> None:
        """Lets nobody in any more, and calls under way end."""
        self.standing.serving = False
        if self._rpc is not None:
            await self._rpc.drain(grace)

    def meters(self) -> bytes:
        """The server's own metrics, in the text form of Prometheus."""
        return generate_latest(self.registry)

    async def _keep_health(self) -> None:
        await HealthKeeper(self.standing, self._set_serving, self._clock).run()

    async def _set_serving(self, serving: bool) -> None:
        if self._rpc is not None:
            await self._rpc.set_serving(serving)

    def _standing(self) -> Standing:
        world = self._world
        others: Others = Alone()
        if world.shared_database:
            others = SqlOthers(world.database, world.replicas)
        standing = Standing(
            Identity(
                version=version("pilothouse-server"),
                replica_id=world.replica,
                log_address=world.log_address,
                database_address=world.database_address,
            ),
            self._clock,
            others=others,
            log_shards=self._log_shards,
            leads=lambda: self.duties.lead is not None,
        )
        down = ComponentState.DOWN
        standing.watch("log", waits("log", self._log, without=down))
        standing.watch("database", waits("database", self._database, without=down))
        for name, part in world.watched.items():
            standing.watch(name, waits(name, part))
        standing.watch("snapshots", waits("snapshots", self.desks.snapshots))
        return standing

    async def _log_shards(self) -> Sequence[LogShard]:
        logs = [log for log in self._world.shards if isinstance(log, RedisLog | SqliteLog)]
        return await asyncio.gather(*(log.status() for log in logs))

    async def _alive(self) -> Collection[str]:
        leases = self._world.watched.get("leases")
        if leases is not None and leases.waiting_for:
            raise Unavailable("database", leases.waiting_for)
        return self._world.replicas()


def _link(settings: Settings) -> Link:
    """Where people see an alert."""
    base = settings.external_url or bridge_url(settings)
    return lambda alert_id: f"{base.rstrip('/')}/#/alerts?open={alert_id}"


def _looked(connection: Connection) -> None:
    connection.execute(text("SELECT 1"))
