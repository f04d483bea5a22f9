"""Turns: each comes once, at the rate, in fairness, and within what an engine may be given."""

from __future__ import annotations

import pytest

from pilothouse_server.domain.batches import BatchState, ItemOutcome
from pilothouse_server.domain.events import EventError, EventType
from pilothouse_server.domain.workflows import Action
from pilothouse_server.services.batches import Act
from tests.batches.conftest import Yard
from tests.control.build import event


async def test_a_batch_is_done_when_each_workflow_has_its_outcome(yard: Yard) -> None:
    await yard.run_many(5)
    batch = await yard.make(rate=10_000)
    await yard.start(batch)
    await yard.runner.look()
    yard.step(1)
    await yard.runner.look()
    commands = await yard.commands()
    assert [each.workflow_id for each in commands] == [f"w0000{n}" for n in range(5)]
    assert await yard.counts(batch) == {"PENDING": 5}

    await yard.obey(commands[:3])
    await yard.control.fail(commands[3].id, "e", EventError("BUSY", "not now"))
    await yard.control.sweep()
    for _ in range(7):
        yard.step(10)
        await yard.control.sweep()
    await yard.runner.look()

    view = await yard.view(batch)
    assert view.batch.state == BatchState.DONE
    assert await yard.counts(batch) == {"EFFECTIVE": 3, "FAILED": 1, "EXPIRED": 1}
    (failed,) = await yard.items(batch, ItemOutcome.FAILED)
    assert (failed.workflow_id, failed.command_id) == ("w00003", commands[3].id)
    assert failed.error is not None
    assert failed.error.code == "BUSY"
    assert (await yard.audited())[-1] == ("ben", "batch.start", "EFFECTIVE")


async def test_a_member_that_finished_meanwhile_is_refused_and_the_rest_goes_on(yard: Yard) -> None:
    await yard.run_many(3)
    batch = await yard.make(rate=10_000)
    await yard.report(
        event(EventType.WORKFLOW_COMPLETED, workflow_id="w00001", receive_us=yard.clock.us)
    )
    await yard.start(batch)
    await yard.runner.look()
    yard.step(1)
    await yard.runner.look()

    assert await yard.counts(batch) == {"PENDING": 2, "REFUSED": 1}
    (refused,) = await yard.items(batch, ItemOutcome.REFUSED)
    assert refused.workflow_id == "w00001"
    assert refused.error is not None
    assert refused.error.code == "ILLEGAL_TRANSITION"
    assert ("ben", "workflow.pause", "REFUSED") in await yard.audited()


async def test_a_command_of_somebody_else_is_not_waited_for(yard: Yard) -> None:
    await yard.run_many(2)
    await yard.ask(Action.PAUSE, "w00000")
    batch = await yard.make(rate=10_000)
    await yard.start(batch)
    yard.step(1)
    await yard.runner.look()
    yard.step(1)
    await yard.runner.look()

    (refused,) = await yard.items(batch, ItemOutcome.REFUSED)

    assert refused.error is not None
    assert (refused.workflow_id, refused.error.code) == ("w00000", "COMMAND_PENDING")


async def test_a_cancel_overtakes_what_is_pending_in_one_transaction(yard: Yard) -> None:
    await yard.run_many(3)
    pause = await yard.ask(Action.PAUSE, "w00001")
    batch = await yard.make(Action.CANCEL, rate=10_000)
    await yard.start(batch)
    yard.step(1)
    await yard.runner.look()
    yard.step(1)
    await yard.runner.look()

    commands = {each.id: each for each in await yard.commands()}

    assert await yard.counts(batch) == {"PENDING": 3}
    error = commands[pause.id].error
    assert error is not None
    assert error.code == "SUPERSEDED"
    said = await yard.said()
    assert (said.count("requested"), said.count("failed")) == (4, 1)


async def test_the_rate_is_never_exceeded(yard: Yard) -> None:
    await yard.run_many(30)
    batch = await yard.make(rate=4.0)
    await yard.start(batch)
    given: list[int] = []
    for _ in range(12):
        await yard.runner.look()
        given.append(len(await yard.commands()))
        yard.step(0.5)

    assert given == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]


async def test_a_slow_batch_says_when_its_next_turn_is(yard: Yard) -> None:
    await yard.run_many(3)
    batch = await yard.make(rate=10)
    await yard.start(batch)

    assert await yard.runner.look() == pytest.approx(0.1)
    assert await yard.counts(batch) == {"WAITING": 2, "PENDING": 1}


async def test_two_batches_take_turns(yard: Yard) -> None:
    await yard.run_many(600)
    await yard.run_many(600, prefix="x")
    ids = [f"w{n:05}" for n in range(600)], [f"x{n:05}" for n in range(600)]
    first, second = [await yard.make(ids=each, rate=10_000) for each in ids]
    for batch in (first, second):
        await yard.start(batch)
    await yard.runner.look()
    yard.step(1)

    await yard.runner.look()

    order = [command.batch_id for command in await yard.commands()]
    assert (order.count(first.id), order.count(second.id)) == (600, 600)
    halfway = order[:600]
    assert 200 <= halfway.count(first.id) <= 400


async def test_an_engine_is_given_no_more_than_it_may_have(yard: Yard) -> None:
    yard.configure(dispatch_limit=2)
    await yard.run_many(5)
    batch = await yard.make(rate=10_000)
    await yard.start(batch)
    for _ in range(3):
        await yard.runner.look()
        yard.step(1)
    assert await yard.counts(batch) == {"WAITING": 3, "PENDING": 2}

    await yard.obey(await yard.commands())
    await yard.runner.look()
    yard.step(1)
    await yard.runner.look()

    assert await yard.counts(batch) == {"WAITING": 1, "PENDING": 2, "EFFECTIVE": 2}


async def test_a_restart_in_the_middle_gives_each_turn_once(yard: Yard) -> None:
    await yard.run_many(10)
    batch = await yard.make(rate=8)
    await yard.start(batch)
    for _ in range(4):
        await yard.runner.look()
        yard.step(0.25)
    await yard.restart()
    for _ in range(12):
        await yard.runner.look()
        yard.step(0.25)

    commands = await yard.commands()

    assert len(commands) == len({each.workflow_id for each in commands}) == 10
    assert await yard.counts(batch) == {"PENDING": 10}


async def test_a_watch_ends_with_the_batch(yard: Yard) -> None:
    await yard.run_many(1)
    batch = await yard.make()
    seen: list[BatchState] = []

    async for view in yard.batches.watch(batch.id):
        assert view is not None
        seen.append(view.batch.state)
        if view.batch.state == BatchState.READY:
            await yard.start(batch)
            await yard.runner.look()
        if view.batch.state == BatchState.RUNNING:
            await yard.obey(await yard.commands())
            await yard.runner.look()
            yard.signals.notify()

    assert seen == [BatchState.READY, BatchState.RUNNING, BatchState.DONE]


async def test_what_was_stopped_in_the_look_stays_stopped(yard: Yard) -> None:
    await yard.run_many(2)
    batch = await yard.make(rate=10_000)
    await yard.start(batch)
    await yard.batches.stop(Act(batch.id))

    await yard.runner.look()

    assert await yard.counts(batch) == {"WAITING": 2}


async def test_a_batch_leaves_room_for_those_who_ask_by_hand(yard: Yard) -> None:
    yard.configure(dispatch_limit=10)
    await yard.run_many(20)
    batch = await yard.make(rate=10_000)
    await yard.start(batch)
    for _ in range(3):
        await yard.runner.look()
        yard.step(1)
    assert await yard.counts(batch) == {"WAITING": 11, "PENDING": 9}
