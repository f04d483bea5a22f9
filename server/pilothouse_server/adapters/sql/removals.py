"""What those who watch rows need to know of rows that are gone, and what the projector needs to know of such events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, update

from pilothouse_server.adapters.sql.revisions import REVISION, next_revision
from pilothouse_server.adapters.sql.tables_projection import COUNTERS
from pilothouse_server.adapters.sql.tables_retention import REMOVALS
from pilothouse_server.services.watch import Removal

REMOVAL: Final = "removal"
FLOOR: Final = "event_floor"
EVENTS: Final = "event_horizon_us"
WORKFLOWS: Final = "workflow_horizon_us"
AGENTS: Final = "agent_horizon_us"
_BOUNDS: Final = (FLOOR, EVENTS, WORKFLOWS, AGENTS)

AHEAD_US: Final = 5 * 60 * 1_000_000
"""How far ahead of ours a source's clock may be: a repeat of an event that is from further ahead may be taken for news,
since otherwise one wrong clock would make old what everybody else says now."""

REMEMBERED: Final = 256
"""Removals of one kind that are told apart; older ones count as one, and a token from before them starts again."""


class Watched(IntEnum):
    """Kinds of rows that are watched and can be removed. Alerts have a way of their own: see `alert_store`."""

    WORKFLOWS = 1
    AGENTS = 2


class Newest(NamedTuple):
    """One look at the counters."""

    revision: int
    """The greatest that any row can have."""
    removals: Sequence[Removal]
    """Rows of the kind that were removed since the mark."""


def newest(connection: Connection, kind: Watched, mark: int) -> Newest:
    """What a watch that has come to `mark` has to know before it looks for rows."""
    query = select(COUNTERS.c.name, COUNTERS.c.value).where(
        COUNTERS.c.name.in_((REVISION, REMOVAL))
    )
    found: dict[str, int] = {row.name: row.value for row in connection.execute(query)}
    if found[REMOVAL] <= mark:
        return Newest(found[REVISION], ())
    later = select(REMOVALS.c.revision, REMOVALS.c.greatest).where(
        REMOVALS.c.kind == int(kind), REMOVALS.c.revision > mark
    )
    return Newest(found[REVISION], [Removal(*row) for row in connection.execute(later)])


def note(connection: Connection, kind: Watched, greatest: int) -> None:
    """Notes that rows up to the revision `greatest` were removed; the last that a transaction does."""
    revision = next_revision(connection)
    connection.execute(
        insert(REMOVALS).values(kind=int(kind), revision=revision, greatest=greatest)
    )
    _set(connection, REMOVAL, revision)
    _merge_old(connection, kind)


def _merge_old(connection: Connection, kind: Watched) -> None:
    mine = REMOVALS.c.kind == int(kind)
    newest_first = select(REMOVALS.c.revision).where(mine).order_by(REMOVALS.c.revision.desc())
    last_old = connection.execute(newest_first.offset(2 * REMEMBERED).limit(1)).scalar()
    if last_old is None:
        return
    kept = connection.execute(newest_first.offset(REMEMBERED).limit(1)).scalar_one()
    old = (mine, REMOVALS.c.revision <= kept)
    greatest = connection.execute(select(func.max(REMOVALS.c.greatest)).where(*old)).scalar_one()
    connection.execute(delete(REMOVALS).where(mine, REMOVALS.c.revision < kept))
    connection.execute(
        update(REMOVALS).where(mine, REMOVALS.c.revision == kept).values(greatest=greatest)
    )


class Bounds(NamedTuple):
    """What was removed, as what is left begins behind it."""

    floor: int
    """The position up to which events were removed."""
    events_us: int
    """The greatest time of an event that was removed. 0, as in what follows: none was."""
    workflows_us: int
    """The greatest time of an event of a workflow that was removed."""
    agents_us: int
    """The greatest time of an event of an agent that was removed."""


def bounds(connection: Connection) -> Bounds:
    """As they are now."""
    query = select(COUNTERS.c.name, COUNTERS.c.value).where(COUNTERS.c.name.in_(_BOUNDS))
    found = {row.name: row.value for row in connection.execute(query)}
    return Bounds(*(found[name] for name in _BOUNDS))


def set_bounds(connection: Connection, changed: Mapping[str, int]) -> None:
    """In the transaction that removes what they are about; by the names of this module."""
    for name in sorted(changed):
        _set(connection, name, changed[name])


def moment(occur_us: int, receive_us: int) -> int:
    """The time by which an event that comes is before or behind what was removed: that it is received again now says
    nothing of it."""
    return min(occur_us, receive_us)


def reach(occur_us: int, receive_us: int) -> int:
    """How far an event that is removed moves the horizon: so far that it is before it when it comes again."""
    return min(occur_us, receive_us + AHEAD_US)


def _set(connection: Connection, name: str, value: int) -> None:
    connection.execute(update(COUNTERS).where(COUNTERS.c.name == name).values(value=value))
