"""What backtests read: history of many series at once, and what agents reported.

Each read is bounded by its caller and goes by an index: names are found by leaping from one to the next, and positions
of events by halving, since they are dense and nearly in the order of receipt.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from sqlalchemy import ColumnElement, Connection, Table, func, literal, select

from pilothouse_server.adapters.sql import bulk
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.event_rows import newest_position
from pilothouse_server.adapters.sql.metrics_store import columns_of
from pilothouse_server.adapters.sql.tables_metrics import METRIC_BUCKETS, METRIC_MINUTES
from pilothouse_server.adapters.sql.tables_projection import EVENTS
from pilothouse_server.domain.alerts.phases import Extent
from pilothouse_server.domain.events import EventType
from pilothouse_server.domain.metrics.checkpoint import BucketRow
from pilothouse_server.domain.metrics.limits import BUCKET_US
from pilothouse_server.domain.metrics.snapshot import MINUTE_US, Dimension
from pilothouse_server.services.alerts.sightings import AgentEvent, Reach

_REPORTS = (
    EventType.AGENT_REGISTERED,
    EventType.AGENT_HEARTBEAT,
    EventType.AGENT_DRAINING,
    EventType.AGENT_OFFLINE,
)


class SqlBacktestStore:
    """Implements `services.alerts.backtest.BacktestStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def extent(self) -> Extent | None:
        return await self._database.read(_extent)

    async def names(self, dimension: Dimension, limit: int) -> Sequence[str]:
        return await self._database.read(lambda c: _names(c, dimension, limit))

    async def pieces(
        self, unit_us: int, dimension: Dimension, names: Sequence[str], start: int, end: int
    ) -> Sequence[BucketRow]:
        table = METRIC_BUCKETS if unit_us == BUCKET_US else METRIC_MINUTES
        of = (table.c.dimension == int(dimension), table.c.start >= start, table.c.start < end)
        return await self._database.read(lambda c: _pieces(c, table, of, names))

    async def reach(self) -> Reach | None:
        return await self._database.read(_reach)

    async def position_at(self, receive_us: int, reach: Reach) -> int:
        return await self._database.read(lambda c: _position_at(c, receive_us, reach))

    async def agent_events(self, after: int, until: int) -> Sequence[AgentEvent]:
        return await self._database.read(lambda c: _agent_events(c, after, until))


def _extent(connection: Connection) -> Extent | None:
    def edge(table: Table, before: int | None = None, *, last: bool) -> int | None:
        start = table.c.start
        of = select(start).where(table.c.dimension == int(Dimension.FLEET), table.c.name == "")
        if before is not None:
            of = of.where(start < before)
        found: int | None = connection.execute(
            of.order_by(start.desc() if last else start).limit(1)
        ).scalar()
        return found

    first, newest = edge(METRIC_BUCKETS, last=False), edge(METRIC_BUCKETS, last=True)
    if first is None or newest is None:
        return None
    minute = first * BUCKET_US // MINUTE_US
    before = edge(METRIC_MINUTES, minute, last=True)
    return Extent(first, newest, edge(METRIC_MINUTES, last=False), before)


def _names(connection: Connection, dimension: Dimension, limit: int) -> list[str]:
    names: set[str] = set()
    for table in (METRIC_MINUTES, METRIC_BUCKETS):
        of = table.c.dimension == int(dimension)
        leap = select(func.min(table.c.name).label("name")).where(of).cte(recursive=True)
        following = (
            select(func.min(table.c.name))
            .where(of, table.c.name > leap.c.name)
            .correlate(leap)
            .scalar_subquery()
        )
        leap = leap.union_all(select(following).where(leap.c.name.is_not(None)))
        found = select(leap.c.name).where(leap.c.name.is_not(None)).limit(limit)
        names.update(connection.execute(found).scalars())
    return sorted(names)[:limit]


def _pieces(
    connection: Connection, table: Table, of: Sequence[ColumnElement[bool]], names: Sequence[str]
) -> list[BucketRow]:
    rows: list[BucketRow] = []
    at_once = bulk.keys_at_once(connection)
    for place in range(0, len(names), at_once):
        some = bulk.among(connection, [table.c.name], names[place : place + at_once])
        chosen = columns_of(table, BucketRow).where(*of, some)
        rows.extend(BucketRow(*row) for row in connection.execute(chosen))
    return rows


def _reach(connection: Connection) -> Reach | None:
    oldest = connection.execute(
        select(EVENTS.c.position, EVENTS.c.receive_us).order_by(EVENTS.c.position).limit(1)
    ).first()
    if oldest is None:
        return None
    return Reach(oldest.position, newest_position(connection), oldest.receive_us)


def _position_at(connection: Connection, receive_us: int, reach: Reach) -> int:
    low, high = reach.first, reach.last + 1
    while low < high:
        middle = (low + high) // 2
        at = select(EVENTS.c.receive_us).where(EVENTS.c.position >= middle)
        found = connection.execute(at.order_by(EVENTS.c.position).limit(1)).scalar()
        if found is None or found >= receive_us:
            high = middle
        else:
            low = middle + 1
    return low


def _agent_events(connection: Connection, after: int, until: int) -> list[AgentEvent]:
    """One statement for each type, by the index of types and positions."""
    c = EVENTS.c
    columns = (c.position, c.type, c.occur_us, c.receive_us, c.agent_id, c.agent_type)
    found: list[AgentEvent] = []
    for kind in _REPORTS:
        chosen = select(*columns).where(
            c.type == literal(int(kind)), c.position > after, c.position <= until, c.agent_id != ""
        )
        found.extend(AgentEvent(*row) for row in connection.execute(chosen))
    found.sort(key=attrgetter("position"))
    return found
