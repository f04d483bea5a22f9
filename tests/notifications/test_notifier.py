"""Intents become notifications in one transaction, whatever dies in between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import insert

from pilothouse_server.adapters.sql.courier_store import SqlCourier
from pilothouse_server.adapters.sql.fencing import FencedDatabase
from pilothouse_server.adapters.sql.notifier_store import SqlNotifications
from pilothouse_server.adapters.sql.tables_leases import LEASES
from pilothouse_server.adapters.sql.tables_notifications import (
    ESCALATION_RUNS,
    NOTIFICATION_GROUPS,
    NOTIFICATION_INTENTS,
    NOTIFICATION_MEMBERS,
)
from pilothouse_server.domain.audit import Author
from pilothouse_server.domain.errors import LeaseLost, Unavailable
from pilothouse_server.domain.notifications.breaker import Breaker
from pilothouse_server.domain.notifications.channels import Escalation, EscalationStep
from pilothouse_server.domain.notifications.deliveries import (
    DeliveryState,
    Standing,
    Verdict,
    taken,
)
from pilothouse_server.domain.notifications.intents import IntentKind
from pilothouse_server.domain.notifications.notification import Notification
from pilothouse_server.ports import Fence
from pilothouse_server.services.notifications.notifier import Kept, Notifier, Outcome
from tests.notifications.build import HOUR, SECOND, SILENCED, T0, alert, channel
from tests.notifications.office import Office

pytestmark = pytest.mark.usefixtures("kind")

TABLES = (NOTIFICATION_INTENTS, NOTIFICATION_GROUPS, NOTIFICATION_MEMBERS, ESCALATION_RUNS)


def listed(told: Notification) -> str:
    """The alerts of a notification, with a minus those that ended."""
    return " ".join(("-" if each.ends_us else "") + each.alert_id for each in told.alerts)


async def test_what_happened_is_gone_once_it_is_on_its_way(office: Office) -> None:
    await office.add(channel())
    await office.fire("a", "b")
    assert await office.count(NOTIFICATION_INTENTS) == 2
    await office.gather()
    (told,) = await office.waiting()
    assert listed(told) == "a b"
    assert await office.count(NOTIFICATION_INTENTS) == 0
    (delivery,) = await office.deliveries()
    assert (delivery.id, delivery.alert_ids, delivery.firing_count) == (told.id, ["a", "b"], 2)


async def test_nothing_is_left_of_what_is_over(office: Office) -> None:
    await office.add(channel(), channel("other", group_by=("agent",)))
    await office.fire("a", "b")
    await office.gather()
    await office.arrive()
    await office.wait(10)
    await office.resolve("a", "b")
    await office.gather()
    assert sorted(listed(each) for each in await office.waiting()) == ["-a", "-a -b", "-b"]
    await office.arrive()
    await office.wait(10)
    await office.gather()
    assert [await office.count(table) for table in TABLES] == [0, 0, 0, 0]


class Cut(SqlNotifications):
    """A database that goes away, before or after it stored something."""

    cuts = ""

    async def save(self, outcome: Outcome) -> None:
        cuts, self.cuts = self.cuts, ""
        if cuts == "before":
            raise Unavailable("database", "it is away")
        await super().save(outcome)
        if cuts == "after":
            raise Unavailable("database", "nobody knows whether it is stored")


@pytest.mark.parametrize("cuts", ["before", "after"])
async def test_a_database_that_goes_away_loses_and_doubles_nothing(
    office: Office, cuts: str
) -> None:
    store = Cut(office.database)
    office.notifier = Notifier(store, office.clock, office.happened, office.courier.wake)
    await office.add(channel())
    await office.fire("a")
    store.cuts = cuts
    with pytest.raises(Unavailable):
        await office.notifier.gather_some()
    office.restart()
    await office.gather()
    await office.wait(60)
    await office.gather()
    assert [listed(each) for each in await office.waiting()] == ["a"]


async def test_what_arrives_while_all_is_read_anew_is_not_waited_for(office: Office) -> None:
    class Slow(SqlNotifications):
        async def restore(self) -> Kept:
            kept = await super().restore()
            for each in await office.deliveries():
                await office.log.drop(each.id)
                key = next(iter(kept.groups)).key
                office.notifier.ended(("hook", key), each.id)
            return kept

    await office.add(channel())
    await office.fire("a")
    await office.gather()
    office.notifier = Notifier(
        Slow(office.database), office.clock, office.happened, office.courier.wake
    )
    await office.gather()
    await office.wait(10)
    await office.resolve("a")
    await office.gather()
    assert [listed(each) for each in await office.waiting()] == ["-a"]


async def test_an_end_waits_for_a_beginning_that_was_put_back(office: Office) -> None:
    await office.add(channel())
    await office.fire("a")
    await office.gather()
    (first,) = await office.deliveries()
    settled = Verdict(DeliveryState.DEAD, 1, office.clock.us)
    await SqlCourier(office.database).settle("hook", first.id, settled, Breaker())
    office.notifier.look_again()
    await office.gather()
    await office.log.retry(first.id)
    office.notifier.look_again()
    await office.wait(10)
    await office.resolve("a")
    await office.gather()
    assert [listed(each) for each in await office.waiting()] == ["a"]
    await office.arrive()
    await office.gather()
    assert [listed(each) for each in await office.waiting()] == ["-a"]


async def test_what_was_waiting_is_told_as_if_somebody_had_looked_all_the_time(
    office: Office,
) -> None:
    await office.add(channel(group_by=("agent",)))
    await office.fire("a")
    await office.wait(1)
    await office.resolve("a")
    await office.fire("b")
    await office.wait(60)
    await office.gather()
    assert sorted(listed(each) for each in await office.waiting()) == ["a", "b"]
    await office.arrive()
    await office.gather()
    assert [listed(each) for each in await office.waiting()] == ["-a"]


async def test_what_happens_just_when_a_group_is_due_is_told_with_it(office: Office) -> None:
    await office.add(channel(group_wait_us=2 * SECOND))
    await office.fire("a")
    await office.wait(2)
    await office.fire("b")
    await office.wait(60)
    await office.gather()
    assert [listed(each) for each in await office.waiting()] == ["a b"]


async def test_a_new_lead_knows_what_is_on_its_way(office: Office) -> None:
    await office.add(channel())
    await office.fire("a")
    await office.gather()
    office.restart()
    await office.wait(10)
    await office.resolve("a")
    await office.gather()
    assert [listed(each) for each in await office.waiting()] == ["a"]
    await office.arrive()
    await office.gather()
    assert [listed(each) for each in await office.waiting()] == ["-a"]


Step = Callable[[Office], Awaitable[None]]

STORY: tuple[Step, ...] = (
    lambda office: office.fire("a", "b"),
    lambda office: office.wait(3),
    lambda office: office.arrive(),
    lambda office: office.note(IntentKind.ACKNOWLEDGED, "a"),
    lambda office: office.fire("c", suppression=SILENCED),
    lambda office: office.fire("d"),
    lambda office: office.wait(3),
    lambda office: office.resolve("b"),
    lambda office: office.wait(40),
    lambda office: office.arrive(),
    lambda office: office.wait(3_600),
    lambda office: office.arrive(),
    lambda office: office.note(IntentKind.UNACKNOWLEDGED, "a"),
    lambda office: office.wait(3_600),
    lambda office: office.arrive(),
    lambda office: office.resolve("a", "c", "d"),
    lambda office: office.wait(10),
)


TOLD = [
    "+3 CHANGE a b",
    "+46 CHANGE a d -b",
    "+46 ESCALATION d to boss",
    "+3646 REPEAT a d",
    "+7246 REPEAT a d",
    "+7246 ESCALATION a to boss",
    "+7246 CHANGE -a -d to boss",
    "+7256 CHANGE -a -d",
]


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_story_is_told_the_same_whether_the_lead_dies_after_each_step_or_not(
    office: Office, *, restarts: bool
) -> None:
    await office.add(
        channel(repeat_interval_us=HOUR, group_wait_us=2 * SECOND),
        channel("boss", is_default=False),
    )
    await office.ladder(Escalation("ladder", "Ladder", (EscalationStep(30 * SECOND, ("boss",)),)))
    found: dict[str, Notification] = {}
    for step in STORY:
        await step(office)
        if restarts:
            office.restart()
        await office.gather()
        found |= {each.id: each for each in await office.waiting()}
    assert sorted(map(line, found.values())) == sorted(TOLD)


def line(told: Notification) -> str:
    """When, why and what."""
    where = "" if told.channel_id == "hook" else f" to {told.channel_id}"
    return f"+{(told.create_us - T0) // SECOND} {told.kind.name} {listed(told)}{where}"


async def test_many_transitions_at_once_are_one_notification(office: Office) -> None:
    await office.add(channel())
    ids = [f"a{number:05}" for number in range(2_500)]
    await office.fire(*ids)
    await office.gather()
    (told,) = await office.waiting()
    assert (len(told.alerts), told.truncated, told.firing_count) == (100, 2_400, 2_500)
    await office.arrive()
    await office.wait(10)
    await office.resolve(*ids)
    await office.gather()
    (told,) = await office.waiting()
    assert (told.resolved_count, told.status) == (2_500, "resolved")


async def test_a_lead_that_was_deposed_stores_and_sends_nothing(office: Office) -> None:
    row = {"name": "shard-0", "holder": "other", "epoch": 2}
    blanks = {column.name: 0 for column in LEASES.columns if not column.nullable}
    await office.database.write(lambda c: c.execute(insert(LEASES).values(blanks | row)).close())
    deposed = FencedDatabase(office.database, Fence("shard-0", 1))
    await office.add(channel())
    await office.fire("a")
    sent: list[str] = []
    store = SqlNotifications(deposed)
    notifier = Notifier(store, office.clock, office.happened, sent.extend)
    with pytest.raises(LeaseLost):
        await notifier.gather_some()
    assert sent == []
    assert await office.waiting() == []
    assert await office.count(NOTIFICATION_INTENTS) == 1
    with pytest.raises(LeaseLost):
        await SqlCourier(deposed).settle("hook", "d", taken(Standing(0, 0), 200, 1), Breaker())


async def test_a_channel_that_is_deleted_takes_its_groups_along(office: Office) -> None:
    await office.add(channel(), channel("other"))
    await office.fire("a")
    await office.gather()
    await office.channels.delete("other", "", Author("ada", 0))
    await office.wait(1)
    await office.fire("b")
    await office.gather()
    assert await office.count(NOTIFICATION_GROUPS) == 1
    assert await office.count(NOTIFICATION_MEMBERS) == 2


async def test_an_alert_that_is_forgotten_is_told_by_its_labels(office: Office) -> None:
    await office.add(channel())
    office.alerts["a"] = alert("a")
    await office.fire("a")
    await office.gather()
    assert (await office.waiting())[0].alerts[0].labels["agent"] == "a"
