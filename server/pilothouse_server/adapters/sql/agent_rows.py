"""Rows of agents ⇄ records."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, bindparam, select, update

from pilothouse_server.adapters.sql import bulk
from pilothouse_server.adapters.sql.revisions import reserve_revisions
from pilothouse_server.adapters.sql.tables_projection import AGENTS
from pilothouse_server.adapters.sql.workflow_rows import slices
from pilothouse_server.domain.projection.agent import AgentRecord

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


def save(connection: Connection, records: Collection[AgentRecord]) -> None:
    """Writes the records, each under a new revision."""
    revisions = reserve_revisions(connection, len(records)) if records else ()
    rows = [_row(*each) for each in zip(records, revisions, strict=True)]
    bulk.upsert(connection, AGENTS, rows)


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
    )
