"""Rows of workflows ⇄ records, and what others need of them inside their own transactions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, bindparam, insert, select, update

from pilothouse_server.adapters.sql.revisions import reserve_revisions
from pilothouse_server.adapters.sql.tables_projection import WORKFLOWS
from pilothouse_server.domain.commands import Standpoint
from pilothouse_server.domain.projection.workflow import WorkflowRecord

T = TypeVar("T")

IDS_IN_QUERY = 500
"""Names in one IN list."""

_REVISE = (
    update(WORKFLOWS).where(WORKFLOWS.c.id == bindparam("at")).values(revision=bindparam("to"))
)
_COLUMNS = [column.name for column in WORKFLOWS.columns if column.name != "id"]
_UPDATE = (
    update(WORKFLOWS)
    .where(WORKFLOWS.c.id == bindparam("at"))
    .values({name: bindparam(f"to_{name}") for name in _COLUMNS})
)


def slices(names: Iterable[T], size: int = IDS_IN_QUERY) -> Iterable[list[T]]:
    """The names in lists that a query can hold."""
    remaining = iter(names)
    while some := list(islice(remaining, size)):
        yield some


def load(connection: Connection, workflow_ids: Collection[str]) -> dict[str, WorkflowRecord]:
    """The records of those that are known."""
    found: dict[str, WorkflowRecord] = {}
    for ids in slices(workflow_ids):
        query = select(WORKFLOWS.c.id, WORKFLOWS.c.record).where(WORKFLOWS.c.id.in_(ids))
        for workflow_id, record in connection.execute(query):
            found[workflow_id] = WorkflowRecord.loaded(workflow_id, record)
    return found


def save(
    connection: Connection, records: Mapping[str, WorkflowRecord], known: Collection[str]
) -> None:
    """Writes the records, each under a new revision; `known` tells which of them have a row."""
    if not records:
        return
    new: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    for revision, record in zip(
        reserve_revisions(connection, len(records)), records.values(), strict=True
    ):
        row = _row(record, revision)
        if record.id in known:
            changed.append({"at": record.id, **{f"to_{name}": row[name] for name in _COLUMNS}})
        else:
            new.append(row)
    if new:
        connection.execute(insert(WORKFLOWS), new)
    if changed:
        connection.execute(_UPDATE, changed)


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
    if record is None:
        return None
    return Standpoint(record.id, record.source[2], record.state, record.attempt, record.report_us)


def _row(record: WorkflowRecord, revision: int) -> dict[str, Any]:
    return {
        "id": record.id,
        "type": record.type[1],
        "name": record.name[1],
        "source": record.source[2],
        "state": int(record.state),
        "attempt": record.attempt,
        "stage": record.current_stage,
        "agent_id": record.agent_id,
        "create_us": record.known_us,
        "start_us": record.start_us,
        "end_us": record.end_us,
        "update_us": record.update_us,
        "revision": revision,
        "record": record.dump(),
    }
