"""What becomes of a command once the engine, the workflow or time has spoken."""

from __future__ import annotations

import asyncio

import pytest

from pilothouse_server.adapters.sql.command_store import any_pending
from pilothouse_server.domain.commands import Command, CommandState
from pilothouse_server.domain.errors import CommandEnded
from pilothouse_server.domain.events import Event, EventError, EventType
from pilothouse_server.domain.workflows import Action
from tests.control.build import SECOND, event
from tests.control.conftest import Plant
from tests.support import wait_until

T = EventType


def now(plant: Plant, kind: EventType, **fields: str | int) -> Event:
    """What the engine reports a second later."""
    plant.clock.us += SECOND
    return event(
        kind,
        id=f"{kind.name}-{plant.clock.us}",
        occur_us=plant.clock.us,
        receive_us=plant.clock.us,
        **fields,
    )


async def state_of(plant: Plant, command: Command) -> CommandState:
    return (await plant.control.get(command.id)).state


async def test_a_command_is_effective_in_the_transaction_of_the_engines_event(plant: Plant) -> None:
    command = await plant.ask(Action.PAUSE)
    await plant.control.accept(command.id, "e")
    await plant.report(now(plant, T.WORKFLOW_PAUSED, command_id=command.id))
    done = await plant.control.get(command.id)
    assert (done.state, done.effect_us) == (CommandState.EFFECTIVE, plant.clock.us)
    assert await plant.said() == ["requested", "accepted", "effective"]
    assert not await plant.database.read(any_pending)


async def test_a_whole_life_of_pause_resume_failure_retry_and_cancel(plant: Plant) -> None:
    for action, answer, attempt in (
        (Action.PAUSE, T.WORKFLOW_PAUSED, 1),
        (Action.RESUME, T.WORKFLOW_RESUMED, 1),
        (None, T.WORKFLOW_FAILED, 1),
        (Action.RETRY, T.WORKFLOW_RETRIED, 2),
        (None, T.WORKFLOW_STARTED, 2),
        (Action.CANCEL, T.WORKFLOW_CANCELLED, 2),
    ):
        command = None if action is None else await plant.ask(action)
        await plant.report(now(plant, answer, attempt=attempt))
        if command is not None:
            assert await state_of(plant, command) == CommandState.EFFECTIVE, action


async def test_the_effect_may_be_seen_before_the_engine_says_that_it_takes_it(plant: Plant) -> None:
    command = await plant.ask(Action.PAUSE)
    await plant.report(now(plant, T.WORKFLOW_PAUSED, command_id=command.id))
    accepted = await plant.control.accept(command.id, "e")
    assert accepted.state == CommandState.EFFECTIVE


async def test_a_failure_reported_after_the_effect_is_refused(plant: Plant) -> None:
    command = await plant.ask(Action.PAUSE)
    await plant.report(now(plant, T.WORKFLOW_PAUSED, command_id=command.id))
    with pytest.raises(CommandEnded, match="EFFECTIVE"):
        await plant.control.fail(command.id, "e", EventError("X"))
    assert await plant.said() == ["requested", "effective"]


async def test_an_engine_that_takes_it_and_never_does_it_lets_it_expire(plant: Plant) -> None:
    command = await plant.ask(Action.PAUSE)
    plant.clock.us += 59 * SECOND
    await plant.control.accept(command.id, "e")
    plant.clock.us += 3599 * SECOND
    assert await plant.control.sweep() == plant.clock.us + SECOND
    plant.clock.us += SECOND
    assert await plant.control.sweep() is None
    expired = await plant.control.get(command.id)
    assert expired.error is not None
    assert (expired.state, expired.error.code) == (CommandState.EXPIRED, "NO_EFFECT")
    await plant.report(now(plant, T.WORKFLOW_PAUSED, command_id=command.id))
    assert await state_of(plant, command) == CommandState.EXPIRED, "an end is never left"


async def test_a_workflow_that_completes_first_fails_the_command(plant: Plant) -> None:
    command = await plant.ask(Action.PAUSE)
    await plant.report(now(plant, T.WORKFLOW_COMPLETED))
    failed = await plant.control.get(command.id)
    assert failed.error is not None
    assert (failed.state, failed.error.code) == (CommandState.FAILED, "WORKFLOW_ENDED")


async def test_a_repeated_entry_of_the_log_settles_nothing_twice(plant: Plant) -> None:
    command = await plant.ask(Action.PAUSE)
    paused = now(plant, T.WORKFLOW_PAUSED, command_id=command.id)
    await plant.report(paused)
    await plant.report(paused)
    assert await plant.said() == ["requested", "effective"]


async def test_an_engine_answers_by_event_even_without_the_workflow(plant: Plant) -> None:
    command = await plant.ask(Action.PAUSE)
    await plant.report(now(plant, T.COMMAND_FAILED, command_id=command.id, workflow_id=""))
    failed = await plant.control.get(command.id)
    assert failed.error is not None
    assert failed.error.code == "ENGINE_FAILED"
    await plant.report(now(plant, T.COMMAND_FAILED, command_id="unknown", workflow_id=""))


async def test_only_the_workflows_own_events_settle_its_command(plant: Plant) -> None:
    await plant.begin("other")
    command, other = await plant.ask(Action.PAUSE), await plant.ask(Action.PAUSE, "other")
    await plant.report(now(plant, T.WORKFLOW_PAUSED, workflow_id="other"))
    assert await state_of(plant, other) == CommandState.EFFECTIVE
    assert await state_of(plant, command) == CommandState.REQUESTED


@pytest.mark.parametrize("taken", [False, True])
async def test_a_command_survives_a_restart_and_is_settled_after_it(
    plant: Plant, taken: bool
) -> None:
    command = await plant.ask(Action.PAUSE)
    if taken:
        await plant.control.accept(command.id, "e")
    await plant.restart()
    await plant.report(now(plant, T.WORKFLOW_PAUSED, command_id=command.id))
    assert await state_of(plant, command) == CommandState.EFFECTIVE


@pytest.mark.parametrize("first", ["sweep", "accept"])
async def test_the_time_that_the_server_was_down_counts_for_no_deadline(
    plant: Plant, first: str
) -> None:
    command = await plant.ask(Action.PAUSE)
    plant.clock.us += 20 * SECOND
    late = await plant.ask(Action.CANCEL)
    await plant.control.sweep()
    plant.clock.us += 600 * SECOND
    await plant.restart()
    if first == "accept":
        accepted = await plant.control.accept(late.id, "e")
        assert accepted.state == CommandState.ACCEPTED
        return
    assert await plant.control.sweep() == late.expire_us + 600 * SECOND
    for _ in range(6):
        assert await state_of(plant, late) == CommandState.REQUESTED
        plant.clock.us += 10 * SECOND
        await plant.control.sweep()
    assert await state_of(plant, late) == CommandState.EXPIRED
    assert await state_of(plant, command) == CommandState.FAILED, "the cancel took over"


async def test_what_was_asked_after_the_last_note_has_no_more_time_than_it_asked_for(
    plant: Plant,
) -> None:
    await plant.begin("other")
    await plant.ask(Action.PAUSE, "other")
    await plant.control.sweep()
    plant.clock.us += 10 * SECOND
    command = await plant.ask(Action.PAUSE)
    plant.clock.us += 20 * SECOND
    await plant.control.sweep()
    assert (await plant.control.get(command.id)).expire_us == command.expire_us + 20 * SECOND


async def test_the_sweeper_sleeps_until_the_nearest_deadline(plant: Plant) -> None:
    """It is woken by the new command, then by its deadline on the wall."""
    running = asyncio.create_task(plant.control.run())
    command = await plant.ask(Action.PAUSE)

    async def expired() -> bool:
        swept_us = await plant.store.read(lambda transaction: transaction.swept_us())
        # Time in which nobody sweeps counts for no deadline, so it goes no faster than the sweeper does.
        if swept_us is not None and plant.clock.us - swept_us < 10 * SECOND:
            plant.clock.us += SECOND
        plant.signals.commands.notify()
        return await state_of(plant, command) == CommandState.EXPIRED

    await wait_until(expired, what="the command to expire")
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_deadline_that_passed_is_seen_when_the_command_is_taken(plant: Plant) -> None:
    command = await plant.ask(Action.PAUSE)
    plant.clock.us += 61 * SECOND
    with pytest.raises(CommandEnded, match="EXPIRED"):
        await plant.control.accept(command.id, "e")
    assert await state_of(plant, command) == CommandState.EXPIRED


async def test_a_cancel_and_an_expiry_at_once_leave_one_end(plant: Plant) -> None:
    command = await plant.ask(Action.PAUSE)
    plant.clock.us = command.expire_us
    await asyncio.gather(plant.control.sweep(), plant.ask(Action.CANCEL), plant.control.sweep())
    ended = await plant.control.get(command.id)
    assert ended.state in (CommandState.EXPIRED, CommandState.FAILED)
    assert (await plant.said()).count("expired") + (await plant.said()).count("failed") == 1
