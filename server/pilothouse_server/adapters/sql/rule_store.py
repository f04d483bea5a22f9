"""Rules as rows: those that there are, and every version of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, RowMapping, insert, select

from pilothouse_server.adapters.sql.tables_control import ALERT_RULE_VERSIONS, ALERT_RULES
from pilothouse_server.domain.alerts.documents import rule_from_document, rule_to_document
from pilothouse_server.domain.alerts.rules import Rule


def every(connection: Connection) -> Sequence[Rule]:
    """The rules, by name."""
    rows = connection.execute(select(ALERT_RULES).order_by(ALERT_RULES.c.name)).mappings()
    return [rule_of(row) for row in rows]


def put(connection: Connection, rule: Rule, reason: str = "", request_id: str = "") -> None:
    """Stores a new rule with its first version."""
    document = rule_to_document(rule)
    row = {"id": rule.id, "name": rule.name, "document": document, "version": rule.version}
    row |= {"create_us": rule.create_us, "update_us": rule.update_us, "updated_by": rule.updated_by}
    connection.execute(insert(ALERT_RULES).values(row))
    version = {"rule_id": rule.id, "version": rule.version, "document": document, "deleted": False}
    version |= {"create_us": rule.update_us, "actor": rule.updated_by, "reason": reason}
    connection.execute(insert(ALERT_RULE_VERSIONS).values(version | {"request_id": request_id}))


def rule_of(row: RowMapping) -> Rule:
    """The rule in a row."""
    return replace(
        rule_from_document(row["document"]),
        **{name: row[name] for name in ("version", "create_us", "update_us", "updated_by")},
    )
