"""Asking for something: what is recorded, and each refusal by its name."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from pilothouse_server.adapters.sql import command_store, executor_rows, workflow_rows
from pilothouse_server.domain.commands import CommandState, Scope, etag_of
from pilothouse_server.domain.errors import (
    CommandEnded,
    CommandPending,
    EtagMismatch,
    IllegalTransition,
    NoExecutor,
    NotCommandOwner,
    NotFound,
    RequestIdReused,
    UnsupportedByEngine,
)
from pilothouse_server.domain.events import EventError, EventType
from pilothouse_server.domain.workflows import Action, WorkflowState
from pilothouse_server.services.control import ControlRequest
from tests.control.build import SECOND, event
from tests.control.conftest import Plant

T = EventType


async def test_a_request_is_a_command_for_the_engine_and_no_state(plant: Plant) -> None:
    command = await plant.ask(Action.PAUSE, reason="full disk", actor="ada")
    assert (command.state, command.source, command.attempt) == (CommandState.REQUESTED, "e", 1)
    assert (command.reason, command.actor) == ("full disk", "ada")
    assert command.expire_us == plant.clock.us + 60 * SECOND
    stands = await plant.store.read(lambda transaction: transaction.standpoint("w"))
    assert stands is not None
    assert stands.state == WorkflowState.RUNNING


async def test_a_request_is_told_to_watchers_of_the_workflow_and_to_the_log(plant: Plant) -> None:
    before = await plant.store.read(lambda transaction: transaction.history())
    seen = plant.signals.workflows.version
    await plant.ask(Action.PAUSE)
    after = await plant.store.read(lambda transaction: transaction.history())
    assert after[1] > before[1]
    assert plant.signals.workflows.version > seen
    assert await plant.said() == ["requested"]


async def test_an_unknown_workflow_is_named(plant: Plant) -> None:
    with pytest.raises(NotFound, match="workflow 'nobody'"):
        await plant.ask(Action.PAUSE, "nobody")


async def test_an_illegal_action_says_what_is_legal(plant: Plant) -> None:
    with pytest.raises(IllegalTransition, match="RUNNING; legal now: CANCEL, PAUSE"):
        await plant.ask(Action.RESUME)
    assert await plant.said() == []


async def test_an_engine_that_never_connected_can_do_nothing(plant: Plant) -> None:
    await plant.report(event(T.WORKFLOW_STARTED, workflow_id="x", source="unheard"))
    with pytest.raises(NoExecutor, match="'unheard'"):
        await plant.ask(Action.PAUSE, "x")


async def test_what_the_engine_did_not_declare_is_refused(plant: Plant) -> None:
    await plant.register([Action.CANCEL])
    with pytest.raises(UnsupportedByEngine, match="did not declare"):
        await plant.ask(Action.PAUSE)
    assert (await plant.ask(Action.CANCEL)).state == CommandState.REQUESTED


async def test_a_second_control_is_refused_while_the_first_is_pending(plant: Plant) -> None:
    first = await plant.ask(Action.PAUSE)
    with pytest.raises(CommandPending, match=first.id):
        await plant.ask(Action.PAUSE)


async def test_of_two_controls_at_once_one_wins_and_the_other_is_refused_by_name(
    plant: Plant,
) -> None:
    answers = await asyncio.gather(
        *(plant.ask(Action.PAUSE) for _ in range(20)), return_exceptions=True
    )
    refused = [answer for answer in answers if isinstance(answer, CommandPending)]
    assert len(refused) == 19
    won = {answer.id for answer in answers if not isinstance(answer, BaseException)}
    assert won == {refusal.command_id for refusal in refused}


async def test_a_cancel_overtakes_and_the_other_command_fails_as_superseded(plant: Plant) -> None:
    pause = await plant.ask(Action.PAUSE)
    cancel = await plant.ask(Action.CANCEL)
    before = await plant.control.get(pause.id)
    assert before.error is not None
    assert (before.state, before.error.code) == (CommandState.FAILED, "SUPERSEDED")
    assert cancel.id in before.error.message
    assert await plant.said() == ["requested", "failed", "requested"]
    with pytest.raises(CommandPending):
        await plant.ask(Action.CANCEL)


async def test_the_same_request_id_gives_the_same_command(plant: Plant) -> None:
    request_id = str(uuid.uuid4())
    first = await plant.ask(Action.PAUSE, request_id=request_id)
    await plant.control.accept(first.id, "e")
    again = await plant.ask(Action.PAUSE, request_id=request_id, etag="whatever by now")
    assert (again.id, again.state) == (first.id, CommandState.ACCEPTED)
    assert await plant.said() == ["requested", "accepted"]


async def test_twenty_repeats_at_once_make_one_command(plant: Plant) -> None:
    request_id = str(uuid.uuid4())
    answers = await asyncio.gather(
        *(plant.ask(Action.PAUSE, request_id=request_id) for _ in range(20))
    )
    assert len({answer.id for answer in answers}) == 1
    assert await plant.said() == ["requested"]


@pytest.mark.parametrize("other", [{"reason": "other"}, {"actor": "eve"}])
async def test_a_request_id_for_something_else_is_refused(
    plant: Plant, other: dict[str, str]
) -> None:
    request_id = str(uuid.uuid4())
    await plant.ask(Action.PAUSE, request_id=request_id)
    with pytest.raises(RequestIdReused):
        await plant.ask(Action.PAUSE, request_id=request_id, **other)
    with pytest.raises(RequestIdReused):
        await plant.ask(Action.CANCEL, request_id=request_id)


async def test_without_a_request_id_each_request_is_its_own(plant: Plant) -> None:
    command = await plant.ask(Action.PAUSE)
    assert uuid.UUID(command.request_id).version == 7


async def test_a_stale_etag_is_refused_with_the_current_one(plant: Plant) -> None:
    running = etag_of(1, WorkflowState.RUNNING, "")
    command = await plant.ask(Action.PAUSE, etag=running)
    with pytest.raises(EtagMismatch) as refused:
        await plant.ask(Action.CANCEL, etag=running)
    assert refused.value.etag == etag_of(1, WorkflowState.RUNNING, command.id)
    await plant.ask(Action.CANCEL, etag=refused.value.etag)


async def test_the_executor_takes_a_command_once_however_often_it_says_so(plant: Plant) -> None:
    command = await plant.ask(Action.PAUSE)
    first = await plant.control.accept(command.id, "e")
    plant.clock.us += SECOND
    assert await plant.control.accept(command.id, "e") == first
    assert await plant.said() == ["requested", "accepted"]


async def test_only_the_engine_that_runs_the_workflow_answers(plant: Plant) -> None:
    command = await plant.ask(Action.PAUSE)
    with pytest.raises(NotCommandOwner):
        await plant.control.accept(command.id, "stranger")
    with pytest.raises(NotCommandOwner):
        await plant.control.fail(command.id, "stranger", EventError("X"))
    with pytest.raises(NotFound, match="command 'nothing'"):
        await plant.control.accept("nothing", "e")


async def test_an_answer_after_the_deadline_finds_the_command_expired(plant: Plant) -> None:
    command = await plant.ask(Action.PAUSE)
    plant.clock.us += 60 * SECOND
    with pytest.raises(CommandEnded, match="EXPIRED"):
        await plant.control.accept(command.id, "e")
    assert (await plant.control.get(command.id)).state == CommandState.EXPIRED
    assert await plant.said() == ["requested", "expired"]


async def test_a_superseded_command_is_not_acted_upon(plant: Plant) -> None:
    pause = await plant.ask(Action.PAUSE)
    await plant.ask(Action.CANCEL)
    with pytest.raises(CommandEnded, match="FAILED"):
        await plant.control.accept(pause.id, "e")


async def test_an_engine_that_fails_it_leaves_the_workflow_free(plant: Plant) -> None:
    command = await plant.ask(Action.PAUSE)
    failed = await plant.control.fail(command.id, "e", EventError("BUSY", "in a transaction"))
    assert (failed.state, failed.error) == (
        CommandState.FAILED,
        EventError("BUSY", "in a transaction"),
    )
    assert (await plant.ask(Action.PAUSE)).id != command.id


async def test_what_a_workflow_shows_of_its_commands(plant: Plant) -> None:
    await plant.begin("other")
    pause = await plant.ask(Action.PAUSE)
    cancel = await plant.ask(Action.CANCEL)
    read = plant.database.read
    pending = await read(lambda c: command_store.pending_for(c, ["w", "other", "unknown"]))
    assert {workflow: each.id for workflow, each in pending.items()} == {"w": cancel.id}
    listed = await read(lambda c: command_store.for_workflow(c, "w", 10))
    assert [each.id for each in listed] == [cancel.id, pause.id]
    assert [each.id for each in await read(lambda c: command_store.for_workflow(c, "w", 1))] == [
        cancel.id
    ]
    known = await read(lambda c: executor_rows.named(c, ["e", "x"]))
    assert list(known) == ["e"]
    assert await read(lambda c: workflow_rows.standpoint_of(c, "unknown")) is None


async def test_a_repeat_is_known_whatever_a_database_makes_of_its_words(plant: Plant) -> None:
    first = await plant.ask(Action.PAUSE, request_id=str(uuid.UUID(int=7)), reason="a\0b")
    again = await plant.ask(Action.PAUSE, request_id=str(uuid.UUID(int=7)), reason="a\0b")
    assert (again.id, again.reason) == (first.id, "a\ufffdb")


async def test_a_request_id_is_of_one_request_whatever_it_is_about(plant: Plant) -> None:
    request_id = str(uuid.uuid4())
    first = await plant.ask(Action.PAUSE, request_id=request_id)
    others = [
        ControlRequest("", Action.PAUSE, request_id=request_id, scope=Scope.QUEUE, source="e", queue="w"),
        ControlRequest("", Action.PAUSE, request_id=request_id, scope=Scope.FLEET, source="e"),
        ControlRequest("", Action.DRAIN, request_id=request_id, scope=Scope.POOL, agent_id="w"),
        ControlRequest("w", Action.PAUSE, request_id=request_id, batch_id="b"),
    ]  # fmt: skip
    for other in others:
        with pytest.raises(RequestIdReused):
            await plant.control.request(other)
    assert await plant.ask(Action.PAUSE, request_id=request_id) == first
