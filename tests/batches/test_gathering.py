"""Many requests in one transaction see one another as if each had been written at once."""

from __future__ import annotations

import pytest

from pilothouse_server.adapters.sql.command_gathering import GatheringTransaction
from pilothouse_server.domain.commands import Command, CommandState, Deadlines
from pilothouse_server.domain.errors import CommandPending, PilothouseError
from pilothouse_server.domain.workflows import Action
from pilothouse_server.services.control import Asking, ControlRequest, ask
from pilothouse_server.services.ids import uuid7
from tests.batches.conftest import Yard

Answer = Command | PilothouseError


async def test_what_was_asked_before_is_seen_by_what_is_asked_after(yard: Yard) -> None:
    await yard.run_many(2)
    asked = [
        ControlRequest("w00000", Action.PAUSE, request_id="r1"),
        ControlRequest("w00000", Action.PAUSE, request_id="r1"),
        ControlRequest("w00000", Action.RESUME, request_id="r2"),
        ControlRequest("w00001", Action.PAUSE, request_id="r3"),
        ControlRequest("w00000", Action.CANCEL, request_id="r4"),
        ControlRequest("w00000", Action.PAUSE, request_id="r5"),
    ]

    def run(transaction: GatheringTransaction) -> list[Answer]:
        found = [
            ask(transaction, each, Asking(uuid7(), yard.clock.us, Deadlines())) for each in asked
        ]
        transaction.flush()
        return found

    first, again, illegal, other, cancel, late = await yard.database.write(
        lambda c: run(GatheringTransaction(c, ["w00000", "w00001"], ["r1", "r2", "r3"]))
    )

    assert first == again
    assert isinstance(illegal, PilothouseError)
    assert isinstance(late, CommandPending)
    stored = {each.request_id: each.state for each in await yard.commands()}
    assert isinstance(other, Command)
    assert isinstance(cancel, Command)
    assert stored == {
        "r1": CommandState.FAILED,
        "r3": CommandState.REQUESTED,
        "r4": CommandState.REQUESTED,
    }
    outcomes = [outcome for _, _, outcome in await yard.audited()]
    assert sorted(outcomes) == ["ACCEPTED"] * 3 + ["FAILED"] + ["REFUSED"] * 2


async def test_nothing_is_kept_of_a_transaction_that_fails(yard: Yard) -> None:
    await yard.run_many(1)

    def run(transaction: GatheringTransaction) -> None:
        request = ControlRequest("w00000", Action.PAUSE, request_id="r1")
        ask(transaction, request, Asking(uuid7(), yard.clock.us, Deadlines()))
        transaction.flush()
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        await yard.database.write(lambda c: run(GatheringTransaction(c, ["w00000"], ["r1"])))

    assert await yard.commands() == []
    assert await yard.audited() == []
