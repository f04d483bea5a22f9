"""A kill -9 at any moment of a command on an agent, or of a hold, leaves it done once or still to be done."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from pilothouse.v1.commands_pb2 import Command, CommandScope
from tests.client.support import Failure
from tests.demo.support import Seen, engine_process, is_quick, keep_back, kind_of, seed_where
from tests.support import wait_until

pytestmark = pytest.mark.timeout(300)

POOL, FLEET = CommandScope.COMMAND_SCOPE_POOL, CommandScope.COMMAND_SCOPE_FLEET
GOOD = seed_where(is_quick)
DEPLOYER = "deployer-1"


async def test_a_drain_outlives_a_kill_and_work_waits_for_its_end(
    seen: Seen, tmp_path: Path
) -> None:
    keep_back(tmp_path, "planning")
    async with engine_process(seen.server, tmp_path, GOOD) as process:
        await seen.until("WORKFLOW_STARTED")
        await seen.effective(seen.order("DRAIN", scope=POOL, agent_id=DEPLOYER))
        process.kill()
        await process.wait()
    before = len(seen.server.log.items)
    async with engine_process(seen.server, tmp_path, GOOD) as process:
        await seen.lift("planning")
        await seen.until("TASK_QUEUED", stage="deployment")
        said = [
            kind_of(event)
            for event in seen.server.log.items[before:]
            if event.agent_id == DEPLOYER and kind_of(event) != "AGENT_HEARTBEAT"
        ]
        assert said == ["AGENT_DRAINING"]
        await seen.effective(seen.order("ACTIVATE", scope=POOL, agent_id=DEPLOYER))
        assert await process.wait() == 0
    assert seen.story()[-1] == "WORKFLOW_COMPLETED"


def orders(seen: Seen, turn: int) -> list[Command]:
    """What an operator asks for at once, in any order; in the next turn the opposite of it."""
    there = turn % 2 == 0
    hold = "PAUSE" if there else "RESUME"
    return [
        seen.order("DRAIN" if there else "ACTIVATE", scope=POOL, agent_id="tester-1"),
        seen.order("RESTART", scope=POOL, agent_id="tester-2"),
        seen.order("RESIZE", scope=POOL, agent_id="planner-1", pool_size=3 if there else 1),
        seen.order(hold, scope=FLEET, workflow_type="nightly"),
        seen.order(hold, scope=FLEET, agent_type="deployment"),
    ]


def applied(folder: Path) -> int:
    """How many commands the journal of a running engine has."""
    with (
        suppress(sqlite3.OperationalError),
        closing(sqlite3.connect(f"file:{folder}/journal.db?mode=ro", uri=True)) as journal,
    ):
        (count,) = journal.execute("SELECT count(*) FROM command").fetchone()
        return int(count)
    return 0


@pytest.mark.parametrize("seed", [1, 2])
async def test_whenever_the_engine_is_killed_each_command_is_answered_by_one_event(
    seen: Seen, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    keep_back(tmp_path, "planning")  # so that no life ends by itself
    asked: list[Command] = []
    for turn in range(3):
        asked += orders(seen, turn)
        # Nothing of what is done can be told, so that the same commands come again in the next life.
        seen.server.fail("PublishEvents", *[Failure()] * 1_000)
        for _ in range(2):
            accepted = len(seen.server.requests("AcceptCommand")) + chance.randint(1, 5)
            written = min(applied(tmp_path) + chance.randint(0, 5), len(asked))
            async with engine_process(seen.server, tmp_path, GOOD) as process:
                await wait_until(reached(seen, tmp_path, accepted, written), within=60)
                process.kill()
                await process.wait()
        # Of its first delivery the engine never learns that it arrived, and makes it again.
        seen.server.faults.calls["PublishEvents"].clear()
        seen.server.fail("PublishEvents", Failure(when="after"))
        async with engine_process(seen.server, tmp_path, GOOD) as process:
            for command in asked:
                await seen.effective(command)
    answers = Counter(event.command_id for event in seen.server.log.items if event.command_id)
    assert answers == dict.fromkeys((command.id for command in asked), 1)


def reached(seen: Seen, folder: Path, accepted: int, written: int) -> Callable[[], bool]:
    """Whether so many commands were accepted, and so many written down."""
    return lambda: (
        len(seen.server.requests("AcceptCommand")) >= accepted and applied(folder) >= written
    )
