"""The log of deliveries: pages newest first, those of one alert by an index, and what people do with what waits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    and_,
    false,
    func,
    not_,
    or_,
    select,
    true,
    update,
)

from pilothouse_server.adapters.sql import courier_store, pages
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.filters import clause_of
from pilothouse_server.adapters.sql.pages import Sort
from pilothouse_server.adapters.sql.tables_notifications import DELIVERIES, DELIVERY_ALERTS
from pilothouse_server.domain.errors import DeliveryOver, NotFound
from pilothouse_server.domain.filter_text import parse
from pilothouse_server.domain.filters import (
    And,
    Compare,
    Contains,
    Field,
    Filter,
    Kind,
    Not,
    Or,
    Schema,
    Stated,
    ascii_lower,
    enum_field,
)
from pilothouse_server.domain.notifications.deliveries import Delivery, DeliveryState
from pilothouse_server.domain.notifications.notification import DeliveryKind
from pilothouse_server.services.channels import ChannelHealth
from pilothouse_server.services.control_views import Page
from pilothouse_server.services.views import PageRequest

DELIVERY_FILTER = Schema(
    fields={
        "id": Field(),
        "channel": Field(),
        "kind": enum_field(DeliveryKind, "DELIVERY_KIND_"),
        "state": enum_field(DeliveryState, "DELIVERY_STATE_"),
        "alert": Field(),
        "create_time": Field(Kind.TIME),
    },
    searched=("channel_name", "error"),
)

_COLUMNS = {
    **dict(DELIVERIES.columns),
    "channel": DELIVERIES.c.channel_id,
    "create_time": DELIVERIES.c.create_us,
}
_ORDER = (
    Sort(DELIVERIES.c.create_us, descending=True, type=int),
    Sort(DELIVERIES.c.id, descending=True, type=str),
)
_SHOWN = [column for column in DELIVERIES.columns if column.name != "notification"]


class SqlDeliveries:
    """Implements `services.notifications.log.DeliveryStore`, and tells how channels do."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, asked: PageRequest, now_us: int) -> Page[Delivery]:
        return await self._database.read(lambda connection: page(connection, asked, now_us))

    async def find(self, delivery_id: str) -> Delivery:
        return await self._database.read(lambda connection: _find(connection, delivery_id))

    async def retry(self, delivery_id: str, now_us: int) -> Delivery:
        return await self._database.write(lambda c: _retry(c, delivery_id, now_us), beside=True)

    async def drop(self, delivery_id: str, now_us: int) -> Delivery:
        return await self._database.write(lambda c: _drop(c, delivery_id, now_us), beside=True)

    async def healths(self) -> Mapping[str, ChannelHealth]:
        """How channels do, by id."""
        return await self._database.read(courier_store.health)


def page(connection: Connection, asked: PageRequest, now_us: int) -> Page[Delivery]:
    """One page, and the token of the next one."""
    mark = pages.fingerprint("deliveries", asked.filter)
    where = _clause(parse(asked.filter, DELIVERY_FILTER, now_us))
    key = pages.decode(asked.token, mark, _ORDER) if asked.token else None
    query = select(*_SHOWN).where(where)
    rows = pages.rows(connection, query, _ORDER, key, asked.size + 1)
    following = ""
    if len(rows) > asked.size:
        last = rows[asked.size - 1]
        following = pages.encode(mark, [last["create_us"], last["id"]])
    return Page([_delivery(row) for row in rows[: asked.size]], following)


def _clause(tree: Filter) -> ColumnElement[bool]:
    """As everywhere; but alerts are in rows of their own."""
    match tree:
        case Not(term=term):
            return not_(_clause(term))
        case And(terms=terms):
            return and_(true(), *map(_clause, terms))
        case Or(terms=terms):
            return or_(false(), *map(_clause, terms))
        case Compare(field="alert", op="!=", value=value):
            return not_(_told(DELIVERY_ALERTS.c.alert_id == value))
        case Compare(field="alert") | Contains(fields=("alert",)) | Stated(field="alert"):
            return _told(_of_alert(tree))
        case _:
            return clause_of(tree, _COLUMNS)


def _of_alert(tree: Compare | Contains | Stated) -> ColumnElement[bool]:
    match tree:
        case Contains(text=text):
            lowered = func.lower(DELIVERY_ALERTS.c.alert_id)
            return lowered.contains(ascii_lower(text), autoescape=True)
        case _:
            return clause_of(tree, {"alert": DELIVERY_ALERTS.c.alert_id})


def _told(which: ColumnElement[bool]) -> ColumnElement[bool]:
    return DELIVERIES.c.id.in_(select(DELIVERY_ALERTS.c.delivery_id).where(which))


def _find(connection: Connection, delivery_id: str, *, lock: bool = False) -> Delivery:
    query = select(*_SHOWN).where(DELIVERIES.c.id == delivery_id)
    if lock:
        query = query.with_for_update()
    row = connection.execute(query).mappings().first()
    if row is None:
        raise NotFound(kind="delivery", id=delivery_id)
    return _delivery(row)


def _retry(connection: Connection, delivery_id: str, now_us: int) -> Delivery:
    again = {
        "state": int(DeliveryState.WAITING), "retry_us": now_us, "since_us": now_us, "attempts": 0,
        "end_us": None,
    }  # fmt: skip
    return _changed(connection, delivery_id, again, done=None)


def _drop(connection: Connection, delivery_id: str, now_us: int) -> Delivery:
    dropped = {
        "state": int(DeliveryState.DROPPED), "retry_us": None, "end_us": now_us, "notification": None,
    }  # fmt: skip
    return _changed(connection, delivery_id, dropped, done=DeliveryState.DROPPED)


def _changed(
    connection: Connection, delivery_id: str, values: dict[str, Any], *, done: DeliveryState | None
) -> Delivery:
    delivery = _find(connection, delivery_id, lock=True)
    if delivery.state == done:
        return delivery
    if delivery.state not in (DeliveryState.WAITING, DeliveryState.DEAD):
        raise DeliveryOver(delivery_id, delivery.state.name.lower())
    connection.execute(update(DELIVERIES).where(DELIVERIES.c.id == delivery_id).values(values))
    return _find(connection, delivery_id)


def _delivery(row: RowMapping) -> Delivery:
    fields = {name: row[name] for name in Delivery.__dataclass_fields__}
    fields["kind"], fields["state"] = DeliveryKind(row["kind"]), DeliveryState(row["state"])
    fields["group_labels"] = json.loads(row["group_labels"])
    fields["alert_ids"] = json.loads(row["alert_ids"])
    return Delivery(**fields)
