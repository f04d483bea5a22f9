"""What the engine must not forget, in one SQLite file: a change of a workflow, an agent or a hold, the events that
tell of it and the command that asked for it are one transaction.

So after a kill -9 the engine's own state and what it told the server never disagree: what was not yet delivered is
delivered again with the same ids. Commits are not synced to the disk one by one; a crash of the whole machine may lose
the newest.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

from pilothouse.v1.events_pb2 import Event

KEPT_WORKFLOWS = 1_000
"""Ended workflows that can still be retried."""
KEPT_COMMANDS = 10_000
"""Ids of applied commands that are remembered."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS workflow (
    id TEXT PRIMARY KEY, number INTEGER NOT NULL, state TEXT NOT NULL, body TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS workflow_by_state ON workflow (state, number);
CREATE TABLE IF NOT EXISTS agent (id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS hold (
    workflow_type TEXT NOT NULL, agent_type TEXT NOT NULL, PRIMARY KEY (workflow_type, agent_type)
) STRICT;
CREATE TABLE IF NOT EXISTS outbox (place INTEGER PRIMARY KEY AUTOINCREMENT, event BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS command (place INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE) STRICT;
"""


class JournalInUse(Exception):
    """Another engine works in this folder; the folder is the argument."""


class State(StrEnum):
    """Where a workflow stands, for the engine."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens by itself."""
        return self in ENDED


ENDED = (State.COMPLETED, State.FAILED, State.CANCELLED)


@dataclass(slots=True)
class Record:
    """One workflow, as far as it has come."""

    id: str
    number: int
    """Its brief follows from this and the seed."""
    state: State = State.QUEUED
    attempt: int = 1
    started: bool = False
    """Whether work on this attempt began."""
    next_stage: int = 0
    """The first stage of the plan that has not ended well."""
    pause_command: str = ""
    """The command that asked for a pause which has not begun yet."""
    tasks: dict[str, int] = field(default_factory=dict[str, int])
    """The newest attempt of each task."""
    open: list[str] = field(default_factory=list[str])
    """Tasks that have not ended."""
    blamed: list[str] = field(default_factory=list[str])
    """Files that the failed stage blamed."""
    redone: bool = False
    """Whether it was begun anew, because its work folder was gone."""


@dataclass(slots=True)
class AgentRecord:
    """One agent, as operators made it."""

    id: str
    capacity: int
    """Tasks that it can have at once."""
    draining: bool = False
    restart_command: str = ""
    """The command that asked for a restart which waits for what is in hand."""


class Hold(NamedTuple):
    """What is held. With nothing stated, everything."""

    workflow_type: str = ""
    agent_type: str = ""


class Journal:
    """The file, held by one engine at a time. `deliver` is given each event after it was written down."""

    def __init__(self, folder: Path, deliver: Callable[[Event], object]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(folder / "lock")
        self._deliver = deliver
        self._db = sqlite3.connect(folder / "journal.db", isolation_level=None)
        self._db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; {SCHEMA}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()
        self._lock.close()

    def setting(self, name: str, default: int) -> int:
        """A number that is decided once for all runs in this folder."""
        self._db.execute("INSERT OR IGNORE INTO setting VALUES (?, ?)", (name, default))
        (value,) = self._db.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return int(value)

    def commit(self, record: Record, events: Sequence[Event], command_id: str = "") -> None:
        """Write down a workflow, what is to be told of it and the command that was applied; then tell."""
        self._write(
            "INSERT INTO workflow VALUES (?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET state = excluded.state, body = excluded.body",
            (record.id, record.number, record.state, json.dumps(asdict(record))),
            events,
            command_id,
        )

    def commit_agent(
        self, record: AgentRecord, events: Sequence[Event], command_id: str = ""
    ) -> None:
        """The same for an agent."""
        self._write(
            "INSERT OR REPLACE INTO agent VALUES (?, ?)",
            (record.id, json.dumps(asdict(record))),
            events,
            command_id,
        )

    def commit_hold(
        self, hold: Hold, held: bool, events: Sequence[Event], command_id: str = ""
    ) -> None:
        """The same for a hold."""
        change = (
            "INSERT OR IGNORE INTO hold VALUES (?, ?)"
            if held
            else "DELETE FROM hold WHERE workflow_type = ? AND agent_type = ?"
        )
        self._write(change, hold, events, command_id)

    def _write(
        self, change: str, values: Sequence[Any], events: Sequence[Event], command_id: str
    ) -> None:
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(change, values)
            self._db.executemany(
                "INSERT INTO outbox (event) VALUES (?)",
                [(event.SerializeToString(),) for event in events],
            )
            if command_id:
                self._db.execute("INSERT OR IGNORE INTO command (id) VALUES (?)", (command_id,))
        for event in events:
            self._deliver(event)

    def agent(self, agent_id: str) -> AgentRecord | None:
        """One agent; None when it is as it always was."""
        row = self._db.execute("SELECT body FROM agent WHERE id = ?", (agent_id,)).fetchone()
        return AgentRecord(**json.loads(row[0])) if row else None

    def holds(self) -> set[Hold]:
        """All that is held."""
        return {
            Hold(*row) for row in self._db.execute("SELECT workflow_type, agent_type FROM hold")
        }

    def was_applied(self, command_id: str) -> bool:
        """Whether a command has had its effect here, or is sure to have it."""
        return bool(
            self._db.execute("SELECT 1 FROM command WHERE id = ?", (command_id,)).fetchone()
        )

    def find(self, workflow_id: str) -> Record | None:
        """One workflow."""
        row = self._db.execute("SELECT body FROM workflow WHERE id = ?", (workflow_id,)).fetchone()
        return _record(row[0]) if row else None

    def unfinished(self) -> list[Record]:
        """Workflows that have not ended, oldest first."""
        marks = ", ".join("?" * len(ENDED))
        rows = self._db.execute(
            f"SELECT body FROM workflow WHERE state NOT IN ({marks}) ORDER BY number",  # noqa: S608 - only marks
            ENDED,
        )
        return [_record(body) for (body,) in rows]

    def next_number(self) -> int:
        """The number of the next workflow, from 1."""
        return int(
            self._db.execute("SELECT coalesce(max(number), 0) + 1 FROM workflow").fetchone()[0]
        )

    def ended_ids(self, newest: int) -> set[str]:
        """Of the workflows that ended, the newest."""
        rows = self._db.execute(
            "SELECT id FROM workflow WHERE state IN (?, ?, ?) ORDER BY number DESC LIMIT ?",
            (*ENDED, newest),
        )
        return {workflow_id for (workflow_id,) in rows}

    def outbox(self) -> tuple[int, list[Event]]:
        """What may not be delivered yet, oldest first, and the place of the last."""
        rows = self._db.execute("SELECT place, event FROM outbox ORDER BY place").fetchall()
        return (rows[-1][0] if rows else 0), [Event.FromString(event) for _, event in rows]

    def outbox_end(self) -> tuple[int, int]:
        """The place of the last event that may not be delivered yet, and how many there are."""
        last, count = self._db.execute(
            "SELECT coalesce(max(place), 0), count(*) FROM outbox"
        ).fetchone()
        return int(last), int(count)

    def delivered(self, place: int) -> None:
        """Events up to here are in the server's log. Forget them, and what is too old."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("DELETE FROM outbox WHERE place <= ?", (place,))
            self._db.execute(
                "DELETE FROM command WHERE place <= (SELECT max(place) FROM command) - ?",
                (KEPT_COMMANDS,),
            )
            self._db.execute(
                "DELETE FROM workflow WHERE state IN (?, ?, ?)"
                " AND number <= (SELECT max(number) FROM workflow) - ?",
                (*ENDED, KEPT_WORKFLOWS),
            )


def new_seed() -> int:
    """A seed that nobody chose."""
    return secrets.randbits(31)


def _record(body: str) -> Record:
    record = Record(**json.loads(body))
    record.state = State(record.state)
    return record


def _lock(path: Path) -> IO[str]:
    file = path.open("w", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise JournalInUse(str(path.parent)) from None
    return file
