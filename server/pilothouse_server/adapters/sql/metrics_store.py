"""The checkpoints of live metrics in the database: each is one transaction, with the cursor of the reader.

Each shard of the log has rows of its own, and nobody but its reader writes them, so checkpoints are written beside
each other. History is read of all shards together.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, delete, func, select

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
"""Rows that one pruning deletes, or few more, so that no transaction is long for it."""

DELETED_AT_ONCE = 500
"""Keys in one statement."""


def consumer_of(shard: int) -> str:
    """The name under which the reader of a shard keeps its cursor."""
    return CONSUMER if not shard else f"{CONSUMER}:{shard}"


class SqlMetricsStore:
    """Implements `services.metrics_keeper.MetricsStore` for one shard, and `services.metric_history.HistoryStore` for
    all of them."""

    def __init__(self, database: Database, shard: int = 0) -> None:
        self._database = database
        self._shard = shard
        self._consumer = consumer_of(shard)

    async def save(self, checkpoint: Checkpoint) -> None:
        """All or nothing. Raises Unavailable."""
        await self._database.write(
            lambda connection: self._save(connection, checkpoint), beside=True
        )

    async def head(self) -> tuple[str, str] | None:
        """The cursor and the counters of the last checkpoint; None when there was none."""
        return await self._database.read(self._head)

    async def workflows(self, after: str, limit: int) -> Sequence[WorkflowRow]:
        """A page of stored workflows, by id."""
        table = METRIC_WORKFLOWS
        chosen = (
            columns_of(table, WorkflowRow)
            .where(table.c.shard == self._shard, table.c.workflow_id > after)
            .order_by(table.c.workflow_id)
            .limit(limit)
        )
        return await self._database.read(
            lambda connection: [WorkflowRow(*row) for row in connection.execute(chosen)]
        )

    async def agents(self) -> Sequence[AgentRow]:
        """All stored agents."""
        chosen = columns_of(METRIC_AGENTS, AgentRow).where(METRIC_AGENTS.c.shard == self._shard)
        return await self._database.read(
            lambda connection: [AgentRow(*row) for row in connection.execute(chosen)]
        )

    async def buckets(self, start: int, end: int) -> Sequence[BucketRow]:
        """Buckets of all series from `start` to before `end`."""
        table = METRIC_BUCKETS
        return await self._rows(
            table, table.c.shard == self._shard, table.c.start >= start, table.c.start < end
        )

    async def buckets_of(
        self, dimension: int, name: str, start: int, end: int
    ) -> Sequence[BucketRow]:
        """Buckets of one series from `start` to before `end`, of every shard: several may have the same start."""
        return await self._of(METRIC_BUCKETS, dimension, name, start, end)

    async def minutes(self, dimension: int, name: str, start: int, end: int) -> Sequence[BucketRow]:
        """Minutes of one series from `start` to before `end`, of every shard: several may have the same start."""
        return await self._of(METRIC_MINUTES, dimension, name, start, end)

    async def prune(self, bucket: int, minute: int) -> int:
        """Deletes some of the buckets and minutes before these; returns how many."""
        return await self._database.write(
            lambda connection: (
                self._prune(connection, METRIC_BUCKETS, bucket)
                + self._prune(connection, METRIC_MINUTES, minute)
            ),
            beside=True,
        )

    async def _of(
        self, table: Table, dimension: int, name: str, start: int, end: int
    ) -> Sequence[BucketRow]:
        return await self._rows(
            table,
            table.c.dimension == dimension,
            table.c.name == name,
            table.c.start >= start,
            table.c.start < end,
        )

    async def _rows(self, table: Table, *conditions: Any) -> Sequence[BucketRow]:
        chosen = columns_of(table, BucketRow).where(*conditions).order_by(table.c.start)
        return await self._database.read(
            lambda connection: [BucketRow(*row) for row in connection.execute(chosen)]
        )

    def _head(self, connection: Connection) -> tuple[str, str] | None:
        cursor = connection.execute(
            select(CURSORS.c.cursor).where(CURSORS.c.consumer == self._consumer)
        ).scalar()
        counters = connection.execute(
            select(METRIC_COUNTERS.c.counters).where(METRIC_COUNTERS.c.consumer == self._consumer)
        ).scalar()
        return None if cursor is None or counters is None else (cursor, counters)

    def _save(self, connection: Connection, checkpoint: Checkpoint) -> None:
        shard = self._shard
        bulk.upsert(connection, CURSORS, [(self._consumer, checkpoint.cursor)])
        bulk.upsert(connection, METRIC_COUNTERS, [(self._consumer, checkpoint.counters)])
        for table, rows in (
            (METRIC_WORKFLOWS, checkpoint.workflows),
            (METRIC_AGENTS, checkpoint.agents),
            (METRIC_BUCKETS, checkpoint.buckets),
            (METRIC_MINUTES, checkpoint.minutes),
        ):
            bulk.upsert(connection, table, ordered(table, shard, rows))
        _delete(connection, METRIC_WORKFLOWS, shard, checkpoint.gone_workflows)
        _delete(connection, METRIC_AGENTS, shard, checkpoint.gone_agents)

    def _prune(self, connection: Connection, table: Table, before: int) -> int:
        """What began first, and all that began with the last of it: rows are found by the index of their beginnings."""
        ours = and_(table.c.shard == self._shard, table.c.start < before)
        oldest = select(table.c.start).where(ours).order_by(table.c.start).limit(PRUNED_AT_ONCE)
        last = select(func.max(oldest.subquery().c.start)).scalar_subquery()
        return connection.execute(delete(table).where(ours, table.c.start <= last)).rowcount


def columns_of(table: Table, row: type[tuple[Any, ...]]) -> Select[Any]:
    """What makes a named tuple of this type, and tells nothing of the shard."""
    columns: list[ColumnElement[Any]] = [table.c[name] for name in _fields(row)]
    return cast("Select[Any]", select(*columns))


def _fields(row: type[tuple[Any, ...]]) -> tuple[str, ...]:
    return cast("tuple[str, ...]", getattr(row, "_fields"))  # noqa: B009 - public in spite of its name


def ordered(table: Table, shard: int, rows: Sequence[tuple[Any, ...]]) -> list[bulk.Row]:
    """Named tuples in the order of the table's columns, with the shard in its place."""
    if not rows:
        return []
    fields = ("shard", *_fields(type(rows[0])))
    take = itemgetter(*(fields.index(column.name) for column in table.columns))
    return [take((shard, *row)) for row in rows]


def _delete(connection: Connection, table: Table, shard: int, keys: Sequence[str]) -> None:
    (key,) = (column for column in table.primary_key.columns if column.name != "shard")
    for place in range(0, len(keys), DELETED_AT_ONCE):
        chosen = keys[place : place + DELETED_AT_ONCE]
        connection.execute(delete(table).where(table.c.shard == shard, key.in_(chosen)))
