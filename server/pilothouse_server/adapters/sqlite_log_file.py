"""The file of the embedded log, as its writer sees it: how it is made, and how its oldest entries go.

Entries carry no time. Now and then a mark says up to which entry the log had come by when: that is enough to know what
is older than a day, and costs an append nothing. The newest entry is never removed, so that no place is used twice.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Final, NamedTuple

from pilothouse_server.ports import LogKeep

FORMAT: Final = 2
"""The file's `user_version`."""

SCHEMA: Final = (
    "CREATE TABLE entries (position INTEGER PRIMARY KEY, payload BLOB NOT NULL)",
    "CREATE TABLE identity (epoch TEXT NOT NULL)",
)
MARKS: Final = "CREATE TABLE marks (at INTEGER PRIMARY KEY, position INTEGER NOT NULL)"
"""`at`, in seconds since the epoch: everything up to `position` had been appended by then. Not in format 1."""

MARK_EVERY: Final = 60
"""Seconds between two marks at least: entries stay so much longer than they were to."""
ENTRIES_IN_TRIM: Final = 512
BYTES_IN_TRIM: Final = 2 << 20
"""What one transaction removes at most, so that appends wait some milliseconds for it."""
SPARE_PAGES: Final = 2048
"""Free pages that the file may keep, or a quarter of it if that is more: they are filled before the file grows."""
PAGES_IN_TRIM: Final = 512
"""Free pages that one transaction gives back to the disk."""


class Opened(NamedTuple):
    """The file, ready."""

    connection: sqlite3.Connection
    epoch: str
    oldest: int
    """The place of the oldest entry, or of the first one to come."""
    newest: int
    """The place of the newest entry; 0 when there is none."""


class Trimmed(NamedTuple):
    """What one step removed."""

    entries: int
    unread: int
    """Those among them that somebody had not read."""
    oldest: int
    """The place of the oldest entry now."""


def open_file(path: Path, file_bytes: int, now: float) -> Opened:
    """Makes the file when there is none, and brings an older one up to date. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    try:
        # The first of these decides the layout of a new file, so it has to come first.
        for pragma in (
            "auto_vacuum=INCREMENTAL",
            "journal_mode=WAL",
            "synchronous=FULL",
            "journal_size_limit=67108864",
        ):
            connection.execute(f"PRAGMA {pragma}")
        pages = file_bytes // _number(connection, "page_size")
        connection.execute(f"PRAGMA max_page_count={pages}")
        connection.execute("BEGIN IMMEDIATE")
        _bring_up_to_date(connection)
        (epoch,) = connection.execute("SELECT epoch FROM identity").fetchone()
        found = "SELECT coalesce(min(position), 1), coalesce(max(position), 0) FROM entries"
        oldest, newest = connection.execute(found).fetchone()
        mark(connection, now, newest)
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return Opened(connection, str(epoch), int(oldest), int(newest))


def _bring_up_to_date(connection: sqlite3.Connection) -> None:
    version = _number(connection, "user_version")
    if version > FORMAT:
        raise sqlite3.DatabaseError(f"its format is {version}, this version reads {FORMAT}")
    if version == 0:
        for statement in SCHEMA:
            connection.execute(statement)
        made = f"{time.time_ns() // 1000:x}"
        connection.execute("INSERT INTO identity (epoch) VALUES (?)", (made,))
    if version < FORMAT:
        connection.execute(MARKS)
        connection.execute(f"PRAGMA user_version={FORMAT}")


def mark(connection: sqlite3.Connection, now: float, newest: int) -> None:
    """Notes that everything up to `newest` has been appended by now; within a transaction."""
    connection.execute(
        "INSERT OR REPLACE INTO marks (at, position) VALUES (?, ?)", (int(now), newest)
    )


def trim(connection: sqlite3.Connection, read: int, keep: LogKeep, now: float) -> Trimmed:
    """One step of trimming, in a transaction of its own; `read` is the place up to which everybody has read."""
    connection.execute("BEGIN IMMEDIATE")
    trimmed = _remove(connection, read, keep, now)
    _give_back(connection)
    connection.execute("COMMIT")
    return trimmed


def _remove(connection: sqlite3.Connection, read: int, keep: LogKeep, now: float) -> Trimmed:
    size = _used(connection)
    aged = _aged(connection, now - keep.age_us / 1_000_000) if keep.age_us else 0
    (newest,) = connection.execute("SELECT coalesce(max(position), 0) FROM entries").fetchone()
    first = last = removed = 0
    # Their payloads are not read for their lengths.
    found = connection.execute(
        "SELECT position, length(payload) FROM entries ORDER BY position LIMIT ?",
        (ENTRIES_IN_TRIM,),
    )
    for position, length in found.fetchall():
        first = first or position
        too_large = bool(keep.size_bytes) and size - removed > keep.size_bytes
        over_cap = bool(keep.cap_bytes) and size - removed > keep.cap_bytes
        goes = over_cap or (position <= read and (position <= aged or too_large))
        if not goes or position >= newest or (removed and removed + length > BYTES_IN_TRIM):
            break
        last = position
        removed += length
    if not last:
        return Trimmed(0, 0, first or newest + 1)
    connection.execute("DELETE FROM entries WHERE position <= ?", (last,))
    connection.execute("DELETE FROM marks WHERE position <= ?", (last,))
    return Trimmed(last - first + 1, last - max(read, first - 1) if last > read else 0, last + 1)


def _aged(connection: sqlite3.Connection, before: float) -> int:
    """The place of the newest entry that is known to have been there by then."""
    found = connection.execute(
        "SELECT coalesce(max(position), 0) FROM marks WHERE at <= ?", (int(before),)
    )
    place: int = found.fetchone()[0]
    return place


def _used(connection: sqlite3.Connection) -> int:
    """Bytes of the file that hold something."""
    pages = _number(connection, "page_count") - _number(connection, "freelist_count")
    return pages * _number(connection, "page_size")


def _give_back(connection: sqlite3.Connection) -> None:
    spare = max(SPARE_PAGES, _number(connection, "page_count") // 4)
    over = _number(connection, "freelist_count") - spare
    for _ in range(min(over, PAGES_IN_TRIM)):
        # The driver takes one step of a statement without rows, and each step frees one page.
        connection.execute("PRAGMA incremental_vacuum(1)")


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    (value,) = connection.execute(f"PRAGMA {pragma}").fetchone()
    return int(value)
