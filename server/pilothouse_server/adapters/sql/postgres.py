"""PostgreSQL as one writer for those who need one, and as many as there are for those who lock what they change.

A plain write holds an advisory lock of the whole database alone, so that code which was written for a single writer is
right here too; a write beside others shares that lock. Both run again when they lost against another transaction, or
their connection, before the commit. A transaction that stands still is ended by the server within seconds: a frozen
process holds no lock for long.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from sqlalchemy import Connection

from pilothouse_server.adapters.sql import postgres_server
from pilothouse_server.adapters.sql.postgres_unit import Counts, Limits, Source, Unit
from pilothouse_server.domain.errors import Unavailable

T = TypeVar("T")

WRITE_LOCK: Final = 0x50494C4F54
"""The key of the advisory lock that plain writes hold alone."""

LOOKS_EVERY: Final = 1.0
"""Seconds between two looks for what the server does not answer, while something is under way."""

LEFT_ALONE: Final = 1.0
"""Seconds that a write which was cancelled may still take before its connection is cut."""

_EXCLUSIVE: Final = f"BEGIN; SELECT pg_advisory_xact_lock({WRITE_LOCK})"
_SHARED: Final = f"BEGIN; SELECT pg_advisory_xact_lock_shared({WRITE_LOCK})"
_READING: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class PostgresDatabase:
    """`write` and `read` run a function of a SQLAlchemy connection in a transaction, off the loop.

    Connects when it is used: a server that is away is found out by the calls, which raise Unavailable until it is back.
    Raises Misconfigured when the URL is none of PostgreSQL.
    """

    def __init__(self, url: str, *, limits: Limits | None = None) -> None:
        self.counts = Counts()
        self._limits = limits = limits or Limits()
        self._closed = False
        self._source = source = Source(postgres_server.judged(url))
        writing = _settings(limits.write_seconds, limits)
        reading = _settings(limits.read_seconds, limits)
        self._plain = _Line(source, writing, _EXCLUSIVE, 1)
        self._beside = _Line(source, writing, _SHARED, limits.writers)
        self._reading = _Line(source, reading, _READING, limits.readers)
        self._watch: asyncio.TimerHandle | None = None

    async def write(self, run: Callable[[Connection], T], *, beside: bool = False) -> T:
        """What `run` returns, once it is committed. What it raises is raised here, and then nothing of it is kept. When
        the connection breaks while committing, nobody knows: that is Unavailable too, and doing it again must be
        harmless. Who is cancelled does not know either, but goes on only when it is over: what is written next is never
        overtaken by what was given up."""
        if self.waiting >= self._limits.queued_writes:
            self.counts.refused += 1
            raise Unavailable("database", "too many writes are waiting")
        line = self._beside if beside else self._plain
        unit = self._unit(line, run)
        return await line.settle(unit, line.submit(unit))

    async def read(self, run: Callable[[Connection], T]) -> T:
        """What `run` returns; all that it reads is of one moment, and it cannot write."""
        if self._reading.pending >= self._limits.queued_reads:
            self.counts.refused += 1
            raise Unavailable("database", "too many reads are waiting")
        return await self._reading.submit(self._unit(self._reading, run))

    @property
    def waiting(self) -> int:
        """Writes that have not begun."""
        return self._plain.waiting + self._beside.waiting

    async def close(self) -> None:
        """Commits what is queued, then closes. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._source.closing = True
        # One after the other: what a read or a write beside others begins with is never a plain write.
        for line, leave in ((self._reading, True), (self._beside, False), (self._plain, False)):
            ending = asyncio.create_task(asyncio.to_thread(line.close, leave=leave))
            _, unfinished = await asyncio.wait({ending}, timeout=self._limits.close_seconds)
            if unfinished:
                self._cut(line.under_way())
            await ending
        if self._watch is not None:
            self._watch.cancel()

    def _unit(self, line: _Line, run: Callable[[Connection], T]) -> Unit[T]:
        if self._closed:
            raise Unavailable("database", "it is closed")
        if self._watch is None:
            self._look_later()
        return Unit(line.connections, line.begin, run, self._limits, self.counts)

    def _look_later(self) -> None:
        self._watch = asyncio.get_running_loop().call_later(LOOKS_EVERY, self._look)

    def _look(self) -> None:
        """Cuts the connections of those that are under way for too long: the server does not answer, or has not for a
        long time."""
        self._watch = None
        lines = (self._plain, self._beside, self._reading)
        self._cut(unit for line in lines for unit in line.under_way() if unit.overdue)
        if any(line.pending for line in lines):
            self._look_later()

    def _cut(self, units: Iterable[Unit[object]]) -> None:
        for unit in units:
            if unit.cut():
                self.counts.cut += 1


class _Line:
    """Units that wait for a thread and a connection of one kind."""

    def __init__(self, source: Source, settings: dict[str, str], begin: str, width: int) -> None:
        self.begin = begin
        self.connections = source.pool(settings, width)
        self.pending = 0
        """Units that wait or run."""
        self._running: set[Unit[object]] = set()
        self._threads = ThreadPoolExecutor(width, thread_name_prefix="postgres")
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """Units that have not begun."""
        return self.pending - len(self._running)

    def under_way(self) -> list[Unit[object]]:
        """Units that have begun."""
        with self._lock:
            return list(self._running)

    def submit(self, unit: Unit[T]) -> asyncio.Future[T]:
        """The unit's outcome. When that is cancelled before the unit begins, it is left out."""
        with self._lock:
            self.pending += 1
        running = self._threads.submit(self._run, unit)
        running.add_done_callback(lambda _: self._leave(unit))
        outcome = asyncio.wrap_future(running)
        # Whoever waited may have been cancelled, even twice.
        outcome.add_done_callback(_seen)
        return outcome

    async def settle(self, unit: Unit[T], outcome: asyncio.Future[T]) -> T:
        """The outcome. Who is cancelled waits until there is one: a little for the unit to end by itself, then its
        connection is cut."""
        try:
            return await asyncio.shield(outcome)
        except asyncio.CancelledError:
            if unit.give_up():
                await asyncio.wait({outcome}, timeout=LEFT_ALONE)
                if not outcome.done() and unit.cut():
                    await asyncio.wait({outcome})
            outcome.cancel()
            raise

    def close(self, *, leave: bool) -> None:
        """Ends what is under way and, unless it is left, what waits."""
        self._threads.shutdown(cancel_futures=leave)
        with contextlib.suppress(Unavailable):
            self.connections.dispose()

    def _run(self, unit: Unit[T]) -> T:
        with self._lock:
            self._running.add(unit)
        return unit.run()

    def _leave(self, unit: Unit[object]) -> None:
        with self._lock:
            self._running.discard(unit)
            self.pending -= 1


def _seen(outcome: asyncio.Future[Any]) -> None:
    if not outcome.cancelled():
        outcome.exception()


def _settings(statement_seconds: float, limits: Limits) -> dict[str, str]:
    """What each connection is told once."""
    milliseconds = {
        "statement_timeout": statement_seconds,
        "lock_timeout": limits.lock_seconds,
        "idle_in_transaction_session_timeout": limits.still_seconds,
        "tcp_user_timeout": limits.whole_seconds,
    }
    told = {name: str(round(1000 * seconds)) for name, seconds in milliseconds.items()}
    # A plan that suits every value cannot use an index of some rows; compiling one, or starting processes that share
    # the work, costs more than our queries.
    return told | {
        "plan_cache_mode": "force_custom_plan",
        "jit": "off",
        "max_parallel_workers_per_gather": "0",
    }
