"""Alerts, their steps and their rules as rows. A batch of the engine is one transaction with its events in the outbox.

An alert that never fired is shown while its condition holds; what is left of it is removed later: it is no history.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, delete, insert, or_, select, update

from pilothouse_server.adapters.sql import (
    alert_requests,
    flap_rows,
    notification_store,
    outbox_store,
    rule_store,
)
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.revisions import reserve_revisions
from pilothouse_server.adapters.sql.tables_control import (
    ALERT_CLOCK,
    ALERT_OUTBOX,
    ALERT_TRANSITIONS,
    ALERTS,
)
from pilothouse_server.domain.alerts.records import Act, Alert, AlertKind, AlertStep, Evidence
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.alerts.search import terms_of
from pilothouse_server.domain.alerts.states import RETENTION_US, AlertState, Instance
from pilothouse_server.domain.alerts.suppression import Suppression
from pilothouse_server.domain.events import Severity
from pilothouse_server.services.alerts.journal import AlertBatch, Restored

STEPS_SHOWN = 1000
"""Steps of one alert in an answer."""

REMOVED_AT_ONCE = 1000
"""Rows of alerts that never fired removed with one batch."""

CLOCK = 1

_ALIVE = [int(state) for state in AlertState if state != AlertState.RESOLVED]


class SqlAlerts:
    """The engine's side: what was, and what becomes. With `published` each step is in the Redis' outbox
    too."""

    def __init__(self, database: Database, *, published: bool = False) -> None:
        self._database = database
        self._published = published

    async def restore(self, shipped: Sequence[Rule]) -> Restored:
        return await self._database.write(lambda connection: _restore(connection, shipped))

    async def save(self, batch: AlertBatch) -> None:
        # Beside others: only the replica that leads writes alerts, one batch after another.
        published = self._published
        await self._database.write(
            lambda connection: _save(connection, batch, published=published), beside=True
        )

    async def find(self, alert_id: str) -> Alert | None:
        return await self._database.read(lambda connection: find(connection, alert_id))

    async def requested(self, request_id: str) -> AlertStep | None:
        return await self._database.read(lambda connection: _requested(connection, request_id))


def find(connection: Connection, alert_id: str) -> Alert | None:
    """One alert."""
    row = connection.execute(select(ALERTS).where(ALERTS.c.id == alert_id)).mappings().first()
    return None if row is None else alert_of(row)


def _requested(connection: Connection, request_id: str) -> AlertStep | None:
    table = ALERT_TRANSITIONS
    query = select(*_STEP).where(table.c.request_id == request_id, table.c.request_id != "")
    row = connection.execute(query).mappings().first()
    return None if row is None else step_of(row)


def alert_of(fields: RowMapping) -> Alert:
    """The alert in a row of its table."""
    instance = Instance(AlertState(fields["state"]), **{name: fields[name] for name in _INSTANCE})
    return Alert(
        **{name: fields[name] for name in _ALERT},
        kind=AlertKind(fields["kind"]),
        severity=Severity(fields["severity"]),
        instance=instance,
        evidence=tuple(Evidence(**each) for each in fields["evidence"]),
        suppression=Suppression(
            tuple(fields["silenced_by"]), tuple(fields["inhibited_by"]), fields["flapping"]
        ),
        revision=fields["revision"],
    )


def _restore(connection: Connection, shipped: Sequence[Rule]) -> Restored:
    slot_us = connection.execute(
        select(ALERT_CLOCK.c.slot_us).where(ALERT_CLOCK.c.id == CLOCK)
    ).scalar()
    if slot_us is None:
        connection.execute(insert(ALERT_CLOCK).values(id=CLOCK, slot_us=0, removed_revision=0))
        rule_store.ship(connection, shipped)
    flaps = flap_rows.every(connection)
    alive = or_(ALERTS.c.state.in_(_ALIVE), ALERTS.c.latched)
    alerts = connection.execute(select(ALERTS).where(alive).order_by(ALERTS.c.active_us)).mappings()
    found = {row["id"]: alert_of(row) for row in alerts}
    flapping = [each.alert_id for each in flaps.values() if each.flaps.flapping]
    for start in range(0, len(flapping), 500):
        last = ALERTS.c.id.in_(flapping[start : start + 500])
        rows = connection.execute(select(ALERTS).where(last)).mappings()
        found.update({row["id"]: alert_of(row) for row in rows})
    return Restored(rule_store.every(connection), list(found.values()), slot_us or None, flaps)


def _save(connection: Connection, batch: AlertBatch, *, published: bool) -> None:
    clock = ALERT_CLOCK.c.id == CLOCK
    newest = connection.execute(select(ALERT_CLOCK.c.batch).where(clock).with_for_update())
    if newest.scalar() == batch.id:
        return
    connection.execute(update(ALERT_CLOCK).where(clock).values(batch=batch.id))
    alert_requests.answer(connection, batch.answers)
    _save_alerts(connection, list(batch.alerts.values()))
    if batch.steps:
        connection.execute(insert(ALERT_TRANSITIONS), [step._asdict() for step in batch.steps])
        if published:
            told = [{"alert_id": step.alert_id, "step": step.position} for step in batch.steps]
            connection.execute(insert(ALERT_OUTBOX), told)
    outbox_store.add(connection, batch.events)
    notification_store.add_intents(connection, batch.intents)
    flap_rows.put(connection, batch.flaps)
    if batch.slot_us:
        connection.execute(update(ALERT_CLOCK).where(clock).values(slot_us=batch.slot_us))
        _remove_never_fired(connection, batch.slot_us - RETENTION_US)
        flap_rows.remove_quiet(connection, batch.slot_us)


def _save_alerts(connection: Connection, alerts: Sequence[Alert]) -> None:
    if not alerts:
        return
    ids = [alert.id for alert in alerts]
    known = set(_known(connection, ids))
    revisions = reserve_revisions(connection, len(alerts))
    # Ends first: an instance may have ended and begun anew since the last write.
    ordered = sorted(alerts, key=lambda alert: alert.instance.live)
    new: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    for alert, revision in zip(ordered, revisions, strict=True):
        row = _row(alert, revision)
        if alert.id in known:
            changed.append({"at": alert.id, **{f"to_{name}": row[name] for name in _COLUMNS}})
        else:
            new.append(row | {"sequence": revision})
    if changed:
        connection.execute(_UPDATE, changed)
    if new:
        connection.execute(insert(ALERTS), new)


def _known(connection: Connection, ids: Sequence[str]) -> Iterable[str]:
    for start in range(0, len(ids), 500):
        query = select(ALERTS.c.id).where(ALERTS.c.id.in_(ids[start : start + 500]))
        yield from connection.execute(query).scalars()


def _remove_never_fired(connection: Connection, before_us: int) -> None:
    old = (
        select(ALERTS.c.id, ALERTS.c.revision)
        .where(
            ALERTS.c.state == int(AlertState.RESOLVED),
            ALERTS.c.fire_us.is_(None),
            ALERTS.c.resolve_us < before_us,
            ALERTS.c.latched.is_(False),
        )
        .limit(REMOVED_AT_ONCE)
    )
    removed = connection.execute(old).all()
    if removed:
        ids = [alert_id for alert_id, _ in removed]
        newest = max(revision for _, revision in removed)
        connection.execute(delete(ALERT_TRANSITIONS).where(ALERT_TRANSITIONS.c.alert_id.in_(ids)))
        connection.execute(delete(ALERTS).where(ALERTS.c.id.in_(ids)))
        connection.execute(
            update(ALERT_CLOCK)
            .where(ALERT_CLOCK.c.id == CLOCK, ALERT_CLOCK.c.removed_revision < newest)
            .values(removed_revision=newest)
        )


def steps_of(connection: Connection, alert_id: str) -> list[AlertStep]:
    """What happened to an alert, oldest first."""
    table = ALERT_TRANSITIONS
    query = (
        select(*_STEP)
        .where(table.c.alert_id == alert_id)
        .order_by(table.c.position.desc())
        .limit(STEPS_SHOWN)
    )
    return [step_of(row) for row in reversed(connection.execute(query).mappings().all())]


def step_of(fields: RowMapping) -> AlertStep:
    """The step in a row of its table."""
    row: dict[str, Any] = {**fields, "act": Act(fields["act"])}
    return AlertStep(**row)


_STEP = [ALERT_TRANSITIONS.c[name] for name in AlertStep._fields]
_INSTANCE = (
    "active_us", "fire_us", "false_us", "resolve_us", "down_us", "value", "latched",
)  # fmt: skip
_ALERT = (
    "id", "rule_id", "rule_name", "name", "labels", "threshold", "summary", "clears_when", "update_us", "steps",
    "acknowledge_us", "acknowledged_by", "acknowledge_comment", "resolved_by", "fingerprint", "rule_version",
    "annotations", "acknowledge_expire_us", "assignee",
)  # fmt: skip


def _row(alert: Alert, revision: int) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(alert, name) for name in _ALERT}
    row |= {name: getattr(alert.instance, name) for name in _INSTANCE}
    row["labels"] = dict(alert.labels)
    row["annotations"] = dict(alert.annotations)
    row["evidence"] = [each._asdict() for each in alert.evidence]
    row["kind"] = int(alert.kind)
    row["silenced_by"] = list(alert.suppression.silenced_by)
    row["inhibited_by"] = list(alert.suppression.inhibited_by)
    row["flapping"] = alert.suppression.flapping
    row["severity"] = int(alert.severity)
    row["state"] = int(alert.instance.state)
    row["revision"] = revision
    row["terms"] = terms_of(alert.rule_name, alert.summary, alert.labels)
    return row


_KEPT = {
    "id", "sequence", "rule_id", "rule_name", "name", "labels", "kind", "fingerprint", "rule_version",
}  # fmt: skip
"""What an alert keeps for life: an index over it need not be written again."""
_COLUMNS = [column.name for column in ALERTS.columns if column.name not in _KEPT]
_UPDATE = (
    update(ALERTS)
    .where(ALERTS.c.id == bindparam("at"))
    .values({name: bindparam(f"to_{name}") for name in _COLUMNS})
)
