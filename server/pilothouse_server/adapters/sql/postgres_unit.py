"""One transaction on PostgreSQL, from the first try to the last, in a thread of its own.

Until COMMIT is sent nothing is kept of a transaction that fails, so it may run again. Once it is sent, a connection
that breaks leaves it unknown whether it was kept.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, cast

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.types.string import StrBinaryDumper, StrDumper
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from pilothouse_server.adapters.sql import postgres_server
from pilothouse_server.domain.errors import Unavailable

T_co = TypeVar("T_co", covariant=True)

_LOST: Final = ("40001", "40P01", "23505")
"""Codes of a transaction that lost against another: it was not in order with it, each waited for the other, or both
added the same row."""

_UNSOUND: Final = (None, "22021")
"""Codes of a text with a NUL, which SQLite takes: the driver refuses it without one."""

_BROKEN_TRIES: Final = 2
"""Connections that one transaction may lose before it gives up: one that the server closed while nobody used it, and
one more."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a database. Times are seconds."""

    queued_writes: int = 1024
    """Writes that may wait; one more is refused."""
    writers: int = 6
    """Writes beside others that run at once in this process; of the plain ones one runs."""
    queued_reads: int = 256
    """Reads that may wait or run; one more is refused."""
    readers: int = 4
    """Reads that run at once."""
    read_seconds: float = 10.0
    """What one statement of a read may take."""
    write_seconds: float = 20.0
    """What one statement of a write may take."""
    lock_seconds: float = 10.0
    """What a statement may wait for a lock: longer than another transaction may stand still."""
    still_seconds: float = 5.0
    """For which a transaction may stand still before the server ends it."""
    whole_seconds: float = 30.0
    """After which the connection of a transaction that is still under way is cut."""
    close_seconds: float = 5.0
    """That closing gives to what is under way."""
    tries: int = 5
    """Times that a transaction runs which loses against others."""


@dataclass(slots=True)
class Counts:
    """For `/metrics`."""

    refused: int = 0
    """Calls refused because too many were waiting."""
    repeated: int = 0
    """Transactions that ran again because they lost against another one."""
    broken: int = 0
    """Connections that broke in use."""
    cut: int = 0
    """Connections cut because the server did not answer."""


class Source:
    """Where connections come from. After an attempt that failed nobody tries again for as long as it took, so that a
    server which does not answer does not hold up one after the other."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.closing = False
        self._refusal: Unavailable | None = None
        self._refusing_until = 0.0

    def pool(self, settings: dict[str, str], size: int) -> Engine:
        """Up to `size` connections with these settings, each made when it is needed."""
        return create_engine(
            "postgresql+psycopg://",
            creator=lambda: self._connect(settings),
            poolclass=QueuePool,
            pool_size=size,
            max_overflow=0,
            use_native_hstore=False,
        )

    def _connect(self, settings: dict[str, str]) -> psycopg.Connection[Any]:
        begun = time.monotonic()
        refusal = self._refusal
        if refusal is not None and (self.closing or begun < self._refusing_until):
            raise Unavailable(refusal.what, refusal.detail)
        try:
            connection = postgres_server.connect(self.url, settings)
        except Unavailable as error:
            now = time.monotonic()
            self._refusal, self._refusing_until = error, now + (now - begun)
            raise
        self._refusal = None
        return connection


class Unit(Generic[T_co]):
    """A function, and what becomes of it."""

    def __init__(
        self,
        connections: Engine,
        begin: str,
        run: Callable[[Connection], T_co],
        limits: Limits,
        counts: Counts,
    ) -> None:
        self._connections = connections
        self._begin = begin
        self._function = run
        self._limits = limits
        self._counts = counts
        self._begun = time.monotonic()
        self._driver: psycopg.Connection[Any] | None = None
        self._lock = threading.Lock()
        self._committing = False
        self._unwanted = False
        self._only_sound_text = False

    @property
    def overdue(self) -> bool:
        """Whether one try takes longer than any may."""
        return time.monotonic() - self._begun > self._limits.whole_seconds

    def give_up(self) -> bool:
        """Nobody waits for it any more: it is not tried again. Whether a try is under way, which may be kept."""
        with self._lock:
            self._unwanted = True
            return self._driver is not None

    def cut(self) -> bool:
        """Breaks the connection that it is using, from another thread; False when it uses none."""
        with self._lock:
            if self._driver is None:
                return False
            with contextlib.suppress(psycopg.Error, OSError):
                duplicate = socket.socket(fileno=os.dup(self._driver.fileno()))
                with duplicate:
                    duplicate.shutdown(socket.SHUT_RDWR)
            return True

    def run(self) -> T_co:
        """What the function returns, once it is committed."""
        lost = broken = 0
        while True:
            try:
                return self._try()
            except _BrokenError as error:
                self._counts.broken += 1
                broken += 1
                if broken > _BROKEN_TRIES or self._unwanted:
                    raise _told(error.cause) from None
            except DBAPIError as error:
                lost += 1
                if not self._may_repeat(error) or lost >= self._limits.tries or self._unwanted:
                    raise _told(error) from error
                self._counts.repeated += 1
                time.sleep(random.uniform(0.0, 0.005 * 2**lost))  # noqa: S311 - those that met part again
            except UnicodeEncodeError:
                if self._only_sound_text:
                    raise
                self._only_sound_text = True

    def _try(self) -> T_co:
        self._committing = False
        self._begun = time.monotonic()
        with self._connections.connect() as connection:
            driver = self._use(connection)
            try:
                connection.exec_driver_sql(self._begin)
                value = self._function(connection)
                _refuse_if_failed(driver)
                self._committing = True
                connection.commit()
            except BaseException as error:
                self._leave(connection, driver, error)
                raise
            finally:
                with self._lock:
                    self._driver = None
                if self._only_sound_text:
                    connection.invalidate()
        return value

    def _use(self, connection: Connection) -> psycopg.Connection[Any]:
        driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
        with self._lock:
            if self._unwanted:
                raise Unavailable("database", "nobody waits for this any more")
            self._driver = driver
        if self._only_sound_text:
            driver.adapters.register_dumper(str, _SoundBinaryText)
            driver.adapters.register_dumper(str, _SoundText)
        return driver

    def _leave(
        self, connection: Connection, driver: psycopg.Connection[Any], error: BaseException
    ) -> None:
        """Rolls back. Raises what is known of the outcome when the connection is lost."""
        with self._lock:
            self._driver = None
        if not _lost(driver):
            with contextlib.suppress(DBAPIError):
                connection.rollback()
        if not _lost(driver):
            return
        connection.invalidate()
        if self._committing and not postgres_server.stood_still(error):
            self._counts.broken += 1
            raise Unavailable(
                "database",
                "the connection broke during the commit, so nobody knows whether this was kept; look, or ask again",
            ) from None
        raise _BrokenError(error) from None

    def _may_repeat(self, error: DBAPIError) -> bool:
        cause = error.orig
        if isinstance(cause, psycopg.DataError) and cause.sqlstate in _UNSOUND:
            first, self._only_sound_text = not self._only_sound_text, True
            return first
        return isinstance(cause, psycopg.Error) and cause.sqlstate in _LOST


class _BrokenError(Exception):
    """The connection is gone, and nothing of the transaction was kept."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _SoundText(StrDumper):
    """Writes U+FFFD for what PostgreSQL cannot hold in a text. Used only after such a text was refused."""

    def dump(self, obj: str) -> bytes:
        return _sound(obj)


class _SoundBinaryText(StrBinaryDumper):
    """The same in the binary form."""

    def dump(self, obj: str) -> bytes:
        return _sound(obj)


def _sound(text: str) -> bytes:
    encoded = text.replace("\0", "\ufffd").encode("utf-8", "surrogatepass")
    return encoded.decode("utf-8", "replace").encode()


def _lost(driver: psycopg.Connection[Any]) -> bool:
    return driver.closed or driver.pgconn.transaction_status == TransactionStatus.UNKNOWN


def _refuse_if_failed(driver: psycopg.Connection[Any]) -> None:
    """COMMIT after a statement that failed is ROLLBACK, and says so to nobody."""
    if driver.pgconn.transaction_status == TransactionStatus.INERROR:
        raise RuntimeError(
            "a statement of the transaction failed; use a savepoint to go on after one"
        )


def _told(error: BaseException) -> BaseException:
    """What the caller hears of an error of the database."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, psycopg.Error):
        return postgres_server.unavailable(cause) or error
    return error if isinstance(error, DBAPIError) else Unavailable("database", str(error))
