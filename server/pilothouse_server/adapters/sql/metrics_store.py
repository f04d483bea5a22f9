"""The checkpoints of live metrics in the database: each is one transaction, with the cursor of the reader."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Select, Table, bindparam, delete, select

from pilothouse_server.adapters.sql import bulk
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.tables_metrics import (
    METRIC_AGENTS,
    METRIC_BUCKETS,
    METRIC_COUNTERS,
    METRIC_MINUTES,
    METRIC_WORKFLOWS,
)
from pilothouse_server.adapters.sql.tables_projection import CURSORS
from pilothouse_server.domain.metrics.checkpoint import (
    AgentRow,
    BucketRow,
    Checkpoint,
    WorkflowRow,
)

CONSUMER = "aggregator"
PRUNED_AT_ONCE = 2_000
"""Rows that one pruning deletes at most, so that no transaction is long for it."""


class SqlMetricsStore:
    """Implements `services.aggregate.MetricsStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, checkpoint: Checkpoint) -> None:
        """All or nothing. Raises Unavailable."""
        await self._database.write(lambda connection: _save(connection, checkpoint))

    async def head(self) -> tuple[str, str] | None:
        """The cursor and the counters of the last checkpoint; None when there was none."""
        return await self._database.read(_head)

    async def workflows(self, after: str, limit: int) -> Sequence[WorkflowRow]:
        """A page of stored workflows, by id."""
        return await self._database.read(
            lambda connection: [
                WorkflowRow(*row)
                for row in connection.execute(
                    select(METRIC_WORKFLOWS)
                    .where(METRIC_WORKFLOWS.c.workflow_id > after)
                    .order_by(METRIC_WORKFLOWS.c.workflow_id)
                    .limit(limit)
                )
            ]
        )

    async def agents(self) -> Sequence[AgentRow]:
        """All stored agents."""
        return await self._database.read(
            lambda connection: [AgentRow(*row) for row in connection.execute(select(METRIC_AGENTS))]
        )

    async def buckets(self, start: int, end: int) -> Sequence[BucketRow]:
        """Buckets of all series from `start` to before `end`."""
        table = METRIC_BUCKETS
        chosen = _bucket_columns(table).where(table.c.start >= start, table.c.start < end)
        return await self._database.read(
            lambda connection: [BucketRow(*row) for row in connection.execute(chosen)]
        )

    async def minutes(self, dimension: int, name: str, start: int, end: int) -> Sequence[BucketRow]:
        """Minutes of one series from `start` to before `end`."""
        table = METRIC_MINUTES
        chosen = _bucket_columns(table).where(
            table.c.dimension == dimension,
            table.c.name == name,
            table.c.start >= start,
            table.c.start < end,
        )
        return await self._database.read(
            lambda connection: [BucketRow(*row) for row in connection.execute(chosen)]
        )

    async def prune(self, bucket: int, minute: int) -> int:
        """Deletes some of the buckets and minutes before these; returns how many."""
        return await self._database.write(
            lambda connection: (
                _prune(connection, METRIC_BUCKETS, bucket)
                + _prune(connection, METRIC_MINUTES, minute)
            )
        )


def _bucket_columns(table: Table) -> Select[Any, Any, Any, Any, Any]:
    return select(table.c.dimension, table.c.name, table.c.start, table.c.cell, table.c.gauges)


def _head(connection: Connection) -> tuple[str, str] | None:
    cursor = connection.execute(
        select(CURSORS.c.cursor).where(CURSORS.c.consumer == CONSUMER)
    ).scalar()
    counters = connection.execute(
        select(METRIC_COUNTERS.c.counters).where(METRIC_COUNTERS.c.consumer == CONSUMER)
    ).scalar()
    return None if cursor is None or counters is None else (cursor, counters)


def _save(connection: Connection, checkpoint: Checkpoint) -> None:
    bulk.upsert(connection, CURSORS, [(CONSUMER, checkpoint.cursor)])
    bulk.upsert(connection, METRIC_COUNTERS, [(CONSUMER, checkpoint.counters)])
    for table, rows in (
        (METRIC_WORKFLOWS, checkpoint.workflows),
        (METRIC_AGENTS, checkpoint.agents),
        (METRIC_BUCKETS, checkpoint.buckets),
        (METRIC_MINUTES, checkpoint.minutes),
    ):
        bulk.upsert(connection, table, _ordered(table, rows))
    bulk.delete(connection, METRIC_WORKFLOWS, checkpoint.gone_workflows)
    bulk.delete(connection, METRIC_AGENTS, checkpoint.gone_agents)


def _ordered(table: Table, rows: Sequence[Any]) -> list[bulk.Row]:
    """Named tuples in the order of the table's columns."""
    of = attrgetter(*(column.name for column in table.columns))
    return [of(row) for row in rows]


def _delete(connection: Connection, table: Table, rows: Sequence[dict[str, object]]) -> None:
    if rows:
        keys = [column.name for column in table.primary_key.columns]
        matched = [table.c[key] == bindparam(f"key_{key}") for key in keys]
        connection.execute(
            delete(table).where(*matched),
            [{f"key_{key}": row[key] for key in keys} for row in rows],
        )


def _prune(connection: Connection, table: Table, before: int) -> int:
    keys = list(table.primary_key.columns)
    chosen = select(*keys).where(table.c.start < before).order_by(table.c.start)
    old = connection.execute(chosen.limit(PRUNED_AT_ONCE)).mappings().all()
    _delete(connection, table, [dict(row) for row in old])
    return len(old)
