"""The log of deliveries: pages, filters, what people do with what waits, and all of it found by an index."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import pytest
from sqlalchemy import Connection, text

from pilothouse_server.adapters.sql import bulk, courier_store
from pilothouse_server.adapters.sql.courier_store import SqlCourier
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.delivery_queries import SqlDeliveries
from pilothouse_server.adapters.sql.notifier_store import SqlNotifications
from pilothouse_server.adapters.sql.tables_notifications import DELIVERIES, DELIVERY_ALERTS
from pilothouse_server.domain.errors import (
    DeliveryOver,
    InvalidFilter,
    InvalidPageToken,
    NotFound,
)
from pilothouse_server.domain.notifications.breaker import Breaker
from pilothouse_server.domain.notifications.composing import watchdog
from pilothouse_server.domain.notifications.deliveries import DeliveryState, Standing, taken
from pilothouse_server.domain.notifications.notification import DeliveryKind
from pilothouse_server.services.views import PageRequest
from tests.notifications.build import SECOND, T0
from tests.storage.explained import ExplainedDatabase

ROWS = 20_000
SAID = json.dumps(watchdog("c0", T0, T0).to_json())

STATES = (
    *[DeliveryState.DELIVERED] * 95, DeliveryState.DEAD, DeliveryState.DROPPED, DeliveryState.DEAD,
    DeliveryState.WAITING, DeliveryState.DELIVERED,
)  # fmt: skip


def deliveries(count: int) -> Iterable[bulk.Row]:
    """One each second, to ten channels."""
    for n in range(count):
        state = STATES[n % 100]
        waits = state == DeliveryState.WAITING
        at_us = T0 + n * SECOND
        kind = DeliveryKind.CHANGE if n % 50 else DeliveryKind.REPEAT
        yield (
            f"d{n:06}", f"c{n // 7 % 10}", f"Channel {n // 7 % 10}", "group", int(kind), int(state), '{"a":"b"}',
            json.dumps([f"a{n // 2}"]), 1, 0, at_us, None if waits else at_us, at_us if waits else None, at_us, 1,
            "no answer" if state == DeliveryState.DEAD else "", 200, SAID,
        )  # fmt: skip


def fill(connection: Connection, count: int) -> None:
    bulk.insert(connection, DELIVERIES, list(deliveries(count)))
    told = [(f"a{n // 2}", f"d{n:06}") for n in range(count)]
    bulk.insert(connection, DELIVERY_ALERTS, told)


@pytest.fixture
async def log(database: Database) -> SqlDeliveries:
    """Two hundred deliveries."""
    await database.write(lambda connection: fill(connection, 200))
    return SqlDeliveries(database)


async def ids(log: SqlDeliveries, filter: str) -> Sequence[str]:
    """Those that fulfil it, newest first."""
    page = await log.page(PageRequest(500, "", filter), T0 + 200 * SECOND)
    return [each.id for each in page.items]


async def test_pages_follow_one_another_newest_first(log: SqlDeliveries) -> None:
    found: list[str] = []
    token = ""
    while True:
        page = await log.page(PageRequest(60, token), T0)
        found += [each.id for each in page.items]
        token = page.next_token
        if not token:
            break
    assert found == [f"d{n:06}" for n in reversed(range(200))]


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ("id=d000007", ["d000007"]),
        ("alert=a3", ["d000007", "d000006"]),
        ("alert=a3 AND NOT id=d000007", ["d000006"]),
        ("alert=a3 OR alert=a4", ["d000009", "d000008", "d000007", "d000006"]),
        ("NOT alert!=a3", ["d000007", "d000006"]),
        ("alert:A99", ["d000199", "d000198"]),
        ("alert=nobody", []),
        ("state=WAITING", ["d000198", "d000098"]),
        ("kind=REPEAT state=DELIVERED", ["d000150", "d000100", "d000050", "d000000"]),
        ("channel=c7 AND state=DEAD", ["d000195"]),
        ("create_time > -3s", ["d000199", "d000198"]),
        ('"no answer"', ["d000197", "d000195", "d000097", "d000095"]),
    ],
)
async def test_filters_find_what_they_say(
    log: SqlDeliveries, filter: str, expected: list[str]
) -> None:
    assert await ids(log, filter) == expected


async def test_a_filter_may_ask_for_anything_that_tells_of_an_alert(log: SqlDeliveries) -> None:
    assert len(await ids(log, "alert:*")) == 200


async def test_what_cannot_be_asked_is_refused(log: SqlDeliveries) -> None:
    with pytest.raises(InvalidFilter, match="create_time"):
        await ids(log, "recipient=me")
    with pytest.raises(InvalidPageToken):
        await log.page(PageRequest(50, "nonsense"), T0)
    page = await log.page(PageRequest(50, ""), T0)
    with pytest.raises(InvalidPageToken):
        await log.page(PageRequest(50, page.next_token, "state=DEAD"), T0)
    with pytest.raises(NotFound):
        await log.find("nobody")
    with pytest.raises(NotFound):
        await log.retry("nobody", T0)


async def test_what_was_given_up_is_tried_again_as_if_it_were_new(log: SqlDeliveries) -> None:
    now_us = T0 + 999 * SECOND
    found = await log.retry("d000095", now_us)
    assert (found.state, found.retry_us, found.attempts) == (DeliveryState.WAITING, now_us, 0)
    assert found.end_us is None
    assert (await log.find("d000095")) == found


async def test_what_arrived_or_was_dropped_is_over(log: SqlDeliveries) -> None:
    for id, state in (("d000000", "delivered"), ("d000096", "dropped")):
        with pytest.raises(DeliveryOver, match=state):
            await log.retry(id, T0)
    with pytest.raises(DeliveryOver):
        await log.drop("d000000", T0)


async def test_dropping_twice_is_dropping_once(log: SqlDeliveries) -> None:
    dropped = await log.drop("d000098", T0 + 500 * SECOND)
    assert (dropped.state, dropped.end_us) == (DeliveryState.DROPPED, T0 + 500 * SECOND)
    assert await log.drop("d000098", T0 + 600 * SECOND) == dropped


async def test_every_question_goes_by_an_index(database: Database) -> None:
    await database.write(lambda connection: fill(connection, ROWS))
    await database.write(lambda connection: connection.execute(text("ANALYZE")).close())
    explained = ExplainedDatabase(database)
    log, courier = SqlDeliveries(explained), SqlCourier(explained)
    first = await log.page(PageRequest(50, ""), T0)
    assert len((await log.page(PageRequest(50, first.next_token), T0)).items) == 50
    for filter in ("alert=a77", "id=d000077", "create_time > -1h"):
        assert (await log.page(PageRequest(50, "", filter), T0 + ROWS * SECOND)).items
    await log.find("d000077")
    await log.retry("d000095", T0)
    await log.drop("d000098", T0)
    assert await courier.due("c4", 64)
    assert len(await courier.waiting_channels()) == 7
    await courier.notification("d000098")
    await courier.settle("c4", "d000098", taken(Standing(T0, 0), 200, T0), Breaker())
    assert await courier.drop("c4", "it is gone", T0)
    waiting = await SqlNotifications(explained).waiting()
    assert await SqlNotifications(explained).returned(waiting)
    assert await explained.read(courier_store.health)
    scanned = {table for table, _ in explained.scanned}
    assert scanned <= {"channel_health"}
