"""Transactions over emergency stops."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from sqlalchemy import Connection

from pilothouse_server.adapters.sql import (
    audit_rows,
    executor_rows,
    outbox_store,
    stop_facts,
    stop_rows,
    stop_survey,
)
from pilothouse_server.adapters.sql.command_gathering import GatheringTransaction
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.revisions import database_id, newest_revision
from pilothouse_server.domain.audit import Entry
from pilothouse_server.domain.events import Event, EventError
from pilothouse_server.domain.stops import (
    Facts,
    Key,
    Kind,
    Scope,
    Stop,
    StopState,
    Target,
    TargetState,
)
from pilothouse_server.services.stop_ports import Moment, Reading, StopView
from pilothouse_server.services.watch import Read, Start

T = TypeVar("T")

NOT_OBEYED_SHOWN: Final = 20


class SqlStops:
    """Implements `services.stops.StopStore`, for those who ask and for the runner."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, run: Callable[[SqlStopTransaction], T]) -> T:
        return await self._database.write(lambda c: run(SqlStopTransaction(c)))

    async def read(self, run: Callable[[SqlStopTransaction], T]) -> T:
        return await self._database.read(lambda c: run(SqlStopTransaction(c)))

    def follow(self, afresh: bool) -> StopFollower:
        """The source of a watch; `afresh`: it begins with those that are not over."""
        return StopFollower(self._database, afresh=afresh)


class SqlStopTransaction:
    """Implements `services.stops.StopTransaction` and `services.stop_runner.RunTransaction`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, stop_id: str) -> Stop | None:
        return stop_rows.get(self._connection, stop_id)

    def open(self) -> Sequence[Stop]:
        return stop_rows.open_stops(self._connection)

    def requested(self, request_id: str) -> tuple[str, str] | None:
        return stop_rows.requested(self._connection, request_id)

    def granted(self, request_id: str, stop_id: str, asked: str) -> None:
        stop_rows.note_request(self._connection, request_id, stop_id, asked)

    def put(self, stop: Stop) -> None:
        stop_rows.put(self._connection, stop)

    def record(self, entries: Sequence[Entry]) -> None:
        audit_rows.append(self._connection, entries)

    def tell(self, events: Iterable[Event]) -> None:
        outbox_store.add(self._connection, events)

    def forget_attempts(self, stop_id: str) -> None:
        stop_rows.forget_attempts(self._connection, stop_id)

    def newest(self) -> int:
        return newest_revision(self._connection)

    def engines(self, stop: Stop, working: Collection[str]) -> Sequence[Key]:
        return stop_survey.engines(self._connection, stop, working)

    def working(self, scope: Scope) -> Collection[str]:
        return stop_survey.working(self._connection, scope)

    def agents(self, stop: Stop, after: str, limit: int) -> Sequence[Key]:
        return stop_survey.agents(self._connection, stop, after, limit)

    def active(
        self, scope: Scope, place: Reading | None, limit: int
    ) -> tuple[Sequence[str], Reading | None]:
        return stop_survey.active(self._connection, scope, place, limit)

    def changed(self, stop: Stop, mark: int, limit: int) -> tuple[Sequence[str], int, bool]:
        return stop_survey.changed(self._connection, stop, mark, limit)

    def target_keys(self, stop_id: str, kind: Kind, after: str, limit: int) -> Sequence[Key]:
        return stop_rows.keys(self._connection, stop_id, kind, after, limit)

    def due(self, stop_id: str, now_us: int, limit: int) -> Sequence[Key]:
        return stop_rows.due(self._connection, stop_id, now_us, limit)

    def any_waiting(self, stop_id: str) -> bool:
        return stop_rows.any_waiting(self._connection, stop_id)

    def facts(
        self, stop: Stop, keys: Collection[Key], moment: Moment
    ) -> Mapping[Key, tuple[Target | None, Facts]]:
        return stop_facts.gather(self._connection, stop, keys, moment)

    def targets(self, stop_id: str, keys: Collection[Key]) -> Mapping[Key, Target]:
        return stop_rows.targets(self._connection, stop_id, keys)

    def save(self, stop_id: str, targets: Iterable[Target]) -> None:
        stop_rows.save(self._connection, stop_id, targets)

    def asker(
        self, workflow_ids: Sequence[str], request_ids: Sequence[str]
    ) -> GatheringTransaction:
        return GatheringTransaction(self._connection, workflow_ids, request_ids)

    def by_engine(self, scope: Scope, *, paused: bool) -> Mapping[str, int]:
        return stop_survey.by_engine(self._connection, scope, paused=paused)

    def of_engines(
        self, scope: Scope, sources: Collection[str], limit: int, *, paused: bool
    ) -> Sequence[tuple[str, str]]:
        return stop_survey.of_engines(self._connection, scope, sources, limit, paused=paused)

    def unable(self, stop: Stop, sources: Collection[str]) -> Mapping[str, EventError]:
        there = executor_rows.named(self._connection, sources)
        found: dict[str, EventError] = {}
        for source in sources:
            error = stop_facts.able(there.get(source), source, stop, Kind.WORKFLOW)
            if error is not None:
                found[source] = error
        return found

    def views(self, stops: Sequence[Stop]) -> Sequence[StopView]:
        shown = stop_rows.longest_disobeying(self._connection, stops, NOT_OBEYED_SHOWN)
        return [StopView(stop, shown[stop.id]) for stop in stops]

    def page(self, size: int, token: str, *, released: bool) -> tuple[Sequence[Stop], str]:
        return stop_rows.page(self._connection, size, token, released=released)

    def target_page(
        self, stop_id: str, states: Collection[TargetState], size: int, token: str
    ) -> tuple[Sequence[Target], str]:
        return stop_rows.target_page(self._connection, stop_id, states, size, token)


class StopFollower:
    """Stops by revision. One that begins afresh leaves out those that were over when it began."""

    def __init__(self, database: Database, *, afresh: bool) -> None:
        self._database = database
        self._afresh = afresh
        self._began = 0

    async def start(self, backlog: int) -> Start:
        del backlog

        def run(connection: Connection) -> Start:
            newest, first = newest_revision(connection), stop_rows.first_open(connection)
            return Start(database_id(connection), newest, newest if first is None else first - 1)

        start = await self._database.read(run)
        self._began = start.newest if self._afresh else 0
        return start

    async def after(self, mark: int, limit: int) -> Read[StopView]:
        def run(connection: Connection) -> Read[StopView]:
            newest = newest_revision(connection)
            rows = stop_rows.changed(connection, mark, limit)
            more = len(rows) == limit
            last = rows[-1][0] if more else newest
            shown = [
                (at, stop)
                for at, stop in rows
                if at > self._began or stop.state != StopState.RELEASED
            ]
            views = SqlStopTransaction(connection).views([stop for _, stop in shown])
            items = [(at, view) for (at, _), view in zip(shown, views, strict=True)]
            return Read(items, last, more)

        return await self._database.read(run)
