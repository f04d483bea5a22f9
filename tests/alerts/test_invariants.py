"""What holds of alerts whatever comes, on the real engine and the real store."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from pilothouse_server.adapters.sql.tables_control import ALERT_TRANSITIONS, ALERTS
from pilothouse_server.adapters.sql.tables_notifications import NOTIFICATION_INTENTS
from pilothouse_server.domain.alerts.records import Act
from pilothouse_server.domain.alerts.rules import NoDataPolicy, Rule
from pilothouse_server.domain.alerts.states import AlertState
from pilothouse_server.domain.metrics.snapshot import Dimension, MetricsSnapshot
from pilothouse_server.domain.notifications.intents import IntentKind
from tests.alerts.build import SECOND, rule, series, snapshot
from tests.alerts.conftest import Watchtower

NAMES = "abc"
VALUES = {"T": 11, "B": 9, "F": 7}


class Slot(NamedTuple):
    """What is seen, after how many seconds; of a name with a dot nothing, with a dash it is not there at all."""

    letters: str
    seconds: int
    by_hand: bool = False
    """Somebody resolves an alert before it."""


letters = st.text("TTTBF.-", min_size=len(NAMES), max_size=len(NAMES))
slots = st.lists(
    st.builds(Slot, letters, st.integers(1, 12), st.booleans()), min_size=1, max_size=16
)
# Holds end between two slots: time passes in whole seconds, but for the microsecond of a restart.
holds = st.sampled_from([0, SECOND // 2, 3 * SECOND // 2, 9 * SECOND // 2])
rules = st.builds(
    rule,
    dimension=st.just(Dimension.STAGE),
    recovery_threshold=st.just(8.0),
    for_us=holds,
    keep_firing_us=holds,
    no_data_policy=st.sampled_from(NoDataPolicy),
    instance_limit=st.integers(1, 6),
)


def shown(seen: Slot) -> MetricsSnapshot:
    each = [
        series(Dimension.STAGE, name, depth=VALUES.get(letter, 0))
        for name, letter in zip(NAMES, seen.letters, strict=True)
        if letter != "-"
    ]
    empty = {n for n, letter in zip(NAMES, seen.letters, strict=True) if letter == "."}
    return snapshot(*(one._replace(states=None) if one.name in empty else one for one in each))


class Story(NamedTuple):
    """Everything that is stored in the end, without what is made up anew for each run."""

    alerts: list[tuple[object, ...]]
    steps: list[tuple[object, ...]]
    intents: list[tuple[object, ...]]


async def told(tower: Watchtower) -> Story:
    alerts, steps, intents = ALERTS.c, ALERT_TRANSITIONS.c, NOTIFICATION_INTENTS.c
    columns = (alerts.kind, alerts.name, alerts.active_us)
    queries = (
        select(
            *columns,
            alerts.state,
            alerts.fire_us,
            alerts.false_us,
            alerts.resolve_us,
            alerts.latched,
            alerts.flapping,
        ),
        select(
            *columns,
            steps.position,
            steps.occur_us,
            steps.from_state,
            steps.to_state,
            steps.value,
            steps.act,
        ).join_from(ALERTS, ALERT_TRANSITIONS, steps.alert_id == alerts.id),
        select(*columns, intents.kind, intents.occur_us).join_from(
            ALERTS, NOTIFICATION_INTENTS, intents.alert_id == alerts.id
        ),
    )
    found = [
        await tower.database.read(lambda c, one=query: c.execute(one).all())  # type: ignore[misc]
        for query in queries
    ]
    return Story(*(sorted((tuple(row) for row in rows), key=repr) for rows in found))


async def lived(tested: Rule, seen: list[Slot], place: Path, cuts: frozenset[int]) -> Story:
    """The whole story; before each slot of `cuts` the engine is killed."""
    tower = Watchtower(place, (tested,))
    await tower.open()
    for number, slot in enumerate(seen):
        if number:
            if number in cuts:
                await tower.restart()
            # The slot after a restart; whoever goes on has it too.
            tower.clock.us += 1
            tower.engine.tick(shown(seen[number - 1]), tower.clock.us)
            await tower.journal.flush()
        live = [each for each in await tower.alerts() if each.instance.live]
        if slot.by_hand and live:
            first = min(live, key=lambda each: (each.kind, each.name))
            resolving = asyncio.create_task(
                tower.engine.resolve(first.id, actor="ada", reason="", etag="")
            )
            while not resolving.done():
                await asyncio.sleep(0)
                await tower.journal.flush()
        await tower.tick(shown(slot), seconds=slot.seconds)
        live_now = [each for each in await tower.alerts() if each.instance.live]
        assert len({(each.kind, each.name) for each in live_now}) == len(live_now)
        assert len([each for each in live_now if each.rule_id == "r"]) <= tested.instance_limit
    story = await told(tower)
    await tower.database.close()
    return story


def run(tested: Rule, seen: list[Slot], template: Path, cuts: frozenset[int]) -> Story:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "state.db"
        shutil.copyfile(template, place)
        return asyncio.run(lived(tested, seen, place, cuts))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tested=rules, seen=slots, cuts=st.frozensets(st.integers(1, 15), min_size=1, max_size=4))
def test_a_restart_at_any_slot_changes_nothing(
    sqlite_template: Path, tested: Rule, seen: list[Slot], cuts: frozenset[int]
) -> None:
    assert run(tested, seen, sqlite_template, cuts) == run(
        tested, seen, sqlite_template, frozenset()
    )


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tested=rules, seen=slots)
def test_what_is_told_is_told_once_and_in_order(
    sqlite_template: Path, tested: Rule, seen: list[Slot]
) -> None:
    story = run(tested, seen, sqlite_template, frozenset())
    kinds: dict[tuple[object, ...], list[tuple[object, object]]] = {}
    for *alert, kind, occur_us in story.intents:
        kinds.setdefault(tuple(alert), []).append((occur_us, kind))
    for said in kinds.values():
        of = Counter(kind for _, kind in said)
        assert of[IntentKind.FIRING] == 1, "and nothing is told of what never fired"
        assert of[IntentKind.RESOLVED] <= 1
        assert min(said)[1] == IntentKind.FIRING
    steps: dict[tuple[object, ...], list[tuple[int, ...]]] = {}
    for *alert, position, occur_us, from_state, to_state, _, act in story.steps:
        numbers = (position, occur_us, from_state, to_state, act)
        steps.setdefault(tuple(alert), []).append(tuple(int(str(each)) for each in numbers))
    for each in steps.values():
        each.sort()
        assert [step[0] for step in each] == list(range(len(each)))
        assert [step[1] for step in each] == sorted(step[1] for step in each), "never backwards"
        at = 0
        for _, _, from_state, to_state, act in each:
            assert from_state == at, "each begins where the one before it ended"
            if act == Act.CONDITION:
                assert to_state in AFTER[from_state]
            at = to_state


S = AlertState
AFTER: dict[int, set[AlertState]] = {
    0: {S.PENDING, S.FIRING},
    S.PENDING: {S.FIRING, S.RESOLVED},
    S.FIRING: {S.RECOVERING, S.RESOLVED},
    S.RECOVERING: {S.FIRING, S.RESOLVED},
    S.RESOLVED: set(),
}
"""What the condition alone can make of each state."""
