"""Requests, answers and the engines' own events at the same time on several replicas: every end is a legal one, and is
told once."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from sqlalchemy import Connection, text

from pilothouse_server.adapters.sql.command_store import SqlCommands, for_workflow, settling
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.projection_store import fold
from pilothouse_server.domain.commands import Capability, Command, CommandState, Executor
from pilothouse_server.domain.errors import LeaseLost, PilothouseError, Unavailable
from pilothouse_server.domain.events import Event, EventType
from pilothouse_server.domain.shards import shard_of
from pilothouse_server.domain.workflows import Action
from pilothouse_server.services.control import Control, ControlRequest
from pilothouse_server.services.ids import uuid7
from tests.several.conftest import Replica
from tests.support import wait_until

Pair = tuple[Replica, Replica]

LEGAL = (
    ["requested"],
    ["requested", "accepted"],
    ["requested", "accepted", "effective"],
    ["requested", "accepted", "failed"],
    ["requested", "effective"],
    ["requested", "failed"],
)
"""The steps that a command's events may tell of."""


async def register(replica: Replica) -> None:
    able = tuple(Capability(action) for action in Action)
    await replica.store.write(lambda transaction: transaction.put_executor(Executor("e", able)))


class Turmoil:
    """Everybody does everything to a few workflows."""

    def __init__(self, replicas: Sequence[Replica], names: Sequence[str], seed: int) -> None:
        self.replicas = replicas
        self.names = names
        self.seed = seed
        self.asked: list[str] = []

    def dice(self, who: str) -> random.Random:
        return random.Random(f"{self.seed} {who}")

    async def people(self, replica: Replica) -> None:
        dice = self.dice(f"people {replica.name}")
        for _ in range(30):
            action = dice.choice([Action.PAUSE, Action.RESUME, Action.CANCEL])
            try:
                asked = await replica.control.request(
                    ControlRequest(dice.choice(self.names), action)
                )
            except Unavailable:
                raise
            except PilothouseError:
                continue
            self.asked.append(asked.id)

    async def executor(self, replica: Replica) -> None:
        dice = self.dice(f"executor {replica.name}")
        for _ in range(40):
            if self.asked:
                try:
                    await replica.control.accept(dice.choice(self.asked), "e")
                except Unavailable:
                    raise
                except PilothouseError:
                    continue
            await asyncio.sleep(0)

    async def projector(self, replica: Replica, shard: int) -> None:
        dice = self.dice(f"projector {shard}")
        mine = [name for name in self.names if shard_of(name, "", 2) == shard]
        kinds = [EventType.WORKFLOW_PAUSED, EventType.WORKFLOW_RESUMED]
        for turn in range(40):
            now_us = replica.clock.now_us()
            events = [
                Event(
                    id=f"{shard}-{turn}-{name}",
                    type=dice.choice(kinds),
                    occur_us=now_us,
                    receive_us=now_us,
                    source="e",
                    workflow_id=name,
                    agent_id="shared",
                    attempt=1,
                )
                for name in dice.sample(mine, min(3, len(mine)))
            ]
            if self.asked and turn % 4 == 0:
                # An answer that names no workflow may be in any shard's log.
                answer = dice.choice(self.asked)
                events.append(
                    Event(
                        id=f"{shard}-{turn}-answer",
                        type=EventType.COMMAND_ACCEPTED,
                        occur_us=now_us,
                        receive_us=now_us,
                        source="e",
                        command_id=answer,
                    )
                )
            await replica.project(shard, turn, *events)


@pytest.mark.parametrize("seed", [1, 2])
async def test_requests_accepts_and_projectors_at_once_end_legally(
    replicas: Callable[[str], Replica], seed: int
) -> None:
    one, other = replicas("one"), replicas("other")
    names = [f"w{n}" for n in range(8)]
    await register(one)
    await one.begin(*names)
    turmoil = Turmoil([one, other], names, seed)
    async with asyncio.TaskGroup() as group:
        for shard, replica in enumerate(turmoil.replicas):
            group.create_task(turmoil.people(replica))
            group.create_task(turmoil.executor(replica))
            group.create_task(turmoil.projector(replica, shard))
    assert len(turmoil.asked) > 5, "something has to happen in this test"
    steps: dict[str, list[str]] = {}
    for event_id in await one.told():
        command_id, _, state = event_id.rpartition(":")
        steps.setdefault(command_id, []).append(state)
    assert set(steps) == set(turmoil.asked)
    stored = await one.database.read(
        lambda connection: [c for name in names for c in for_workflow(connection, name, 100)]
    )
    assert len(stored) == len(turmoil.asked)
    for command in stored:
        assert steps[command.id] in LEGAL, steps[command.id]
        assert steps[command.id][-1] == command.state.name.lower()
    pending = Counter(command.workflow_id for command in stored if command.pending)
    assert all(count == 1 for count in pending.values())


async def test_of_two_requests_at_once_one_is_refused(pair: Pair) -> None:
    await register(pair[0])
    for n in range(10):
        await pair[0].begin(f"w{n}")
        asked = [replica.control.request(ControlRequest(f"w{n}", Action.PAUSE)) for replica in pair]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(answer, Command) for answer in answers) == 1


async def test_a_sweeper_of_a_tenure_that_is_over_ends_nothing(pair: Pair) -> None:
    one, other = pair
    await register(one)
    await one.begin("w")
    asked = await one.control.request(ControlRequest("w", Action.PAUSE))
    frozen = sweeper(one, await one.reign())
    await frozen.sweep()
    leads = sweeper(other, await other.reign())
    one.clock.ahead_us = 61_000_000
    with pytest.raises(LeaseLost):
        await frozen.sweep()
    assert (await other.control.get(asked.id)).state == CommandState.REQUESTED
    for second in range(0, 70, 10):
        other.clock.ahead_us = second * 1_000_000
        await leads.sweep()
    assert (await one.control.get(asked.id)).state == CommandState.EXPIRED
    assert [each.rpartition(":")[2] for each in await one.told()] == ["requested", "expired"]


def sweeper(replica: Replica, database: Database) -> Control:
    """What sweeps in a tenure."""
    store = SqlCommands(database)
    return Control(store, replica.clock, replica.signals, uuid7)


async def test_two_shards_that_settle_one_command_do_so_one_after_the_other(pair: Pair) -> None:
    """An answer that names no workflow may be in another shard's log than the workflow's own events."""
    one, other = pair
    await register(one)
    await one.begin("w")
    asked = await one.control.request(ControlRequest("w", Action.PAUSE))
    now_us = one.clock.now_us()
    paused = Event(
        id="paused",
        type=EventType.WORKFLOW_PAUSED,
        occur_us=now_us,
        receive_us=now_us,
        source="e",
        workflow_id="w",
        attempt=1,
        command_id=asked.id,
    )
    accepted = paused._replace(id="accepted", type=EventType.COMMAND_ACCEPTED, workflow_id="")
    settled, may_commit = threading.Event(), threading.Event()

    def first(connection: Connection) -> None:
        fold(connection, [paused])
        settling()(connection, [paused], {})
        settled.set()
        assert may_commit.wait(30)

    effective = asyncio.create_task(one.database.write(first, beside=True))
    assert await asyncio.to_thread(settled.wait, 30)
    second = asyncio.create_task(
        other.database.write(lambda c: settling()(c, [accepted], {}), beside=True)
    )
    await wait_until(lambda: one.database.read(_somebody_waits), what="the second to wait")
    may_commit.set()
    await asyncio.gather(effective, second)
    assert (await other.control.get(asked.id)).state == CommandState.EFFECTIVE
    assert [each.rpartition(":")[2] for each in await one.told()] == ["requested", "effective"]


def _somebody_waits(connection: Connection) -> bool:
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype <> 'advisory'")
    return bool(connection.execute(waiting).scalar_one())
