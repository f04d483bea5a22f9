"""The embedded event log: one SQLite file whose only writer is a thread that commits what has gathered (group commit).

An entry's place is a number without holes; its cursor is that number behind the log's epoch, so that a cursor of
another log is recognised instead of silently skipping entries. The newest entries stay in memory, within a bound, so
that whoever follows the log live never reads the file. Who asks for entries that were trimmed away is given those after
them, and the gap is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from pilothouse_server.adapters import sqlite_log_file
from pilothouse_server.adapters.sqlite_log_file import MARK_EVERY, Opened, Trimmed
from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.ports import LogEntry, LogKeep
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.status import LogShard

GAPS_REMEMBERED: Final = 64
"""Gaps that are told from new ones, however many consumers meet them."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds the log's memory."""

    queued_entries: int = 8192
    """Entries that may wait for their commit; one more is refused."""
    queued_bytes: int = 64 << 20
    """Bytes that may wait for their commit; more are refused, but one entry alone never is."""
    entries_in_commit: int = 1024
    recent_entries: int = 8192
    """Entries kept in memory for those who follow."""
    recent_bytes: int = 32 << 20
    file_bytes: int = 1 << 40
    """The file is never larger; then the log is full, as if the disk were."""
    bytes_in_read: int = 8 << 20
    """What one read returns at most, unless its first entry alone is larger."""


class LogGap(NamedTuple):
    """Entries that were trimmed before somebody had read them."""

    after: str
    """The cursor from which it was read."""
    before: str
    """The cursor of the entry that was read next."""
    entries: int
    """How many are missing in between."""


@dataclass(slots=True)
class LogCounts:
    """For `/metrics`."""

    trimmed: int = 0
    """Entries removed."""
    unread: int = 0
    """Those among them that the consumer furthest behind had not read: the log was over its cap."""
    gaps: int = 0
    """Gaps that a reader met."""
    missed: int = 0
    """Entries missing in them."""


@dataclass(slots=True)
class _Append:
    payload: bytes
    future: asyncio.Future[str]


@dataclass(slots=True)
class _Trim:
    read: int
    keep: LogKeep
    future: asyncio.Future[int]


class SqliteLog:
    """An `EventLog` in the file at `path`, made when there is none. Lives on the loop on which it is made.

    Raises Unavailable when the file cannot be opened or is not a log; appends do when the queue is full, the disk
    refuses or it is closed.
    """

    def __init__(
        self,
        path: Path,
        *,
        limits: Limits | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.counts = LogCounts()
        self.gap: LogGap | None = None
        """The last one that was met."""
        self._gaps: dict[int, LogGap] = {}
        self._limits = limits or Limits()
        self._wall = wall
        self._marked = wall()
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Append | _Trim | None] = queue.SimpleQueue()
        self._queued_entries = self._queued_bytes = 0
        self._recent: dict[int, LogEntry] = {}
        self._recent_bytes = 0
        self._appended = Changes()
        self._closed = False
        opened: Future[Opened] = Future()
        self._writer = threading.Thread(
            target=self._serve, args=(opened,), name="log-write", daemon=True
        )
        self._writer.start()
        try:
            _, self._epoch, self._oldest, self._newest = opened.result()
        except sqlite3.Error as error:
            self._closed = True
            raise Unavailable("log", f"cannot open {path}: {error}") from error
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="log-read")
        self._reading: sqlite3.Connection | None = None

    async def append(self, payload: bytes) -> str:
        """Returns the entry's cursor when it is on disk."""
        if self._closed:
            raise Unavailable("log", "it is closed")
        limits = self._limits
        size = self._queued_bytes + len(payload)
        if self._queued_entries >= limits.queued_entries or (
            self._queued_bytes and size > limits.queued_bytes
        ):
            raise Unavailable("log", "more events are waiting for the disk than it can take")
        self._queued_entries += 1
        self._queued_bytes = size
        append = _Append(payload, self._loop.create_future())
        self._queue.put(append)
        return await append.future

    async def read(self, after: str, *, limit: int, wait: float = 0.0) -> Sequence[LogEntry]:
        """From memory where possible. Raises ValueError for a cursor of another log, or one beyond this one's end."""
        place = self._place(after)
        if place > self._newest:
            raise ValueError(
                f"cursor {after!r} is beyond the end of the log, {self._cursor(self._newest)!r}"
            )
        deadline = time.monotonic() + wait
        while place == self._newest:
            seen = self._appended.version
            left = deadline - time.monotonic()
            if left <= 0 or self._closed or not await self._appended.wait(seen, left):
                return ()
        if place + 1 in self._recent:
            return self._read_recent(place, limit)
        if self._closed:
            raise Unavailable("log", "it is closed")
        # The file may have what the writer has not told of yet: that comes with the next read.
        entries = await self._loop.run_in_executor(
            self._reader, self._read_file, place, self._newest, limit
        )
        if entries and (found := self._place(entries[0].cursor)) > place + 1:
            self._note_gap(place, found)
        return entries

    async def trim(self, slowest: str, keep: LogKeep) -> int:
        """As the port says. Raises ValueError for a cursor of another log."""
        read = self._place(slowest)
        if self._closed:
            raise Unavailable("log", "it is closed")
        trim = _Trim(read, keep, self._loop.create_future())
        self._queue.put(trim)
        return await trim.future

    @property
    def oldest(self) -> str:
        """The cursor of the oldest entry that is kept, or of the first one to come."""
        return self._cursor(self._oldest)

    async def tail(self) -> str:
        """The cursor of the newest entry that is on disk."""
        return self._cursor(self._newest)

    async def status(self) -> LogShard:
        """How it is."""
        return LogShard(
            shard=0,
            stream=str(self.path),
            cursor=await self.tail(),
            dead_events=0,
            gaps=self.counts.gaps,
            rewinds=0,
        )

    def position(self, cursor: str) -> tuple[int, ...]:
        """One number."""
        return (self._place(cursor),)

    async def close(self) -> None:
        """Commits what is queued and lets those who wait go. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._appended.notify()
        self._queue.put(None)
        await asyncio.to_thread(self._reader.shutdown, cancel_futures=True)
        if self._reading is not None:
            self._reading.close()
        await asyncio.to_thread(self._writer.join)

    def _cursor(self, place: int) -> str:
        return f"{self._epoch}-{place}" if place else ""

    def _place(self, cursor: str) -> int:
        if not cursor:
            return 0
        epoch, _, place = cursor.partition("-")
        if epoch != self._epoch or not (place.isascii() and place.isdigit()):
            raise ValueError(f"{cursor!r} is not a cursor of this log")
        return int(place)

    def _note_gap(self, place: int, found: int) -> None:
        gap = LogGap(self._cursor(place), self._cursor(found), found - place - 1)
        self.gap = gap
        if self._gaps.get(place) == gap:
            return
        self.counts.gaps += 1
        self.counts.missed += gap.entries
        self._gaps[place] = gap
        if len(self._gaps) > GAPS_REMEMBERED:
            del self._gaps[next(iter(self._gaps))]

    def _read_recent(self, place: int, limit: int) -> Sequence[LogEntry]:
        entries: list[LogEntry] = []
        size = 0
        for number in range(place + 1, min(self._newest, place + limit) + 1):
            entry = self._recent[number]
            size += len(entry.payload)
            if entries and size > self._limits.bytes_in_read:
                break
            entries.append(entry)
        return entries

    def _committed(self, appends: list[_Append]) -> None:
        for append in appends:
            self._newest += 1
            cursor = self._cursor(self._newest)
            self._recent[self._newest] = LogEntry(cursor, append.payload)
            self._recent_bytes += len(append.payload)
            self._dequeue(append)
            if not append.future.done():
                append.future.set_result(cursor)
        limits = self._limits
        oldest = next(iter(self._recent))
        while len(self._recent) > limits.recent_entries or self._recent_bytes > limits.recent_bytes:
            self._recent_bytes -= len(self._recent.pop(oldest).payload)
            oldest += 1
        self._appended.notify()

    def _refused(self, appends: list[_Append], error: sqlite3.Error) -> None:
        full = "disk is full" in str(error)
        detail = "the disk is full; none of these events was kept" if full else str(error)
        for append in appends:
            self._dequeue(append)
            if not append.future.done():
                append.future.set_exception(Unavailable("log", detail))

    def _trimmed(self, trim: _Trim, trimmed: Trimmed) -> None:
        self._oldest = trimmed.oldest
        self.counts.trimmed += trimmed.entries
        self.counts.unread += trimmed.unread
        if not trim.future.done():
            trim.future.set_result(trimmed.entries)

    def _not_trimmed(self, trim: _Trim, error: sqlite3.Error) -> None:
        if not trim.future.done():
            trim.future.set_exception(Unavailable("log", f"cannot remove old entries: {error}"))

    def _dequeue(self, append: _Append) -> None:
        self._queued_entries -= 1
        self._queued_bytes -= len(append.payload)

    # What follows runs in the reader's thread.

    def _read_file(self, place: int, newest: int, limit: int) -> Sequence[LogEntry]:
        if self._reading is None:
            uri = f"file:{quote(str(self.path.absolute()))}?mode=ro"
            self._reading = sqlite3.connect(
                uri, uri=True, isolation_level=None, check_same_thread=False
            )
        entries: list[LogEntry] = []
        size = 0
        try:
            found = self._reading.execute(
                "SELECT position, payload FROM entries WHERE position > ? AND position <= ? "
                "ORDER BY position LIMIT ?",
                (place, newest, limit),
            )
            with contextlib.closing(found):
                for number, payload in found:
                    size += len(payload)
                    if entries and size > self._limits.bytes_in_read:
                        break
                    entries.append(LogEntry(self._cursor(number), payload))
        except sqlite3.Error as error:
            raise Unavailable("log", str(error)) from error
        return entries

    # What follows runs in the writer's thread.

    def _serve(self, opened: Future[Opened]) -> None:
        try:
            file = sqlite_log_file.open_file(self.path, self._limits.file_bytes, self._wall())
        except sqlite3.Error as error:
            opened.set_exception(error)
            return
        opened.set_result(file)
        newest = file.newest
        with contextlib.closing(file.connection) as connection:
            while (unit := self._queue.get()) is not None:
                appends: list[_Append] = []
                while isinstance(unit, _Append):
                    appends.append(unit)
                    full = len(appends) >= self._limits.entries_in_commit
                    if full or self._queue.empty():
                        break
                    unit = self._queue.get_nowait()
                if appends:
                    newest = self._commit(connection, appends, newest)
                if isinstance(unit, _Trim):
                    self._do_trim(connection, unit)
                elif unit is None:
                    break

    def _commit(self, connection: sqlite3.Connection, appends: list[_Append], newest: int) -> int:
        rows = ((newest + number, append.payload) for number, append in enumerate(appends, start=1))
        now = self._wall()
        marks = abs(now - self._marked) >= MARK_EVERY
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO entries (position, payload) VALUES (?, ?)", rows)
            if marks:
                sqlite_log_file.mark(connection, now, newest + len(appends))
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._tell(self._refused, appends, error)
            return newest
        if marks:
            self._marked = now
        self._tell(self._committed, appends)
        return newest + len(appends)

    def _do_trim(self, connection: sqlite3.Connection, trim: _Trim) -> None:
        try:
            trimmed = sqlite_log_file.trim(connection, trim.read, trim.keep, self._wall())
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._tell(self._not_trimmed, trim, error)
            return
        self._tell(self._trimmed, trim, trimmed)

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(callback, *arguments)
