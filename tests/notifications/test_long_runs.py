"""What only shows over time: plans that pile up, channels that come back, clocks that are put back."""

from __future__ import annotations

import pytest

from pilothouse_server.domain.notifications.channels import Escalation, EscalationStep
from pilothouse_server.domain.notifications.gathering import Wanted
from tests.notifications.build import FLAPPING, SECOND, channel
from tests.notifications.desk import Desk


def test_plans_do_not_pile_up_while_nothing_is_told() -> None:
    desk = Desk(escalations=[Escalation("up", "Up", (EscalationStep(3_600 * SECOND, ("hook",)),))])
    desk.wanted = {"a": Wanted((), "up")}
    desk.fire("a")
    for _ in range(500):
        desk.wait(6)
        desk.fire("b")
        desk.wait(6)
        desk.resolve("b")
        desk.acknowledge("a")
        desk.unacknowledge("a")
    assert desk.gatherer.planned < 200


def test_a_channel_that_was_deleted_and_made_anew_is_told_under_other_ids() -> None:
    up = Escalation("up", "Up", (EscalationStep(SECOND, ("hook",)),), 60 * SECOND)
    desk = Desk([channel(is_default=False)], [up])
    desk.wanted = {"a": Wanted((), "up")}
    desk.fire("a")
    desk.wait(10)
    desk.gatherer.forget_channels({})
    desk.wait(60)
    first, second = (told for _, told in desk.log)
    assert first.alerts == second.alerts
    assert first.id != second.id


@pytest.mark.parametrize("wait", [0, 30])
def test_a_clock_that_was_put_back_over_a_restart_holds_nothing_up(wait: int) -> None:
    up = Escalation("up", "Up", (EscalationStep(60 * SECOND, ("boss",)),))
    desk = Desk([channel(group_wait_us=wait * SECOND), channel("boss", is_default=False)], [up])
    desk.wanted = {"a": Wanted((), "up")}
    desk.fire("a")
    desk.wait(0)
    desk.us -= 3_600 * SECOND
    desk.restart()
    desk.wait(30)
    assert desk.told() == ["a"]
    desk.wait(30)
    assert desk.told() == ["escalation a to boss"]
    desk.resolve("a")
    desk.wait(5)
    assert sorted(desk.told()) == ["-a", "-a to boss"]


def test_flapping_that_begins_anew_before_its_end_was_told_is_told() -> None:
    desk = Desk(arrives=False)
    desk.fire("a")
    desk.wait(0)
    desk.fire("b", labels={"agent": "b"}, suppression=FLAPPING)
    desk.resolve("b")
    desk.flap("b", begins=False)
    desk.flap("b", begins=True)
    desk.wait(10)
    desk.arrive()
    assert desk.told() == ["a", "flapping -b"]
