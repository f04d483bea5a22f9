"""Summaries of traces: written by whoever leads, with the mark up to which changes of workflows were looked at; read by
type and by end, some rows at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, delete, select, tuple_, update

from pilothouse_server.adapters.sql import bulk
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.revisions import newest_revision
from pilothouse_server.adapters.sql.tables_projection import COUNTERS, WORKFLOWS
from pilothouse_server.adapters.sql.tables_trace_summaries import TRACE_PIECES, TRACE_SUMMARIES
from pilothouse_server.domain.projection.spans import to_json
from pilothouse_server.domain.traces.aggregate import Aggregate
from pilothouse_server.domain.traces.alignment import Piece
from pilothouse_server.domain.traces.model import TimeKind
from pilothouse_server.domain.traces.summary import KeptPiece, Summary
from pilothouse_server.domain.workflows import ENDED, WorkflowState
from pilothouse_server.services.trace_analysis import Ended, Key, Page, Window
from pilothouse_server.services.trace_analyst import Changed

MARK: Final = "trace_summaries"
"""The counter: up to which revision workflows were looked at."""
_KINDS: Final = tuple(TimeKind)
_S, _W = TRACE_SUMMARIES.c, WORKFLOWS.c


class SqlTraceSummaries:
    """Implements `services.trace_analyst.SummaryStore` and `services.trace_analysis.PastRuns`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def mark(self) -> int:
        """Up to which revision workflows were looked at."""
        query = select(COUNTERS.c.value).where(COUNTERS.c.name == MARK)
        found: int = await self._database.read(lambda c: c.execute(query).scalar_one())
        return found

    async def newest_revision(self) -> int:
        """Up to which there are any."""
        return await self._database.read(newest_revision)

    async def changed(self, after: int, until: int, limit: int) -> Sequence[Changed]:
        """In the order of their revisions."""
        query = (
            select(_W.id, _W.revision, _W.state, _S.workflow_id)
            .outerjoin_from(WORKFLOWS, TRACE_SUMMARIES, _S.workflow_id == _W.id)
            .where(_W.revision > after, _W.revision <= until)
            .order_by(_W.revision)
            .limit(limit)
        )
        rows = await self._database.read(lambda c: c.execute(query).all())
        return [
            Changed(id, revision, WorkflowState(state) in ENDED, stored is not None)
            for id, revision, state, stored in rows
        ]

    async def store(
        self, found: Mapping[str, tuple[int, Summary]], gone_on: Sequence[str], mark: int
    ) -> None:
        """What was found of each workflow at which revision: of those that changed since nothing, they come again."""
        await self._database.write(lambda c: _store(c, found, gone_on, mark))

    async def page(
        self, workflow_type: str, window: Window, before: Key | None, limit: int
    ) -> Page:
        """Runs of a type that ended within the time, the newest first."""
        return await self._database.read(lambda c: _page(c, workflow_type, window, before, limit))

    async def newest(self, workflow_type: str, limit: int) -> Sequence[Ended]:
        """Runs of a type, those that ended last, with their pieces."""
        query = (
            select(_S.workflow_id, _S.state, _S.record, TRACE_PIECES.c.pieces)
            .join_from(TRACE_SUMMARIES, TRACE_PIECES, _S.workflow_id == TRACE_PIECES.c.workflow_id)
            .where(_S.type == workflow_type)
            .order_by(_S.end_us.desc(), _S.workflow_id.desc())
            .limit(limit)
        )

        def run(connection: Connection) -> list[Ended]:
            return [
                Ended(id, WorkflowState(state), json.loads(record)[0], _pieces(pieces))
                for id, state, record, pieces in connection.execute(query)
            ]

        return await self._database.read(run)


def splits(
    connection: Connection, workflow_ids: Sequence[Any]
) -> Mapping[str, tuple[int, Mapping[TimeKind, int]]]:
    """Of workflows that were looked at after they ended: the attempt that was looked at, and on what the time of its
    critical path was spent."""
    query = select(_S.workflow_id, _S.attempt, _S.record).where(
        bulk.among(connection, [_S.workflow_id], workflow_ids)
    )
    found: dict[str, tuple[int, Mapping[TimeKind, int]]] = {}
    for workflow_id, attempt, record in connection.execute(query):
        kinds = json.loads(record)[2]
        if kinds is not None:
            pairs = zip(_KINDS, kinds, strict=True)
            found[workflow_id] = (attempt, {kind: us for kind, us in pairs if us})
    return found


def forget(connection: Connection, workflow_ids: Sequence[str]) -> None:
    """Of workflows that are removed, or that went on."""
    for table in (TRACE_SUMMARIES, TRACE_PIECES):
        connection.execute(delete(table).where(table.c.workflow_id.in_(workflow_ids)))


def _store(
    connection: Connection,
    found: Mapping[str, tuple[int, Summary]],
    gone_on: Sequence[str],
    mark: int,
) -> None:
    query = select(_W.id, _W.revision).where(_W.id.in_(list(found)))
    revisions = {row.id: row.revision for row in connection.execute(query)} if found else {}
    same = [each for id, (revision, each) in found.items() if revisions.get(id) == revision]
    if gone_on:
        forget(connection, gone_on)
    bulk.upsert(connection, TRACE_SUMMARIES, [_row(each) for each in same])
    pieces = [(each.workflow_id, to_json([_flat(kept) for kept in each.pieces])) for each in same]
    bulk.upsert(connection, TRACE_PIECES, pieces)
    greater = (COUNTERS.c.name == MARK, COUNTERS.c.value < mark)
    connection.execute(update(COUNTERS).where(*greater).values(value=mark))


def _row(summary: Summary) -> tuple[object, ...]:
    record: list[Any] = [summary.duration_us, None, None, summary.reason]
    if not summary.reason:
        kinds = [summary.split.get(kind, 0) for kind in _KINDS]
        record = [summary.duration_us, dict(summary.critical), kinds]
    return (
        summary.workflow_id, summary.workflow_type, int(summary.state), summary.attempt, summary.revision,
        summary.end_us, to_json(record),
    )  # fmt: skip


def _flat(kept: KeptPiece) -> list[object]:
    return [*kept.piece, kept.start_us, kept.duration_us, kept.critical_us]


def _pieces(text: str) -> Sequence[KeptPiece]:
    return [KeptPiece(Piece(*each[:4]), *each[4:]) for each in json.loads(text)]


def _page(
    connection: Connection, workflow_type: str, window: Window, before: Key | None, limit: int
) -> Page:
    query = select(_S.record, _S.state, _S.end_us, _S.workflow_id).where(
        _S.type == workflow_type, _S.end_us >= window.start_us, _S.end_us < window.end_us
    )
    if before is not None:
        query = query.where(tuple_(_S.end_us, _S.workflow_id) < before)
    ordered = query.order_by(_S.end_us.desc(), _S.workflow_id.desc()).limit(limit)
    rows = connection.execute(ordered).all()
    runs = Aggregate()
    # One call of the parser for all of them, which knows the names of stages again.
    records = json.loads("[" + ",".join([row[0] for row in rows]) + "]")
    sums = [0] * len(_KINDS)
    for (duration_us, critical, kinds, *_), (_, state, _, _) in zip(records, rows, strict=True):
        if critical is None:
            continue
        runs.add(duration_us, critical)
        runs.failed += state == WorkflowState.FAILED
        sums = [left + right for left, right in zip(sums, kinds, strict=True)]
    runs.split = {kind: us for kind, us in zip(_KINDS, sums, strict=True) if us}
    last = Key(rows[-1][2], rows[-1][3]) if len(rows) == limit else None
    return Page(runs, last)
