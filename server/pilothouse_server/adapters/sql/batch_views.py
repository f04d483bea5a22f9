"""Batches and their workflows as they are asked for, and the workflows that a batch would be of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, RowMapping, func, or_, select, text

from pilothouse_server.adapters.sql import bulk, command_store, executor_rows, pages, workflow_rows
from pilothouse_server.adapters.sql.filters import clause_of
from pilothouse_server.adapters.sql.pages import Sort
from pilothouse_server.adapters.sql.tables_batches import BATCH_ITEMS, BATCHES
from pilothouse_server.adapters.sql.tables_control import COMMANDS
from pilothouse_server.adapters.sql.tables_projection import WORKFLOWS
from pilothouse_server.adapters.sql.workflow_lists import FILTERED
from pilothouse_server.domain.batches import (
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
from pilothouse_server.domain.filters import Field, Filter, Kind, Schema, enum_field
from pilothouse_server.domain.workflows import Action, WorkflowState
from pilothouse_server.services.batch_rows import Matched, Selection
from pilothouse_server.services.control_views import Page
from pilothouse_server.services.views import PageRequest

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
# In the words of the partial index: with a parameter the planners could not know that this is what is asked for.
BATCHED: Final = text("commands.batch_id <> ''")
PLAIN = (
    "filter", "reason", "actor", "started_by", "size", "rate", "create_us", "expire_us", "start_us", "end_us", "turn",
    "refused", "abandoned",
)  # fmt: skip


def get(connection: Connection, batch_id: str) -> Batch | None:
    """One batch."""
    row = connection.execute(select(BATCHES).where(_B.id == batch_id)).mappings().first()
    return None if row is None else batch_of(row)


def match(connection: Connection, selection: Selection, tree: Filter, limit: int) -> Matched:
    """The workflows that a selection is of, at most so many, with what asking for the action would meet."""
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
    executors = executor_rows.named(connection, {each.source for each in candidates})
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


def page(connection: Connection, asked: PageRequest, tree: Filter) -> Page[BatchView]:
    """One page of batches, newest first."""
    mark = pages.fingerprint("batches", asked.filter)
    key = pages.decode(asked.token, mark, _NEWEST_FIRST) if asked.token else None
    query = select(BATCHES).where(clause_of(tree, _FILTERED))
    rows = pages.rows(connection, query, _NEWEST_FIRST, key, asked.size + 1)
    more = len(rows) > asked.size
    following = pages.encode(mark, [rows[asked.size - 1]["sequence"]]) if more else ""
    return Page([_view(connection, batch_of(row)) for row in rows[: asked.size]], following)


def _view(connection: Connection, batch: Batch) -> BatchView:
    if batch.counts is not None:
        return BatchView(batch, batch.counts)
    return BatchView(batch, counts_of(batch, commands(connection, batch.id)))


def items(
    connection: Connection, batch_id: str, outcomes: Sequence[ItemOutcome], asked: PageRequest
) -> Page[BatchItem]:
    """One page of the workflows of a batch, in the order of their turns."""
    batch = get(connection, batch_id)
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


def commands(connection: Connection, batch_id: str) -> dict[CommandState, int]:
    """How many commands of a batch stand where."""
    ours = (COMMANDS.c.batch_id == batch_id, BATCHED)
    query = select(COMMANDS.c.state, func.count()).where(*ours).group_by(COMMANDS.c.state)
    return {CommandState(state): count for state, count in connection.execute(query)}


def batch_of(row: RowMapping) -> Batch:
    """The batch in a row of its table."""
    told, counts = row["preview"], row["counts"]
    return Batch(
        **{name: row[name] for name in ("id", *PLAIN)},
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
