"""What waits is sent, at least once and under one id, to receivers that do as receivers do."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from pilothouse_server.adapters.sql.courier_store import SqlCourier
from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.domain.notifications.breaker import Breaker
from pilothouse_server.domain.notifications.channels import Webhook
from pilothouse_server.domain.notifications.deliveries import DeliveryState, Verdict
from pilothouse_server.services.channels import ChannelHealth
from tests.channels.receiver import Answer, Receiver
from tests.notifications.build import HOUR, channel
from tests.notifications.conftest import Listen
from tests.notifications.office import Office, sent, told
from tests.notifications.receiving import (
    PATIENCE,
    health,
    hook,
    rests,
    states,
    until_delivered,
    until_states,
    until_told,
    waits,
)
from tests.support import wait_until

pytestmark = pytest.mark.usefixtures("kind")


async def test_a_firing_and_its_end_arrive_once_each(office: Office, listen: Listen) -> None:
    receiver = await listen()
    await office.add(hook(receiver))
    async with office.running():
        await office.fire("a")
        await until_told(receiver, ("firing", "a"))
        await until_states(office, "DELIVERED")
        await office.wait(10)
        await office.resolve("a")
        await until_told(receiver, ("firing", "a"), ("resolved", "a"))
        await until_states(office, "DELIVERED", "DELIVERED")
    assert set(sent(receiver).values()) == {1}
    assert (await health(office)).last_success_us == office.clock.us


async def test_what_is_refused_for_now_is_sent_again_under_the_same_id(
    office: Office, listen: Listen
) -> None:
    receiver = await listen()
    receiver.answer = Answer(status=503)
    await office.add(hook(receiver))
    async with office.running():
        await office.fire("a")
        await wait_until(lambda: len(receiver.received) >= 2, within=PATIENCE)
        receiver.answer = Answer()
        await until_none_fails(office, receiver)
        await office.wait(60)
        office.courier.wake({"hook"})
        await until_states(office, "DELIVERED")
    assert len(sent(receiver)) == 1
    (delivery,) = await office.deliveries()
    assert delivery.attempts == len(receiver.received)
    assert (await health(office)).failures == 0


async def test_an_end_waits_until_its_beginning_arrived(office: Office, listen: Listen) -> None:
    receiver = await listen()
    receiver.answer = Answer(status=500)
    await office.add(hook(receiver))
    async with office.running():
        await office.fire("a")
        await wait_until(lambda: receiver.received, within=PATIENCE)
        await office.wait(10)
        await office.resolve("a")
        await wait_until(lambda: len(receiver.received) >= 3, within=PATIENCE)
        assert told(receiver) == [("firing", "a")]
        receiver.answer = Answer()
        await until_none_fails(office, receiver)
        await office.wait(60)
        office.courier.wake({"hook"})
        await until_told(receiver, ("firing", "a"), ("resolved", "a"))


async def test_what_cannot_go_well_is_given_up_at_once_and_its_end_is_told(
    office: Office, listen: Listen
) -> None:
    receiver = await listen()
    receiver.answer = Answer(status=400, body=b"what is this?")
    await office.add(hook(receiver))
    async with office.running():
        await office.fire("a")
        await until_states(office, "DEAD")
        (delivery,) = await office.deliveries()
        assert (delivery.status_code, delivery.attempts) == (400, 1)
        assert "400" in delivery.error
        assert (await health(office)).dead == 1
        receiver.answer = Answer()
        await office.wait(10)
        await office.resolve("a")
        await until_states(office, "DELIVERED", "DEAD")
    assert [status for status, _ in told(receiver)] == ["firing", "resolved"]


async def test_what_is_put_back_after_its_end_was_told_is_followed_by_its_end(
    office: Office, listen: Listen
) -> None:
    receiver = await listen()
    receiver.answer = Answer(status=400)
    await office.add(hook(receiver, repeat_interval_us=HOUR))
    async with office.running():
        await office.fire("a")
        await until_states(office, "DEAD")
        await office.wait(3_600)
        office.happened.notify()
        await until_states(office, "DEAD", "DEAD")
        repeat, first = await office.deliveries()
        receiver.answer = Answer()
        await office.wait(10)
        await office.resolve("a")
        await until_states(office, "DELIVERED", "DEAD", "DEAD")
        for count, delivery in enumerate((first, repeat), start=1):
            await office.wait(10)
            receiver.received.clear()
            await office.log.retry(delivery.id)
            await until_told(receiver, ("firing", "a"), ("resolved", "a"))
            await until_delivered(office, 1 + 2 * count)


async def test_what_was_to_be_tried_at_a_time_that_the_clock_left_is_tried_now(
    office: Office, listen: Listen
) -> None:
    receiver = await listen()
    receiver.answer = Answer(status=503, headers={"Retry-After": "600"})
    await office.add(hook(receiver, heartbeat_us=HOUR))
    office.alive = lambda: False
    office.restart()
    async with office.running():
        await office.fire("a")
        await wait_until(lambda: rests(office, ChannelHealth()), within=PATIENCE)
    receiver.answer = Answer()
    await office.wait(-6 * 3_600)
    office.alive = lambda: True
    office.restart()
    async with office.running():
        await until_states(office, "DELIVERED", "DELIVERED")
        await office.wait(10)
        await office.resolve("a")
        await until_states(office, "DELIVERED", "DELIVERED", "DELIVERED")


async def test_after_a_day_of_tries_it_is_given_up(office: Office, listen: Listen) -> None:
    receiver = await listen()
    receiver.answer = Answer(status=502)
    await office.add(hook(receiver, repeat_interval_us=48 * HOUR))
    async with office.running():
        await office.fire("a")
        await wait_until(lambda: receiver.received, within=PATIENCE)
        await office.wait(24 * 3600)
        office.courier.wake({"hook"})
        await until_states(office, "DEAD")


async def test_a_receiver_that_wants_to_be_left_alone_is(office: Office, listen: Listen) -> None:
    receiver = await listen()
    receiver.answer = Answer(status=429, headers={"Retry-After": "120"})
    await office.add(hook(receiver, group_by=("agent",)))
    async with office.running():
        await office.fire("a")
        await wait_until(lambda: receiver.received, within=PATIENCE)
        await wait_until(lambda: _open(office), within=PATIENCE)
        await office.fire("b")
        receiver.answer = Answer()
        await office.wait(119)
        office.courier.wake({"hook"})
        await until_states(office, "WAITING", "WAITING")
        assert len(receiver.received) == 1
        await office.wait(1)
        office.courier.wake({"hook"})
        await until_states(office, "DELIVERED", "DELIVERED")


async def _open(office: Office) -> bool:
    return (await health(office)).open


async def test_a_channel_that_hangs_delays_no_other(office: Office, listen: Listen) -> None:
    slow, quick = await listen(), await listen()
    slow.answer = Answer(hangs=True)
    await office.add(
        hook(slow, "slow", group_by=("agent",)), hook(quick, "quick", group_by=("agent",))
    )
    ids = [f"a{number}" for number in range(20)]
    async with office.running():
        await office.fire(*ids)
        await wait_until(lambda: len(sent(quick)) == 20, within=PATIENCE)
        await wait_until(lambda: len(slow.received) == 4, within=PATIENCE)
    assert (await health(office, "slow")).waiting == 20


async def test_no_answer_is_a_failure_after_a_while(office: Office, listen: Listen) -> None:
    receiver = await listen()
    receiver.answer = Answer(hangs=True)
    patience, office.timeout = office.timeout, 0.2
    office.restart()
    await office.add(hook(receiver))
    async with office.running():
        await office.fire("a")
        await wait_until(lambda: len(receiver.received) >= 2, within=PATIENCE)
    (delivery,) = await office.deliveries()
    assert "within 0.2 s" in delivery.error
    receiver.answer = Answer()
    await office.wait(60)
    office.timeout = patience
    office.restart()
    async with office.running():
        await until_states(office, "DELIVERED")
    assert len(sent(receiver)) == 1


async def test_what_was_dropped_while_it_was_sent_stays_dropped(
    office: Office, listen: Listen
) -> None:
    receiver = await listen()
    receiver.answer = Answer(hangs=True)
    office.timeout = 1.0
    office.restart()
    await office.add(hook(receiver))
    async with office.running():
        await office.fire("a")
        await wait_until(lambda: receiver.received, within=PATIENCE)
        (delivery,) = await office.deliveries()
        await office.log.drop(delivery.id)
        await wait_until(lambda: _failures(office), within=PATIENCE)
        assert await states(office) == ["DROPPED"]


async def _failures(office: Office) -> int:
    return (await health(office)).failures


async def test_of_a_group_one_is_on_its_way_at_a_time(office: Office, listen: Listen) -> None:
    receiver, other = await listen(), await listen()
    receiver.answer = Answer(status=400)
    await office.add(hook(receiver))
    async with office.running():
        await office.fire("a")
        await until_states(office, "DEAD")
        await office.wait(10)
        await office.resolve("a")
        await until_states(office, "DEAD", "DEAD")
        receiver.answer = Answer(hangs=True)
        for each in await office.deliveries():
            await office.log.retry(each.id)
        await wait_until(lambda: len(receiver.received) == 3, within=PATIENCE)
        await office.add(hook(other, "other"))
        office.changed.notify()
        await office.fire("b")
        await wait_until(lambda: other.received, within=PATIENCE)
        assert len(receiver.received) == 3


async def test_nobody_who_listens_is_a_failure_that_is_told(office: Office) -> None:
    await office.add(channel())
    async with office.running():
        await office.fire("a")
        await wait_until(lambda: _failed(office), within=PATIENCE)
        (delivery,) = await office.deliveries()
    assert delivery.state == DeliveryState.WAITING
    assert delivery.error


@pytest.mark.parametrize("said", [b"", b"\x00\xff" * 500, b"HTTP/1.1 200"])
async def test_a_receiver_that_closes_or_says_nonsense_is_asked_again(
    office: Office, said: bytes
) -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Whoever is killed before he asks has asked nothing.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(said)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await office.add(channel(target=Webhook(f"http://127.0.0.1:{port}/")))
    async with office.running():
        await office.fire("a")
        await wait_until(lambda: len(asked) >= 2, within=PATIENCE)
    (delivery,) = await office.deliveries()
    assert delivery.state == DeliveryState.WAITING
    assert len({each.partition(b"idempotency-key: ")[2][:32].lower() for each in asked}) == 1
    server.close()
    await server.wait_closed()


async def _failed(office: Office) -> bool:
    return any(each.attempts for each in await office.deliveries())


async def test_after_five_failures_a_channel_is_tried_with_one_at_a_time(
    office: Office, listen: Listen
) -> None:
    receiver = await listen()
    receiver.answer = Answer(status=500)
    await office.add(hook(receiver, group_by=("agent",)))
    async with office.running():
        await office.fire("a", "b")
        await wait_until(lambda: _open(office), within=PATIENCE)
        await wait_until(lambda: _settled(office, receiver), within=PATIENCE)
        failed = await health(office)
        assert 5 <= failed.failures <= 6
        assert failed.retry_us is not None
        before = len(receiver.received)
        await office.wait(10)
        office.courier.wake({"hook"})
        await wait_until(lambda: len(receiver.received) == before + 1, within=PATIENCE)
        await wait_until(lambda: rests(office, failed), within=PATIENCE)
        receiver.answer = Answer()
        await office.wait(600)
        office.courier.wake({"hook"})
        await until_states(office, "DELIVERED", "DELIVERED")
    assert (await health(office)).failures == 0


async def _settled(office: Office, receiver: Receiver) -> bool:
    tries = sum(each.attempts for each in await office.deliveries())
    return tries == len(receiver.received)


async def until_none_fails(office: Office, receiver: Receiver) -> None:
    """What was answered before the receiver was well again is stored: it makes the channel rest from then on, and not
    from where the clock is put next."""
    await wait_until(lambda: _settled(office, receiver), within=PATIENCE)


async def test_no_more_are_sent_in_a_minute_than_the_channel_allows(
    office: Office, listen: Listen
) -> None:
    receiver = await listen()
    await office.add(hook(receiver, group_by=("agent",), rate_per_minute=3))
    async with office.running():
        await office.fire("a", "b", "c", "d", "e")
        await wait_until(lambda: len(receiver.received) == 3, within=PATIENCE)
        await office.wait(59)
        office.courier.wake({"hook"})
        await wait_until(lambda: waits(office, 2), within=PATIENCE)
        await office.wait(1)
        office.courier.wake({"hook"})
        await wait_until(lambda: len(receiver.received) == 5, within=PATIENCE)


async def test_a_send_that_a_dead_lead_had_begun_is_repeated_under_the_same_id(
    office: Office, listen: Listen
) -> None:
    receiver = await listen()
    receiver.answer = Answer(hangs=True)
    await office.add(hook(receiver))
    async with office.running():
        await office.fire("a")
        await wait_until(lambda: receiver.received, within=PATIENCE)
    receiver.answer = Answer()
    office.restart()
    async with office.running():
        await until_states(office, "DELIVERED")
        await office.wait(10)
        await office.resolve("a")
        await until_told(receiver, ("firing", "a"), ("resolved", "a"))
    assert sorted(sent(receiver).values()) == [1, 2]


class Away(SqlCourier):
    """A database that is away for a while after a send."""

    refusals = 0

    async def settle(
        self, channel_id: str, delivery_id: str, verdict: Verdict, breaker: Breaker
    ) -> None:
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("database", "it is away")
        await super().settle(channel_id, delivery_id, verdict, breaker)


async def test_a_database_that_is_away_after_a_send_does_not_send_again(
    office: Office, listen: Listen
) -> None:
    receiver = await listen()
    store = Away(office.database)
    store.refusals = 2
    await office.add(hook(receiver))
    office.courier = office.couriers(store)
    async with office.running():
        await office.fire("a")
        await until_states(office, "DELIVERED")
        await office.wait(10)
        await office.resolve("a")
        await until_told(receiver, ("firing", "a"), ("resolved", "a"))
    assert store.refusals == 0
    assert set(sent(receiver).values()) == {1}
