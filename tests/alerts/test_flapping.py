"""When an instance flaps: the measure, its two bounds, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from pilothouse_server.adapters.sql.tables_control import ALERT_FLAPS
from pilothouse_server.adapters.sql.tables_notifications import NOTIFICATION_INTENTS
from pilothouse_server.domain.alerts.flapping import (
    SLOT_US,
    SLOTS,
    Flaps,
    changed,
    passed,
    shifted,
)
from pilothouse_server.domain.notifications.intents import IntentKind
from pilothouse_server.services.alerts import flaps as flap_history
from pilothouse_server.services.alerts.flaps import FlapHistory
from pilothouse_server.services.alerts.journal import AlertJournal
from tests.alerts.build import SECOND, rule
from tests.alerts.conftest import SetClock, Watchtower

Towers = Callable[..., Watchtower]
ALL = (1 << SLOTS) - 1
AT = 1_000
"""A slot."""


def bits(text: str) -> int:
    """Newest first; x is a slot with a change."""
    return sum(1 << age for age, letter in enumerate(text) if letter == "x")


@pytest.mark.parametrize(
    ("slots", "share"),
    [
        ("x" * 21, 1.0),
        ("", 0.0),
        ("x", 1.25 / 21),
        ("." * 20 + "x", 0.75 / 21),
        ("." * 10 + "x", 1.0 / 21),
        ("x" + "." * 19 + "x", 2.0 / 21),
    ],
)
def test_the_newest_slot_weighs_most_and_all_together_are_one(slots: str, share: float) -> None:
    assert Flaps(AT, bits(slots)).share == pytest.approx(share)


def after_change(slots: str, *, flapping: bool) -> bool:
    """Whether it flaps after a change in the slot that is the newest of these."""
    return changed(Flaps(AT, bits(slots), flapping), AT * SLOT_US).flapping


def test_it_begins_at_one_half() -> None:
    # 1.25 + 1.225 + … of nine slots are 10.35 of 21; ten are more than one half.
    assert not after_change("x" * 9, flapping=False)
    assert after_change("x" * 10, flapping=False)


@pytest.mark.parametrize(
    ("slots", "flapping", "stays"),
    [
        # Ten of which the ages add up to 80 weigh 10 x 1.25 - 80 x 0.025, which is 10.5 of 21; one older is less.
        ("xxxxxx..x.........xxx", False, True),
        ("xxxxxx...x........xxx", False, False),
        # Five of which the ages add up to 40 weigh 5.25 of 21; one older is less.
        ("xxx..............x..x", True, True),
        ("xxx...............x.x", True, False),
    ],
)
def test_the_bounds_are_exact(slots: str, flapping: bool, stays: bool) -> None:
    assert after_change(slots, flapping=flapping) is stays


def test_it_ends_below_one_quarter() -> None:
    seven = Flaps(AT, bits("." * 13 + "x" * 8), flapping=True)
    one_later = passed(seven, (AT + 1) * SLOT_US)
    assert one_later.flapping, "seven are left"
    assert not passed(one_later, (AT + 2) * SLOT_US).flapping, "six are left"


def test_between_the_bounds_it_stays_what_it_is() -> None:
    between = bits("x" * 7)
    assert Flaps(AT, between).share == pytest.approx(0.39, abs=0.01)
    for flapping in (True, False):
        assert after_change("x" * 7, flapping=flapping) is flapping


def test_it_is_about_three_and_a_half_minutes() -> None:
    assert SLOTS * SLOT_US == 210 * SECOND


def test_many_changes_in_one_slot_are_one() -> None:
    once = changed(None, AT * SLOT_US)
    assert changed(once, AT * SLOT_US + SLOT_US - 1) == once == Flaps(AT, 1)
    assert changed(once, (AT + 1) * SLOT_US) == Flaps(AT + 1, 0b11)


def test_within_a_slot_and_back_in_time_nothing_passes() -> None:
    one = Flaps(AT, 1)
    assert passed(one, AT * SLOT_US + SLOT_US - 1) is one
    assert passed(one, (AT - 5) * SLOT_US) is one


def test_what_is_older_than_all_slots_is_forgotten() -> None:
    one = Flaps(AT, 1)
    assert passed(one, (AT + SLOTS - 1) * SLOT_US).changed == 1 << (SLOTS - 1)
    gone = passed(one, (AT + SLOTS) * SLOT_US)
    assert gone.changed == 0
    assert gone.quiet
    assert passed(Flaps(AT, ALL, flapping=True), (AT + 10**12) * SLOT_US).quiet
    assert not one.quiet


def test_a_grid_that_was_moved_moves_the_slots() -> None:
    assert shifted(Flaps(AT, 5), -3 * SLOT_US) == Flaps(AT - 3, 5)


@given(st.lists(st.integers(0, 40 * SLOT_US), max_size=60), st.integers(0, 40 * SLOT_US))
def test_looking_more_often_changes_nothing(moments: list[int], look: int) -> None:
    def run(looks: list[int]) -> Flaps | None:
        flaps: Flaps | None = None
        for us, what in sorted([(at, 1) for at in moments] + [(at, 0) for at in looks]):
            if what:
                flaps = changed(flaps, us)
            elif flaps is not None:
                flaps = passed(flaps, us)
        return flaps and passed(flaps, 60 * SLOT_US)

    assert run([look]) == run([]) == run(list(range(0, 40 * SLOT_US, SLOT_US // 3)))


# What the engine makes of it.


async def intents(tower: Watchtower) -> list[str]:
    """What is to be told, in order."""
    table = NOTIFICATION_INTENTS.c
    query = select(table.kind).order_by(table.position)
    rows = await tower.database.read(lambda connection: connection.execute(query).scalars().all())
    return [IntentKind(kind).name for kind in rows]


async def flap(tower: Watchtower, times: int, *, first: int = 11) -> None:
    """Begins or ends once in each slot."""
    for number in range(times):
        begins = (number % 2 == 0) == (first > 10)
        await tower.tick(11 if begins else 9, seconds=10)


async def test_it_is_told_once_when_it_begins_and_once_when_it_ends(towers: Towers) -> None:
    tower = towers(rule())
    await tower.open()
    await flap(tower, 10)
    told = await intents(tower)
    assert told == ["FIRING", "RESOLVED"] * 5 + ["FLAPPING"]
    (newest, *_) = await tower.alerts()
    assert newest.suppression.flapping
    await flap(tower, 3)
    (newest, *_) = await tower.alerts()
    assert newest.suppression.flapping, (
        "one that begins while it flaps is quiet from its first slot"
    )
    assert (await intents(tower))[len(told) :] == ["FIRING", "RESOLVED", "FIRING"]
    for _ in range(20):
        await tower.tick(11, seconds=10)
    assert (await intents(tower))[len(told) + 3 :] == ["FLAPPED"]
    (newest, *_) = await tower.alerts()
    assert not newest.suppression.flapping
    assert newest.instance.state.name == "FIRING"


async def test_the_end_of_it_is_told_of_an_alert_that_is_over(towers: Towers) -> None:
    tower = towers(rule(for_us=0))
    await tower.open()
    await flap(tower, 12)
    await tower.restart()
    for _ in range(20):
        await tower.tick(9, seconds=10)
    assert (await intents(tower))[-2:] == ["RESOLVED", "FLAPPED"]
    (newest, *_) = await tower.alerts()
    assert not newest.suppression.flapping


async def test_the_end_of_it_is_told_while_another_alert_waits_to_fire(towers: Towers) -> None:
    tower = towers(rule(id="r"))
    await tower.open()
    await flap(tower, 12)
    patient = rule(id="r", for_us=3600 * SECOND)
    tower.engine.apply([patient], tower.clock.us)
    for _ in range(20):
        await tower.tick(11, seconds=10)
    assert (await intents(tower))[-2:] == ["RESOLVED", "FLAPPED"]
    pending, over, *_ = await tower.alerts()
    assert (pending.instance.state.name, over.instance.state.name) == ("PENDING", "RESOLVED")
    assert not pending.suppression.flapping
    assert not over.suppression.flapping


@pytest.mark.parametrize("cut", [1, 2, 9, 10, 11, 24])
async def test_a_restart_changes_nothing(towers: Towers, cut: int) -> None:
    tower = towers(rule())
    await tower.open()
    for number in range(34):
        if number == cut:
            await tower.restart()
        await tower.tick(11 if number % 2 == 0 and number < 13 else 9, seconds=10)
    told = await intents(tower)
    assert told.index("FLAPPING") == 10
    assert told.count("FLAPPING") == told.count("FLAPPED") == 1
    assert told[-1] == "FLAPPED"


async def test_what_is_quiet_again_leaves_no_row(towers: Towers) -> None:
    tower = towers(rule())
    await tower.open()

    async def rows() -> int:
        query = select(ALERT_FLAPS.c.name)
        return len(await tower.database.read(lambda c: c.execute(query).all()))

    await tower.tick(11)
    assert await rows() == 0, "the alert itself says when it began"
    await tower.tick(9)
    assert await rows() == 1
    await tower.tick(9, seconds=SLOTS * 10)
    assert await rows() == 0


async def test_only_so_many_are_remembered(towers: Towers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flap_history, "MOST", 0)
    tower = towers(rule())
    await tower.open()
    await flap(tower, 14)
    assert "FLAPPING" not in await intents(tower)
    journal = AlertJournal(tower.store, SetClock(), tower.changes, tower.outbox)
    history = FlapHistory(journal)
    (alert, *_) = await tower.alerts()
    assert not history.changed(alert, tower.clock.us)
    assert history.beyond == 1
