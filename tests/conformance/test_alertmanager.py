"""Our grouping beside Alertmanager's, on the same alerts, silences and inhibitions.

Alertmanager runs in real time, ours on a clock of its own; what is compared is what each tells, and in which order.
A busy machine lets things happen later than they are meant to: they happen to ours when they happened to Alertmanager.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from pilothouse_server.domain.alerts.matchers import Matcher, MatchType
from pilothouse_server.domain.alerts.rules import Inhibition
from pilothouse_server.domain.alerts.silences import Silence
from pilothouse_server.domain.alerts.suppression import LOUD
from pilothouse_server.domain.notifications.notification import Notification
from pilothouse_server.services.alerts.suppressor import Silenced
from tests.alerts.build import rule
from tests.channels.receiver import Receiver, listening
from tests.conformance import alertmanager
from tests.notifications.build import SECOND, channel
from tests.notifications.desk import Desk
from tests.support import NeverHappened, wait_until

WAIT, INTERVAL, REPEAT = 1, 2, 6
"""Seconds, of both."""
END = 12
"""Seconds that are looked at."""

Said = tuple[str, frozenset[tuple[str, str]]]
"""A notification: its status, and (alert, status) of each of its alerts."""
Told = dict[str, dict[str, list[Said]]]


@dataclass(frozen=True)
class Act:
    """What happens: `fire` and `resolve` an alert, `silence` an alert and end that (`unsilence`)."""

    at: float
    verb: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


SCENARIOS: dict[str, Sequence[Act]] = {
    "alerts that come together are told together": [
        Act(0, "fire", "a"), Act(0.3, "fire", "b"), Act(0.5, "fire", "c"),
        Act(4, "resolve", "a"), Act(4, "resolve", "b"), Act(4.1, "resolve", "c"),
    ],
    "groups are told apart": [
        Act(0, "fire", "a", {"team": "red"}), Act(0, "fire", "b", {"team": "blue"}),
        Act(4, "resolve", "a", {"team": "red"}), Act(4, "resolve", "b", {"team": "blue"}),
    ],
    "who comes later is told with who was there": [
        Act(0, "fire", "a"), Act(2, "fire", "b"), Act(6, "resolve", "a"), Act(10, "resolve", "b"),
    ],
    "what ended is told beside what goes on": [
        Act(0, "fire", "a"), Act(0, "fire", "b"), Act(2, "resolve", "a"), Act(5.5, "resolve", "b"),
    ],
    "what does not change is told again": [Act(0, "fire", "a"), Act(10, "resolve", "a")],
    "what was over before anybody was told is not told": [Act(0, "fire", "a"), Act(0.5, "resolve", "a")],
    "what is silenced is not told": [
        Act(0, "silence", "a"), Act(0.3, "fire", "a"), Act(5, "resolve", "a"),
    ],
    "what is silenced no more is told": [
        Act(0, "silence", "a"), Act(0.3, "fire", "a"), Act(0.3, "fire", "b"), Act(4, "unsilence", "a"),
        Act(8, "resolve", "a"), Act(8, "resolve", "b"),
    ],
    "what is inhibited is not told": [
        Act(0, "fire", "cause", {"role": "source"}), Act(0.2, "fire", "effect", {"role": "target"}),
        Act(3.5, "resolve", "effect", {"role": "target"}), Act(5.5, "resolve", "cause", {"role": "source"}),
    ],
    "what is inhibited no more is told": [
        Act(0, "fire", "cause", {"role": "source"}), Act(0.2, "fire", "effect", {"role": "target"}),
        Act(4, "resolve", "cause", {"role": "source"}), Act(8, "resolve", "effect", {"role": "target"}),
    ],
}  # fmt: skip
"""By what is the same in both. Nothing happens when a group is looked at: a second after its first alert, and then
every other second."""

SILENCED_MEANWHILE = [Act(0, "fire", "a"), Act(3, "silence", "a"), Act(4, "resolve", "a")]
"""Alertmanager leaves a receiver that was told of a firing without its end; we tell it."""


def labels_of(scenario: str, act: Act) -> dict[str, str]:
    return {"scenario": scenario, "name": act.name, **act.labels}


def ours(scenario: str, acts: Sequence[Act]) -> dict[str, list[Said]]:
    """What we tell, by group."""
    hook = channel(
        group_by=("scenario", "team"),
        group_wait_us=WAIT * SECOND,
        group_interval_us=INTERVAL * SECOND,
        repeat_interval_us=REPEAT * SECOND,
    )
    desk, quiet = Desk([hook]), Silenced()
    source = Matcher("role", MatchType.EQUAL, "source")
    quiet.apply([rule(id="target", inhibited_by=(Inhibition((source,), ("scenario",)),))])
    silences: dict[str, Silence] = {}
    began = desk.us
    for act in sorted(acts, key=lambda each: each.at):
        desk.wait((began + act.at * SECOND - desk.us) / SECOND)
        match act.verb:
            case "silence":
                silences[act.name] = Silence(
                    act.name,
                    (Matcher("name", MatchType.EQUAL, act.name),),
                    desk.us,
                    desk.us + 3600 * SECOND,
                    "",
                    "",
                    desk.us,
                    desk.us,
                )
            case "unsilence":
                silences[act.name] = replace(silences[act.name], expire_us=desk.us)
            case "fire":
                desk.fire(
                    act.name, rule=act.labels.get("role", "plain"), labels=labels_of(scenario, act)
                )
            case _:
                desk.resolve(act.name)
        quiet.load(silences.values())
        live = [each for each in desk.alerts.values() if each.instance.resolve_us is None]
        judged = quiet.judge(live, desk.us)
        for each in live:
            desk.suppress(each.id, judged.get(each.id, LOUD))
    desk.wait((began + END * SECOND - desk.us) / SECOND)
    told: dict[str, list[Said]] = {}
    for _, notification in desk.log:
        group = notification.group_labels.get("team", "")
        told.setdefault(group, []).append(said_by_us(notification))
    return told


def said_by_us(told: Notification) -> Said:
    return told.status, frozenset((each.labels["name"], each.status) for each in told.alerts)


def said_by_them(told: Mapping[str, Any]) -> Said:
    alerts = frozenset((each["labels"]["name"], each["status"]) for each in told["alerts"])
    return told["status"], alerts


async def play(
    manager: alertmanager.Alertmanager, scenario: str, acts: Sequence[Act], began: float
) -> list[Act]:
    """The same for Alertmanager, in real time; returns what happened when."""
    loop = asyncio.get_running_loop()
    silences: dict[str, str] = {}
    happened: list[Act] = []
    for act in sorted(acts, key=lambda each: each.at):
        await asyncio.sleep(began + act.at - loop.time())
        match act.verb:
            case "silence":
                matchers = {"scenario": scenario, "name": act.name}
                silences[act.name] = await asyncio.to_thread(manager.silence, matchers)
            case "unsilence":
                await asyncio.to_thread(manager.expire, silences[act.name])
            case _:
                over = act.verb == "resolve"
                await asyncio.to_thread(manager.put, labels_of(scenario, act), over=over)
        happened.append(replace(act, at=loop.time() - began))
    await asyncio.sleep(began + END - loop.time())
    return happened


async def both(folder: Path, scenarios: Mapping[str, Sequence[Act]]) -> tuple[Told, Told]:
    """What we and what Alertmanager tell, by scenario and group; all scenarios at once."""
    route = {
        "group_by": ["scenario", "team"],
        "group_wait": f"{WAIT}s",
        "group_interval": f"{INTERVAL}s",
        "repeat_interval": f"{REPEAT}s",
    }
    inhibit = {
        "source_matchers": ['role="source"'],
        "target_matchers": ['role="target"'],
        "equal": ["scenario"],
    }
    async with listening() as receiver:
        with alertmanager.running(
            folder, receiver.url(), route=route, inhibit_rules=[inhibit]
        ) as manager:
            began = asyncio.get_running_loop().time()
            happened = await asyncio.gather(
                *(play(manager, scenario, acts, began) for scenario, acts in scenarios.items())
            )
            by_us = {name: ours(name, acts) for name, acts in zip(scenarios, happened, strict=True)}
            # The last of them may be late too; those that should not be are there by now.
            with contextlib.suppress(NeverHappened):
                await wait_until(lambda: told_as_often(by_us, told_by_them(receiver, scenarios)))
        return by_us, told_by_them(receiver, scenarios)


def told_by_them(receiver: Receiver, scenarios: Iterable[str]) -> Told:
    told: Told = {scenario: {} for scenario in scenarios}
    for each in receiver.received:
        group = each.json["groupLabels"]
        of_scenario = told[group["scenario"]]
        of_scenario.setdefault(group.get("team", ""), []).append(said_by_them(each.json))
    return told


def told_as_often(by_us: Told, by_them: Told) -> bool:
    """In each scenario in which both should tell the same."""
    return all(
        sum(map(len, by_them[each].values())) >= sum(map(len, by_us[each].values()))
        for each in SCENARIOS
    )


@pytest.mark.timeout(120)
@pytest.mark.skipif(alertmanager.PROGRAM is None, reason="there is no Alertmanager on this machine")
async def test_both_tell_the_same_of_what_both_mean(tmp_path: Path) -> None:
    silenced = {"silenced meanwhile": SILENCED_MEANWHILE}
    by_us, told = await both(tmp_path, {**SCENARIOS, **silenced})
    for scenario in SCENARIOS:
        assert by_us[scenario] == told[scenario], scenario
    firing: Said = ("firing", frozenset({("a", "firing")}))
    over: Said = ("resolved", frozenset({("a", "resolved")}))
    assert told["silenced meanwhile"] == {"": [firing]}
    assert by_us["silenced meanwhile"] == {"": [firing, over]}
