"""Channels that come, go and rest; what is put back or dropped; clocks that are put back; heartbeats of our own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace

import pytest

from pilothouse_server.adapters.sql.courier_store import SqlCourier
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.domain.audit import Author
from pilothouse_server.domain.notifications.breaker import Breaker
from pilothouse_server.domain.notifications.channels import Channel
from pilothouse_server.domain.notifications.deliveries import Verdict
from pilothouse_server.services.notifications.courier import Courier
from pilothouse_server.services.notifications.lane import Due
from tests.channels.receiver import Answer
from tests.notifications.build import SECOND
from tests.notifications.conftest import Listen
from tests.notifications.office import Office, sent
from tests.notifications.receiving import (
    PATIENCE,
    health,
    hook,
    until_states,
    until_told,
)
from tests.support import wait_until

pytestmark = pytest.mark.usefixtures("kind")


async def test_a_disabled_channel_gets_nothing_and_what_waited_is_dropped(
    office: Office, listen: Listen
) -> None:
    receiver = await listen()
    receiver.answer = Answer(status=500)
    await office.add(hook(receiver))
    async with office.running():
        await office.fire("a")
        await wait_until(lambda: receiver.received, within=PATIENCE)
        await office.change(replace(hook(receiver), enabled=False))
        await until_states(office, "DROPPED")
        (delivery,) = await office.deliveries()
        assert delivery.error == "the channel is disabled"


class Late(SqlCourier):
    """A database that tells what was due a while after it looked."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.late = self.looked = self.settled = False

    async def due(self, channel_id: str, limit: int) -> Sequence[Due]:
        found = await super().due(channel_id, limit)
        if self.late and not self.looked:
            self.looked = True
            await wait_until(lambda: self.settled, within=PATIENCE)
        return found

    async def settle(
        self, channel_id: str, delivery_id: str, verdict: Verdict, breaker: Breaker
    ) -> None:
        await wait_until(lambda: self.looked, within=PATIENCE)
        await super().settle(channel_id, delivery_id, verdict, breaker)
        self.settled = True


async def test_a_try_that_ends_while_others_are_looked_for_is_not_begun_anew_at_once(
    office: Office, listen: Listen
) -> None:
    receiver = await listen()
    receiver.answer = Answer(status=500)
    office.jitter = 1.0
    await office.add(hook(receiver, group_by=("agent",)))
    store = Late(office.database)
    office.courier = office.couriers(store)
    async with office.running():
        await office.fire("a")
        await wait_until(lambda: receiver.received, within=PATIENCE)
        store.late = True
        office.courier.wake({"hook"})
        await wait_until(lambda: store.settled, within=PATIENCE)
        await wait_until(lambda: _failed(office), within=PATIENCE)
        receiver.answer = Answer()
        await office.wait(1)
        office.courier.wake({"hook"})
        await until_states(office, "DELIVERED")
    (delivery,) = await office.deliveries()
    assert delivery.attempts == len(receiver.received) == 2


async def _failed(office: Office) -> bool:
    return (await health(office)).failures == 1


async def test_what_waits_for_a_channel_that_is_gone_is_dropped(
    office: Office, listen: Listen
) -> None:
    receiver = await listen()
    receiver.answer = Answer(status=500)
    await office.add(hook(receiver))
    async with office.running():
        await office.fire("a")
        await wait_until(lambda: receiver.received, within=PATIENCE)
        await office.channels.delete("hook", "", Author("ada", 0))
        office.changed.notify()
        await until_states(office, "DROPPED")


async def test_what_waits_for_a_channel_that_was_just_made_is_not_dropped(
    office: Office, listen: Listen
) -> None:
    receiver = await listen()

    async def load() -> Sequence[Channel]:
        """As it was before somebody made one and it was told something."""
        before = await office.channels.every()
        if not before:
            await office.add(hook(receiver))
            await office.fire("a")
            await office.gather()
        return before

    office.courier = Courier(SqlCourier(office.database), office.sender, load, office.clock)
    running = asyncio.create_task(office.courier.run())
    try:
        await until_states(office, "DELIVERED")
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_a_delivery_that_somebody_dropped_lets_its_group_go_on(
    office: Office, listen: Listen
) -> None:
    receiver = await listen()
    receiver.answer = Answer(status=500)
    office.jitter = 1.0
    await office.add(hook(receiver))
    async with office.running():
        await office.fire("a")
        # One failure: so many that the channel rests would be others, one of them as the clock is put forward.
        await wait_until(lambda: _failed(office), within=PATIENCE)
        (delivery,) = await office.deliveries()
        await office.log.drop(delivery.id)
        receiver.answer = Answer()
        await office.wait(10)
        await office.resolve("a")
        await until_told(receiver, ("firing", "a"), ("resolved", "a"))


async def test_heartbeats_are_sent_while_alerts_are_judged_and_only_the_newest(
    office: Office, listen: Listen
) -> None:
    receiver = await listen()
    alive = True
    office.alive = lambda: alive
    office.restart()
    await office.add(hook(receiver, heartbeat_us=30 * SECOND))
    async with office.running():
        await wait_until(lambda: len(receiver.received) == 1, within=PATIENCE)
        (beat,) = receiver.received
        assert beat.json["alerts"][0]["labels"]["alertname"] == "Watchdog"
        alive = False
        await office.wait(300)
        office.courier.wake({"hook"})
        await until_beats(office, 1)
        assert len(receiver.received) == 1
        alive = True
        office.courier.wake({"hook"})
        await wait_until(lambda: len(receiver.received) == 2, within=PATIENCE)
        await until_beats(office, 1)
    assert len(sent(receiver)) == 2


async def until_beats(office: Office, count: int) -> None:
    """So many are in the log: the newest."""

    async def reached() -> bool:
        return len(await office.deliveries("kind=HEARTBEAT")) == count

    await wait_until(reached, within=PATIENCE)


async def test_a_heartbeat_that_arrived_is_not_sent_again_after_a_restart(
    office: Office, listen: Listen
) -> None:
    receiver = await listen()
    await office.add(hook(receiver, heartbeat_us=30 * SECOND))
    async with office.running():
        await until_beats(office, 1)
    office.restart()
    async with office.running():
        await office.fire("a")
        await wait_until(lambda: len(receiver.received) == 2, within=PATIENCE)
    assert len(await office.deliveries("kind=HEARTBEAT")) == 1
