"""Rows of agents ⇄ records."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final
from zlib import crc32

from sqlalchemy import Connection, Integer, bindparam, func, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY

from pilothouse_server.adapters.sql import bulk
from pilothouse_server.adapters.sql.revisions import reserve_revisions
from pilothouse_server.adapters.sql.tables_projection import AGENTS
from pilothouse_server.adapters.sql.workflow_rows import slices
from pilothouse_server.domain.projection.agent import AgentRecord

NAMES_LOCK: Final = 0x50494C50
"""The first half of the keys of the advisory locks of agents that are not there."""
NAMES: Final = 64
"""Locks that stand for the names of all agents, so that a crowd of new ones needs few."""

_REVISED = update(AGENTS).where(AGENTS.c.id == bindparam("at")).values(revision=bindparam("to"))
_MARKED = (
    update(AGENTS)
    .where(AGENTS.c.id == bindparam("at"))
    .values(revision=bindparam("to"), overdue=bindparam("late"))
)


def load(
    connection: Connection, agent_ids: Collection[str], *, lock: bool = False
) -> dict[str, AgentRecord]:
    """The records of those that are known. Locked, they are nobody else's to change until the end of the transaction,
    and who is not there is nobody else's to add."""
    if not (lock and bulk.is_postgres(connection)):
        return _read(connection, agent_ids, lock=lock)
    # All that are to be locked are looked for first: the locks of names come before those of rows, in everybody's
    # order.
    wanted = bulk.among(connection, [AGENTS.c.id], sorted(agent_ids))
    there = set(connection.execute(select(AGENTS.c.id).where(wanted)).scalars())
    _keep_from_adding(connection, set(agent_ids) - there)
    found = _read(connection, agent_ids, lock=True)
    if gone := there - found.keys():
        # Removed since that look. Out of order: who waits for us meanwhile in turn is sorted out by the database.
        _keep_from_adding(connection, gone)
        found |= _read(connection, gone, lock=True)
    return found


def _read(
    connection: Connection, agent_ids: Collection[str], *, lock: bool
) -> dict[str, AgentRecord]:
    found: dict[str, AgentRecord] = {}
    for ids in slices(sorted(agent_ids), bulk.keys_at_once(connection)):
        wanted = bulk.among(connection, [AGENTS.c.id], ids)
        query = select(AGENTS.c.id, AGENTS.c.record).where(wanted)
        if lock:
            query = query.order_by(AGENTS.c.id).with_for_update()
        for agent_id, record in connection.execute(query):
            found[agent_id] = AgentRecord.loaded(agent_id, record)
    return found


def _keep_from_adding(connection: Connection, agent_ids: Collection[str]) -> None:
    """An agent that is not there has no row to lock: a lock of its name stands for it."""
    if keys := sorted({crc32(each.encode()) % NAMES for each in agent_ids}):
        names = func.unnest(literal(keys, ARRAY(Integer))).table_valued("name").render_derived()
        connection.execute(select(func.pg_advisory_xact_lock(NAMES_LOCK, names.c.name)))


def save(
    connection: Connection, records: Collection[AgentRecord], revisions: Iterable[int]
) -> None:
    """Writes the records, each under one of these new revisions."""
    rows = [_row(*each) for each in zip(records, revisions, strict=True)]
    bulk.upsert(connection, AGENTS, rows)


def of_source(connection: Connection, source: str, limit: int) -> list[str]:
    """Agents of an engine that were heard of, those that changed last."""
    query = (
        select(AGENTS.c.id)
        .where(AGENTS.c.source == source, AGENTS.c.last_seen_us > 0)
        .order_by(AGENTS.c.revision.desc())
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def touch(connection: Connection, agent_ids: Iterable[str]) -> None:
    """Gives the rows of these agents new revisions, so that those who watch see them again."""
    ids = list(dict.fromkeys(agent_ids))
    if ids:
        revisions = reserve_revisions(connection, len(ids))
        rows = [{"at": at, "to": to} for at, to in zip(ids, revisions, strict=True)]
        connection.execute(_REVISED, rows)


def overdue(connection: Connection, before_us: int, limit: int) -> list[str]:
    """Agents last seen before that time that are not marked as overdue yet, and did not say goodbye."""
    query = (
        select(AGENTS.c.id)
        .where(
            AGENTS.c.last_seen_us < before_us,
            AGENTS.c.last_seen_us > 0,
            AGENTS.c.overdue.is_(False),
            AGENTS.c.gone.is_(False),
        )
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def in_time(connection: Connection, since_us: int, limit: int) -> list[str]:
    """Agents last seen at that time or later that are marked as overdue: more time is given than when they were."""
    query = (
        select(AGENTS.c.id)
        .where(
            AGENTS.c.last_seen_us >= since_us,
            AGENTS.c.overdue.is_(True),
            AGENTS.c.gone.is_(False),
        )
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def mark(connection: Connection, agent_ids: Iterable[str], *, overdue: bool) -> None:
    """Marks them, or takes the mark away, under new revisions, so that those who watch see them again."""
    ids = list(agent_ids)
    if ids:
        revisions = reserve_revisions(connection, len(ids))
        rows = [
            {"at": at, "to": to, "late": overdue} for at, to in zip(ids, revisions, strict=True)
        ]
        connection.execute(_MARKED, rows)


def _row(record: AgentRecord, revision: int) -> bulk.Row:
    """In the order of the table's columns."""
    return (
        record.id,
        record.type[1],
        record.source[1],
        record.last_seen_us,
        record.gone,
        record.draining,
        record.working,
        False,
        revision,
        record.dump(),
        record.full,
    )
