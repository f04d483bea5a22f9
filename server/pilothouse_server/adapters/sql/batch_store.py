"""Batches as rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import (
    Connection,
    bindparam,
    func,
    insert,
    select,
    text,
    update,
)

from pilothouse_server.adapters.sql import audit_rows, batch_views, bulk
from pilothouse_server.adapters.sql.command_gathering import GatheringTransaction
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.revisions import next_revision
from pilothouse_server.adapters.sql.tables_batches import BATCH_ITEMS, BATCH_REQUESTS, BATCHES
from pilothouse_server.adapters.sql.tables_control import COMMANDS
from pilothouse_server.domain.audit import Entry
from pilothouse_server.domain.batches import (
    MOST_OPEN,
    Batch,
    BatchItem,
    BatchView,
    Candidate,
    ItemOutcome,
)
from pilothouse_server.domain.commands import CommandState
from pilothouse_server.domain.filter_text import parse
from pilothouse_server.domain.workflows import WorkflowState
from pilothouse_server.ports import Clock
from pilothouse_server.services.batch_rows import BatchTransaction, Matched, Selection, Turn
from pilothouse_server.services.control_views import Page
from pilothouse_server.services.views import WORKFLOW_FIELDS, PageRequest

T = TypeVar("T")

_B, _I = BATCHES.c, BATCH_ITEMS.c
# In the words of the partial indexes: with parameters the planners could not know that these are what is asked for.
_OPEN: Final = text("batches.state IN (1, 2, 3)")
_PENDING: Final = text("commands.state IN (1, 2)")
_TOOK: Final = (
    update(BATCH_ITEMS)
    .where(_I.batch_id == bindparam("of"), _I.position == bindparam("at"))
    .values(
        command_id=bindparam("command"),
        error_code=bindparam("code"),
        error_message=bindparam("message"),
        error_retryable=bindparam("retryable"),
    )
)


class SqlBatches:
    """Implements `services.batches.BatchStore`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def write(self, run: Callable[[BatchTransaction], T]) -> T:
        return await self._database.write(lambda c: run(SqlBatchTransaction(c)))

    async def read(self, run: Callable[[BatchTransaction], T]) -> T:
        return await self._database.read(lambda c: run(SqlBatchTransaction(c)))

    async def match(self, selection: Selection, limit: int) -> Matched:
        now_us = self._clock.now_us()
        tree = parse(selection.filter, WORKFLOW_FIELDS, now_us)
        return await self._database.read(lambda c: batch_views.match(c, selection, tree, limit))

    async def page(self, asked: PageRequest) -> Page[BatchView]:
        tree = parse(asked.filter, batch_views.BATCH_FILTER, self._clock.now_us())
        return await self._database.read(lambda c: batch_views.page(c, asked, tree))

    async def items(
        self, batch_id: str, outcomes: Sequence[ItemOutcome], asked: PageRequest
    ) -> Page[BatchItem]:
        return await self._database.read(lambda c: batch_views.items(c, batch_id, outcomes, asked))


class SqlBatchTransaction:
    """Implements `services.batches.BatchTransaction`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def requested(self, request_id: str) -> tuple[str, str] | None:
        query = select(BATCH_REQUESTS.c.batch_id, BATCH_REQUESTS.c.asked).where(
            BATCH_REQUESTS.c.request_id == request_id
        )
        row = self._connection.execute(query).first()
        return None if row is None else (row.batch_id, row.asked)

    def note(self, request_id: str, batch_id: str, asked: str) -> None:
        row = {"request_id": request_id, "batch_id": batch_id, "asked": asked}
        self._connection.execute(insert(BATCH_REQUESTS).values(row))

    def get(self, batch_id: str) -> Batch | None:
        return batch_views.get(self._connection, batch_id)

    def open(self) -> Sequence[Batch]:
        query = select(BATCHES).where(_OPEN).order_by(_B.sequence).limit(MOST_OPEN)
        return [batch_views.batch_of(row) for row in self._connection.execute(query).mappings()]

    def add(self, batch: Batch, candidates: Sequence[Candidate]) -> None:
        row = _row(batch) | {"id": batch.id, "sequence": next_revision(self._connection)}
        self._connection.execute(insert(BATCHES).values(row))
        items = [
            (
                batch.id,
                position,
                each.workflow_id,
                each.source,
                int(each.state),
                "",
                None,
                None,
                None,
            )
            for position, each in enumerate(candidates)
        ]
        bulk.insert(self._connection, BATCH_ITEMS, items)

    def put(self, batch: Batch) -> None:
        self._connection.execute(update(BATCHES).where(_B.id == batch.id).values(_row(batch)))

    def commands(self, batch_id: str) -> Mapping[CommandState, int]:
        return batch_views.commands(self._connection, batch_id)

    def pending(self, batch_id: str) -> bool:
        ours = (COMMANDS.c.batch_id == batch_id, batch_views.BATCHED, _PENDING)
        query = select(COMMANDS.c.id).where(*ours).limit(1)
        return self._connection.execute(query).first() is not None

    def next_items(self, batch: Batch, limit: int) -> Sequence[BatchItem]:
        query = (
            select(BATCH_ITEMS)
            .where(_I.batch_id == batch.id, _I.position >= batch.turn)
            .order_by(_I.position)
            .limit(limit)
        )
        rows = self._connection.execute(query).mappings()
        return [
            BatchItem(
                row["position"], row["workflow_id"], row["source"], WorkflowState(row["state"])
            )
            for row in rows
        ]

    def load_of(self, source: str, limit: int) -> int:
        some = (
            select(COMMANDS.c.source)
            .where(COMMANDS.c.source == source, _PENDING)
            .limit(limit)
            .subquery("some")
        )
        return self._connection.execute(select(func.count()).select_from(some)).scalar_one()

    def gathered(
        self, workflow_ids: Sequence[str], request_ids: Sequence[str]
    ) -> GatheringTransaction:
        return GatheringTransaction(self._connection, workflow_ids, request_ids)

    def took(self, batch_id: str, turns: Sequence[Turn]) -> None:
        self._connection.execute(_TOOK, [_taken(batch_id, turn) for turn in turns])

    def record(self, entries: Sequence[Entry]) -> None:
        audit_rows.append(self._connection, entries)


def _taken(batch_id: str, turn: Turn) -> dict[str, Any]:
    error = turn.error
    return {
        "of": batch_id,
        "at": turn.position,
        "command": turn.command_id,
        "code": None if error is None else error.code,
        "message": None if error is None else error.message,
        "retryable": None if error is None else error.retryable,
    }


def _row(batch: Batch) -> dict[str, Any]:
    preview, counts = batch.preview, batch.counts
    return {
        **{name: getattr(batch, name) for name in batch_views.PLAIN},
        "action": int(batch.action),
        "state": int(batch.state),
        "preview": {
            "states": [[int(state), count] for state, count in preview.states.items()],
            "types": preview.types,
            "pending": preview.pending,
            "acceptable": preview.acceptable,
            "refusals": preview.refusals,
        },
        "counts": None
        if counts is None
        else [[int(each), count] for each, count in counts.items()],
    }
