"""What can be done with a batch where it stands, and what is refused."""

from __future__ import annotations

import pytest

from pilothouse_server.domain.batches import READY_US, BatchState, ItemOutcome
from pilothouse_server.domain.errors import NotConfirmed, NotFound, RequestIdReused, WrongState
from pilothouse_server.domain.workflows import Action
from pilothouse_server.services.batches import Act
from pilothouse_server.services.views import PageRequest
from tests.batches.conftest import Yard
from tests.control.build import SECOND

REQUEST = "0199f5a0-0000-4000-8000-000000000002"


async def test_a_start_needs_the_number_of_workflows(yard: Yard) -> None:
    await yard.run_many(3)
    batch = await yard.make()

    with pytest.raises(NotConfirmed) as refused:
        await yard.batches.start(Act(batch.id, "ben"), 2)

    assert refused.value.metadata == {"expected": "3"}
    assert (await yard.view(batch)).batch.state == BatchState.READY
    assert await yard.audited() == [
        ("ana", "batch.create", "ACCEPTED"),
        ("ben", "batch.start", "REFUSED"),
    ]


async def test_who_starts_it_is_who_asks(yard: Yard) -> None:
    await yard.run_many(1)
    batch = await yard.make()
    await yard.start(batch)
    await yard.runner.look()

    (command,) = await yard.commands()

    assert (command.actor, command.reason, command.batch_id) == ("ben", "freeze", batch.id)
    assert await yard.audited() == [
        ("ana", "batch.create", "ACCEPTED"),
        ("ben", "batch.start", "ACCEPTED"),
        ("ben", "workflow.pause", "ACCEPTED"),
    ]


async def test_what_nobody_starts_expires(yard: Yard) -> None:
    await yard.run_many(1)
    batch = await yard.make()
    yard.clock.us += READY_US - SECOND
    assert await yard.runner.look() == pytest.approx(1.0)
    assert (await yard.view(batch)).batch.state == BatchState.READY
    yard.step(1)

    with pytest.raises(WrongState, match="it is EXPIRED; make a new batch"):
        await yard.batches.start(Act(batch.id), 1)
    await yard.runner.look()

    view = await yard.view(batch)
    assert (view.batch.state, view.batch.end_us) == (BatchState.EXPIRED, yard.clock.us)
    assert view.counts == {ItemOutcome.WAITING: 1}


async def test_a_stopped_batch_gives_no_more_turns_until_it_goes_on(yard: Yard) -> None:
    await yard.run_many(4)
    batch = await yard.make(rate=1.0)
    await yard.start(batch)
    await yard.runner.look()
    await yard.batches.stop(Act(batch.id, reason="wait"))
    yard.step(10)
    await yard.runner.look()
    assert await yard.counts(batch) == {"WAITING": 3, "PENDING": 1}

    await yard.batches.go_on(Act(batch.id))
    await yard.runner.look()
    yard.step(1)
    await yard.runner.look()

    assert await yard.counts(batch) == {"WAITING": 2, "PENDING": 2}


async def test_an_abandoned_batch_ends_with_its_last_command(yard: Yard) -> None:
    await yard.run_many(3)
    batch = await yard.make(rate=1.0)
    await yard.start(batch)
    await yard.runner.look()

    view = await yard.batches.abandon(Act(batch.id))
    assert (view.batch.state, dict(view.counts)) == (
        BatchState.STOPPED,
        {ItemOutcome.PENDING: 1, ItemOutcome.ABANDONED: 2},
    )
    with pytest.raises(WrongState, match="only its last commands go on"):
        await yard.batches.go_on(Act(batch.id))
    await yard.obey(await yard.commands())
    await yard.runner.look()

    assert (await yard.view(batch)).batch.state == BatchState.DONE
    assert await yard.counts(batch) == {"EFFECTIVE": 1, "ABANDONED": 2}
    left = await yard.items(batch, ItemOutcome.ABANDONED)
    assert [item.workflow_id for item in left] == ["w00001", "w00002"]


async def test_one_that_was_not_started_is_over_when_it_is_abandoned(yard: Yard) -> None:
    await yard.run_many(2)
    batch = await yard.make()

    view = await yard.batches.abandon(Act(batch.id))

    assert view.batch.state == BatchState.DONE
    assert view.counts == {ItemOutcome.ABANDONED: 2}


@pytest.mark.parametrize("state", ["READY", "RUNNING", "STOPPED", "DONE"])
async def test_each_act_has_the_states_that_it_is_possible_in(yard: Yard, state: str) -> None:
    possible = {
        "READY": {"start", "abandon"},
        "RUNNING": {"stop", "abandon"},
        "STOPPED": {"continue", "abandon"},
        "DONE": set[str](),
    }
    for act in ("start", "stop", "continue", "abandon"):
        await yard.run_many(2, prefix=act)
        batch = await yard.make(ids=[f"{act}00000", f"{act}00001"])
        if state != "READY":
            await yard.start(batch)
        if state == "STOPPED":
            await yard.batches.stop(Act(batch.id))
        if state == "DONE":
            await yard.batches.abandon(Act(batch.id))
        asked = Act(batch.id)
        verbs = {
            "start": lambda asked=asked: yard.batches.start(asked, 2),
            "stop": lambda asked=asked: yard.batches.stop(asked),
            "continue": lambda asked=asked: yard.batches.go_on(asked),
            "abandon": lambda asked=asked: yard.batches.abandon(asked),
        }
        if act in possible[state]:
            await verbs[act]()
        else:
            with pytest.raises(WrongState, match=f"cannot {act} batch .* it is {state}"):
                await verbs[act]()


async def test_a_repeated_act_changes_nothing_more(yard: Yard) -> None:
    await yard.run_many(2)
    batch = await yard.make()
    act = Act(batch.id, "ben", request_id=REQUEST)
    await yard.batches.start(act, 2)
    await yard.batches.stop(Act(batch.id))

    assert (await yard.batches.start(act, 2)).batch.state == BatchState.STOPPED
    with pytest.raises(RequestIdReused):
        await yard.batches.abandon(act)


async def test_what_is_not_there_is_not_found(yard: Yard) -> None:
    with pytest.raises(NotFound, match="no batch 'b'"):
        await yard.batches.stop(Act("b"))
    with pytest.raises(NotFound):
        await yard.batches.get("b")
    with pytest.raises(NotFound):
        await yard.batches.items("b", (), PageRequest(10))


async def test_batches_are_listed_newest_first_by_what_they_are(yard: Yard) -> None:
    await yard.run_many(1)
    first = await yard.make()
    second = await yard.make(Action.CANCEL)
    third = await yard.make()
    await yard.batches.abandon(Act(third.id))

    async def ids(filter_text: str = "", size: int = 10) -> list[str]:
        found: list[str] = []
        token = ""
        while True:
            page = await yard.batches.page(PageRequest(size, token, filter_text))
            found += [view.batch.id for view in page.items]
            token = page.next_token
            if not token:
                return found

    assert await ids(size=1) == [third.id, second.id, first.id]
    assert await ids("state = READY") == [second.id, first.id]
    assert await ids("action = CANCEL") == [second.id]
    assert await ids("actor = nobody") == []


async def test_items_come_in_the_order_of_their_turns_page_by_page(yard: Yard) -> None:
    ids = await yard.run_many(7)
    batch = await yard.make()
    found: list[str] = []
    token = ""
    while True:
        page = await yard.batches.items(batch.id, (), PageRequest(3, token))
        found += [item.workflow_id for item in page.items]
        token = page.next_token
        if not token:
            break

    assert found == ids


async def test_refusals_without_a_batch_are_recorded_too(yard: Yard) -> None:
    await yard.run_many(1)
    batch = await yard.make(request_id=REQUEST)
    with pytest.raises(NotFound):
        await yard.batches.stop(Act("nobody", "ben"))
    with pytest.raises(RequestIdReused):
        await yard.batches.abandon(Act(batch.id, "eve", request_id=REQUEST))
    with pytest.raises(RequestIdReused):
        await yard.make(request_id=REQUEST, actor="dan")
    assert (await yard.audited())[1:] == [
        ("ben", "batch.stop", "REFUSED"),
        ("eve", "batch.abandon", "REFUSED"),
        ("dan", "batch.create", "REFUSED"),
    ]
