"""Lists of workflows in bounded time, however many there are and whatever is asked.

A condition that an index answers is asked how many workflows fulfil it: if they are few, these are all that there can
be, and they are looked at. Otherwise workflows are looked at in the order of the list, for as long as a page may take;
what is left comes with the next page, which may so be shorter than was asked for. No step is left to what the database
guesses about how many rows there are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Select,
    and_,
    func,
    literal,
    select,
    text,
    true,
)
from sqlalchemy.sql.selectable import Subquery

from pilothouse_server.adapters.sql import bulk, pages
from pilothouse_server.adapters.sql.filters import clause_of
from pilothouse_server.adapters.sql.pages import Key, Sort
from pilothouse_server.adapters.sql.tables_projection import WORKFLOWS
from pilothouse_server.domain.filters import And, Compare, Filter, OneOf
from pilothouse_server.domain.workflows import WorkflowState
from pilothouse_server.services.views import COUNTED

FEW: Final = 2_000
"""Workflows that fulfil a condition which few do."""
FIRST_LOOK: Final = 512
LOOK: Final = 4_096
"""Workflows that are looked at in one statement, at first and later."""
PATIENCE: Final = 0.04
"""Seconds after which a page is given as it is; so much is looked at in any case:"""
LEAST_LOOKS: Final = 2

_C = WORKFLOWS.c
FILTERED: Final[Mapping[str, ColumnElement[Any]]] = {
    "id": _C.id,
    "state": _C.state,
    "type": _C.type,
    "name": _C.name,
    "source": _C.source,
    "stage": _C.stage,
    "agent": _C.agent_id,
    "attempt": _C.attempt,
    "create_time": _C.create_us,
    "start_time": _C.start_us,
    "end_time": _C.end_us,
}
"""For each field that workflows are filtered by, its column."""
_INDEXED: Final = ("id", "type", "source", "state", "agent")
_SHOWN: Final = list(dict.fromkeys([*FILTERED.values(), _C.update_us]))
"""What filters and orders look at."""


class Listed(NamedTuple):
    """What a list is of."""

    id: Column[Any]
    shown: Sequence[ColumnElement[Any]]
    """What filters and orders look at."""
    filtered: Mapping[str, ColumnElement[Any]]
    """For each field that is filtered by, its column."""
    indexed: Callable[[Filter], Iterator[ColumnElement[bool]]]
    """The conditions on a column with an index."""
    along: Callable[[Filter, Sequence[Sort]], Iterator[ColumnElement[bool]]]
    """What the filter says that an index in this order knows."""


_BY_CREATION: Final = (Sort(_C.create_us, True, int), Sort(_C.id, True, str))


@dataclass
class WorkflowList:
    """One page of a list; `now` is a clock in seconds that only goes forward."""

    connection: Connection
    tree: Filter
    order: Sequence[Sort]
    size: int
    of: Listed
    patience: float = PATIENCE
    now: Callable[[], float] = time.perf_counter
    found: list[list[Any]] = field(default_factory=list[list[Any]])
    """The keys of the page's workflows, and of one behind it; the id comes last."""
    end: Key | None = None
    """Behind which workflow the next page begins; None where nothing is left."""

    def look(self, key: Key | None) -> None:
        """Finds the page behind the key."""
        begun = self.now()
        few = few_of(self.connection, self.tree, self.of)
        if few is not None:
            self._among(few, key)
            return
        looks, count = 0, max(self.size + 1, FIRST_LOOK)
        while (key := self._look(key, count)) is not None:
            looks, count = looks + 1, LOOK
            if looks > LEAST_LOOKS and self.now() - begun > self.patience:
                self.end = key
                return

    @property
    def ids(self) -> list[str]:
        """Those of the page, in order."""
        return [found[-1] for found in self.found[: self.size]]

    def _among(self, few: Sequence[str], key: Key | None) -> None:
        query = select(*(sort.column for sort in self.order)).where(
            bulk.among(self.connection, [self.of.id], few),
            clause_of(self.tree, self.of.filtered),
        )
        rows = pages.rows(self.connection, query, self.order, key, self.size + 1)
        self.found = [list(row.values()) for row in rows]
        if len(self.found) > self.size:
            self.end = self.found[self.size - 1]

    def _look(self, key: Key | None, count: int) -> Key | None:
        """Looks at so many workflows in order; the key of the last, None when the page is full or there are no more."""
        for where, columns in pages.stretches(self.order, key):
            looked = (
                select(*self.of.shown)
                .where(where, *self.of.along(self.tree, self.order))
                .order_by(*columns)
                .limit(count)
            )
            last = self.connection.execute(
                looked.with_only_columns(*(sort.column for sort in self.order))
                .offset(count - 1)
                .limit(1)
            ).first()
            self._take(looked.subquery("some"))
            if len(self.found) > self.size:
                self.end = self.found[self.size - 1]
                return None
            if last is not None:
                return list(last)
        return None

    def _take(self, some: Subquery) -> None:
        """Those of some workflows that fulfil the filter."""
        columns = [some.c[sort.column.key or ""] for sort in self.order]
        directed = [
            column.desc() if sort.descending else column.asc()
            for column, sort in zip(columns, self.order, strict=True)
        ]
        query = (
            select(*columns)
            .where(clause_of(self.tree, within(some, self.of)))
            .order_by(*directed)
            .limit(self.size + 1 - len(self.found))
        )
        self.found += [list(row) for row in self.connection.execute(query)]


def counts(connection: Connection, tree: Filter) -> tuple[dict[WorkflowState, int], bool]:
    """How many of those that fulfil the filter are in each state, and whether not all were counted: then it are those
    among the newest that an index could tell apart."""
    few = few_of(connection, tree, WORKFLOW_LIST)
    if few is not None:
        counted = (
            select(_C.state)
            .where(bulk.among(connection, [_C.id], few), clause_of(tree, FILTERED))
            .subquery("counted")
        )
        return _counted(connection, counted), False
    newest = (
        select(*_SHOWN)
        .where(*_along(tree, _BY_CREATION))
        .order_by(_C.create_us.desc(), _C.id.desc())
    )
    beyond = newest.with_only_columns(_C.id).offset(COUNTED).limit(1)
    some = newest.limit(COUNTED).subquery("some")
    counted = (
        select(some.c.state).where(clause_of(tree, within(some, WORKFLOW_LIST))).subquery("counted")
    )
    return _counted(connection, counted), connection.execute(beyond).first() is not None


def _counted(connection: Connection, counted: Subquery) -> dict[WorkflowState, int]:
    query = select(counted.c.state, func.count(literal(1))).group_by(counted.c.state)
    found = {WorkflowState(state): count for state, count in connection.execute(query)}
    return dict(sorted(found.items()))


def within(some: Subquery, of: Listed) -> dict[str, ColumnElement[Any]]:
    """For each field its column in some of the rows."""
    return {name: some.c[column.key or ""] for name, column in of.filtered.items()}


def few_of(connection: Connection, tree: Filter, of: Listed) -> list[str] | None:
    """The ids of all rows that may fulfil the filter, when an index knows that they are few."""
    queries = [select(of.id).where(clause) for clause in of.indexed(tree)]
    if not queries:
        return None
    for query in queries:
        found = list(connection.execute(query.limit(FEW + 1)).scalars())
        if len(found) <= FEW:
            return found
    return None


@contextmanager
def by_index(connection: Connection) -> Generator[None]:
    """Only indexes answer in here: whether workflows are few is for us to find out, not for the planner to guess."""
    if not bulk.is_postgres(connection):
        yield
        return
    connection.execute(text("SET LOCAL enable_seqscan = off"))
    yield
    connection.execute(text("SET LOCAL enable_seqscan = on"))


def terms_of(tree: Filter) -> Sequence[Filter]:
    """What has to be fulfilled all together."""
    return tree.terms if isinstance(tree, And) else (tree,)


def _indexed(tree: Filter) -> Iterator[ColumnElement[bool]]:
    """The conditions on a column with an index."""
    for term in terms_of(tree):
        match term:
            case OneOf(field="state", values=values):
                yield _C.state.in_(sorted(values))
            case Compare(field="agent", op="=", value=value) if value:
                yield and_(_C.agent_id == value, _C.agent_id != "")
            case Compare(field=name, op="=", value=value) if name in _INDEXED and name != "agent":
                yield FILTERED[name] == value
            case Compare(field="create_time", op=">" | ">=", value=value):
                yield _C.create_us >= value
            case _:
                pass


def _along(tree: Filter, order: Sequence[Sort]) -> Iterator[ColumnElement[bool]]:
    """What the filter says that an index in this order knows: one type or one state of the newest, and from when to
    when."""
    if order[0].column is not _C.create_us:
        return
    equal: list[ColumnElement[bool]] = []
    for term in terms_of(tree):
        match term:
            case Compare(field="type", op="=", value=value):
                equal.insert(0, _C.type == value)
            case OneOf(field="state", values=values) if len(values) == 1:
                equal.append(_C.state == min(values))
            case Compare(field="create_time", op=op) if op != "!=":
                yield clause_of(term, FILTERED)
            case _:
                pass
    yield equal[0] if equal else true()


WORKFLOW_LIST: Final = Listed(_C.id, _SHOWN, FILTERED, _indexed, _along)


def page(
    connection: Connection, query: Select[*tuple[Any, ...]], look: WorkflowList, key: Key | None
) -> Sequence[Any]:
    """The rows of the page behind the key, as `query` asks for them."""
    look.look(key)
    ids = look.ids
    rows = connection.execute(query.where(bulk.among(connection, [_C.id], ids))).mappings()
    by_id = {row["id"]: row for row in rows}
    return [by_id[each] for each in ids if each in by_id]
