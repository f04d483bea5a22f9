"""Silences as rows; whoever has the database may make and end them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, RowMapping, Text, cast, func, insert, or_, select, text, update

from pilothouse_server.adapters.sql import audit_rows, pages
from pilothouse_server.adapters.sql.alert_store import alert_of
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.pages import Sort
from pilothouse_server.adapters.sql.tables_control import ALERTS, RARE_ALERTS
from pilothouse_server.adapters.sql.tables_silences import SILENCES
from pilothouse_server.domain.alerts.matchers import Matcher, MatchType
from pilothouse_server.domain.alerts.records import Alert, matchable
from pilothouse_server.domain.alerts.silences import MOST_OPEN, Recurrence, Silence
from pilothouse_server.domain.alerts.states import AlertState
from pilothouse_server.domain.audit import Author, done
from pilothouse_server.domain.events import Severity
from pilothouse_server.services.alerts.silencing import (
    Labelled,
    Requested,
    SilenceTransaction,
)

T = TypeVar("T")

MOST_RECENT: Final = 100_000
"""Alerts that a preview looks back at."""
AT_ONCE: Final = 500
"""Ids in one statement."""

_S = SILENCES.c
_ALIVE: Final = ALERTS.c.state.in_(
    [int(state) for state in AlertState if state != AlertState.RESOLVED]
)
_NEWEST_FIRST: Final = (
    Sort(_S.create_us, descending=True, type=int),
    Sort(_S.id, descending=True, type=str),
)


class SqlSilences:
    """Implements `services.alerts.silencing.SilenceStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def change(self, run: Callable[[SilenceTransaction], T]) -> T:
        return await self._database.write(lambda c: run(SqlSilenceTransaction(c)))

    async def look(self, run: Callable[[SilenceTransaction], T]) -> T:
        return await self._database.read(lambda c: run(SqlSilenceTransaction(c)))


class SqlSilenceTransaction:
    """Implements `services.alerts.silencing.SilenceTransaction`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, silence_id: str) -> Silence | None:
        query = select(SILENCES).where(_S.id == silence_id)
        row = self._connection.execute(query).mappings().first()
        return None if row is None else _silence_of(row)

    def requested(self, request_id: str) -> Requested | None:
        query = select(SILENCES).where(_S.request_id == request_id, _S.request_id != "")
        row = self._connection.execute(query).mappings().first()
        return None if row is None else Requested(_silence_of(row), row["asked"])

    def open_count(self, now_us: int) -> int:
        query = select(func.count()).select_from(SILENCES).where(*_open(now_us))
        return self._connection.execute(query).scalar_one()

    def open(self, now_us: int) -> Sequence[Silence]:
        query = select(SILENCES).where(*_open(now_us)).order_by(_S.create_us, _S.id)
        rows = self._connection.execute(query.limit(MOST_OPEN)).mappings()
        return [_silence_of(row) for row in rows]

    def add(self, silence: Silence, request_id: str, asked: str) -> None:
        row = _row(silence) | {"request_id": request_id, "asked": asked}
        self._connection.execute(insert(SILENCES).values(row))
        author = Author(silence.created_by, silence.create_us, silence.comment)
        said = {"matchers": ", ".join(map(str, silence.matchers))}
        entry = done(author, "silence.create", silence.id, after=said)
        audit_rows.append(self._connection, [replace(entry, request_id=request_id)])

    def expire(self, silence: Silence, actor: str, reason: str) -> None:
        ended = {
            "expire_us": silence.expire_us,
            "update_us": silence.update_us,
            "expired_by": actor,
            "expire_reason": reason,
        }
        still = (_S.id == silence.id, _S.expire_us.is_(None))
        changed = self._connection.execute(update(SILENCES).where(*still).values(ended)).rowcount
        # The server ends those whose alerts are over, which is nobody's act.
        if changed and actor:
            author = Author(actor, silence.update_us, reason)
            audit_rows.append(self._connection, [done(author, "silence.expire", silence.id)])

    def live(self) -> Iterable[Labelled]:
        query = select(ALERTS.c.id, *_MATCHED).where(_ALIVE)
        for row in self._connection.execute(query):
            yield Labelled(row.id, _labels(row, row.labels))

    def recent(self, since_us: int) -> Iterable[Labelled]:
        newest = (
            select(ALERTS.c.id, *_MATCHED[:-1], cast(ALERTS.c.labels, Text).label("written"))
            .where(
                ALERTS.c.active_us >= since_us,
                or_(ALERTS.c.fire_us.is_not(None), ALERTS.c.state != int(AlertState.RESOLVED)),
            )
            .order_by(ALERTS.c.active_us.desc())
            .limit(MOST_RECENT)
            .subquery()
        )
        alike = [newest.c[name] for name in ("rule_id", "rule_name", "severity", "written")]
        query = select(func.max(newest.c.id).label("id"), func.count().label("many"), *alike)
        for row in self._connection.execute(query.group_by(*alike)):
            yield Labelled(row.id, _labels(row, json.loads(row.written)), row.many)

    def alerts(self, ids: Sequence[str]) -> Sequence[Alert]:
        query = select(ALERTS).where(ALERTS.c.id.in_(ids))
        rows = self._connection.execute(
            query.order_by(ALERTS.c.active_us.desc(), ALERTS.c.id.desc())
        )
        return [alert_of(row) for row in rows.mappings()]

    def any_live(self, ids: Sequence[str]) -> bool:
        for start in range(0, len(ids), AT_ONCE):
            some = ids[start : start + AT_ONCE]
            query = select(ALERTS.c.id).where(ALERTS.c.id.in_(some), _ALIVE).limit(1)
            if self._connection.execute(query).first() is not None:
                return True
        return False

    def silenced(self) -> Mapping[str, int]:
        rare = text(RARE_ALERTS["silenced"][1])
        query = select(ALERTS.c.silenced_by).where(rare, _ALIVE)
        rows = self._connection.execute(query).scalars()
        return Counter(silence_id for ids in rows for silence_id in ids)

    def page(self, now_us: int | None, size: int, token: str) -> tuple[Sequence[Silence], str]:
        mark = pages.fingerprint("silences", now_us is None)
        key = pages.decode(token, mark, _NEWEST_FIRST) if token else None
        query = select(SILENCES)
        if now_us is not None:
            query = query.where(*_open(now_us))
        rows = pages.rows(self._connection, query, _NEWEST_FIRST, key, size + 1)
        following = ""
        if len(rows) > size:
            last = rows[size - 1]
            following = pages.encode(mark, [last["create_us"], last["id"]])
        return [_silence_of(row) for row in rows[:size]], following


_MATCHED = (ALERTS.c.rule_id, ALERTS.c.rule_name, ALERTS.c.severity, ALERTS.c.labels)


def _labels(row: Any, labels: Mapping[str, str]) -> Mapping[str, str]:
    return matchable(labels, row.rule_name, row.rule_id, Severity(row.severity))


def _open(now_us: int) -> tuple[Any, ...]:
    return (_S.expire_us.is_(None), or_(_S.end_us.is_(None), _S.end_us > now_us))


def _row(silence: Silence) -> dict[str, Any]:
    recurrence = silence.recurrence or Recurrence("", "", 0)
    return {
        "id": silence.id,
        "matchers": [[each.name, int(each.type), each.value] for each in silence.matchers],
        "start_us": silence.start_us,
        "end_us": silence.end_us,
        "cron": recurrence.cron,
        "time_zone": recurrence.time_zone,
        "duration_us": recurrence.duration_us,
        "until_resolved": silence.until_resolved,
        "bound": sorted(silence.bound),
        "comment": silence.comment,
        "created_by": silence.created_by,
        "create_us": silence.create_us,
        "update_us": silence.update_us,
        "expire_us": silence.expire_us,
        "expired_by": "",
        "expire_reason": "",
    }


def _silence_of(row: RowMapping) -> Silence:
    recurrence = None
    if row["cron"]:
        recurrence = Recurrence(row["cron"], row["time_zone"], row["duration_us"])
    plain = (
        "id",
        "start_us",
        "end_us",
        "comment",
        "created_by",
        "create_us",
        "update_us",
        "until_resolved",
    )
    return Silence(
        **{name: row[name] for name in plain},
        matchers=tuple(
            Matcher(name, MatchType(kind), value) for name, kind, value in row["matchers"]
        ),
        recurrence=recurrence,
        bound=frozenset(row["bound"]),
        expire_us=row["expire_us"],
    )
