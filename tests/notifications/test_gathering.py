"""Whatever happens in whatever order: nothing is lost, nothing doubled, and a restart changes nothing."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from pilothouse_server.domain.alerts.suppression import LOUD, Suppression
from pilothouse_server.domain.notifications.channels import Escalation, EscalationStep, Webhook
from pilothouse_server.domain.notifications.gathering import Wanted
from pilothouse_server.domain.notifications.notification import FIRING, RESOLVED, DeliveryKind
from tests.notifications.build import FLAPPING, INHIBITED, SECOND, SILENCED, channel
from tests.notifications.desk import Desk


class Step(NamedTuple):
    """Something that happens to one of four instances; an instance has one alert after the other."""

    what: str
    instance: int
    seconds: float
    suppression: Suppression


HAPPENS = (
    "fire", "fire", "resolve", "resolve", "acknowledge", "unacknowledge", "suppress", "flap", "flapped", "wait",
    "wait", "arrive", "restart",
)  # fmt: skip

STEPS = st.builds(
    Step,
    st.sampled_from(HAPPENS),
    st.integers(0, 3),
    st.sampled_from([0.0, 0.5, 2.0, 5.0, 30.0, 100.0]),
    st.sampled_from([LOUD, LOUD, SILENCED, INHIBITED]),
)

LADDER = Escalation("ladder", "Ladder", (EscalationStep(20 * SECOND, ("second",)),), 50 * SECOND)


class Run:
    """A fleet of four instances to which steps happen, as the engine would note them."""

    def __init__(
        self, *, restarts: bool, wait: int = 0, arrives: bool = True, most: int = 100
    ) -> None:
        hook = Webhook("http://127.0.0.1:9/", max_alerts=most)
        minute = 60 * SECOND
        channels = [
            channel(target=hook, group_by=("team",), group_wait_us=wait, repeat_interval_us=minute),
            channel("second", target=hook, is_default=False),
        ]
        self.desk = Desk(channels, [LADDER], arrives=arrives)
        self.restarts = restarts
        self.live: dict[int, str] = {}
        self.flaps: set[int] = set()
        self.kept: dict[int, Suppression] = {}
        self.acknowledged: set[str] = set()

    def take(self, steps: list[Step]) -> None:
        for number, step in enumerate(steps):
            self._take(number, step)
        for instance in list(self.live):
            self._end(instance)
        for instance in list(self.flaps):
            self._flapped(instance)
        for _ in range(5 + len(self.desk.alerts)):
            self.desk.arrive()
            self.desk.wait(200)

    def _take(self, number: int, step: Step) -> None:
        desk, instance = self.desk, step.instance
        alert = self.live.get(instance)
        match step.what:
            case "fire" if alert is None:
                id = self.live[instance] = f"{instance}-{number}"
                kept = FLAPPING if instance in self.flaps else self.kept.get(instance, LOUD)
                desk.wanted[id] = Wanted((), "ladder" if instance == 0 else "")
                labels = {"agent": str(instance), "team": str(instance % 2)}
                desk.fire(id, labels=labels, suppression=kept)
            case "resolve" if alert is not None:
                self._end(instance)
            case "acknowledge" if alert is not None and alert not in self.acknowledged:
                self.acknowledged.add(alert)
                desk.acknowledge(alert)
            case "unacknowledge" if alert is not None and alert in self.acknowledged:
                self.acknowledged.discard(alert)
                desk.unacknowledge(alert)
            case "suppress" if alert is not None and instance not in self.flaps:
                self.kept[instance] = step.suppression
                desk.suppress(alert, step.suppression)
            case "flap" if alert is not None and instance not in self.flaps:
                self.flaps.add(instance)
                desk.flap(alert, begins=True)
            case "flapped" if instance in self.flaps:
                self._flapped(instance)
            case "wait":
                desk.wait(step.seconds)
            case "arrive":
                desk.arrive()
            case "restart" if self.restarts:
                desk.restart()
            case _:
                pass
        desk.wait(0)

    def _end(self, instance: int) -> None:
        self.desk.resolve(self.live.pop(instance))

    def _flapped(self, instance: int) -> None:
        self.flaps.discard(instance)
        newest = [id for id in self.desk.alerts if id.startswith(f"{instance}-")][-1]
        self.desk.flap(newest, begins=False)

    def told(self, status: str) -> Counter[tuple[str, str]]:
        """How often each alert was told so, to each channel."""
        return Counter(
            (told.channel_id, each.alert_id)
            for _, told in self.desk.log
            for each in told.alerts
            if each.status == status
        )


@given(
    st.lists(STEPS, max_size=60),
    st.sampled_from([0, 3 * SECOND]),
    st.booleans(),
    st.sampled_from([1, 2, 100]),
)
def test_whatever_was_told_as_firing_is_told_as_resolved_and_once(
    steps: list[Step], wait: int, arrives: bool, most: int
) -> None:
    run = Run(restarts=True, wait=wait, arrives=arrives, most=most)
    run.take(steps)
    firing, resolved = run.told(FIRING), run.told(RESOLVED)
    assert set(firing) <= set(resolved)
    flaps = {
        (told.channel_id, each.alert_id)
        for _, told in run.desk.log
        if told.kind == DeliveryKind.FLAPPING
        for each in told.alerts
    }
    assert all(count == 1 for key, count in resolved.items() if key not in flaps)
    assert most < 100 or set(resolved) - set(firing) <= flaps
    assert run.desk.gatherer.groups == {}
    assert run.desk.gatherer.runs == {}


@given(st.lists(STEPS, max_size=60), st.sampled_from([0, 3 * SECOND]))
def test_no_two_notifications_have_one_id(steps: list[Step], wait: int) -> None:
    run = Run(restarts=True, wait=wait)
    run.take(steps)
    ids = [told.id for _, told in run.desk.log]
    assert len(ids) == len(set(ids))


@given(st.lists(STEPS, max_size=60), st.sampled_from([0, 3 * SECOND]), st.booleans())
def test_a_restart_at_any_moment_changes_nothing(
    steps: list[Step], wait: int, arrives: bool
) -> None:
    restarted = Run(restarts=True, wait=wait, arrives=arrives)
    restarted.take(steps)
    straight = Run(restarts=False, wait=wait, arrives=arrives)
    straight.take(steps)
    assert restarted.desk.log == straight.desk.log
