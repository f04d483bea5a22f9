"""Records of the audit log, put into the chain in the transaction of what they tell of.

The head is locked last of all, after revisions and positions, so that two transactions beside each other cannot wait
for one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, insert, select, update

from pilothouse_server.adapters.sql.tables_audit import AUDIT, AUDIT_HEAD
from pilothouse_server.domain.audit import Entry, chained

HEAD = 1


def append(connection: Connection, entries: Sequence[Entry]) -> None:
    """Puts the records at the end of the chain, in this order."""
    if not entries:
        return
    # An update locks the row on PostgreSQL; on SQLite there is one writer anyway.
    locked = (
        update(AUDIT_HEAD)
        .where(AUDIT_HEAD.c.id == HEAD)
        .values(sequence=AUDIT_HEAD.c.sequence + len(entries))
        .returning(AUDIT_HEAD.c.sequence, AUDIT_HEAD.c.hash)
    )
    last, previous = connection.execute(locked).one()
    rows: list[dict[str, Any]] = []
    for sequence, entry in enumerate(entries, last - len(entries) + 1):
        placed = chained(entry, sequence, previous)
        previous = placed.hash
        rows.append(_row(placed))
    connection.execute(insert(AUDIT), rows)
    connection.execute(update(AUDIT_HEAD).where(AUDIT_HEAD.c.id == HEAD).values(hash=previous))


def head(connection: Connection) -> tuple[int, str]:
    """The sequence and hash of the newest record."""
    found = connection.execute(select(AUDIT_HEAD.c.sequence, AUDIT_HEAD.c.hash)).one()
    return found.sequence, found.hash


def _row(entry: Entry) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(entry, name) for name in _PLAIN}
    row["outcome"] = int(entry.outcome)
    row["before"], row["after"] = dict(entry.before), dict(entry.after)
    row["error"] = None if entry.error is None else asdict(entry.error)
    return row


_PLAIN = (
    "sequence", "record_us", "actor", "verb", "target_kind", "target_id", "reason", "request_id", "command_id",
    "batch_id", "stop_id", "previous_hash", "hash",
)  # fmt: skip
