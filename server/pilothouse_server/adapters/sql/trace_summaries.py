"""Summaries of traces: written by whoever leads, with the mark up to which changes of workflows were looked at; read by
type and by end, some rows at a time."""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, delete, func, select, tuple_, update

from pilothouse_server.adapters.sql import bulk
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.revisions import newest_revision
from pilothouse_server.adapters.sql.tables_projection import COUNTERS, WORKFLOWS
from pilothouse_server.adapters.sql.tables_trace_summaries import TRACE_PIECES, TRACE_SUMMARIES
from pilothouse_server.domain.projection.spans import to_json
from pilothouse_server.domain.traces.aggregate import Alike
from pilothouse_server.domain.traces.alignment import Piece
from pilothouse_server.domain.traces.model import TimeKind
from pilothouse_server.domain.traces.summary import KeptPiece, Summary
from pilothouse_server.domain.workflows import ENDED, WorkflowState
from pilothouse_server.services.trace_analysis import Ended, Key, Page, Window
from pilothouse_server.services.trace_analyst import Changed

MARK: Final = "trace_summaries"
"""The counter: up to which revision workflows were looked at."""
_KINDS: Final = tuple(TimeKind)
_HEAD: Final = 1 + len(_KINDS)
"""Numbers of a run before those of its stages."""
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
            select(_S.workflow_id, _S.state, _S.numbers, TRACE_PIECES.c.pieces)
            .join_from(TRACE_SUMMARIES, TRACE_PIECES, _S.workflow_id == TRACE_PIECES.c.workflow_id)
            .where(_S.type == workflow_type)
            .order_by(_S.end_us.desc(), _S.workflow_id.desc())
            .limit(limit)
        )

        def run(connection: Connection) -> list[Ended]:
            return [
                Ended(id, WorkflowState(state), _numbers(numbers)[0], _pieces(pieces))
                for id, state, numbers, pieces in connection.execute(query)
            ]

        return await self._database.read(run)


def splits(
    connection: Connection, workflow_ids: Sequence[Any]
) -> Mapping[str, tuple[int, Mapping[TimeKind, int]]]:
    """Of workflows that were looked at after they ended: the attempt that was looked at, and on what the time of its
    critical path was spent."""
    query = select(_S.workflow_id, _S.attempt, _S.numbers).where(
        bulk.among(connection, [_S.workflow_id], workflow_ids), _S.reason == ""
    )
    found: dict[str, tuple[int, Mapping[TimeKind, int]]] = {}
    for workflow_id, attempt, numbers in connection.execute(query):
        pairs = zip(_KINDS, _numbers(numbers)[1:_HEAD], strict=True)
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
    # Always in one order, so that runs through the same stages are alike.
    stages = sorted(summary.critical)
    numbers = [summary.duration_us]
    if not summary.reason:
        numbers += [summary.split.get(kind, 0) for kind in _KINDS]
        numbers += [summary.critical[stage] for stage in stages]
    return (
        summary.workflow_id, summary.workflow_type, int(summary.state), summary.attempt, summary.revision,
        summary.end_us, summary.reason, to_json(stages), ",".join(map(str, numbers)),
    )  # fmt: skip


def _numbers(text: str) -> list[int]:
    found: list[int] = json.loads(f"[{text}]")
    return found


def _flat(kept: KeptPiece) -> list[object]:
    return [*kept.piece, kept.start_us, kept.duration_us, kept.critical_us]


def _pieces(text: str) -> Sequence[KeptPiece]:
    return [KeptPiece(Piece(*each[:4]), *each[4:]) for each in json.loads(text)]


def _page(
    connection: Connection, workflow_type: str, window: Window, before: Key | None, limit: int
) -> Page:
    scope = [_S.type == workflow_type, _S.end_us >= window.start_us, _S.end_us < window.end_us]
    if before is not None:
        scope.append(tuple_(_S.end_us, _S.workflow_id) < before)
    keys = select(_S.end_us, _S.workflow_id).where(*scope)
    ordered = keys.order_by(_S.end_us.desc(), _S.workflow_id.desc())
    edge = connection.execute(ordered.offset(limit - 1).limit(1)).first()
    last = None if edge is None else Key(*edge)
    if last is not None:
        scope.append(tuple_(_S.end_us, _S.workflow_id) >= last)
    # The database puts the rows together: fetching each by itself costs more than all else.
    failed = _S.state == int(WorkflowState.FAILED)
    numbers = func.aggregate_strings(_S.numbers, ",")
    query = select(_S.stages, failed, numbers).where(*scope, _S.reason == "")
    rows = connection.execute(query.group_by(_S.stages, failed))
    return Page([_alike(json.loads(stages), bool(lost), text) for stages, lost, text in rows], last)


def _alike(stages: Sequence[str], failed: bool, text: str) -> Alike:
    numbers, width = _numbers(text), _HEAD + len(stages)
    columns = [array("q", numbers[at::width]) for at in range(width)]
    split = {kind: us for kind, us in zip(_KINDS, map(sum, columns[1:_HEAD]), strict=True) if us}
    return Alike(columns[0], dict(zip(stages, columns[_HEAD:], strict=True)), split, failed)
