"""What the settings choose: where the log, the database and the board are, and who decides who does what.

Embedded parts belong to one data directory and one process. With a Redis and a PostgreSQL any number of processes
share the work; with one of the two there is one process all the same, because the other part is its own.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import uuid4

import structlog

from pilothouse_server.adapters.board import MemoryBoard
from pilothouse_server.adapters.intake import SingleIntake
from pilothouse_server.adapters.leases import OwnLeases
from pilothouse_server.adapters.postgres_leases import PostgresLeases
from pilothouse_server.adapters.redis_alerts import RedisAlertStream
from pilothouse_server.adapters.redis_board import RedisBoard
from pilothouse_server.adapters.redis_dead import RedisDeadEvents
from pilothouse_server.adapters.redis_intake import RedisIntake
from pilothouse_server.adapters.redis_log import RedisLog
from pilothouse_server.adapters.sql import migrate
from pilothouse_server.adapters.sql.bell import Bell
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.fencing import FencedDatabase
from pilothouse_server.adapters.sql.others import log_of, next_epoch
from pilothouse_server.adapters.sql.postgres import PostgresDatabase
from pilothouse_server.adapters.sql.reshard import check_shards
from pilothouse_server.adapters.sql.retention_store import SqlRetention
from pilothouse_server.adapters.sql.sqlite import SqliteDatabase
from pilothouse_server.adapters.sqlite_log import SqliteLog
from pilothouse_server.config import Settings
from pilothouse_server.datadir import owned
from pilothouse_server.domain.addresses import shown
from pilothouse_server.domain.errors import Misconfigured, Unavailable
from pilothouse_server.ports import Board, Clock, Fence, Intake, Leases, ShardLog
from pilothouse_server.services.alerts.publisher import AlertStream
from pilothouse_server.services.dead_events import DeadEvents, NoDeadEvents
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.retention import consumers
from pilothouse_server.services.standing import Waiting

T = TypeVar("T")

STATE: Final = "state.sqlite3"
"""The embedded database, in the data directory."""
FIRST_RETRY: Final = 0.25
LAST_RETRY: Final = 5.0
"""Seconds between two attempts to reach a server at the start, doubled each time."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Signals:
    """Who is told when rows change; with a bell, those of other replicas too."""

    projected: Changes = field(default_factory=Changes)
    alerted: Changes = field(default_factory=Changes)
    commands: Changes = field(default_factory=Changes)
    alert_requests: Changes = field(default_factory=Changes)
    notifications: Changes = field(default_factory=Changes)
    """Something happened that somebody may want to be told of."""
    deliveries: Changes = field(default_factory=Changes)
    rules: Changes = field(default_factory=Changes)
    silences: Changes = field(default_factory=Changes)
    channels: Changes = field(default_factory=Changes)
    """Channels or escalations."""
    heartbeats: Changes = field(default_factory=Changes)
    config: Changes = field(default_factory=Changes)
    batches: Changes = field(default_factory=Changes)
    """Batches were made, or somebody acted on one."""
    stops: Changes = field(default_factory=Changes)
    """Emergency stops."""

    def topics(self) -> Mapping[str, Changes]:
        """By the name under which they are rung."""
        return {
            "projected": self.projected,
            "alerted": self.alerted,
            "commands": self.commands,
            "alert-requests": self.alert_requests,
            "notifications": self.notifications,
            "deliveries": self.deliveries,
            "rules": self.rules,
            "silences": self.silences,
            "channels": self.channels,
            "heartbeats": self.heartbeats,
            "config": self.config,
            "batches": self.batches,
            "stops": self.stops,
        }


@dataclass(frozen=True, slots=True)
class World:
    """One process's surroundings."""

    replica: str
    shards: Sequence[ShardLog]
    intake: Intake
    database: Database
    board: Board
    dead: DeadEvents
    alert_stream: AlertStream | None
    """Where steps of alerts are published; None where nobody could listen."""
    leases: Leases
    signals: Signals
    watched: Mapping[str, Waiting]
    """Parts of it that say what they wait for, by name."""
    replicas: Callable[[], Collection[str]]
    """Those that live."""
    fenced: Callable[[Fence], Database]
    """The database as one tenure may write it."""
    parts: Mapping[str, Callable[[], Coroutine[Any, Any, None]]]
    """What keeps its connections, by name; each runs until it is cancelled."""
    shared_database: bool
    """Whether other replicas may use the database too."""
    log_address: str
    database_address: str
    """Where they are, without passwords."""


@asynccontextmanager
async def opened(settings: Settings, clock: Clock) -> AsyncGenerator[World]:
    """The surroundings, the database's schema brought up to date. Waits for servers that do not answer yet, for as long
    as the settings say. Raises Unavailable, DataDirInUse."""
    replica = f"{socket.gethostname().partition('.')[0][:24]}-{uuid4().hex[:8]}"
    async with AsyncExitStack() as stack:
        if not (settings.redis_url and settings.database_url):
            stack.enter_context(owned(settings.data_dir))
        signals = Signals()
        parts: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {}
        database = await _database(settings, stack)
        leases: OwnLeases | PostgresLeases
        watched: dict[str, Waiting] = {}
        if not settings.database_url:
            leases = OwnLeases(await next_epoch(database, replica, clock.now_us()), replica)
        else:
            leases = PostgresLeases(settings.database_url, replica, clock)
            bell = Bell(settings.database_url, signals.topics())
            parts |= {"leases": leases.run, "bell": bell.run}
            watched |= {"leases": leases, "bell": bell}
        shards, intake = await _log_of(settings, stack)
        board: Board = MemoryBoard()
        dead: DeadEvents = NoDeadEvents()
        alert_stream: AlertStream | None = None
        if settings.redis_url:
            redis_dead = RedisDeadEvents(settings.redis_url, settings.log_shards)
            stack.push_async_callback(redis_dead.close)
            dead = redis_dead
            redis_alerts = RedisAlertStream(settings.redis_url)
            stack.push_async_callback(redis_alerts.close)
            alert_stream = redis_alerts
            redis_board = RedisBoard(settings.redis_url)
            stack.push_async_callback(redis_board.close)
            board = redis_board
            parts["board"] = redis_board.run
            watched["board"] = redis_board
        data_dir = settings.data_dir.resolve()
        log_address = shown(settings.redis_url) or str(data_dir / "log.sqlite3")
        database_address = shown(settings.database_url) or str(data_dir / STATE)
        await _check_cursors(database, shards, log_address, database_address)
        if settings.database_url and isinstance(shards[0], SqliteLog):
            await _check_alone(database, shards[0], database_address)
        yield World(
            replica=replica,
            shards=shards,
            intake=intake,
            database=database,
            board=board,
            dead=dead,
            alert_stream=alert_stream,
            leases=leases,
            signals=signals,
            watched=watched,
            replicas=lambda: leases.replicas,
            fenced=_fenced(database) if settings.database_url else lambda _: database,
            parts=parts,
            shared_database=bool(settings.database_url),
            log_address=log_address,
            database_address=database_address,
        )


def _fenced(database: Database) -> Callable[[Fence], Database]:
    return lambda fence: FencedDatabase(database, fence)


async def _database(settings: Settings, stack: AsyncExitStack) -> Database:
    where = database_of(settings)
    await _when_there(settings, lambda: asyncio.to_thread(migrate.upgrade, where))
    database = new_database(settings)
    stack.push_async_callback(database.close)
    await _when_there(settings, lambda: check_shards(database, settings.log_shards))
    return database


def database_of(settings: Settings) -> Path | str:
    """Where the database is: a file or a URL."""
    return settings.database_url or settings.data_dir / STATE


def new_database(settings: Settings) -> Database:
    """The database, opened. Raises Unavailable."""
    where = database_of(settings)
    return SqliteDatabase(where) if isinstance(where, Path) else PostgresDatabase(where)


async def _check_cursors(
    database: Database, shards: Sequence[ShardLog], log_address: str, database_address: str
) -> None:
    """Whether the database was made from this log. Raises Misconfigured: going on would count events twice, or
    never."""
    cursors = await SqlRetention(database).cursors()
    for shard, log in enumerate(shards):
        for consumer in consumers(shard):
            cursor = cursors.get(consumer, "")
            try:
                log.position(cursor)
                if isinstance(log, SqliteLog):
                    await log.read(cursor, limit=1)
            except ValueError as error:
                told = (
                    f"{log_address} is not the log that {database_address} was made from ({error}). "
                    "Put that one back; or set the database aside, and a new one is made from the log"
                )
                raise Misconfigured("log", told) from error


async def _check_alone(database: Database, log: SqliteLog, database_address: str) -> None:
    """Whether nobody else uses the database with a log of their own. Raises Misconfigured: what is published to one of
    the two would never be read."""
    identity, _, _ = log.oldest.partition("-")
    if await log_of(database, identity) != identity:
        told = (
            f"{database_address} belongs to a server with another log, and {log.path} is this one's own: give both"
            " servers one log by PILOTHOUSE_REDIS_URL, or each a database; or put the other log back"
        )
        raise Misconfigured("log", told)


async def _log_of(settings: Settings, stack: AsyncExitStack) -> tuple[Sequence[ShardLog], Intake]:
    if not settings.redis_url:
        if settings.log_shards != 1:
            told = "the embedded log has one shard; set PILOTHOUSE_REDIS_URL, or PILOTHOUSE_LOG_SHARDS to 1"
            raise Misconfigured("log", told)
        log = SqliteLog(settings.data_dir / "log.sqlite3")
        stack.push_async_callback(log.close)
        return [log], SingleIntake(log)
    count = settings.log_shards
    shards = [RedisLog(settings.redis_url, number, shards=count) for number in range(count)]
    for shard in shards:
        stack.push_async_callback(shard.close)
    intake = RedisIntake(settings.redis_url, shards=count)
    stack.push_async_callback(intake.close)
    await _when_there(settings, shards[0].check)
    return shards, intake


async def _when_there(settings: Settings, ask: Callable[[], Awaitable[T]]) -> T:
    """Asks again while the server does not answer, until the time for starting is over; what waiting does not mend is
    raised at once."""
    clock = asyncio.get_running_loop()
    deadline, pause, told = clock.time() + settings.start_timeout, FIRST_RETRY, False
    while True:
        try:
            return await ask()
        except Misconfigured:
            raise
        except Unavailable as error:
            if clock.time() + pause > deadline:
                raise
            if not told:
                _log.warning(
                    "waiting at the start", reason=str(error), at_most=settings.start_timeout
                )
                told = True
        await asyncio.sleep(pause)
        pause = min(2 * pause, LAST_RETRY)
