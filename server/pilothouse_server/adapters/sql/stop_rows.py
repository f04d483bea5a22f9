"""Rows of emergency stops and of their targets ⇄ the domain."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, Select, delete, func, insert, select, update

from pilothouse_server.adapters.sql import bulk, pages
from pilothouse_server.adapters.sql.pages import Sort
from pilothouse_server.adapters.sql.revisions import next_revision
from pilothouse_server.adapters.sql.tables_stops import (
    EMERGENCY_REQUESTS,
    EMERGENCY_STOPS,
    EMERGENCY_TARGETS,
)
from pilothouse_server.adapters.sql.workflow_rows import slices
from pilothouse_server.domain.events import EventError
from pilothouse_server.domain.stops import (
    DISOBEYING,
    Key,
    Kind,
    Scope,
    Stage,
    Stop,
    StopState,
    Target,
    TargetState,
    wanted,
)

_S = EMERGENCY_STOPS.c
_T = EMERGENCY_TARGETS.c
_OPEN: Final = _S.state.in_([int(StopState.ACTIVE), int(StopState.RELEASING)])
_NEWEST_FIRST: Final = (
    Sort(_S.start_us, descending=True, type=int),
    Sort(_S.id, descending=True, type=str),
)
_BY_KEY: Final = (Sort(_T.kind, descending=False, type=int), Sort(_T.id, False, str))
_PLAIN: Final = (
    "id", "reason", "actor", "start_us", "stage_us", "quiet_us", "told", "released_by", "release_reason", "release_us",
    "end_us",
)  # fmt: skip


def get(connection: Connection, stop_id: str) -> Stop | None:
    """One stop."""
    row = connection.execute(select(EMERGENCY_STOPS).where(_S.id == stop_id)).mappings().first()
    return None if row is None else stop_of(row)


def requested(connection: Connection, request_id: str) -> tuple[str, str] | None:
    """The stop of a request that was granted, and what was asked."""
    found = connection.execute(
        select(EMERGENCY_REQUESTS.c.stop_id, EMERGENCY_REQUESTS.c.asked).where(
            EMERGENCY_REQUESTS.c.request_id == request_id
        )
    ).first()
    return None if found is None else (found.stop_id, found.asked)


def note_request(connection: Connection, request_id: str, stop_id: str, asked: str) -> None:
    """A request was granted."""
    row = {"request_id": request_id, "stop_id": stop_id, "asked": asked}
    connection.execute(insert(EMERGENCY_REQUESTS).values(row))


def open_stops(connection: Connection) -> list[Stop]:
    """Those that are not over, oldest first; they are few."""
    rows = connection.execute(select(EMERGENCY_STOPS).where(_OPEN).order_by(_S.start_us, _S.id))
    return [stop_of(row) for row in rows.mappings()]


def put(connection: Connection, stop: Stop) -> None:
    """Stores a new or changed stop under a new revision."""
    row = {name: getattr(stop, name) for name in _PLAIN}
    row |= {
        "stage": int(stop.stage),
        "state": int(stop.state),
        "workflow_type": stop.scope.workflow_type,
        "agent_type": stop.scope.agent_type,
        "counts": [[int(kind), int(state), n] for (kind, state), n in stop.counts.items() if n],
        "revision": next_revision(connection),
    }
    changed = connection.execute(update(EMERGENCY_STOPS).where(_S.id == stop.id).values(row))
    if not changed.rowcount:
        connection.execute(insert(EMERGENCY_STOPS).values(row))


def stop_of(row: RowMapping) -> Stop:
    """The stop in a row."""
    return Stop(
        **{name: row[name] for name in _PLAIN},
        stage=Stage(row["stage"]),
        scope=Scope(row["workflow_type"], row["agent_type"]),
        state=StopState(row["state"]),
        counts={(Kind(kind), TargetState(state)): count for kind, state, count in row["counts"]},
    )


def page(
    connection: Connection, size: int, token: str, *, released: bool
) -> tuple[list[Stop], str]:
    """Stops, newest first, and the token of the next page. Raises InvalidPageToken."""
    mark = pages.fingerprint("emergency_stops", released)
    key = pages.decode(token, mark, _NEWEST_FIRST) if token else None
    query = select(EMERGENCY_STOPS)
    query = query if released else query.where(_OPEN)
    rows = pages.rows(connection, query, _NEWEST_FIRST, key, size + 1)
    following = ""
    if len(rows) > size:
        following = pages.encode(mark, [rows[size - 1]["start_us"], rows[size - 1]["id"]])
    return [stop_of(row) for row in rows[:size]], following


def changed(connection: Connection, mark: int, limit: int) -> list[tuple[int, Stop]]:
    """Stops with a greater revision, in order."""
    query = select(EMERGENCY_STOPS).where(_S.revision > mark).order_by(_S.revision).limit(limit)
    return [(row["revision"], stop_of(row)) for row in connection.execute(query).mappings()]


def first_open(connection: Connection) -> int | None:
    """The least revision of a stop that is not over."""
    return connection.execute(select(func.min(_S.revision)).where(_OPEN)).scalar()


# Targets.


def targets(connection: Connection, stop_id: str, keys: Collection[Key]) -> dict[Key, Target]:
    """Those that there are."""
    found: dict[Key, Target] = {}
    for kind in Kind:
        ids = sorted({id for of, id in keys if of == kind})
        for some in slices(ids, bulk.keys_at_once(connection)):
            query = select(EMERGENCY_TARGETS).where(
                _T.stop_id == stop_id, _T.kind == int(kind), bulk.among(connection, [_T.id], some)
            )
            for row in connection.execute(query).mappings():
                found[kind, row["id"]] = target_of(row)
    return found


def holders(
    connection: Connection, kind: Kind, ids: Collection[str], stop_ids: Collection[str]
) -> dict[str, str]:
    """By target, which of these stops holds it."""
    states = [int(TargetState.OBEYED), *(int(state) for state in sorted(DISOBEYING))]
    found: dict[str, str] = {}
    for some in slices(sorted(ids), bulk.keys_at_once(connection)):
        query = select(_T.id, _T.stop_id).where(
            bulk.among(connection, [_T.id], some),
            _T.kind == int(kind),
            _T.stop_id.in_(sorted(stop_ids)),
            _T.state.in_(states),
            _T.hold_id != "",
        )
        found.update((id, stop_id) for id, stop_id in connection.execute(query))
    return found


def save(connection: Connection, stop_id: str, changed: Iterable[Target]) -> None:
    """Stores new and changed ones."""
    bulk.upsert(connection, EMERGENCY_TARGETS, [_row(stop_id, each) for each in changed])


def keys(connection: Connection, stop_id: str, kind: Kind, after: str, limit: int) -> list[Key]:
    """The keys of targets of one kind, by id."""
    query = select(_T.id).where(_T.stop_id == stop_id, _T.kind == int(kind), _T.id > after)
    found = connection.execute(query.order_by(_T.id).limit(limit)).scalars()
    return [(kind, id) for id in found]


def due(connection: Connection, stop_id: str, now_us: int, limit: int) -> list[Key]:
    """Those that are to be looked at again."""
    query = (
        select(_T.kind, _T.id)
        .where(_T.stop_id == stop_id, _T.retry_us.is_not(None), _T.retry_us <= now_us)
        .order_by(_T.retry_us)
        .limit(limit)
    )
    return [(Kind(kind), id) for kind, id in connection.execute(query)]


def any_waiting(connection: Connection, stop_id: str) -> bool:
    """Whether some are to be looked at again later."""
    query = select(_T.id).where(_T.stop_id == stop_id, _T.retry_us.is_not(None)).limit(1)
    return connection.execute(query).first() is not None


def forget_attempts(connection: Connection, stop_id: str) -> None:
    """As a stop goes further or is let go: what failed before counts no more."""
    connection.execute(
        update(EMERGENCY_TARGETS)
        .where(_T.stop_id == stop_id)
        .values(attempts=0, asked_us=0, retry_us=None)
    )


def longest_disobeying(
    connection: Connection, stops: Sequence[Stop], limit: int
) -> dict[str, list[Target]]:
    """Of each stop those that do not do what it wants, longest first. Of one in force only what its stage is about."""
    states = [int(state) for state in sorted(DISOBEYING)]
    found: dict[str, list[Target]] = {}
    for stop in stops:
        active = stop.state == StopState.ACTIVE
        kinds = [int(kind) for kind in Kind if not active or wanted(stop.stage, kind)]
        query = (
            select(EMERGENCY_TARGETS)
            .where(_T.stop_id == stop.id, _T.state.in_(states), _T.kind.in_(kinds))
            .order_by(_T.since_us, _T.kind, _T.id)
            .limit(limit)
        )
        found[stop.id] = [target_of(row) for row in connection.execute(query).mappings()]
    return found


def target_page(
    connection: Connection, stop_id: str, states: Collection[TargetState], size: int, token: str
) -> tuple[list[Target], str]:
    """Targets by kind and id, and the token of the next page. Raises InvalidPageToken."""
    standing = sorted({int(state) for state in states})
    mark = pages.fingerprint("emergency_targets", stop_id, standing)
    key = pages.decode(token, mark, _BY_KEY) if token else None
    query: Select[Any] = select(EMERGENCY_TARGETS).where(_T.stop_id == stop_id)
    query = query.where(_T.state.in_(standing)) if standing else query
    rows = pages.rows(connection, query, _BY_KEY, key, size + 1)
    following = ""
    if len(rows) > size:
        following = pages.encode(mark, [rows[size - 1]["kind"], rows[size - 1]["id"]])
    return [target_of(row) for row in rows[:size]], following


def remove(connection: Connection, stop_ids: Sequence[str]) -> None:
    """Forgets stops with all that belongs to them."""
    for table, column in (
        (EMERGENCY_REQUESTS, EMERGENCY_REQUESTS.c.stop_id),
        (EMERGENCY_TARGETS, _T.stop_id),
        (EMERGENCY_STOPS, _S.id),
    ):
        connection.execute(delete(table).where(column.in_(stop_ids)))


def target_of(row: RowMapping) -> Target:
    """The target in a row."""
    error: EventError | None = None
    if row["error_code"] is not None:
        error = EventError(row["error_code"], row["error_message"], row["error_retryable"])
    return Target(
        kind=Kind(row["kind"]),
        id=row["id"],
        state=TargetState(row["state"]),
        **{name: row[name] for name in _TARGET},
        error=error,
    )


_TARGET: Final = (
    "since_us", "update_us", "command_id", "hold_id", "hold_sequence", "asks", "attempts", "asked_us", "retry_us",
)  # fmt: skip


def _row(stop_id: str, target: Target) -> bulk.Row:
    """In the order of the table's columns."""
    error = target.error
    said = (None, None, None) if error is None else (error.code, error.message, error.retryable)
    plain = (getattr(target, name) for name in _TARGET)
    return (stop_id, int(target.kind), target.id, int(target.state), *plain, *said)
