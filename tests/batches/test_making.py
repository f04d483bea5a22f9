"""A batch is made of what matched, and says what it would meet by the judgement that requests get."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pilothouse_server.domain.batches import MOST_OPEN, BatchState, ItemOutcome
from pilothouse_server.domain.errors import (
    InvalidArgument,
    InvalidFilter,
    LimitExceeded,
    NotFound,
    RequestIdReused,
)
from pilothouse_server.domain.events import EventType
from pilothouse_server.domain.workflows import Action, WorkflowState
from pilothouse_server.services.batch_rows import Selection
from pilothouse_server.services.batches import Draft
from tests.batches.conftest import Yard
from tests.control.build import event

REQUEST = "0199f5a0-0000-4000-8000-000000000001"


def selection(filter_text: str = "", *ids: str) -> Draft:
    return Draft(Selection(Action.PAUSE, filter_text, ids))


async def test_the_set_is_what_matched_when_it_was_made_and_stays_so(yard: Yard) -> None:
    ids = await yard.run_many(3)
    batch = await yard.make()
    await yard.run_many(2, prefix="later")

    items = await yard.items(batch)

    assert [item.workflow_id for item in items] == ids
    assert {item.outcome for item in items} == {ItemOutcome.WAITING}
    assert (batch.state, batch.size, batch.rate) == (BatchState.READY, 3, yard.config.batch_rate)
    assert await yard.commands() == []


async def test_a_preview_tells_states_types_and_why_some_would_be_refused(yard: Yard) -> None:
    await yard.run_many(4)
    await yard.run_many(2, source="stranger", prefix="x")
    await yard.report(
        event(EventType.WORKFLOW_COMPLETED, workflow_id="w00000", receive_us=yard.clock.us)
    )
    await yard.ask(Action.CANCEL, "w00001")

    batch = await yard.make(ids=[f"w0000{n}" for n in range(4)] + ["x00000", "x00001"])

    preview = batch.preview
    assert preview.states == {WorkflowState.RUNNING: 5, WorkflowState.COMPLETED: 1}
    assert (preview.pending, preview.acceptable) == (1, 2)
    assert [(each.reason, each.size, each.workflow_ids) for each in preview.refusals] == [
        ("NO_EXECUTOR", 2, ("x00000", "x00001")),
        ("COMMAND_PENDING", 1, ("w00001",)),
        ("ILLEGAL_TRANSITION", 1, ("w00000",)),
    ]


async def test_what_is_previewed_is_what_happens(yard: Yard) -> None:
    await yard.run_many(3)
    await yard.run_many(2, source="stranger", prefix="x")
    batch = await yard.make()
    await yard.start(batch)
    yard.step(1)

    await yard.runner.look()
    yard.step(1)
    await yard.runner.look()

    assert await yard.counts(batch) == {"PENDING": 3, "REFUSED": 2}
    refused = await yard.items(batch, ItemOutcome.REFUSED)
    assert [item.workflow_id for item in refused] == ["x00000", "x00001"]
    error = refused[0].error
    assert error is not None
    assert (error.code, "stranger" in error.message) == ("NO_EXECUTOR", True)


async def test_too_many_matches_are_refused_with_what_to_do_and_recorded(yard: Yard) -> None:
    await yard.run_many(12)
    yard.configure(batch_limit=10)

    with pytest.raises(
        LimitExceeded, match=r"at most 10, and this is at least 11; narrow the filter"
    ):
        await yard.make()

    assert await yard.audited() == [("ana", "batch.create", "REFUSED")]


async def test_a_batch_of_nothing_is_refused(yard: Yard) -> None:
    with pytest.raises(InvalidArgument, match="no workflow matches"):
        await yard.make()


async def test_named_workflows_have_to_be_there(yard: Yard) -> None:
    await yard.run_many(1)

    with pytest.raises(NotFound, match="no workflow 'typo'"):
        await yard.make(ids=["w00000", "typo"])


@pytest.mark.parametrize(
    ("draft", "told"),
    [
        (selection(), "say which workflows"),
        (selection("  "), "say which workflows"),
        (selection("state = RUNNING", "w"), "not both"),
    ],
)
async def test_a_selection_says_one_thing(yard: Yard, draft: Draft, told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        await yard.batches.create(draft)


async def test_a_filter_that_does_not_parse_names_the_place(yard: Yard) -> None:
    with pytest.raises(InvalidFilter, match="character"):
        await yard.batches.create(selection("colour = red"))


async def test_a_repeat_is_the_same_batch_and_other_content_is_refused(yard: Yard) -> None:
    await yard.run_many(2)
    first = await yard.make(request_id=REQUEST)
    await yard.run_many(1, prefix="later")

    assert await yard.make(request_id=REQUEST) == first
    with pytest.raises(RequestIdReused):
        await yard.make(request_id=REQUEST, reason="something else")


async def test_batches_that_nobody_started_are_bounded(yard: Yard) -> None:
    await yard.run_many(1)
    draft = Draft(Selection(Action.PAUSE, "state = RUNNING"))
    for _ in range(MOST_OPEN):
        await yard.batches.create(draft)

    with pytest.raises(LimitExceeded, match="start or abandon some"):
        await yard.batches.create(replace(draft, actor="somebody"))
