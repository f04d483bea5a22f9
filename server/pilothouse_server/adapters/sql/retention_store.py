"""What is removed from the database, some rows in each transaction, with what others have to know of it.

On PostgreSQL a row that somebody else has locked is left for another time: nobody waits for this, and this for nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, takewhile
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Row,
    Select,
    Table,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from pilothouse_server.adapters.sql import (
    event_rows,
    removals,
    stop_rows,
    trace_rows,
    trace_summaries,
)
from pilothouse_server.adapters.sql.alert_store import CLOCK
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.event_rows import newest_position
from pilothouse_server.adapters.sql.removals import Watched
from pilothouse_server.adapters.sql.revisions import newest_revision
from pilothouse_server.adapters.sql.tables_batches import BATCH_ITEMS, BATCH_REQUESTS, BATCHES
from pilothouse_server.adapters.sql.tables_control import (
    ALERT_CLOCK,
    ALERT_TRANSITIONS,
    ALERTS,
    COMMANDS,
    EXECUTORS,
)
from pilothouse_server.adapters.sql.tables_notifications import DELIVERIES, DELIVERY_ALERTS
from pilothouse_server.adapters.sql.tables_projection import (
    AGENTS,
    COUNTERS,
    CURSORS,
    EVENTS,
    TASKS,
    WORKFLOWS,
)
from pilothouse_server.adapters.sql.tables_retention import ENDED, REVISION_MARKS
from pilothouse_server.adapters.sql.tables_silences import SILENCES
from pilothouse_server.adapters.sql.tables_stops import EMERGENCY_STOPS
from pilothouse_server.services.retention import (
    DAY_US,
    HOUR_US,
    MINUTE_US,
    Cut,
    Kept,
    Kind,
    Removed,
)

MARK_EVERY_US: Final = 10 * MINUTE_US
"""Between two marks at least: rows stay so much longer than they were to."""
MARKS_KEPT_US: Final = 400 * DAY_US
SPARE_PAGES: Final = 4096
"""Free pages that SQLite's file may keep, or a quarter of it if that is more: they are filled before it grows."""
PAGES_AT_ONCE: Final = 256
"""Free pages that one transaction gives back to the disk."""

Remover = Callable[[Connection, Cut, int], Removed]


class SqlRetention:
    """Implements `services.retention.RetentionStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def mark(self, now_us: int) -> None:
        """Notes how far changes had come by now."""
        await self._database.write(lambda c: _mark(c, now_us), beside=True)

    async def remove(self, kind: Kind, cut: Cut, limit: int) -> Removed:
        """One transaction."""
        remover = _REMOVERS[kind]

        def timed(connection: Connection) -> Removed:
            begun = time.perf_counter()
            removed = remover(connection, cut, limit)
            return removed._replace(seconds=time.perf_counter() - begun)

        return await self._database.write(timed, beside=True)

    async def kept(self) -> Kept:
        """Without counting: positions are dense."""
        return await self._database.read(_kept)

    async def cursors(self) -> Mapping[str, str]:
        """Where each consumer of the log stands."""
        query = select(CURSORS.c.consumer, CURSORS.c.cursor)
        return await self._database.read(
            lambda c: {row.consumer: row.cursor for row in c.execute(query)}
        )

    async def give_back(self) -> int:
        """PostgreSQL does this by itself."""
        over = await self._database.read(_spare_pages)
        return await self._database.write(lambda c: _give_back(c, over)) if over > 0 else 0


def _mark(connection: Connection, now_us: int) -> None:
    newest = connection.execute(select(func.max(REVISION_MARKS.c.at_us))).scalar()
    # A mark of the future is one that was made before the clock was put back: it says nothing wrong, and nothing soon.
    if newest is not None and now_us - MARK_EVERY_US < newest <= now_us:
        return
    at_us = REVISION_MARKS.c.at_us
    connection.execute(
        delete(REVISION_MARKS).where((at_us < now_us - MARKS_KEPT_US) | (at_us >= now_us))
    )
    values = {"at_us": now_us, "revision": newest_revision(connection)}
    connection.execute(insert(REVISION_MARKS).values(values))


def _unchanged_since(connection: Connection, before_us: int) -> int:
    """The greatest revision that is known to have been given before that time."""
    query = (
        select(REVISION_MARKS.c.revision)
        .where(REVISION_MARKS.c.at_us < before_us)
        .order_by(REVISION_MARKS.c.at_us.desc())
        .limit(1)
    )
    return connection.execute(query).scalar() or 0


def _kept(connection: Connection) -> Kept:
    bounds = removals.bounds(connection)
    oldest = (
        select(EVENTS.c.receive_us)
        .where(EVENTS.c.position > bounds.floor)
        .order_by(EVENTS.c.position)
        .limit(1)
    )
    count = newest_position(connection) - bounds.floor
    return Kept(count, connection.execute(oldest).scalar(), bounds.events_us)


def remove_events(connection: Connection, cut: Cut, limit: int) -> Removed:
    """The oldest ones, without a hole behind them, and never the newest."""
    floor, horizon_us, _, _ = removals.bounds(connection)
    newest = newest_position(connection)
    over = newest - cut.newest if cut.newest else 0
    columns = (EVENTS.c.position, EVENTS.c.occur_us, EVENTS.c.receive_us)
    oldest = select(*columns).where(EVENTS.c.position > floor, EVENTS.c.position < newest)
    last = floor
    for position, occur_us, receive_us in connection.execute(
        oldest.order_by(columns[0]).limit(limit)
    ):
        # What is of the future was received before the clock was put back.
        received_us = 0 if receive_us > cut.now_us + HOUR_US else receive_us
        if received_us >= (cut.spared_us if position <= over else cut.before_us):
            break
        last = position
        horizon_us = max(horizon_us, removals.reach(occur_us, receive_us))
    if last == floor:
        return Removed(0, more=False)
    event_rows.remove(connection, floor, last)
    trace_rows.remove(connection, last)
    horizon_us = min(horizon_us, cut.now_us)
    removals.set_bounds(connection, {removals.FLOOR: last, removals.EVENTS: horizon_us})
    return Removed(last - floor, more=last - floor == limit)


def _workflows(connection: Connection, cut: Cut, limit: int) -> Removed:
    pending = exists().where(
        COMMANDS.c.workflow_id == WORKFLOWS.c.id, text("commands.state IN (1, 2)")
    )
    old = select(WORKFLOWS.c.id, WORKFLOWS.c.revision, WORKFLOWS.c.update_us).where(
        text(ENDED),
        WORKFLOWS.c.revision <= _unchanged_since(connection, cut.before_us),
        ~pending,
    )
    old = old.order_by(WORKFLOWS.c.revision).limit(limit)
    found = connection.execute(old.with_for_update(skip_locked=True, of=WORKFLOWS)).all()
    if not found:
        return Removed(0, more=False)
    some = _with_few_tasks(connection, found, limit)
    ids = [row.id for row in some]
    connection.execute(delete(TASKS).where(TASKS.c.workflow_id.in_(ids)))
    trace_summaries.forget(connection, ids)
    connection.execute(delete(WORKFLOWS).where(WORKFLOWS.c.id.in_(ids)))
    heard_us = min(max(row.update_us for row in some), cut.now_us)
    _raise(connection, removals.WORKFLOWS, heard_us)
    removals.note(connection, Watched.WORKFLOWS, some[-1].revision)
    return Removed(len(some), more=len(some) < len(found) or len(found) == limit)


def _raise(connection: Connection, bound: str, value: int) -> None:
    own = (COUNTERS.c.name == bound, COUNTERS.c.value < value)
    connection.execute(update(COUNTERS).where(*own).values(value=value))


def _with_few_tasks(
    connection: Connection, found: Sequence[Row[str, int, int]], limit: int
) -> Sequence[Row[str, int, int]]:
    """The first of the workflows, with so many tasks in all; at least one."""
    ids = [row.id for row in found]
    count = func.count().label("count")
    query = select(TASKS.c.workflow_id, count).where(TASKS.c.workflow_id.in_(ids))
    grouped = connection.execute(query.group_by(TASKS.c.workflow_id))
    tasks = {workflow_id: int(total) for workflow_id, total in grouped}
    totals: Iterable[int] = accumulate(1 + tasks.get(workflow_id, 0) for workflow_id in ids)
    fitting = sum(1 for _ in takewhile(lambda total: total <= 4 * limit, totals))
    return found[: max(fitting, 1)]


def _commands(connection: Connection, cut: Cut, limit: int) -> Removed:
    _stops(connection, cut)
    items = _batches(connection, cut, limit)
    # What became of a batch's workflows is told by its commands, so they go after it.
    batched = exists().where(BATCHES.c.id == COMMANDS.c.batch_id)
    old = _old(COMMANDS, "end_us", cut.before_us).where(~batched)
    removed = _delete(connection, COMMANDS, old, limit)
    return Removed(items.rows + removed.rows, more=items.more or removed.more)


def _batches(connection: Connection, cut: Cut, limit: int) -> Removed:
    """The oldest that is over, with its workflows, so many of them at once."""
    old = _old(BATCHES, "end_us", cut.before_us).limit(1)
    batch_id = connection.execute(old.with_for_update(skip_locked=True, of=BATCHES)).scalar()
    if batch_id is None:
        return Removed(0, more=False)
    position = BATCH_ITEMS.c.position
    first = (
        select(position)
        .where(BATCH_ITEMS.c.batch_id == batch_id)
        .order_by(position)
        .limit(limit)
        .subquery("some")
    )
    last = connection.execute(select(func.max(first.c.position))).scalar()
    if last is not None:
        gone = delete(BATCH_ITEMS).where(BATCH_ITEMS.c.batch_id == batch_id, position <= last)
        return Removed(connection.execute(gone).rowcount, more=True)
    connection.execute(delete(BATCH_REQUESTS).where(BATCH_REQUESTS.c.batch_id == batch_id))
    connection.execute(delete(BATCHES).where(BATCHES.c.id == batch_id))
    return Removed(1, more=True)


def _stops(connection: Connection, cut: Cut) -> None:
    """Emergency stops that were over when such commands were; one at a time, since one may have many targets."""
    old = _old(EMERGENCY_STOPS, "end_us", cut.before_us).limit(1)
    stop_rows.remove(connection, list(connection.execute(old).scalars()))


def _executors(connection: Connection, cut: Cut, limit: int) -> Removed:
    old = _old(EXECUTORS, "last_seen_us", cut.before_us).where(EXECUTORS.c.connected.is_(False))
    # Those of workflows that go on are still answered for.
    going_on = exists().where(
        WORKFLOWS.c.source == EXECUTORS.c.source, text("workflows.state IN (1, 2, 3, 4)")
    )
    return _delete(connection, EXECUTORS, old.where(~going_on), limit)


def _old(table: Table, column: str, before_us: int) -> Select[Any]:
    (key,) = table.primary_key.columns
    return select(key).where(table.c[column] < before_us).order_by(table.c[column])


def _delete(connection: Connection, table: Table, old: Select[Any], limit: int) -> Removed:
    (key,) = table.primary_key.columns
    locked = old.limit(limit).with_for_update(skip_locked=True, of=table)
    ids = list(connection.execute(locked).scalars())
    if ids:
        connection.execute(delete(table).where(key.in_(ids)))
    return Removed(len(ids), more=len(ids) == limit)


def _alerts(connection: Connection, cut: Cut, limit: int) -> Removed:
    old = (
        select(ALERTS.c.id, ALERTS.c.revision)
        # Only what is over has such a time; asked for the state too, SQLite would go through all that are over.
        .where(ALERTS.c.resolve_us < cut.before_us, ALERTS.c.latched.is_(False))
        .order_by(ALERTS.c.resolve_us)
        .limit(limit)
    )
    found = connection.execute(old.with_for_update(skip_locked=True, of=ALERTS)).all()
    if found:
        ids = [row.id for row in found]
        newest = max(row.revision for row in found)
        connection.execute(delete(ALERT_TRANSITIONS).where(ALERT_TRANSITIONS.c.alert_id.in_(ids)))
        connection.execute(delete(ALERTS).where(ALERTS.c.id.in_(ids)))
        older = (ALERT_CLOCK.c.id == CLOCK, ALERT_CLOCK.c.removed_revision < newest)
        connection.execute(update(ALERT_CLOCK).where(*older).values(removed_revision=newest))
    _silences(connection, cut, limit)
    return Removed(len(found), more=len(found) == limit)


def _silences(connection: Connection, cut: Cut, limit: int) -> None:
    """Those that were over when the alerts were: they are what these were kept quiet by."""
    over = or_(SILENCES.c.expire_us < cut.before_us, SILENCES.c.end_us < cut.before_us)
    old = select(SILENCES.c.id).where(over).order_by(SILENCES.c.create_us, SILENCES.c.id)
    ids = list(connection.execute(old.limit(limit)).scalars())
    if ids:
        connection.execute(delete(SILENCES).where(SILENCES.c.id.in_(ids)))


def _deliveries(connection: Connection, cut: Cut, limit: int) -> Removed:
    old = _old(DELIVERIES, "end_us", cut.before_us).limit(limit)
    locked = old.with_for_update(skip_locked=True, of=DELIVERIES)
    ids = list(connection.execute(locked).scalars())
    if ids:
        connection.execute(delete(DELIVERY_ALERTS).where(DELIVERY_ALERTS.c.delivery_id.in_(ids)))
        connection.execute(delete(DELIVERIES).where(DELIVERIES.c.id.in_(ids)))
    return Removed(len(ids), more=len(ids) == limit)


def _agents(connection: Connection, cut: Cut, limit: int) -> Removed:
    at_work = exists().where(TASKS.c.agent_id == AGENTS.c.id, text("tasks.state = 3"))
    old = (
        select(AGENTS.c.id, AGENTS.c.revision, AGENTS.c.last_seen_us)
        .where(
            AGENTS.c.last_seen_us < cut.before_us,
            AGENTS.c.revision <= _unchanged_since(connection, cut.before_us),
            ~at_work,
        )
        .order_by(AGENTS.c.last_seen_us)
        .limit(limit)
    )
    found = connection.execute(old.with_for_update(skip_locked=True, of=AGENTS)).all()
    if found:
        connection.execute(delete(AGENTS).where(AGENTS.c.id.in_([row.id for row in found])))
        _raise(connection, removals.AGENTS, max(row.last_seen_us for row in found))
        removals.note(connection, Watched.AGENTS, max(row.revision for row in found))
    return Removed(len(found), more=len(found) == limit)


_REMOVERS: Mapping[Kind, Remover] = {
    Kind.EVENTS: remove_events,
    Kind.WORKFLOWS: _workflows,
    Kind.COMMANDS: _commands,
    Kind.ALERTS: _alerts,
    Kind.DELIVERIES: _deliveries,
    Kind.AGENTS: _agents,
    Kind.EXECUTORS: _executors,
}


def _spare_pages(connection: Connection) -> int:
    """Pages of SQLite's file to give back."""
    if connection.dialect.name != "sqlite" or _pragma(connection, "auto_vacuum") != 2:
        return 0
    allowed = max(SPARE_PAGES, _pragma(connection, "page_count") // 4)
    return _pragma(connection, "freelist_count") - allowed


def _give_back(connection: Connection, over: int) -> int:
    pages = min(over, PAGES_AT_ONCE)
    for _ in range(pages):
        # The driver takes one step of a statement without rows, and each step frees one page.
        connection.exec_driver_sql("PRAGMA incremental_vacuum(1)")
    return pages


def _pragma(connection: Connection, name: str) -> int:
    value: int = connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
    return value
