"""How often instances of alerts changed lately, as rows: of each that did more than begin once."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, delete, insert, select

from pilothouse_server.adapters.sql.tables_control import ALERT_FLAPS
from pilothouse_server.domain.alerts.flapping import SLOT_US, SLOTS, Flaps
from pilothouse_server.domain.alerts.records import AlertKind
from pilothouse_server.services.alerts.journal import FlapRecord, InstanceKey

REMOVED_AT_ONCE = 1000
"""Rows with nothing left to remember that are removed with one batch."""

_T = ALERT_FLAPS.c
_REPLACED = delete(ALERT_FLAPS).where(
    _T.rule_id == bindparam("of_rule"),
    _T.kind == bindparam("of_kind"),
    _T.name == bindparam("of_name"),
)


def every(connection: Connection) -> Mapping[InstanceKey, FlapRecord]:
    """All of them."""
    return {
        InstanceKey(row["rule_id"], AlertKind(row["kind"]), row["name"]): FlapRecord(
            Flaps(row["slot"], row["changed"], row["flapping"]), row["alert_id"]
        )
        for row in connection.execute(select(ALERT_FLAPS)).mappings()
    }


def put(connection: Connection, records: Mapping[InstanceKey, FlapRecord]) -> None:
    """Stores the newest of each."""
    if not records:
        return
    keys = [{"of_rule": k.rule_id, "of_kind": int(k.kind), "of_name": k.name} for k in records]
    connection.execute(_REPLACED, keys)
    rows = [
        {
            "rule_id": key.rule_id,
            "kind": int(key.kind),
            "name": key.name,
            "alert_id": record.alert_id,
            **record.flaps._asdict(),
        }
        for key, record in records.items()
    ]
    connection.execute(insert(ALERT_FLAPS), rows)


def remove_quiet(connection: Connection, ts_us: int) -> None:
    """Removes some of those that have nothing to remember any more."""
    old = (
        select(_T.rule_id, _T.kind, _T.name)
        .where(_T.flapping.is_(False), _T.slot <= ts_us // SLOT_US - SLOTS)
        .limit(REMOVED_AT_ONCE)
    )
    found = connection.execute(old).all()
    if found:
        keys = [
            {"of_rule": rule_id, "of_kind": kind, "of_name": name} for rule_id, kind, name in found
        ]
        connection.execute(_REPLACED, keys)
