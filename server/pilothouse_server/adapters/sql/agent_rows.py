"""Rows of agents ⇄ records."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from pilothouse_server.adapters.sql.revisions import reserve_revisions
from pilothouse_server.adapters.sql.tables_projection import AGENTS
from pilothouse_server.adapters.sql.workflow_rows import slices
from pilothouse_server.domain.projection.agent import AgentRecord

_COLUMNS = [column.name for column in AGENTS.columns if column.name != "id"]
_UPDATE = (
    update(AGENTS)
    .where(AGENTS.c.id == bindparam("at"))
    .values({name: bindparam(f"to_{name}") for name in _COLUMNS})
)
_OVERDUE = (
    update(AGENTS)
    .where(AGENTS.c.id == bindparam("at"))
    .values(revision=bindparam("to"), overdue=True)
)


def load(connection: Connection, agent_ids: Collection[str]) -> dict[str, AgentRecord]:
    """The records of those that are known."""
    found: dict[str, AgentRecord] = {}
    for ids in slices(agent_ids):
        query = select(AGENTS.c.id, AGENTS.c.record).where(AGENTS.c.id.in_(ids))
        for agent_id, record in connection.execute(query):
            found[agent_id] = AgentRecord.loaded(agent_id, record)
    return found


def save(connection: Connection, records: Collection[AgentRecord], known: Collection[str]) -> None:
    """Writes the records, each under a new revision; `known` tells which of them have a row."""
    if not records:
        return
    new: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    for revision, record in zip(reserve_revisions(connection, len(records)), records, strict=True):
        row = _row(record, revision)
        if record.id in known:
            changed.append({"at": record.id, **{f"to_{name}": row[name] for name in _COLUMNS}})
        else:
            new.append(row)
    if new:
        connection.execute(insert(AGENTS), new)
    if changed:
        connection.execute(_UPDATE, changed)


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


def mark_overdue(connection: Connection, agent_ids: Iterable[str]) -> None:
    """Marks them, under new revisions, so that those who watch see them again."""
    ids = list(agent_ids)
    if ids:
        revisions = reserve_revisions(connection, len(ids))
        connection.execute(
            _OVERDUE, [{"at": at, "to": to} for at, to in zip(ids, revisions, strict=True)]
        )


def _row(record: AgentRecord, revision: int) -> dict[str, Any]:
    return {
        "id": record.id,
        "type": record.type[1],
        "source": record.source[1],
        "last_seen_us": record.last_seen_us,
        "gone": record.gone,
        "draining": record.draining,
        "working": record.working,
        "overdue": False,
        "revision": revision,
        "record": record.dump(),
    }
