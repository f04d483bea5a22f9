"""Batches as rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    bindparam,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from pilothouse_server.adapters.sql import audit_rows, bulk, command_store, pages, workflow_rows
from pilothouse_server.adapters.sql.command_gathering import GatheringTransaction
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.filters import clause_of
from pilothouse_server.adapters.sql.pages import Sort
from pilothouse_server.adapters.sql.revisions import next_revision
from pilothouse_server.adapters.sql.tables_batches import BATCH_ITEMS, BATCH_REQUESTS, BATCHES
from pilothouse_server.adapters.sql.tables_control import COMMANDS
from pilothouse_server.adapters.sql.tables_projection import WORKFLOWS
from pilothouse_server.adapters.sql.workflow_views import FILTERED
from pilothouse_server.domain.audit import Entry
from pilothouse_server.domain.batches import (
    MOST_OPEN,
    OUTCOMES,
    Batch,
    BatchItem,
    BatchState,
    BatchView,
    Candidate,
    ItemOutcome,
    Preview,
    Refused,
    counts_of,
    preview_of,
)
from pilothouse_server.domain.commands import CommandState, refusal
from pilothouse_server.domain.errors import NotFound
from pilothouse_server.domain.events import EventError
from pilothouse_server.domain.filter_text import parse
from pilothouse_server.domain.filters import Field, Filter, Kind, Schema, enum_field
from pilothouse_server.domain.workflows import Action, WorkflowState
from pilothouse_server.ports import Clock
from pilothouse_server.services.batches import BatchTransaction, Matched, Selection, Turn
from pilothouse_server.services.control_views import Page
from pilothouse_server.services.views import WORKFLOW_FIELDS, PageRequest

T = TypeVar("T")

BATCH_FILTER: Final = Schema(
    {
        "id": Field(),
        "state": enum_field(BatchState, "BATCH_STATE_"),
        "action": enum_field(Action, "CONTROL_ACTION_"),
        "actor": Field(),
        "create_time": Field(Kind.TIME),
    },
    searched=("filter", "reason"),
)

_B, _I, _W = BATCHES.c, BATCH_ITEMS.c, WORKFLOWS.c
_FILTERED: Final[dict[str, ColumnElement[Any]]] = {
    **dict(BATCHES.columns),
    "create_time": _B.create_us,
}
_NEWEST_FIRST: Final = (Sort(_B.sequence, descending=True, type=int),)
_BY_TURN: Final = (Sort(_I.position, descending=False, type=int),)
# In the words of the partial indexes: with parameters the planners could not know that these are what is asked for.
_OPEN: Final = text("batches.state IN (1, 2, 3)")
_PENDING: Final = text("commands.state IN (1, 2)")
_BATCHED: Final = text("commands.batch_id <> ''")
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
        return await self._database.read(lambda c: _match(c, selection, tree, limit))

    async def page(self, asked: PageRequest) -> Page[BatchView]:
        tree = parse(asked.filter, BATCH_FILTER, self._clock.now_us())
        return await self._database.read(lambda c: _page(c, asked, tree))

    async def items(
        self, batch_id: str, outcomes: Sequence[ItemOutcome], asked: PageRequest
    ) -> Page[BatchItem]:
        return await self._database.read(lambda c: _items(c, batch_id, outcomes, asked))


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
        query = select(BATCHES).where(_B.id == batch_id)
        row = self._connection.execute(query).mappings().first()
        return None if row is None else _batch_of(row)

    def open(self) -> Sequence[Batch]:
        query = select(BATCHES).where(_OPEN).order_by(_B.sequence).limit(MOST_OPEN)
        return [_batch_of(row) for row in self._connection.execute(query).mappings()]

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
        return _commands(self._connection, batch_id)

    def pending(self, batch_id: str) -> bool:
        ours = (COMMANDS.c.batch_id == batch_id, _BATCHED, _PENDING)
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


def _match(connection: Connection, selection: Selection, tree: Filter, limit: int) -> Matched:
    columns = (_W.id, _W.type, _W.source, _W.state)
    if selection.workflow_ids:
        found: dict[str, Candidate] = {}
        for ids in workflow_rows.slices(selection.workflow_ids, bulk.keys_at_once(connection)):
            query = select(*columns).where(bulk.among(connection, [_W.id], ids))
            found.update((row.id, _candidate(row)) for row in connection.execute(query))
        for workflow_id in selection.workflow_ids:
            if workflow_id not in found:
                raise NotFound("workflow", workflow_id)
        candidates = [found[workflow_id] for workflow_id in selection.workflow_ids]
    else:
        query = select(*columns).where(clause_of(tree, FILTERED)).order_by(_W.create_us, _W.id)
        candidates = [_candidate(row) for row in connection.execute(query.limit(limit))]
        if len(candidates) == limit:
            return Matched(candidates, Preview())
    return Matched(candidates, _preview(connection, selection.action, candidates))


def _candidate(row: Any) -> Candidate:
    return Candidate(row.id, row.type, row.source, WorkflowState(row.state))


def _preview(connection: Connection, action: Action, candidates: Sequence[Candidate]) -> Preview:
    """By the very function that judges requests."""
    ids = [each.workflow_id for each in candidates]
    any_pending = command_store.any_pending(connection)
    pending = command_store.pending_for(connection, ids) if any_pending else {}
    executors = command_store.executors(connection, {each.source for each in candidates})
    return preview_of(
        candidates,
        pending.__contains__,
        lambda each: refusal(
            action,
            each.state,
            pending.get(each.workflow_id),
            executors.get(each.source),
            each.source,
        ),
    )


def _page(connection: Connection, asked: PageRequest, tree: Filter) -> Page[BatchView]:
    mark = pages.fingerprint("batches", asked.filter)
    key = pages.decode(asked.token, mark, _NEWEST_FIRST) if asked.token else None
    query = select(BATCHES).where(clause_of(tree, _FILTERED))
    rows = pages.rows(connection, query, _NEWEST_FIRST, key, asked.size + 1)
    more = len(rows) > asked.size
    following = pages.encode(mark, [rows[asked.size - 1]["sequence"]]) if more else ""
    return Page([_view(connection, _batch_of(row)) for row in rows[: asked.size]], following)


def _view(connection: Connection, batch: Batch) -> BatchView:
    if batch.counts is not None:
        return BatchView(batch, batch.counts)
    return BatchView(batch, counts_of(batch, _commands(connection, batch.id)))


def _items(
    connection: Connection, batch_id: str, outcomes: Sequence[ItemOutcome], asked: PageRequest
) -> Page[BatchItem]:
    batch = SqlBatchTransaction(connection).get(batch_id)
    if batch is None:
        raise NotFound("batch", batch_id)
    wanted = sorted(set(outcomes))
    mark = pages.fingerprint("batch-items", batch_id, wanted)
    key = pages.decode(asked.token, mark, _BY_TURN) if asked.token else None
    said = ("error_code", "error_message", "error_retryable")
    query = (
        select(
            BATCH_ITEMS,
            COMMANDS.c.state.label("command_state"),
            *(COMMANDS.c[name].label(f"command_{name}") for name in said),
        )
        .select_from(BATCH_ITEMS.outerjoin(COMMANDS, COMMANDS.c.id == _I.command_id))
        .where(_I.batch_id == batch_id)
    )
    if wanted:
        query = query.where(or_(*(_with_outcome(batch, outcome) for outcome in wanted)))
    rows = pages.rows(connection, query, _BY_TURN, key, asked.size + 1)
    more = len(rows) > asked.size
    following = pages.encode(mark, [rows[asked.size - 1]["position"]]) if more else ""
    return Page([_item_of(row, batch) for row in rows[: asked.size]], following)


def _with_outcome(batch: Batch, outcome: ItemOutcome) -> ColumnElement[bool]:
    """The rows of a batch, with their commands, that have this outcome."""
    match outcome:
        case ItemOutcome.WAITING | ItemOutcome.ABANDONED:
            asked = (
                batch.size if (outcome == ItemOutcome.ABANDONED) != batch.abandoned else batch.turn
            )
            return _I.position >= asked
        case ItemOutcome.REFUSED:
            return _I.error_code.is_not(None)
        case _:
            states = [int(state) for state, told in OUTCOMES.items() if told == outcome]
            return COMMANDS.c.state.in_(states)


def _item_of(row: RowMapping, batch: Batch) -> BatchItem:
    item = BatchItem(
        row["position"], row["workflow_id"], row["source"], WorkflowState(row["state"])
    )
    if row["command_state"] is not None:
        outcome = OUTCOMES[CommandState(row["command_state"])]
        error = _error(row, "command_")
        return item._replace(outcome=outcome, command_id=row["command_id"], error=error)
    error = _error(row)
    if error is not None:
        return item._replace(outcome=ItemOutcome.REFUSED, error=error)
    return item._replace(outcome=ItemOutcome.ABANDONED) if batch.abandoned else item


def _error(row: RowMapping, of: str = "") -> EventError | None:
    if row[f"{of}error_code"] is None:
        return None
    return EventError(
        row[f"{of}error_code"], row[f"{of}error_message"], row[f"{of}error_retryable"]
    )


def _commands(connection: Connection, batch_id: str) -> dict[CommandState, int]:
    ours = (COMMANDS.c.batch_id == batch_id, _BATCHED)
    query = select(COMMANDS.c.state, func.count()).where(*ours).group_by(COMMANDS.c.state)
    return {CommandState(state): count for state, count in connection.execute(query)}


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


_PLAIN = (
    "filter", "reason", "actor", "started_by", "size", "rate", "create_us", "expire_us", "start_us", "end_us", "turn",
    "refused", "abandoned",
)  # fmt: skip


def _row(batch: Batch) -> dict[str, Any]:
    preview, counts = batch.preview, batch.counts
    return {
        **{name: getattr(batch, name) for name in _PLAIN},
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


def _batch_of(row: RowMapping) -> Batch:
    told, counts = row["preview"], row["counts"]
    return Batch(
        **{name: row[name] for name in ("id", *_PLAIN)},
        action=Action(row["action"]),
        state=BatchState(row["state"]),
        preview=Preview(
            states={WorkflowState(state): count for state, count in told["states"]},
            types=tuple((name, count) for name, count in told["types"]),
            pending=told["pending"],
            acceptable=told["acceptable"],
            refusals=tuple(
                Refused(reason, message, size, tuple(ids))
                for reason, message, size, ids in told["refusals"]
            ),
        ),
        counts=None if counts is None else {ItemOutcome(each): count for each, count in counts},
    )
