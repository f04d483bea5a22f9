"""What is held does not begin; what has begun goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pilothouse.executor import CommandRefused
from pilothouse.v1.commands_pb2 import CommandScope
from pilothouse.v1.events_pb2 import Event
from pilothouse_server.demo.holds import MOST_HOLDS, Holds
from pilothouse_server.demo.journal import Hold, Journal
from tests.demo.support import Seen, engine_on, is_quick, keep_back, kind_of, seed_where

pytestmark = pytest.mark.timeout(180)

GOOD = seed_where(is_quick, is_quick)
FLEET = CommandScope.COMMAND_SCOPE_FLEET
ALL, BUGFIX, TESTING = Hold(), Hold("bugfix"), Hold(agent_type="testing")
BOTH = Hold("bugfix", "testing")


class Held:
    """The holds of one life of an engine."""

    def __init__(self, folder: Path) -> None:
        self.told: list[Event] = []
        self.changes = 0
        self.journal = Journal(folder, self.told.append)
        self.holds = Holds(self.journal, "demo", self._changed)

    def _changed(self) -> None:
        self.changes += 1


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    held = Held(tmp_path)
    with held.journal:
        yield held


@pytest.mark.parametrize(
    ("hold", "begins", "gives"),
    [
        # Of a bugfix and of a feature; of a bugfix's test, a feature's test and a bugfix's package.
        (ALL, (False, False), (True, True, True)),
        (BUGFIX, (False, True), (True, True, True)),
        (TESTING, (True, True), (False, False, True)),
        (BOTH, (True, True), (False, True, True)),
    ],
)
def test_a_hold_is_of_what_it_names_and_of_nothing_else(
    held: Held, hold: Hold, begins: tuple[bool, ...], gives: tuple[bool, ...]
) -> None:
    held.holds.pause(hold, "c-1")
    tasks = (("bugfix", "testing"), ("feature", "testing"), ("bugfix", "packaging"))
    assert tuple(map(held.holds.begins, ("bugfix", "feature"))) == begins
    assert tuple(held.holds.gives(*task) for task in tasks) == gives
    assert held.holds.everything is (hold == ALL)
    held.holds.resume(hold, "c-2")
    assert held.holds.begins("bugfix")
    assert held.holds.gives("bugfix", "testing")
    assert held.changes == 2


def test_each_hold_stands_for_itself(held: Held) -> None:
    held.holds.pause(ALL, "c-1")
    held.holds.pause(BUGFIX, "c-2")
    held.holds.resume(ALL, "c-3")
    assert (held.holds.begins("bugfix"), held.holds.begins("feature")) == (False, True)


def test_holds_outlive_the_engine_and_are_said_again_at_its_start(tmp_path: Path) -> None:
    first = Held(tmp_path)
    with first.journal:
        first.holds.pause(ALL, "c-1")
        first.holds.pause(TESTING, "c-2")
        first.holds.pause(Hold("unknown"), "c-3")
        first.holds.resume(ALL, "c-4")
    answers = [(kind_of(event), event.command_id) for event in first.told]
    assert answers == [
        ("QUEUE_PAUSED", "c-1"), ("QUEUE_PAUSED", "c-2"), ("QUEUE_PAUSED", "c-3"), ("QUEUE_ACTIVE", "c-4"),
    ]  # fmt: skip
    again = Held(tmp_path)
    with again.journal:
        told: list[Event] = []
        again.holds.tell(told.append, ["bugfix"], ["testing"])
    said = {(event.workflow_type, event.agent_type): kind_of(event) for event in told}
    assert said == {
        ("", ""): "QUEUE_ACTIVE",
        ("bugfix", ""): "QUEUE_ACTIVE",
        ("", "testing"): "QUEUE_PAUSED",
        ("unknown", ""): "QUEUE_PAUSED",
    }


def test_what_is_so_already_is_refused_and_so_are_too_many(held: Held) -> None:
    def code(act: Callable[[Hold, str], None], hold: Hold, command_id: str) -> str:
        with pytest.raises(CommandRefused) as refused:
            act(hold, command_id)
        return refused.value.code

    assert code(held.holds.resume, ALL, "c-0") == "NOT_PAUSED"
    for number in range(MOST_HOLDS):
        held.holds.pause(Hold(f"type {number}"), f"c-{number}")
    assert code(held.holds.pause, Hold("type 0"), "c-x") == "ALREADY_PAUSED"
    assert code(held.holds.pause, ALL, "c-y") == "TOO_MANY_HOLDS"
    assert not held.journal.was_applied("c-y")


async def test_while_everything_is_held_what_is_queued_stays_and_what_runs_goes_on(
    seen: Seen, tmp_path: Path
) -> None:
    keep_back(tmp_path, "packaging")
    async with engine_on(seen.server.target, tmp_path, GOOD, max_workflows=2, slots=1) as running:
        await seen.until("STAGE_STARTED", stage="validation")
        first, second = await seen.created(2)
        hold = seen.order("PAUSE", scope=FLEET)
        await seen.effective(hold)
        await seen.lift("packaging")
        await seen.until("WORKFLOW_COMPLETED", workflow=first)
        lift = seen.order("RESUME", scope=FLEET)
        await seen.effective(lift)
        await running
    log = seen.server.log.items
    place = {
        (kind_of(event), event.workflow_id, event.command_id): number
        for number, event in enumerate(log)
    }
    assert place["QUEUE_PAUSED", "", hold.id] < place["WORKFLOW_COMPLETED", first, ""]
    assert place["WORKFLOW_COMPLETED", first, ""] < place["QUEUE_ACTIVE", "", lift.id]
    assert place["QUEUE_ACTIVE", "", lift.id] < place["WORKFLOW_STARTED", second, ""]


async def test_nothing_arrives_while_everything_is_held_and_what_is_of_a_held_type_waits(
    seen: Seen, tmp_path: Path
) -> None:
    with Journal(tmp_path, lambda _: None) as journal:
        journal.commit_hold(ALL, True, [])
    async with engine_on(seen.server.target, tmp_path, GOOD) as running:
        await seen.effective(seen.order("PAUSE", scope=FLEET, workflow_type="bugfix"))
        assert seen.events("WORKFLOW_CREATED") == []
        await seen.effective(seen.order("RESUME", scope=FLEET))
        created = await seen.until("WORKFLOW_CREATED")
        await seen.effective(seen.ask("CANCEL", created.workflow_id))
        await running
    assert seen.story() == ["WORKFLOW_CREATED", "WORKFLOW_CANCELLED"], "it never started"


async def test_tasks_for_agents_of_a_held_type_stay_queued(seen: Seen, tmp_path: Path) -> None:
    keep_back(tmp_path, "planning")
    async with engine_on(seen.server.target, tmp_path, GOOD) as running:
        await seen.effective(seen.order("PAUSE", scope=FLEET, agent_type="testing"))
        await seen.lift("planning")
        await seen.until("TASK_QUEUED", stage="unit_tests")
        resume = seen.order("RESUME", scope=FLEET, agent_type="testing")
        await seen.effective(resume)
        await running
    log = seen.server.log.items
    lifted = next(number for number, event in enumerate(log) if event.command_id == resume.id)
    given = [
        number
        for number, event in enumerate(log)
        if kind_of(event) == "TASK_ASSIGNED" and event.agent_type == "testing"
    ]
    assert given
    assert min(given) > lifted
