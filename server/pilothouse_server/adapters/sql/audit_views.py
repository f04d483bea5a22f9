"""Records of the audit log as they are asked for, and held against each other.

What was written by other hands than ours may be anything, so for the proof each row is taken as it is: what cannot be
read as a record is a finding and no fault.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, Connection, RowMapping, Text, and_, func, select
from sqlalchemy import cast as as_type

from pilothouse_server.adapters.sql import pages
from pilothouse_server.adapters.sql.audit_rows import HEAD
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.filters import clause_of
from pilothouse_server.adapters.sql.tables_audit import AUDIT, AUDIT_HEAD
from pilothouse_server.domain.audit import WHOLE, Entry, Link, Outcome, Verdict, follows
from pilothouse_server.domain.events import EventError
from pilothouse_server.domain.filter_text import parse
from pilothouse_server.domain.filters import And, Compare, Field, Filter, Kind, Schema, enum_field
from pilothouse_server.ports import Clock
from pilothouse_server.services.audit import Ends, Looked
from pilothouse_server.services.control_views import Page
from pilothouse_server.services.views import PageRequest

_C = AUDIT.c
LARGEST: Final = 2**63 - 1
"""Number that a database can be asked for; the contract has room for greater ones."""

AUDIT_FILTER: Final = Schema(
    fields={
        "sequence": Field(Kind.NUMBER),
        "actor": Field(),
        "verb": Field(),
        "target_kind": Field(),
        "target_id": Field(),
        "outcome": enum_field(Outcome, "AUDIT_OUTCOME_"),
        "request_id": Field(),
        "command_id": Field(),
        "batch_id": Field(),
        "emergency_stop_id": Field(),
        "record_time": Field(Kind.TIME),
    },
    searched=("actor", "verb", "target_id", "reason"),
)
_FILTERED: Final[Mapping[str, ColumnElement[Any]]] = {
    **dict(_C),
    "emergency_stop_id": _C.stop_id,
    "record_time": _C.record_us,
}
_DAMAGED: Final = (ValueError, TypeError, KeyError, AttributeError)
"""What reading a row raises that is no record."""
_STATED: Final = ("request_id", "command_id", "batch_id", "emergency_stop_id")
"""Columns with an index of the rows where they are stated."""


class SqlAudit:
    """Implements `services.audit.AuditStore`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def page(self, asked: PageRequest, *, ascending: bool) -> Page[Entry]:
        tree = parse(asked.filter, AUDIT_FILTER, self._clock.now_us())
        clause = and_(clause_of(tree, _FILTERED), *_index_hints(tree))
        order = (pages.Sort(_C.sequence, not ascending, int),)
        mark = pages.fingerprint("audit", asked.filter, ascending)
        key = pages.decode(asked.token, mark, order) if asked.token else None
        query = select(*_COLUMNS).where(clause)
        rows = await self._database.read(lambda c: pages.rows(c, query, order, key, asked.size + 1))
        entries = [_shown(row) for row in rows[: asked.size]]
        more = len(rows) > asked.size
        return Page(entries, pages.encode(mark, [entries[-1].sequence]) if more else "")

    async def ends(self) -> Ends:
        def run(connection: Connection) -> Ends:
            said = select(AUDIT_HEAD.c.sequence, AUDIT_HEAD.c.hash).where(AUDIT_HEAD.c.id == HEAD)
            head = connection.execute(said).first()
            first, last = (
                connection.execute(select(of(_C.sequence))).scalar() or 0
                for of in (func.min, func.max)
            )
            return Ends(None if head is None else Link(head.sequence, head.hash), first, last)

        return await self._database.read(run)

    async def link(self, sequence: int) -> Link | None:
        if sequence > LARGEST:
            return None
        query = select(_C.sequence, _C.hash).where(_C.sequence == sequence)
        row = await self._database.read(lambda c: c.execute(query).first())
        return None if row is None else Link(row.sequence, row.hash)

    async def look(self, link: Link, until: int, limit: int) -> Looked:
        query = (
            select(*_COLUMNS)
            .where(_C.sequence > link.sequence, _C.sequence <= until)
            .order_by(_C.sequence)
            .limit(limit)
        )

        def run(connection: Connection) -> Looked:
            seen = link
            rows = connection.execute(query).mappings().all()
            for number, row in enumerate(rows):
                verdict = _held(seen, row)
                if verdict != WHOLE:
                    return Looked(seen, number, verdict)
                seen = Link(row["sequence"], row["hash"])
            return Looked(seen, len(rows), WHOLE)

        return await self._database.read(run)


def _held(link: Link, row: RowMapping) -> Verdict:
    try:
        return follows(link, entry_of(row))
    except _DAMAGED:
        return Verdict(f"record {row['sequence']} cannot be read as a record", row["sequence"])


def _index_hints(tree: Filter) -> list[ColumnElement[bool]]:
    """What is true anyway, said so that the database sees that a partial index has all the rows."""
    terms = tree.terms if isinstance(tree, And) else (tree,)
    return [
        _FILTERED[term.field] != ""
        for term in terms
        if isinstance(term, Compare) and term.field in _STATED and term.op == "=" and term.value
    ]


def entry_of(row: RowMapping) -> Entry:
    """The record in a row. Raises one of _DAMAGED for what is none."""
    error = json.loads(row["error"]) if row["error"] else None
    return Entry(
        **{name: row[name] for name in _PLAIN},
        outcome=Outcome(row["outcome"]),
        before=_texts(row["before"]),
        after=_texts(row["after"]),
        error=None if error is None else EventError(**error),
    )


def _shown(row: RowMapping) -> Entry:
    """The record, or as much of it as is left: a damaged one is seen in its place, and hides no other."""
    try:
        return entry_of(row)
    except _DAMAGED:
        told = "this record was damaged: verify the log"
        left: dict[str, Any] = {name: str(row[name]) for name in _PLAIN}
        left |= {name: int(row[name]) for name in ("sequence", "record_us")}
        return Entry(**left, outcome=Outcome.FAILED, error=EventError("DAMAGED", told))


def _texts(written: str) -> Mapping[str, str]:
    found: object = json.loads(written)
    if not isinstance(found, dict):
        raise TypeError("no texts by name")
    return cast("dict[str, str]", found)


_PLAIN: Final = (
    "sequence", "record_us", "actor", "verb", "target_kind", "target_id", "reason", "request_id", "command_id",
    "batch_id", "stop_id", "previous_hash", "hash",
)  # fmt: skip
# As text: what is no JSON any more is found record by record, and does not end a whole look.
_COLUMNS: Final = (
    *(_C[name] for name in _PLAIN),
    _C.outcome,
    *(as_type(_C[name], Text).label(name) for name in ("before", "after", "error")),
)
