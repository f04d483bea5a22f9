"""Rows of what people asked of alerts on replicas that do not lead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from pilothouse_server.adapters.sql.tables_control import ALERT_REQUESTS
from pilothouse_server.domain.alerts.requests import (
    OPEN,
    TOO_NEW,
    AlertRequest,
    Answer,
    Refusal,
    RequestState,
    Verb,
)

_C = ALERT_REQUESTS.c
_OPEN = _C.state.in_([int(state) for state in OPEN])


class Outcome(NamedTuple):
    """Where a request stands, and why it was refused if it was."""

    state: RequestState
    refusal: Refusal | None


def add(connection: Connection, request: AlertRequest) -> None:
    """Stores a new request. One that is there already, as its answer was lost, stays as it is."""
    known = connection.execute(select(_C.id).where(_C.id == request.id)).first()
    if known is None:
        row = {name: getattr(request, name) for name in _PLAIN}
        row |= {"verb": int(request.verb), "state": int(RequestState.WAITING)}
        connection.execute(insert(ALERT_REQUESTS).values(row))


def outcome(connection: Connection, request_id: str) -> Outcome | None:
    """None when it is not there (any more)."""
    row = connection.execute(select(_C.state, _C.refusal).where(_C.id == request_id)).first()
    return None if row is None else Outcome(RequestState(row.state), row.refusal)


def withdraw(connection: Connection, request_id: str) -> bool:
    """Whether nobody had taken it; then nobody will."""
    waiting = (_C.id == request_id, _C.state == int(RequestState.WAITING))
    return _set(connection, RequestState.WITHDRAWN, *waiting) > 0


def any_open(connection: Connection) -> bool:
    """Whether one is not answered."""
    return connection.execute(select(_C.id).where(_OPEN).limit(1)).first() is not None


def claim(connection: Connection, stale_us: int, limit: int) -> list[AlertRequest]:
    """Takes the oldest that are not answered, those that another took and did not answer too. Those from before
    `stale_us`, for which nobody waits any more, are withdrawn; those that this version does not know are refused."""
    _set(connection, RequestState.WITHDRAWN, _OPEN, _C.request_us < stale_us)
    query = (
        select(ALERT_REQUESTS)
        .where(_OPEN)
        .order_by(_C.request_us, _C.id)
        .limit(limit)
        .with_for_update()
    )
    rows = connection.execute(query).mappings().all()
    # A newer replica may ask for what this one does not know, while versions are mixed.
    unknown = [row["id"] for row in rows if row["verb"] not in _VERBS]
    answer(connection, [Answer(request_id, TOO_NEW) for request_id in unknown])
    known = [row for row in rows if row["verb"] in _VERBS]
    _set(connection, RequestState.TAKEN, _C.id.in_([row["id"] for row in known]))
    return [
        AlertRequest(verb=Verb(row["verb"]), **{name: row[name] for name in _PLAIN})
        for row in known
    ]


def answer(connection: Connection, answers: Sequence[Answer]) -> None:
    """Stores answers; the first one to a request stands."""
    for request_id, refusal in answers:
        state = RequestState.APPLIED if refusal is None else RequestState.REFUSED
        answered = (
            update(ALERT_REQUESTS)
            .where(_C.id == request_id, _OPEN)
            .values(state=int(state), refusal=None if refusal is None else dict(refusal))
        )
        connection.execute(answered)


def prune(connection: Connection, before_us: int) -> None:
    """Forgets those of which everybody knows."""
    connection.execute(delete(ALERT_REQUESTS).where(_C.request_us < before_us))


def _set(connection: Connection, state: RequestState, *where: ColumnElement[bool]) -> int:
    changed = connection.execute(update(ALERT_REQUESTS).where(*where).values(state=int(state)))
    return changed.rowcount


_PLAIN = (
    "id", "alert_id", "actor", "comment", "etag", "request_us", "request_id", "assignee", "expire_after_us",
)  # fmt: skip
_VERBS = frozenset(int(verb) for verb in Verb)
