"""Groups, escalations and what was told, as rows: one transaction takes what happened and stores what it led to.

Only the replica that leads writes here, so it locks nothing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, delete, select

from pilothouse_server.adapters.sql import (
    bulk,
    channel_store,
    escalation_store,
    heartbeat_store,
    rule_store,
)
from pilothouse_server.adapters.sql.alert_store import alert_of
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.tables_control import ALERT_RULES, ALERTS
from pilothouse_server.adapters.sql.tables_notifications import (
    DELIVERIES,
    DELIVERY_ALERTS,
    ESCALATION_RUNS,
    NOTIFICATION_GROUPS,
    NOTIFICATION_INTENTS,
    NOTIFICATION_MEMBERS,
)
from pilothouse_server.domain.alerts.records import Alert
from pilothouse_server.domain.alerts.shipped import HEARTBEAT_MISSED
from pilothouse_server.domain.notifications.deliveries import DeliveryState
from pilothouse_server.domain.notifications.escalating import EscalationRun, Held
from pilothouse_server.domain.notifications.gathering import Returned, Sources, Wanted
from pilothouse_server.domain.notifications.grouping import Flap, Group, Member
from pilothouse_server.domain.notifications.intents import Intent, IntentKind
from pilothouse_server.domain.notifications.notification import DeliveryKind
from pilothouse_server.services.notifications.notifier import (
    Kept,
    Outcome,
    Outgoing,
    Pending,
    Placed,
)


class SqlNotifications:
    """The notifier's side."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def restore(self) -> Kept:
        return await self._database.read(_restore)

    async def look(self, limit: int, *, sources: bool) -> Pending:
        return await self._database.read(lambda c: _look(c, limit, sources=sources))

    async def alerts(self, ids: Collection[str]) -> Mapping[str, Alert]:
        return await self._database.read(lambda connection: _alerts(connection, ids))

    async def waiting(self) -> Collection[str]:
        query = select(DELIVERIES.c.id).where(DELIVERIES.c.state == int(DeliveryState.WAITING))
        return await self._database.read(lambda c: c.execute(query).scalars().all())

    async def returned(self, ids: Collection[str]) -> Sequence[Returned]:
        return await self._database.read(lambda connection: _returned(connection, ids))

    async def save(self, outcome: Outcome) -> None:
        rows = _Rows(outcome)
        await self._database.write(rows.write, beside=True)


class _Rows:
    """An outcome as rows, made before the transaction begins: it may have to run twice, and groups go on."""

    def __init__(self, outcome: Outcome) -> None:
        self._gathered = list(outcome.gathered)
        self._vanished = list(outcome.vanished)
        self._groups = [_group_row(group) for group in outcome.groups]
        self._members = [_member_row(group, m) for group in outcome.groups for m in _stored(group)]
        self._gone = [
            (group.channel_id, group.key, alert_id)
            for group in outcome.groups
            for alert_id in group.gone
        ]
        runs = outcome.runs.items()
        self._runs = [_run_row(run) for _, run in runs if run is not None]
        self._runs_over = [alert_id for alert_id, run in runs if run is None]
        self._deliveries = [_delivery_row(each) for each in outcome.outgoing]
        self._told = [
            (alert_id, each.notification.id)
            for each in outcome.outgoing
            for alert_id in sorted({alert.alert_id for alert in each.notification.alerts})
        ]

    def write(self, connection: Connection) -> None:
        """In one transaction."""
        _delete(connection, NOTIFICATION_INTENTS, ("position",), self._gathered)
        for table in (NOTIFICATION_MEMBERS, NOTIFICATION_GROUPS):
            _delete(connection, table, ("channel_id", "key"), self._vanished)
        bulk.upsert(connection, NOTIFICATION_GROUPS, self._groups)
        keys = ("channel_id", "key", "alert_id")
        _delete(connection, NOTIFICATION_MEMBERS, keys, self._gone)
        bulk.upsert(connection, NOTIFICATION_MEMBERS, self._members)
        _delete(connection, ESCALATION_RUNS, ("alert_id",), self._runs_over)
        bulk.upsert(connection, ESCALATION_RUNS, self._runs)
        bulk.insert(connection, DELIVERIES, self._deliveries)
        bulk.insert(connection, DELIVERY_ALERTS, self._told)


def _delete(
    connection: Connection, table: Table, columns: Sequence[str], keys: Sequence[Any]
) -> None:
    at_once = bulk.keys_at_once(connection)
    chosen = [table.c[name] for name in columns]
    for start in range(0, len(keys), at_once):
        some = bulk.among(connection, chosen, keys[start : start + at_once])
        connection.execute(delete(table).where(some))


def _restore(connection: Connection) -> Kept:
    groups = {
        (row.channel_id, row.key): _group(row)
        for row in connection.execute(select(NOTIFICATION_GROUPS))
    }
    for row in connection.execute(select(NOTIFICATION_MEMBERS)):
        group = groups.get((row.channel_id, row.key))
        if group is not None:
            group.members[row.alert_id] = _member(row)
            if row.escalating:
                group.escalating.add(row.alert_id)
    columns = (DELIVERIES.c.channel_id, DELIVERIES.c.group_key, DELIVERIES.c.id)
    waiting = select(*columns).where(DELIVERIES.c.state == int(DeliveryState.WAITING))
    for channel_id, key, delivery_id in connection.execute(waiting):
        group = groups.get((channel_id, key))
        if group is not None:
            group.open.add(delivery_id)
    runs = connection.execute(select(ESCALATION_RUNS)).mappings()
    return Kept(list(groups.values()), [_run(row) for row in runs])


def _look(connection: Connection, limit: int, *, sources: bool) -> Pending:
    table = NOTIFICATION_INTENTS
    query = select(table).order_by(table.c.position).limit(limit)
    intents = [
        Placed(row.position, Intent(row.alert_id, IntentKind(row.kind), row.occur_us))
        for row in connection.execute(query)
    ]
    if not (intents or sources):
        return Pending((), {}, None)
    alerts = _alerts(connection, {intent.alert_id for _, intent in intents})
    return Pending(intents, alerts, _sources(connection, list(alerts.values())))


def _returned(connection: Connection, ids: Collection[str]) -> Sequence[Returned]:
    table, waits = DELIVERIES, int(DeliveryState.WAITING)
    columns = [
        table.c[name]
        for name in (
            "id",
            "channel_id",
            "group_key",
            "group_labels",
            "alert_ids",
            "create_us",
            "state",
        )
    ]
    sent = table.c.state.in_((waits, int(DeliveryState.DELIVERED)))
    told = table.c.kind != int(DeliveryKind.HEARTBEAT)
    found: list[Returned] = []
    wanted, at_once = sorted(ids), bulk.keys_at_once(connection)
    for start in range(0, len(wanted), at_once):
        some = bulk.among(connection, [table.c.id], wanted[start : start + at_once])
        found += [
            Returned(
                row.id,
                (row.channel_id, row.group_key),
                json.loads(row.group_labels),
                json.loads(row.alert_ids),
                row.create_us,
                waits=row.state == waits,
            )
            for row in connection.execute(select(*columns).where(some, sent, told))
        ]
    return found


def _alerts(connection: Connection, ids: Collection[str]) -> Mapping[str, Alert]:
    found: dict[str, Alert] = {}
    wanted, at_once = sorted(ids), bulk.keys_at_once(connection)
    for start in range(0, len(wanted), at_once):
        some = bulk.among(connection, [ALERTS.c.id], wanted[start : start + at_once])
        for row in connection.execute(select(ALERTS).where(some)).mappings():
            found[row["id"]] = alert_of(row)
    return found


def _sources(connection: Connection, alerts: Sequence[Alert]) -> Sources:
    rule_ids = sorted({alert.rule_id for alert in alerts})
    query = select(ALERT_RULES).where(bulk.among(connection, [ALERT_RULES.c.id], rule_ids))
    rules = {row["id"]: rule_store.rule_of(row) for row in connection.execute(query).mappings()}
    wanted = {
        alert.id: Wanted(rule.channels, rule.escalation)
        for alert in alerts
        if (rule := rules.get(alert.rule_id)) is not None
    }
    return Sources(
        {channel.id: channel for channel in channel_store.every(connection)},
        {each.id: each for each in escalation_store.every(connection)},
        wanted | _of_heartbeats(connection, alerts),
    )


def _of_heartbeats(connection: Connection, alerts: Sequence[Alert]) -> dict[str, Wanted]:
    """A heartbeat says itself whom its alert is told."""
    missed = [alert for alert in alerts if alert.rule_id == HEARTBEAT_MISSED.id]
    if not missed:
        return {}
    channels = heartbeat_store.channels_of(connection)
    return {alert.id: Wanted(channels.get(alert.name, ())) for alert in missed}


def _group_row(group: Group) -> tuple[object, ...]:
    return (
        group.channel_id,
        group.key,
        json.dumps(dict(group.labels)),
        group.due_us,
        group.flush_us,
        group.tell_us,
        group.told,
        group.overflow,
        json.dumps(group.flaps),
    )


def _group(row: Any) -> Group:
    flaps = {name: Flap(*each) for name, each in json.loads(row.flaps).items()}
    return Group(
        row.channel_id,
        json.loads(row.labels),
        row.key,
        due_us=row.due_us,
        flush_us=row.flush_us,
        tell_us=row.tell_us,
        told=row.told,
        overflow=row.overflow,
        flaps=flaps,
    )


def _stored(group: Group) -> Iterable[Member]:
    return (group.members[alert_id] for alert_id in sorted(group.changed))


def _member_row(group: Group, member: Member) -> tuple[object, ...]:
    return (
        group.channel_id,
        group.key,
        member.alert_id,
        json.dumps(dict(member.labels)),
        member.starts_us,
        member.ends_us,
        member.acknowledged,
        member.silenced,
        member.flapping,
        member.told,
        member.shown,
        member.listed,
        member.escalated,
        member.alert_id in group.escalating,
    )


def _member(row: Any) -> Member:
    return Member(
        row.alert_id,
        json.loads(row.labels),
        row.starts_us,
        row.ends_us,
        acknowledged=row.acknowledged,
        silenced=row.silenced,
        flapping=row.flapping,
        told=row.told,
        shown=row.shown,
        listed=row.listed,
        escalated=row.escalated,
    )


def _run_row(run: EscalationRun) -> tuple[object, ...]:
    return (
        run.alert_id,
        run.escalation_id,
        json.dumps(dict(run.labels)),
        run.fire_us,
        run.step,
        run.last_us,
        run.shift_us,
        run.hold_us,
        int(run.held),
    )


def _run(row: RowMapping) -> EscalationRun:
    fields = dict(row)
    fields["labels"], fields["held"] = json.loads(row["labels"]), Held(row["held"])
    return EscalationRun(**fields)


def _delivery_row(outgoing: Outgoing) -> tuple[object, ...]:
    told = outgoing.notification
    return (
        told.id,
        told.channel_id,
        outgoing.channel_name,
        outgoing.place[1],
        int(told.kind),
        int(DeliveryState.WAITING),
        json.dumps(dict(told.group_labels)),
        json.dumps([alert.alert_id for alert in told.alerts]),
        told.firing_count,
        told.resolved_count,
        told.create_us,
        None,
        told.create_us,
        told.create_us,
        0,
        "",
        0,
        json.dumps(told.to_json()),
    )
