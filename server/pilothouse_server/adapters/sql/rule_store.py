"""Rules as rows: those that there are, and every version of each. Each change is counted, in its own transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, RowMapping, delete, exists, func, insert, select

from pilothouse_server.adapters.sql import audit_rows, pages
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.pages import Sort
from pilothouse_server.adapters.sql.revisions import newest, reserve
from pilothouse_server.adapters.sql.tables_channels import CHANNELS, ESCALATIONS
from pilothouse_server.adapters.sql.tables_control import ALERT_RULE_VERSIONS, ALERT_RULES
from pilothouse_server.domain.alerts.documents import rule_from_document, rule_to_document
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.alerts.validation import size_of
from pilothouse_server.domain.alerts.versions import (
    DELETED_KEPT,
    VERSIONS_KEPT,
    FieldDifference,
    RuleVersion,
    differences,
)
from pilothouse_server.domain.audit import Author, Entry, done
from pilothouse_server.services.alerts.following import CountedRules
from pilothouse_server.services.alerts.rulebook import RuleTransaction, VersionPage

T = TypeVar("T")

LARGEST: Final = 2**63 - 1
"""Number that a database can be asked for; the contract has room for greater ones."""

RULES: Final = "rules"
"""The counter of changes."""
PAGE_BYTES: Final = 2 * 1024 * 1024
"""Of the rules and their differences on one page of versions."""

_V = ALERT_RULE_VERSIONS
_NEWEST_FIRST = (Sort(_V.c.version, descending=True, type=int),)


def every(connection: Connection) -> Sequence[Rule]:
    """The rules, by name."""
    rows = connection.execute(select(ALERT_RULES).order_by(ALERT_RULES.c.name)).mappings()
    return [rule_of(row) for row in rows]


def ship(connection: Connection, rules: Sequence[Rule]) -> None:
    """Stores the rules of a new database, but for those whose id or name somebody gave before."""
    transaction = SqlRuleTransaction(connection)
    there = transaction.every()
    taken = {rule.id for rule in there}, {rule.name for rule in there}
    new = [
        rule
        for rule in rules
        if rule.id not in taken[0]
        and rule.name not in taken[1]
        and transaction.version(rule.id, 0) is None
    ]
    transaction.put(new, "")


def rule_of(row: RowMapping) -> Rule:
    """The rule in a row."""
    return replace(
        rule_from_document(row["document"]),
        **{name: row[name] for name in ("version", "create_us", "update_us", "updated_by")},
    )


class SqlRules:
    """Rules for whoever changes them, and for the engine that goes by them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def change(self, run: Callable[[RuleTransaction], T]) -> T:
        return await self._database.write(lambda connection: run(SqlRuleTransaction(connection)))

    async def look(self, run: Callable[[RuleTransaction], T]) -> T:
        return await self._database.read(lambda connection: run(SqlRuleTransaction(connection)))

    async def versions(self, rule_id: str, size: int, token: str) -> VersionPage:
        return await self._database.read(
            lambda connection: _versions(connection, rule_id, size, token)
        )

    async def since(self, changes: int | None) -> CountedRules | None:
        return await self._database.read(lambda connection: _since(connection, changes))


class SqlRuleTransaction:
    """What the rulebook reads and changes, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def every(self) -> Sequence[Rule]:
        return every(self._connection)

    def get(self, rule_id: str) -> Rule | None:
        query = select(ALERT_RULES).where(ALERT_RULES.c.id == rule_id)
        row = self._connection.execute(query).mappings().first()
        return None if row is None else rule_of(row)

    def version(self, rule_id: str, version: int) -> RuleVersion | None:
        if version > LARGEST:
            return None
        query = select(_V).where(_V.c.rule_id == rule_id)
        if version:
            query = query.where(_V.c.version == version)
        query = query.order_by(_V.c.version.desc()).limit(1)
        return _first(self._connection.execute(query).mappings().first())

    def requested(self, request_id: str) -> RuleVersion | None:
        # The empty ones are in no index, and the database has to see that this is none of them.
        query = select(_V).where(_V.c.request_id == request_id, _V.c.request_id != "")
        row = self._connection.execute(query).mappings().first()
        return _first(row)

    def channels(self) -> Collection[str]:
        return list(self._connection.execute(select(CHANNELS.c.id)).scalars())

    def escalations(self) -> Collection[str]:
        return list(self._connection.execute(select(ESCALATIONS.c.id)).scalars())

    def put(self, rules: Sequence[Rule], reason: str, request_id: str = "") -> None:
        if not rules:
            return
        # Taken away before they are put anew, so that two of them may change names with each other.
        for rule in rules:
            self._connection.execute(delete(ALERT_RULES).where(ALERT_RULES.c.id == rule.id))
        self._connection.execute(insert(ALERT_RULES), [_row(rule) for rule in rules])
        self._note(rules, reason, request_id, deleted=False)

    def delete(self, rule: Rule, reason: str) -> None:
        self._connection.execute(delete(ALERT_RULES).where(ALERT_RULES.c.id == rule.id))
        self._note([rule], reason, "", deleted=True)
        self._forget_deleted()

    def _note(self, rules: Sequence[Rule], reason: str, request_id: str, *, deleted: bool) -> None:
        rows: list[dict[str, Any]] = [
            {
                "rule_id": rule.id,
                "version": rule.version,
                "document": rule_to_document(rule),
                "deleted": deleted,
                "create_us": rule.update_us,
                "actor": rule.updated_by,
                "reason": reason,
                "request_id": request_id,
            }
            for rule in rules
        ]
        self._connection.execute(insert(_V), rows)
        for rule in rules:
            if rule.version > VERSIONS_KEPT:
                old = _V.c.version <= rule.version - VERSIONS_KEPT
                self._connection.execute(delete(_V).where(_V.c.rule_id == rule.id, old))
        reserve(self._connection, RULES, 1)
        # What the server ships is nobody's act.
        by_people = [rule for rule in rules if rule.updated_by]
        audit_rows.append(
            self._connection,
            [_record(rule, reason, request_id, deleted=deleted) for rule in by_people],
        )

    def _forget_deleted(self) -> None:
        """Forgets those that were deleted longest ago, when there are too many."""
        there = exists().where(ALERT_RULES.c.id == _V.c.rule_id)
        forgotten = (
            select(_V.c.rule_id)
            .where(_V.c.deleted, ~there)
            .group_by(_V.c.rule_id)
            .order_by(func.max(_V.c.create_us).desc(), _V.c.rule_id)
            .offset(DELETED_KEPT)
        )
        ids = list(self._connection.execute(forgotten).scalars())
        if ids:
            self._connection.execute(delete(_V).where(_V.c.rule_id.in_(ids)))


def _record(rule: Rule, reason: str, request_id: str, *, deleted: bool) -> Entry:
    begins = rule.create_us == rule.update_us
    verb = "rule.delete" if deleted else "rule.create" if begins else "rule.update"
    before = {} if begins and not deleted else {"version": str(rule.version - 1)}
    after = {"version": str(rule.version), "name": rule.name, "enabled": str(rule.enabled).lower()}
    author = Author(rule.updated_by, rule.update_us, reason)
    entry = done(author, verb, rule.id, before=before, after={} if deleted else after)
    return replace(entry, request_id=request_id)


def _since(connection: Connection, changes: int | None) -> CountedRules | None:
    now = newest(connection, RULES)
    return None if now == changes else CountedRules(now, every(connection))


def _versions(connection: Connection, rule_id: str, size: int, token: str) -> VersionPage:
    mark = pages.fingerprint("rule-versions", rule_id)
    key = pages.decode(token, mark, _NEWEST_FIRST) if token else None
    # One more than is shown tells what differs in the last one, and whether there are more.
    query = select(_V).where(_V.c.rule_id == rule_id)
    rows = pages.rows(connection, query, _NEWEST_FIRST, key, size + 1)
    found = [_version_of(row) for row in rows]
    shown: list[tuple[RuleVersion, Sequence[FieldDifference]]] = []
    room = PAGE_BYTES
    for each, before in zip(found[:size], [*found[1:], None], strict=False):
        changed = differences(before.rule, each.rule) if before else ()
        room -= size_of(each.rule) + _size_of(changed)
        if room < 0 and shown:
            break
        shown.append((each, changed))
    more = len(found) > len(shown)
    return VersionPage(shown, pages.encode(mark, [shown[-1][0].version]) if more else "")


def _size_of(found: Sequence[FieldDifference]) -> int:
    return sum(len(text.encode()) for each in found for text in each)


def _first(row: RowMapping | None) -> RuleVersion | None:
    return None if row is None else _version_of(row)


def _version_of(row: RowMapping) -> RuleVersion:
    rule = replace(
        rule_from_document(row["document"]),
        version=row["version"],
        update_us=row["create_us"],
        updated_by=row["actor"],
    )
    fields = {name: row[name] for name in ("version", "create_us", "actor", "reason", "deleted")}
    return RuleVersion(rule=rule, **fields)


def _row(rule: Rule) -> dict[str, Any]:
    row = {"id": rule.id, "name": rule.name, "document": rule_to_document(rule)}
    return row | {
        name: getattr(rule, name) for name in ("version", "create_us", "update_us", "updated_by")
    }
