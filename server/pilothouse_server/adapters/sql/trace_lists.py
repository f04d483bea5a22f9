"""Lists of traces: workflows, and those of OpenTelemetry's traces that no workflow names, as one list.

Each of the two is a list in bounded time, as those of workflows are; a page takes from both what comes next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cmp_to_key
from typing import Any, Final, NamedTuple

from sqlalchemy import Column, ColumnElement, Connection, Integer, and_, literal, select, true

from pilothouse_server.adapters.sql import bulk, pages, trace_summaries
from pilothouse_server.adapters.sql.filters import clause_of
from pilothouse_server.adapters.sql.pages import Key, Sort
from pilothouse_server.adapters.sql.tables_projection import WORKFLOWS
from pilothouse_server.adapters.sql.tables_traces import TRACES
from pilothouse_server.adapters.sql.workflow_lists import (
    PATIENCE,
    Listed,
    WorkflowList,
    by_index,
    terms_of,
)
from pilothouse_server.domain.errors import InvalidArgument
from pilothouse_server.domain.filter_text import parse
from pilothouse_server.domain.filters import Compare, Filter, OneOf
from pilothouse_server.domain.projection.workflow import WorkflowRecord
from pilothouse_server.domain.traces.model import Trace
from pilothouse_server.domain.workflows import ENDED, WorkflowState
from pilothouse_server.services.traces import TRACE_FIELDS, TracePage, TraceRow
from pilothouse_server.services.views import PageRequest

_W, _T = WORKFLOWS.c, TRACES.c
_ORDERS: Final = ("start_time", "duration")
_OF_WORKFLOWS: Final[Mapping[str, ColumnElement[Any]]] = {
    "id": _W.id,
    "workflow_type": _W.type,
    "name": _W.name,
    "source": _W.source,
    "state": _W.state,
    "start_time": _W.create_us,
    "duration": _W.duration_us,
    "attempt": _W.attempt,
}
_NO_ATTEMPT: Final = literal(0, Integer).label("attempt")
_OF_TRACES: Final[Mapping[str, ColumnElement[Any]]] = {
    "id": _T.id,
    "workflow_type": _T.service,
    "name": _T.name,
    "source": _T.service,
    "state": _T.state,
    "start_time": _T.start_us,
    "duration": _T.duration_us,
    "attempt": _NO_ATTEMPT,
}


_ALONE: Final = _T.workflow_id == ""
_RANGED: Final = {"start_time": ("start_us", "create_us"), "duration": ("duration_us",)}
"""Fields with an index that is in order, and the columns of it."""


def _listed(
    of: Column[Any], columns: Mapping[str, ColumnElement[Any]], *always: ColumnElement[bool]
) -> Listed:
    """`always` is what indexes are partial by."""

    def indexed(tree: Filter) -> Iterator[ColumnElement[bool]]:
        for term in terms_of(tree):
            match term:
                case (
                    OneOf(field="state") | Compare(field="id" | "workflow_type" | "source", op="=")
                ):
                    yield and_(clause_of(term, columns), *always)
                case Compare(field="start_time" | "duration", op=">" | ">="):
                    yield and_(clause_of(term, columns), *always)
                case _:
                    pass

    def along(tree: Filter, order: Sequence[Sort]) -> Iterator[ColumnElement[bool]]:
        yield and_(true(), *always)
        by = order[0].column.key
        equal: list[ColumnElement[bool]] = []
        for term in terms_of(tree):
            match term:
                case Compare(field=name, op=op) if op != "!=" and by in _RANGED.get(name, ()):
                    yield clause_of(term, columns)
                case Compare(field="workflow_type", op="=") if by != "duration_us":
                    equal.insert(0, clause_of(term, columns))
                case OneOf(field="state", values=values) if (
                    len(values) == 1 and by != "duration_us"
                ):
                    equal.append(clause_of(term, columns))
                case _:
                    pass
        yield from equal[:1]

    shown = list(dict.fromkeys(columns.values()))
    return Listed(of, shown, columns, indexed, along)


_WORKFLOW_LIST: Final = _listed(_W.id, _OF_WORKFLOWS)
_TRACE_LIST: Final = _listed(_T.id, _OF_TRACES, _ALONE)


class Asked(NamedTuple):
    """A request for a page, understood."""

    tree: Filter
    order: str
    descending: bool
    size: int
    fingerprint: str
    key: Key | None


def asked(request: PageRequest, now_us: int) -> Asked:
    """Raises InvalidFilter, InvalidPageToken, InvalidArgument."""
    name, *direction = request.order_by.split() or ["start_time", "desc"]
    if name not in _ORDERS or direction not in ([], ["desc"], ["asc"]):
        raise InvalidArgument(
            "order_by", f"one of {', '.join(_ORDERS)}, with desc behind it for the other way round"
        )
    descending = direction == ["desc"]
    tree = parse(request.filter, TRACE_FIELDS, now_us)
    fingerprint = pages.fingerprint("traces", request.filter, name, descending)
    order = _order(_OF_WORKFLOWS, name, descending)
    key = pages.decode(request.token, fingerprint, order) if request.token else None
    return Asked(tree, name, descending, request.size, fingerprint, key)


def page(connection: Connection, request: Asked, patience: float = PATIENCE) -> TracePage:
    """One page, of one moment."""
    lists = [
        WorkflowList(
            connection,
            request.tree,
            _order(of.filtered, request.order, request.descending),
            request.size,
            of,
            patience / 2,
        )
        for of in (_WORKFLOW_LIST, _TRACE_LIST)
    ]
    with by_index(connection):
        for each in lists:
            each.look(request.key)
        taken, end = _merged(lists, request)
        rows = _workflows(connection, [key[-1] for of, key in taken if of is lists[0]])
        rows |= _traces(connection, [key[-1] for of, key in taken if of is lists[1]])
    found = [rows[str(key[-1])] for _, key in taken if str(key[-1]) in rows]
    return TracePage(found, "" if end is None else pages.encode(request.fingerprint, end))


_Taken = tuple[WorkflowList, Key]


def _merged(lists: Sequence[WorkflowList], request: Asked) -> tuple[list[_Taken], Key | None]:
    """What comes next of both, and behind what the next page begins."""

    def compared(one: _Taken, other: _Taken) -> int:
        return _compared(one[1], other[1], descending=request.descending)

    found: list[_Taken] = [(each, key) for each in lists for key in each.found[: request.size]]
    found.sort(key=cmp_to_key(compared))
    # A list that ran out of time was looked at up to its end only: what is behind it has to wait.
    cut = [each.end for each in lists if each.end is not None and len(each.found) <= request.size]
    ends: list[_Taken] = sorted(((lists[0], end) for end in cut), key=cmp_to_key(compared))
    if ends:
        found = [each for each in found if compared(each, ends[0]) <= 0]
    taken = found[: request.size]
    if len(found) > request.size or any(len(each.found) > request.size for each in lists):
        return taken, taken[-1][1]
    return taken, ends[0][1] if ends else None


def _compared(one: Key, other: Key, *, descending: bool) -> int:
    """In the order of a list: those without a value come last either way."""
    if one[0] is None or other[0] is None:
        if (one[0] is None) != (other[0] is None):
            return 1 if one[0] is None else -1
        one, other = one[1:], other[1:]
    mine: tuple[Any, ...] = tuple(one)
    its: tuple[Any, ...] = tuple(other)
    if mine == its:
        return 0
    return -1 if (mine > its) == descending else 1


def _order(
    columns: Mapping[str, ColumnElement[Any]], name: str, descending: bool
) -> Sequence[Sort]:
    return [Sort(columns[name], descending, int), Sort(columns["id"], descending, str)]


def _workflows(connection: Connection, ids: Sequence[Any]) -> dict[str, TraceRow]:
    query = select(_W.id, _W.record, _W.revision).where(bulk.among(connection, [_W.id], ids))
    split = trace_summaries.splits(connection, ids)
    found: dict[str, TraceRow] = {}
    for workflow_id, dumped, revision in connection.execute(query):
        record = WorkflowRecord.loaded(workflow_id, dumped)
        end_us = record.end_us
        trace = Trace(
            record.id, record.id, record.type[1], record.name[1], record.source[2], record.state, record.attempt,
            (record.trace[1],) if record.trace[1] else (), record.known_us,
            None if end_us is None else max(record.known_us, end_us), [], revision=revision,
        )  # fmt: skip
        looked_at, kinds = split.get(workflow_id, (0, {}))
        same = record.state in ENDED and looked_at == record.attempt
        found[workflow_id] = TraceRow(trace, split=kinds if same else {})
    return found


def _traces(connection: Connection, ids: Sequence[Any]) -> dict[str, TraceRow]:
    found: dict[str, TraceRow] = {}
    for row in connection.execute(select(TRACES).where(bulk.among(connection, [_T.id], ids))):
        end_us = None if row.duration_us is None else row.start_us + row.duration_us
        trace = Trace(
            row.id, "", row.service, row.name, row.service, WorkflowState(row.state), 0, (row.id,), row.start_us,
            end_us, [], revision=row.position,
        )  # fmt: skip
        found[row.id] = TraceRow(trace, row.ended + len(row.open.split()), row.failed)
    return found
