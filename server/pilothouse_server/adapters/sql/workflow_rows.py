"""Rows of workflows ⇄ records, and what others need of them inside their own transactions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from typing import TypeVar

from sqlalchemy import Connection, bindparam, select, update

from pilothouse_server.adapters.sql import bulk
from pilothouse_server.adapters.sql.revisions import reserve_revisions
from pilothouse_server.adapters.sql.tables_projection import WORKFLOWS
from pilothouse_server.domain.commands import Standpoint
from pilothouse_server.domain.projection.workflow import WorkflowRecord
from pilothouse_server.domain.workflows import ENDED

T = TypeVar("T")

LARGEST = (1 << 63) - 1
"""What a column of whole numbers can hold."""

_REVISE = (
    update(WORKFLOWS).where(WORKFLOWS.c.id == bindparam("at")).values(revision=bindparam("to"))
)


def slices(names: Iterable[T], size: int) -> Iterable[list[T]]:
    """The names in lists that a query can hold."""
    remaining = iter(names)
    while some := list(islice(remaining, size)):
        yield some


def load(
    connection: Connection, workflow_ids: Collection[str], *, lock: bool = False
) -> dict[str, WorkflowRecord]:
    """The records of those that are known; locked, those that are there are nobody else's to change until the end of
    the transaction."""
    found: dict[str, WorkflowRecord] = {}
    for ids in slices(sorted(workflow_ids), bulk.keys_at_once(connection)):
        wanted = bulk.among(connection, [WORKFLOWS.c.id], ids)
        query = select(WORKFLOWS.c.id, WORKFLOWS.c.record).where(wanted)
        if lock:
            query = query.order_by(WORKFLOWS.c.id).with_for_update()
        for workflow_id, record in connection.execute(query):
            found[workflow_id] = WorkflowRecord.loaded(workflow_id, record)
    return found


def save(
    connection: Connection, records: Mapping[str, WorkflowRecord], revisions: Iterable[int]
) -> None:
    """Writes the records, each under one of these new revisions."""
    rows = [_row(*each) for each in zip(records.values(), revisions, strict=True)]
    bulk.upsert(connection, WORKFLOWS, rows)


def touch(connection: Connection, workflow_ids: Collection[str]) -> None:
    """Gives the rows of these workflows new revisions, so that those who watch see them again."""
    ids = list(dict.fromkeys(workflow_ids))
    if ids:
        revisions = reserve_revisions(connection, len(ids))
        connection.execute(
            _REVISE, [{"at": at, "to": to} for at, to in zip(ids, revisions, strict=True)]
        )


def standpoint_of(connection: Connection, workflow_id: str) -> Standpoint | None:
    """Where a workflow stands, for a control; None when it is not known."""
    record = load(connection, (workflow_id,)).get(workflow_id)
    return None if record is None else standpoint(record)


def standpoint(record: WorkflowRecord) -> Standpoint:
    """Where the workflow of a record stands, for a control."""
    return Standpoint(record.id, record.source[2], record.state, record.attempt, record.report_us)


def _row(record: WorkflowRecord, revision: int) -> bulk.Row:
    """In the order of the table's columns."""
    return (
        record.id,
        record.type[1],
        record.name[1],
        record.source[2],
        int(record.state),
        record.attempt,
        record.current_stage,
        record.agent_id,
        record.known_us,
        record.start_us,
        record.end_us,
        record.update_us,
        revision,
        record.dump(),
        min(record.usage.input_tokens + record.usage.output_tokens, LARGEST),
        min(record.usage.cost_micros, LARGEST),
        _waits_for(record),
        None if record.end_us is None else max(0, record.end_us - record.known_us),
    )


def _waits_for(record: WorkflowRecord) -> str:
    if record.needs is None or record.state in ENDED:
        return ""
    return "\n".join(record.needs.agent_types)
