"""Changes the number of shards of the log, and keeps every number as it was.

All replicas are stopped, and everything in the log has been read: so all that there is to know is in the database, and
one transaction divides it anew. Before that, a server with another number of shards refuses to start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from sqlalchemy import Connection, Table, delete, func, or_, select, tuple_

from pilothouse_server.adapters.sql import bulk
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.metrics_store import columns_of, consumer_of, ordered
from pilothouse_server.adapters.sql.tables_metrics import (
    METRIC_AGENTS,
    METRIC_BUCKETS,
    METRIC_COUNTERS,
    METRIC_MINUTES,
    METRIC_WORKFLOWS,
)
from pilothouse_server.adapters.sql.tables_projection import CURSORS, IDENTITY
from pilothouse_server.domain.errors import Misconfigured, Unavailable
from pilothouse_server.domain.metrics.checkpoint import AgentRow, BucketRow, WorkflowRow
from pilothouse_server.domain.metrics.history import MINUTE_BUCKETS
from pilothouse_server.domain.metrics.reshard import (
    Counters,
    added,
    divided_agents,
    divided_workflows,
    joined_counters,
    minutes_of,
    rolled_of,
    under_its_name,
)
from pilothouse_server.ports import EventLog

SHARDS: Final = "log_shards"
"""The name of the row in `identity`."""

CONSUMERS: Final = ("projector", "aggregator")
"""Who reads each shard of the log."""

AT_ONCE: Final = 500
"""Rows added in one step."""

STARTS_AT_ONCE: Final = 120
"""Buckets or minutes, of all series, in memory at once."""

T = TypeVar("T")


class Resharded(NamedTuple):
    """What was done."""

    before: int
    after: int
    workflows: int
    """Workflows that live metrics remember."""


async def check_shards(database: Database, shards: int) -> None:
    """For the start of a server: whether the database was made from a log of so many shards. The first server that
    comes writes the number down. Raises Misconfigured."""
    stored = await database.write(lambda connection: _stored_or(connection, shards))
    if stored != shards:
        told = (
            f"this database belongs to a log of {stored} shards, and PILOTHOUSE_LOG_SHARDS is {shards}; set it to "
            f"{stored}, or stop all servers and run: pilothouse-server reshard --shards {shards}"
        )
        raise Misconfigured("log", told)


async def stored_shards(database: Database) -> int:
    """The number of shards that the database was made from; 1 when no server has run yet."""
    return await database.read(_stored)


async def reshard(
    database: Database,
    before: Sequence[EventLog],
    after: Sequence[EventLog],
    *,
    alive: Sequence[str] = (),
) -> Resharded:
    """Divides what was made from the shards `before` among the shards `after`. `alive` are replicas that still run.
    Raises Unavailable, saying what to do first, and Misconfigured when `before` is not what the database was made from.
    Nothing is changed then."""
    if alive:
        raise Unavailable("server", f"replicas are running ({', '.join(alive)}); stop them first")
    stored = await stored_shards(database)
    if stored != len(before):
        raise Misconfigured("log", f"the database belongs to a log of {stored} shards")
    if len(after) == stored:
        return Resharded(stored, stored, 0)
    cursors = await database.read(_cursors)
    for shard, log in enumerate(before):
        await _check_read(log, shard, cursors)
    tails = [await log.tail() for log in after]
    return await database.write(lambda connection: _reshard(connection, stored, tails))


async def _check_read(log: EventLog, shard: int, cursors: dict[str, str]) -> None:
    for base in CONSUMERS:
        consumer = base if not shard else f"{base}:{shard}"
        if await log.read(cursors.get(consumer, ""), limit=1):
            told = (
                f"the {base} has not read shard {shard} to its end; start the servers with the number of shards that "
                "they had, stop what publishes events, stop the servers when all is read, and try again"
            )
            raise Unavailable("log", told)


def _stored(connection: Connection) -> int:
    found = connection.execute(select(IDENTITY.c.value).where(IDENTITY.c.name == SHARDS)).scalar()
    return 1 if found is None else int(found)


def _stored_or(connection: Connection, shards: int) -> int:
    """The number that is written down; before any server has read anything, it is the one given."""
    found = connection.execute(select(IDENTITY.c.value).where(IDENTITY.c.name == SHARDS)).scalar()
    if found is not None:
        return int(found)
    if connection.execute(select(CURSORS.c.consumer).limit(1)).scalar() is not None:
        shards = 1
    bulk.upsert(connection, IDENTITY, [(SHARDS, str(shards))])
    return shards


def _cursors(connection: Connection) -> dict[str, str]:
    found = connection.execute(select(CURSORS.c.consumer, CURSORS.c.cursor))
    return {row.consumer: row.cursor for row in found}


def _reshard(connection: Connection, before: int, tails: Sequence[str]) -> Resharded:
    after = len(tails)
    stored = [_counters_of(connection, shard) for shard in range(before)]
    known = [each for each in stored if each is not None]
    workflows = 0
    if known:
        counters = joined_counters(known)
        events = iter(counters.events)
        read = [0 if each is None else next(events) for each in stored]
        workflows = _divide_workflows(connection, read, after)
        _divide_agents(connection, after)
        for shard, each in enumerate(stored):
            if each is not None:
                _roll_up(connection, shard, rolled_of(each), counters.rolled)
        _add_up(connection, METRIC_BUCKETS, counters)
        _add_up(connection, METRIC_MINUTES, None)
        connection.execute(delete(METRIC_COUNTERS))
        texts = [counters.first, *[counters.others] * (after - 1)]
        rows = [(consumer_of(shard), text) for shard, text in enumerate(texts)]
        bulk.insert(connection, METRIC_COUNTERS, rows)
    _move_cursors(connection, before, tails)
    bulk.upsert(connection, IDENTITY, [(SHARDS, str(after))])
    return Resharded(before, after, workflows)


def _counters_of(connection: Connection, shard: int) -> str | None:
    consumer = consumer_of(shard)
    chosen = select(METRIC_COUNTERS.c.counters).where(METRIC_COUNTERS.c.consumer == consumer)
    return connection.execute(chosen).scalar()


def _divide_workflows(connection: Connection, events: Sequence[int], after: int) -> int:
    rows: list[tuple[int, WorkflowRow]] = []
    for shard in range(len(events)):
        chosen = columns_of(METRIC_WORKFLOWS, WorkflowRow).where(METRIC_WORKFLOWS.c.shard == shard)
        rows += [(shard, WorkflowRow(*row)) for row in connection.execute(chosen)]
    connection.execute(delete(METRIC_WORKFLOWS))
    for shard, mine in divided_workflows(rows, events, after).items():
        bulk.insert(connection, METRIC_WORKFLOWS, ordered(METRIC_WORKFLOWS, shard, mine))
    return len(rows)


def _divide_agents(connection: Connection, after: int) -> None:
    found = connection.execute(columns_of(METRIC_AGENTS, AgentRow))
    rows = [AgentRow(*row) for row in found]
    connection.execute(delete(METRIC_AGENTS))
    for shard, mine in divided_agents(rows, after).items():
        bulk.insert(connection, METRIC_AGENTS, ordered(METRIC_AGENTS, shard, mine))


def _roll_up(connection: Connection, shard: int, rolled: int, wanted: int) -> None:
    """Readers stop at different moments: makes the minutes that others have made and this one has not."""
    table = METRIC_BUCKETS
    chosen = columns_of(table, BucketRow).where(
        table.c.shard == shard,
        table.c.start >= rolled * MINUTE_BUCKETS,
        table.c.start < wanted * MINUTE_BUCKETS,
    )
    minutes = minutes_of(BucketRow(*row) for row in connection.execute(chosen))
    bulk.upsert(connection, METRIC_MINUTES, ordered(METRIC_MINUTES, shard, minutes))


def _add_up(connection: Connection, table: Table, counters: Counters | None) -> None:
    """Adds everything to shard 0; names that are counted together in some shard are counted together in all."""
    refused: Mapping[int, frozenset[str]] = counters.refused if counters is not None else {}
    moving = [table.c.shard > 0]
    for dimension, names in refused.items():
        moving += [
            (table.c.dimension == dimension) & table.c.name.in_(some)
            for some in _pages(sorted(names))
        ]
    first, last = connection.execute(
        select(func.min(table.c.start), func.max(table.c.start)).where(or_(*moving))
    ).one()
    if first is None:
        return
    for start in range(first, last + 1, STARTS_AT_ONCE):
        chosen = [or_(*moving), table.c.start >= start, table.c.start < start + STARTS_AT_ONCE]
        found = connection.execute(columns_of(table, BucketRow).where(*chosen)).all()
        connection.execute(delete(table).where(*chosen))
        rows = added(under_its_name(BucketRow(*row), refused) for row in found)
        for page in _pages(rows):
            _add(connection, table, page)


def _add(connection: Connection, table: Table, rows: Sequence[BucketRow]) -> None:
    """Adds to what shard 0 has."""
    keys = [(row.dimension, row.name, row.start) for row in rows]
    place = tuple_(table.c.dimension, table.c.name, table.c.start)
    there = connection.execute(
        columns_of(table, BucketRow).where(place.in_(keys), table.c.shard == 0)
    )
    sums = added([*(BucketRow(*row) for row in there), *rows])
    bulk.upsert(connection, table, ordered(table, 0, sums))


def _move_cursors(connection: Connection, before: int, tails: Sequence[str]) -> None:
    after = len(tails)
    for base in CONSUMERS:
        names = [base if not shard else f"{base}:{shard}" for shard in range(max(before, after))]
        connection.execute(delete(CURSORS).where(CURSORS.c.consumer.in_(names[after:])))
        new = [(names[shard], tails[shard]) for shard in range(before, after)]
        bulk.upsert(connection, CURSORS, new)


def _pages(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    for place in range(0, len(rows), AT_ONCE):
        yield rows[place : place + AT_ONCE]
