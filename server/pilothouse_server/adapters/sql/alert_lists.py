"""Lists of alerts, newest first, in bounded time however many there are and whatever is asked.

What is asked for often is found among the newest. If it is not, each condition that an index can answer is asked if few
alerts fulfil it; if so, these are all that there can be, and they are looked at. Otherwise the alerts are looked at in
turn, for as long as a page may take: what is left comes with the next page. No step is left to what the database
guesses about how many rows there are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import ge, gt, le, lt
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Subquery,
    Text,
    and_,
    case,
    cast,
    column,
    func,
    literal,
    or_,
    select,
    text,
    true,
    tuple_,
)
from sqlalchemy.sql.expression import TableClause, table

from pilothouse_server.adapters.sql import pages
from pilothouse_server.adapters.sql.alert_store import alert_of
from pilothouse_server.adapters.sql.filters import clause_of
from pilothouse_server.adapters.sql.pages import Key, Sort
from pilothouse_server.adapters.sql.tables_control import ALERTS, RARE_ALERTS
from pilothouse_server.domain.alerts.records import Alert, AlertKind
from pilothouse_server.domain.alerts.search import label_term
from pilothouse_server.domain.alerts.states import AlertState
from pilothouse_server.domain.events import Severity
from pilothouse_server.domain.filter_text import parse
from pilothouse_server.domain.filters import (
    EVERYTHING,
    And,
    Compare,
    Field,
    Filter,
    Kind,
    OneOf,
    Or,
    Schema,
    Words,
    enum_field,
)
from pilothouse_server.services.control_views import Page
from pilothouse_server.services.views import PageRequest

FEW: Final = 2_000
"""Alerts that fulfil a condition which few do."""
MOST_ASKED: Final = 8
"""Conditions that are asked about."""
FIRST_LOOK: Final = 512
LOOK: Final = 4_096
"""Alerts that are looked at in one statement, at first and later."""
PATIENCE: Final = 0.04
"""Seconds after which a page is given as it is; so much is looked at in any case:"""
LEAST_TURNS: Final = 2
MANY: Final = 0.1
"""Share of the newest alerts that fulfil a condition which is not worth asking an index about."""

_RESOLVED: Final = int(AlertState.RESOLVED)
_TRUE: Final = Field(Kind.ENUM, {"TRUE": 1, "FALSE": 0})
_TIME: Final = Field(Kind.TIME)

ALERT_FILTER: Final = Schema(
    fields={
        "id": Field(),
        "state": enum_field(AlertState, "ALERT_STATE_"),
        "severity": enum_field(Severity, "SEVERITY_", ordered=True),
        "rule": Field(),
        "kind": enum_field(AlertKind, "ALERT_KIND_"),
        "acknowledged": _TRUE,
        "assignee": Field(),
        "silenced": _TRUE,
        "inhibited": _TRUE,
        "flapping": _TRUE,
        "active_time": _TIME,
        "fire_time": _TIME,
        "resolve_time": _TIME,
    },
    searched=(),
    words="terms",
    labels="labels",
)
_BY_VALUE: Final = {
    "id": ALERTS.c.id,
    "rule": ALERTS.c.rule_id,
    "state": ALERTS.c.state,
    "severity": ALERTS.c.severity,
}
_TIMES: Final = {"fire_time": ALERTS.c.fire_us, "resolve_time": ALERTS.c.resolve_us}
_BY_RANGE: Final = {"severity": ALERTS.c.severity, **_TIMES}
_RARELY: Final[Mapping[tuple[str, str | int], str]] = {
    ("kind", int(AlertKind.NO_DATA)): "no_data",
    **{(name, 1): name for name in ("acknowledged", "silenced", "inhibited", "flapping")},
}
"""Values that hardly any alert has, and the index of those that do."""
_ORDER: Final = (
    Sort(ALERTS.c.active_us, descending=True, type=int),
    Sort(ALERTS.c.id, descending=True, type=str),
)
_SHOWN: Final = [
    *(ALERTS.c[name] for name in ("id", "active_us", "fire_us", "resolve_us", "state", "severity")),
    *(ALERTS.c[name] for name in ("rule_id", "kind", "assignee", "labels", "terms")),
    case((ALERTS.c.acknowledge_us.is_not(None), 1), else_=0).label("acknowledged"),
    case((cast(ALERTS.c.silenced_by, Text) != "[]", 1), else_=0).label("silenced"),
    case((cast(ALERTS.c.inhibited_by, Text) != "[]", 1), else_=0).label("inhibited"),
    case((ALERTS.c.flapping, 1), else_=0).label("flapping"),
]
"""What filters look at."""
_SEARCH: Final[TableClause] = table("alert_search", column("rowid", BigInteger))


class _Columns(dict[str, ColumnElement[Any]]):
    """For each field what it is in the database, in rows of what filters look at."""

    def __init__(self, rows: Subquery) -> None:
        super().__init__(rows.c)
        self._labels = rows.c["labels"]
        self |= {
            "rule": rows.c["rule_id"],
            "active_time": rows.c["active_us"],
            "fire_time": rows.c["fire_us"],
            "resolve_time": rows.c["resolve_us"],
        }

    def __missing__(self, name: str) -> ColumnElement[Any]:
        _, _, label = name.partition(".")
        value: ColumnElement[Any] = func.coalesce(self._labels[label].as_string(), "", type_=Text)
        return value


@dataclass
class AlertList:
    """One page of a list; `now` is a clock in seconds that only goes forward."""

    connection: Connection
    tree: Filter
    size: int
    patience: float = PATIENCE
    now: Callable[[], float] = time.perf_counter
    found: list[str] = field(default_factory=list[str])
    """The ids of the page's alerts, and of one behind it."""
    end: Key | None = None
    """Behind which alert the next page begins; None where nothing is left."""

    def look(self, key: Key | None) -> None:
        """Finds the page behind the key."""
        begun = self.now()
        first = self.size + 1 if self.tree == EVERYTHING else FIRST_LOOK
        key = self._turn(key, max(first, self.size + 1))
        if key is None:
            return
        few = self._few()
        if few is not None:
            if few:
                self._take(_among(few, key))
            return
        turns = 0
        while key is not None:
            if turns >= LEAST_TURNS and self.now() - begun > self.patience:
                self.end = key
                return
            key = self._turn(key, LOOK)
            turns += 1

    def rows(self) -> list[Alert]:
        """The alerts of the page."""
        query = select(ALERTS).where(ALERTS.c.id.in_(self.found[: self.size]))
        rows = self.connection.execute(query).mappings()
        by_id = {row["id"]: alert_of(row) for row in rows}
        return [by_id[alert_id] for alert_id in self.found[: self.size]]

    def _turn(self, key: Key | None, count: int) -> Key | None:
        """Looks at so many alerts in order; the key of the last, None when the page is full or there are no more."""
        inner = select(*_SHOWN).where(*_behind(key), *_bounds(self.tree))
        inner = inner.order_by(ALERTS.c.active_us.desc(), ALERTS.c.id.desc())
        last = inner.with_only_columns(ALERTS.c.active_us, ALERTS.c.id).offset(count - 1).limit(1)
        row = self.connection.execute(last).first()
        self._take(inner.limit(count))
        if len(self.found) > self.size or row is None:
            return None
        return [row.active_us, row.id]

    def _take(self, inner: Select[*tuple[Any, ...]]) -> None:
        """Those of some alerts that fulfil the filter."""
        rows = inner.subquery("some")
        shown = or_(rows.c.fire_us.is_not(None), rows.c.state != _RESOLVED)
        wanted = (
            select(rows.c.id, rows.c.active_us)
            .where(shown, clause_of(self.tree, _Columns(rows)))
            .order_by(rows.c.active_us.desc(), rows.c.id.desc())
            .limit(self.size + 1 - len(self.found))
        )
        found = self.connection.execute(wanted).all()
        self.found += [row.id for row in found]
        if len(self.found) > self.size:
            # One more than the page holds: the last that it does hold is where the next one begins.
            ids = self.found[self.size - 1]
            times = [row.active_us for row in found if row.id == ids]
            self.end = [times[0] if times else self._time_of(ids), ids]

    def _time_of(self, alert_id: str) -> int:
        query = select(ALERTS.c.active_us).where(ALERTS.c.id == alert_id)
        active_us: int = self.connection.execute(query).scalar_one()
        return active_us

    def _few(self) -> list[int] | None:
        """All alerts that may fulfil the filter, when an index knows that they are few."""
        postgres = self.connection.dialect.name == "postgresql"
        if postgres:
            # Only an index may answer: that few alerts are many is for us to find out, not for the planner to guess.
            self.connection.execute(text("SET LOCAL enable_seqscan = off"))
        try:
            conditions = self._rare_ones()
            for queries in list(_indexed(conditions, postgres=postgres))[:MOST_ASKED]:
                found: set[int] = set()
                for query in queries:
                    numbers: Iterable[int] = self.connection.execute(query.limit(FEW + 1)).scalars()
                    found.update(numbers)
                    if len(found) > FEW:
                        break
                else:
                    return sorted(found)
        finally:
            if postgres:
                self.connection.execute(text("SET LOCAL enable_seqscan = on"))
        return None

    def _rare_ones(self) -> Filter:
        """What the filter asks for that hardly any of the newest alerts is: an index knows soon how many others are."""
        terms = [each for term in _conditions(self.tree) for each in _single(term)]
        if not terms:
            return EVERYTHING
        newest = select(*_SHOWN).order_by(ALERTS.c.active_us.desc(), ALERTS.c.id.desc())
        rows = newest.limit(FIRST_LOOK).subquery("some")
        columns = _Columns(rows)
        counts = [func.sum(case((clause_of(term, columns), 1), else_=0)) for term in terms]
        total, *held = self.connection.execute(select(func.count(), *counts)).one()
        rare = [
            term
            for term, count in zip(terms, held, strict=True)
            if (count or 0) <= MANY * total or total < FIRST_LOOK
        ]
        return And(tuple(rare))


def page(
    connection: Connection,
    asked: PageRequest,
    now_us: int,
    patience: float = PATIENCE,
) -> Page[Alert]:
    """One page of alerts, newest first. Raises InvalidFilter, InvalidPageToken."""
    mark = pages.fingerprint("alerts", asked.filter)
    key = pages.decode(asked.token, mark, _ORDER) if asked.token else None
    listed = AlertList(connection, parse(asked.filter, ALERT_FILTER, now_us), asked.size, patience)
    listed.look(key)
    return Page(listed.rows(), "" if listed.end is None else pages.encode(mark, listed.end))


def _behind(key: Key | None) -> Iterator[ColumnElement[bool]]:
    if key is not None:
        at, alert_id = literal(key[0], BigInteger), literal(key[1], Text)
        yield tuple_(ALERTS.c.active_us, ALERTS.c.id) < tuple_(at, alert_id)


def _among(few: Sequence[int], key: Key) -> Select[*tuple[Any, ...]]:
    return select(*_SHOWN).where(ALERTS.c.sequence.in_(few), *_behind(key)).limit(len(few) + 1)


def _conditions(tree: Filter) -> Iterable[Filter]:
    """What has to be fulfilled all together."""
    return tree.terms if isinstance(tree, And) else (tree,)


def _single(term: Filter) -> Iterator[Filter]:
    """Each word of a search alone."""
    match term:
        case Words(field=name, words=words):
            yield from (Words(name, (word,)) for word in words)
        case And(terms=terms):
            for each in terms:
                yield from _single(each)
        case _:
            yield term


_RANGES: Final[Mapping[str, Callable[[Any, Any], Any]]] = {"<": lt, "<=": le, ">": gt, ">=": ge}


def _bounds(tree: Filter) -> Iterator[ColumnElement[bool]]:
    """What the filter says of the time by which alerts are in order, also those of one rule."""
    for term in _conditions(tree):
        if isinstance(term, Compare) and (term.field, term.op) == ("rule", "="):
            yield ALERTS.c.rule_id == term.value
        if isinstance(term, Compare) and term.field == "active_time" and term.op != "!=":
            at = literal(term.value, BigInteger)
            if term.op == "=":
                yield ALERTS.c.active_us == at
            else:
                yield _RANGES[term.op](ALERTS.c.active_us, at)


def _indexed(tree: Filter, *, postgres: bool) -> Iterator[list[Select[Any]]]:
    """Queries that indexes answer: each list gives the numbers of all alerts that may fulfil the filter."""
    searched = [term for term in _conditions(tree) if _terms(term)]
    if searched:
        yield [_search([each for term in searched for each in _terms(term)], postgres=postgres)]
    for term in _conditions(tree):
        if isinstance(term, Or):
            # Those of each alternative together, where every one of them can be asked.
            lists = [next(_indexed(each, postgres=postgres), None) for each in term.terms]
            if all(lists):
                yield [query for each in lists if each is not None for query in each]
        else:
            clause = _clause(term)
            if clause is not None:
                query = select(ALERTS.c.sequence).where(clause)
                # In the order of the index that is to answer, so that no other one is taken.
                if isinstance(term, Compare) and term.op in _RANGES and term.field in _TIMES:
                    query = query.order_by(_TIMES[term.field])
                yield [query]


def _clause(term: Filter) -> ColumnElement[bool] | None:
    """A condition on a column with an index."""
    clause: ColumnElement[bool] | None = None
    match term:
        case OneOf(field=name, values=values) if name in _BY_VALUE:
            clause = _BY_VALUE[name].in_(sorted(values))
        case Compare(field=name, op="=", value=value) if name in _BY_VALUE:
            clause = _BY_VALUE[name] == value
        case Compare(field=name, op=op, value=value) if name in _BY_RANGE and op in _RANGES:
            clause = _ranged(_BY_RANGE[name], op, value)
        case Compare(field="assignee", op="=", value=str(value)) if value:
            clause = and_(_rare("assigned"), ALERTS.c.assignee == value)
        case Compare(field=name, op="=", value=value) if (name, value) in _RARELY:
            clause = _rare(_RARELY[name, value])
        case _:
            pass
    return clause


def _ranged(of: ColumnElement[Any], op: str, value: str | int) -> ColumnElement[bool]:
    compared: ColumnElement[bool] = _RANGES[op](of, literal(value, BigInteger))
    return compared


def _rare(name: str) -> ColumnElement[bool]:
    """In the words of the partial index, so that the database sees that it has all such rows."""
    return and_(true(), text(f"({RARE_ALERTS[name][1]})"))


def _terms(term: Filter) -> list[str]:
    """What the index of words is asked for; a star at the end where more may follow."""
    match term:
        case Words(words=words):
            return [f"{word}*" for word in words]
        case Compare(field=name, op="=", value=str(value)) if value and name.startswith("labels."):
            return [label_term(name.removeprefix("labels."), value)]
        case _:
            return []


def _search(terms: Sequence[str], *, postgres: bool) -> Select[Any]:
    if postgres:
        asked = " & ".join(
            f"'{each.removesuffix('*')}'{':*' * each.endswith('*')}" for each in terms
        )
        there = "array_to_tsvector(string_to_array(terms, ' ')) @@ CAST(:asked AS tsquery)"
        return select(ALERTS.c.sequence).where(text(there).bindparams(asked=asked))
    asked = " AND ".join(f'"{each.removesuffix("*")}"{"*" * each.endswith("*")}' for each in terms)
    matching = text("alert_search MATCH :asked").bindparams(asked=asked)
    return select(_SEARCH.c.rowid).where(matching)
