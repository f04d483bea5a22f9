"""One SQLite file, one writer: who wants to write hands a function to the thread that owns the only writing connection.

What has gathered while the disk was busy is committed together (group commit), each function in a savepoint of its own,
so that one that fails hurts no other. A caller hears of success only after COMMIT, which with synchronous=FULL means on
disk. Readers have their own read-only connections: they never wait for the writer and see one moment in each function.
No other connection may write or checkpoint: SQLite before 3.51.3 can corrupt a WAL on which two do.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError
from sqlalchemy.pool import QueuePool, StaticPool

from pilothouse_server.domain.errors import Unavailable

T = TypeVar("T")

STEPS_BETWEEN_LOOKS: Final = 100_000
"""Instructions of SQLite's machine between two looks at a reader's deadline: some milliseconds."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a database."""

    queued_writes: int = 1024
    """Writes that may wait; one more is refused."""
    units_in_commit: int = 256
    """Writes that share one commit at most."""
    commit_after: float = 0.05
    """Seconds after which a commit takes no further write."""
    readers: int = 4
    """Reads that run at once."""
    queued_reads: int = 256
    """Reads that may wait or run; one more is refused."""
    read_seconds: float = 10.0
    """What a single read may take."""


@dataclass(slots=True)
class _Unit:
    """One function for the writer, and where its outcome goes."""

    run: Callable[[Connection], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    value: Any = None
    error: BaseException | None = None


class SqliteDatabase:
    """`write` and `read` run a function of a SQLAlchemy connection in a transaction, off the loop.

    Opens the file when made. Raises Unavailable when that fails; so do calls when the queue is full, the disk refuses
    or it is closed. A function must not keep the connection, and may run and then be rolled back: what it does is to be
    done in the database only.
    """

    def __init__(self, path: Path, *, limits: Limits | None = None) -> None:
        self.path = path
        self._limits = limits or Limits()
        self._queue: queue.Queue[_Unit | None] = queue.Queue(self._limits.queued_writes)
        self._closed = False
        self._reading = 0
        self._writer_engine = writing_engine(path)
        self._reader_engine = _reading_engine(path, self._limits)
        self._readers = ThreadPoolExecutor(self._limits.readers, thread_name_prefix="database-read")
        opened: Future[None] = Future()
        self._writer = threading.Thread(
            target=self._serve, args=(opened,), name="database-write", daemon=True
        )
        self._writer.start()
        try:
            opened.result()
        except DBAPIError as error:
            self._closed = True
            self._readers.shutdown()
            raise _unavailable(error, f"cannot open {path}: ") from error

    async def write(self, run: Callable[[Connection], T], *, beside: bool = False) -> T:  # noqa: ARG002 - one writer
        """What `run` returns, once it is committed. What it raises is raised here, and then nothing of it is kept.
        Nothing runs beside anything here: there is one writer."""
        if self._closed:
            raise Unavailable("database", "it is closed")
        loop = asyncio.get_running_loop()
        unit = _Unit(run, loop, loop.create_future())
        try:
            self._queue.put_nowait(unit)
        except queue.Full:
            raise Unavailable("database", "too many writes are waiting") from None
        value: T = await unit.future
        return value

    async def read(self, run: Callable[[Connection], T]) -> T:
        """What `run` returns; all that it reads is of one moment, and it cannot write."""
        if self._closed:
            raise Unavailable("database", "it is closed")
        if self._reading >= self._limits.queued_reads:
            raise Unavailable("database", "too many reads are waiting")
        self._reading += 1
        reading = asyncio.get_running_loop().run_in_executor(self._readers, self._read, run)
        reading.add_done_callback(self._done_reading)
        return await reading

    @property
    def waiting(self) -> int:
        """Writes that the writer has not begun."""
        return self._queue.qsize()

    async def close(self) -> None:
        """Commits what is queued, then closes. Idempotent."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._readers.shutdown, cancel_futures=True)
        await asyncio.to_thread(self._reader_engine.dispose)
        await asyncio.to_thread(self._queue.put, None)
        await asyncio.to_thread(self._writer.join)

    def _done_reading(self, done: asyncio.Future[Any]) -> None:
        self._reading -= 1
        if not done.cancelled():
            done.exception()

    def _read(self, run: Callable[[Connection], T]) -> T:
        try:
            with self._reader_engine.connect() as connection:
                return run(connection)
        except (OperationalError, DisconnectionError) as error:
            raise _unavailable(error) from error

    # What follows runs in the writer's thread.

    def _serve(self, opened: Future[None]) -> None:
        try:
            connection = self._writer_engine.connect()
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to whoever opens the database
            opened.set_exception(error)
            return
        opened.set_result(None)
        going_on = True
        with connection:
            while going_on:
                going_on = self._commit_next(connection)
        self._writer_engine.dispose()

    def _commit_next(self, connection: Connection) -> bool:
        """Waits for a unit and commits it with those that come meanwhile. False when the database is to be closed."""
        unit = self._queue.get()
        if unit is None:
            return False
        # Taken before the transaction begins: when it cannot, who waits is told so.
        units = [unit]
        deadline = time.monotonic() + self._limits.commit_after
        lost: Unavailable | None = None
        try:
            with connection.begin():
                while unit is not None:
                    _run_in_savepoint(connection, unit)
                    if len(units) >= self._limits.units_in_commit or time.monotonic() >= deadline:
                        break
                    try:
                        unit = self._queue.get_nowait()
                    except queue.Empty:
                        break
                    if unit is not None:
                        units.append(unit)
        except _TransactionLostError as error:
            lost = _unavailable(error.cause)
        except DBAPIError as error:
            lost = _unavailable(error)
        _resolve(units, lost)
        return unit is not None


class _TransactionLostError(Exception):
    """SQLite rolled everything back by itself, as it does when the disk is full: nothing of this commit is kept."""

    def __init__(self, cause: DBAPIError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _run_in_savepoint(connection: Connection, unit: _Unit) -> None:
    if unit.future.cancelled():
        return
    savepoint = connection.begin_nested()
    try:
        unit.value = unit.run(connection)
        savepoint.commit()
    except BaseException as error:  # it belongs to the caller, who is in another thread
        unit.error = _unavailable(error) if isinstance(error, OperationalError) else error
        if isinstance(error, DBAPIError) and not _driver(connection).in_transaction:
            raise _TransactionLostError(error) from error
        savepoint.rollback()


def _driver(connection: Connection) -> sqlite3.Connection:
    return cast("sqlite3.Connection", connection.connection.driver_connection)


def _resolve(units: list[_Unit], lost: Unavailable | None = None) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_Unit]] = {}
    for unit in units:
        unit.error = unit.error or lost
        by_loop.setdefault(unit.loop, []).append(unit)
    for loop, resolved in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, resolved)


def _settle(units: list[_Unit]) -> None:
    for unit in units:
        if unit.future.done():
            continue
        if unit.error is not None:
            unit.future.set_exception(unit.error)
        else:
            unit.future.set_result(unit.value)


def _unavailable(error: BaseException, doing: str = "") -> Unavailable:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    said = str(cause)
    if "disk is full" in said:
        said = "the disk is full; nothing of this was kept"
    elif said == "interrupted":
        said = "the query took too long; ask for less"
    return Unavailable("database", f"{doing}{said}")


def writing_engine(path: Path) -> Engine:
    """The engine of the one connection that writes. Transactions begin where we say, so that they cover DDL too."""

    def connect() -> sqlite3.Connection:
        raw = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        # The first of these decides the layout of a new file, so it comes first: what is removed can be given back.
        for pragma in (
            "auto_vacuum=INCREMENTAL",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "busy_timeout=5000",
            "journal_size_limit=67108864",
            "cache_size=-65536",
            "temp_store=MEMORY",
        ):
            raw.execute(f"PRAGMA {pragma}")
        return raw

    engine = create_engine("sqlite://", creator=connect, poolclass=StaticPool)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _reading_engine(path: Path, limits: Limits) -> Engine:
    def connect() -> sqlite3.Connection:
        uri = f"file:{quote(str(path.absolute()))}?mode=ro"
        raw = sqlite3.connect(
            uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5.0
        )
        raw.execute("PRAGMA query_only=ON")
        return raw

    engine = create_engine(
        "sqlite://", creator=connect, poolclass=QueuePool, pool_size=limits.readers, max_overflow=0
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        deadline = time.monotonic() + limits.read_seconds
        driver = _driver(connection)
        driver.set_progress_handler(lambda: time.monotonic() > deadline, STEPS_BETWEEN_LOOKS)
        connection.exec_driver_sql("BEGIN")

    return engine
