"""Runs and types held to their budgets: each crossing told once, each run paused once, whoever leads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from pilothouse_server.adapters.sql.tables_audit import AUDIT
from pilothouse_server.adapters.sql.tables_budgets import BUDGET_STANDS, USAGE_SPANS
from pilothouse_server.adapters.sql.workflow_views import SqlWorkflowViews
from pilothouse_server.domain.budgets import Budget, BudgetState, Ceilings, Scope
from pilothouse_server.domain.commands import CommandState
from pilothouse_server.domain.errors import NotFound
from pilothouse_server.domain.events import EventError, EventType
from pilothouse_server.domain.waiting import WaitCause
from pilothouse_server.domain.workflows import Action
from pilothouse_server.services.budgets import Wanted
from tests.budgets.conftest import ANA, Treasury
from tests.control.build import SECOND

T = EventType
MINUTE = 60 * SECOND
BY_THE_HOUR: dict[str, Any] = {
    "scope": Scope.TYPE,
    "workflow_type": "build",
    "window_us": 60 * MINUTE,
}
BUILD: dict[str, Any] = {"workflow_type": "build"}


async def change(treasury: Treasury, budget: Budget, **fields: Any) -> Budget:
    wanted = Wanted(budget.id, "", [], str(fields))
    view = await treasury.budgets.update(wanted, lambda before: replace(before, **fields), ANA)
    return view.budget


async def test_a_run_is_warned_of_then_exceeds_and_is_paused_once(treasury: Treasury) -> None:
    budget = await treasury.make()
    await treasury.keeper.look()
    await treasury.use(80)
    await treasury.keeper.look()
    assert await treasury.told() == ["the budget tokens comes near its end: 80 of 100 tokens (80%)"]
    await treasury.use(30)
    await treasury.keeper.look()
    await treasury.keeper.look()
    assert len(await treasury.told()) == 2
    [asked] = await treasury.asked()
    assert asked[:3] == ("w", "budget:tokens", "110 of 100 tokens (110%)")
    [use] = await treasury.uses(budget)
    assert (use.state, use.share, use.workflow_id) == (BudgetState.EXCEEDED, 1.1, "w")
    command = await treasury.plant.control.get(use.command_id)
    assert (command.budget_id, command.action) == (budget.id, Action.PAUSE)
    await treasury.say(T.WORKFLOW_PAUSED, command_id=command.id)
    views = SqlWorkflowViews(treasury.plant.database, treasury.plant.clock)
    waiting = (await views.get("w")).view.waiting
    assert waiting is not None
    assert (waiting.cause, waiting.subject) == (WaitCause.BUDGET, budget.id)
    assert waiting.reason == "paused by the budget tokens: 110 of 100 tokens (110%)"
    # Whoever resumes it has decided it.
    await treasury.plant.ask(Action.RESUME)
    await treasury.say(T.WORKFLOW_RESUMED)
    await treasury.use(50)
    await treasury.keeper.look()
    assert len(await treasury.asked()) == 2


async def test_another_lead_tells_nothing_twice(treasury: Treasury) -> None:
    await treasury.make()
    await treasury.use(110)
    await treasury.keeper.look()
    for _ in range(2):
        await treasury.elected().look()
    assert len(await treasury.told()) == 1
    assert len(await treasury.asked()) == 1


async def test_what_was_used_while_nobody_led_is_found(treasury: Treasury) -> None:
    await treasury.use(110)
    await treasury.plant.begin("v")
    await treasury.use(90, "v")
    await treasury.make()
    await treasury.keeper.look()
    assert [asked[0] for asked in await treasury.asked()] == ["w"]
    assert len(await treasury.told()) == 2


async def test_a_new_version_or_attempt_decides_anew(treasury: Treasury) -> None:
    budget = await treasury.make()
    await treasury.use(110)
    await treasury.keeper.look()
    first = (await treasury.uses(budget))[0].command_id
    await treasury.say(T.WORKFLOW_PAUSED, command_id=first)
    await treasury.plant.ask(Action.RESUME)
    await treasury.say(T.WORKFLOW_RESUMED)
    await change(treasury, budget, ceilings=Ceilings(tokens=105))
    await treasury.keeper.look()
    assert len(await treasury.told()) == 2
    assert [asked[1] for asked in await treasury.asked()].count("budget:tokens") == 2
    second = (await treasury.uses(budget))[0].command_id
    await treasury.say(T.WORKFLOW_PAUSED, command_id=second)
    await treasury.say(T.WORKFLOW_FAILED)
    await treasury.say(T.WORKFLOW_RETRIED)
    await treasury.say(T.WORKFLOW_STARTED)
    await treasury.keeper.look()
    assert len(await treasury.asked()) == 4


async def test_a_ceiling_on_time_is_reached_without_an_event(treasury: Treasury) -> None:
    await treasury.make("time", ceilings=Ceilings(duration_us=10 * MINUTE))
    await treasury.keeper.look()
    treasury.plant.clock.us += 8 * MINUTE
    await treasury.keeper.look()
    [told] = await treasury.told()
    assert "comes near its end: 8 min" in told
    treasury.plant.clock.us += 2 * MINUTE
    await treasury.keeper.look()
    assert len(await treasury.told()) == 2
    assert [asked[0] for asked in await treasury.asked()] == ["w"]


async def test_what_is_disabled_or_of_others_counts_for_nothing(treasury: Treasury) -> None:
    await treasury.make("off", enabled=False)
    await treasury.make("others", workflow_type="deploy")
    await treasury.make("another", workflow_id="v")
    await treasury.use(110)
    await treasury.keeper.look()
    assert (await treasury.told(), await treasury.asked()) == ([], [])


async def test_a_type_that_is_used_up_pauses_what_runs_and_what_begins(treasury: Treasury) -> None:
    budget = await treasury.make("hourly", ceilings=Ceilings(tokens=100), **BY_THE_HOUR)
    await treasury.use(60, **BUILD)
    await treasury.keeper.look()
    await treasury.plant.begin("v")
    await treasury.use(50, "v", **BUILD)
    await treasury.keeper.look()
    [told] = await treasury.told()
    assert told == "the budget hourly is used up: 110 of 100 tokens within 1 h (110%)"
    assert sorted(asked[0] for asked in await treasury.asked()) == ["v", "w"]
    await treasury.use(0, "new", T.WORKFLOW_CREATED, **BUILD)
    await treasury.keeper.look()
    assert [asked[0] for asked in await treasury.asked()][2:] == ["new"]
    [use] = await treasury.uses(budget)
    assert (use.used.tokens, use.workflow_id, use.state) == (110, "", BudgetState.EXCEEDED)
    # The window slides; when it is crossed again, that is told again, and nobody is paused twice.
    treasury.plant.clock.us += 61 * MINUTE
    await treasury.keeper.look()
    assert (await treasury.uses(budget))[0].state == BudgetState.WITHIN
    await treasury.use(120, **BUILD)
    await treasury.keeper.look()
    assert len(await treasury.told()) == 2
    assert len(await treasury.asked()) == 3


async def test_all_types_together_are_one(treasury: Treasury) -> None:
    budget = await treasury.make("all", **(BY_THE_HOUR | {"workflow_type": "", "pause": False}))
    await treasury.use(60, workflow_type="build")
    await treasury.plant.begin("v")
    await treasury.use(30, "v", workflow_type="deploy")
    [use] = await treasury.uses(budget)
    assert (use.used.tokens, use.workflow_type) == (90, "")


async def test_a_pause_that_is_refused_for_now_or_fails_is_asked_for_again(
    treasury: Treasury,
) -> None:
    cancel = await treasury.plant.ask(Action.CANCEL)
    await treasury.make()
    await treasury.use(110)
    await treasury.keeper.look()
    assert len(await treasury.asked()) == 1
    await treasury.plant.control.fail(cancel.id, "e", EventError("BUSY", "not now"))
    treasury.plant.clock.us += 6 * SECOND
    await treasury.keeper.look()
    assert len(await treasury.asked()) == 2
    pause = await treasury.plant.store.read(lambda t: t.pending(["w"])["w"])
    await treasury.plant.control.fail(pause.id, "e", EventError("BUSY", "not now"))
    for _ in range(10):
        treasury.plant.clock.us += 6 * MINUTE
        await treasury.keeper.look()
        pending = await treasury.plant.store.read(lambda t: t.pending(["w"]))
        for command in pending.values():
            await treasury.plant.control.fail(command.id, "e", EventError("BUSY", "not now"))
    pauses = [asked for asked in await treasury.asked() if asked[1] == "budget:tokens"]
    assert len(pauses) == 5  # six tries, of which the first was refused
    assert {state for *_, state in pauses} == {int(CommandState.FAILED)}


async def test_what_cannot_be_paused_is_refused_once_and_that_is_recorded(
    treasury: Treasury,
) -> None:
    await treasury.plant.register([Action.CANCEL])
    await treasury.make()
    await treasury.use(110)
    for _ in range(3):
        await treasury.keeper.look()
        treasury.plant.clock.us += MINUTE
    query = select(AUDIT.c.actor, AUDIT.c.error).where(AUDIT.c.verb == "workflow.pause")
    rows = await treasury.plant.database.read(lambda c: c.execute(query).all())
    assert [(row.actor, row.error["code"]) for row in rows] == [
        ("budget:tokens", "UNSUPPORTED_BY_ENGINE")
    ]


async def test_usage_is_exact_under_repeats_and_gone_after_a_month(treasury: Treasury) -> None:
    budget = await treasury.make("hourly", **BY_THE_HOUR)
    said = await treasury.use(60, **BUILD)
    await treasury.plant.report(said)
    assert (await treasury.uses(budget))[0].used.tokens == 60
    treasury.plant.clock.us += 33 * 24 * 60 * MINUTE
    await treasury.elected().look()
    rows = await treasury.plant.database.read(lambda c: c.execute(select(USAGE_SPANS)).all())
    assert rows == []


async def test_how_fast_it_goes_on_and_when_it_will_be_used_up(treasury: Treasury) -> None:
    budget = await treasury.make(ceilings=Ceilings(tokens=1000))
    treasury.plant.clock.us += 2 * MINUTE
    await treasury.use(200)
    treasury.plant.clock.us += MINUTE
    [use] = await treasury.uses(budget)
    assert use.rate is not None
    assert 50 < use.rate.per_minute(use.rate.tokens) < 80
    left = 800 / use.rate.per_minute(use.rate.tokens) * MINUTE
    assert use.exceed_us is not None
    assert abs(use.exceed_us - treasury.plant.clock.us - left) < SECOND


async def test_a_deleted_budget_lets_what_it_paused_be(treasury: Treasury) -> None:
    budget = await treasury.make()
    await treasury.use(110)
    await treasury.keeper.look()
    await treasury.budgets.delete(budget.id, ANA)
    treasury.plant.clock.us += MINUTE
    await treasury.keeper.look()
    assert len(await treasury.asked()) == 1
    rows = await treasury.plant.database.read(lambda c: c.execute(select(BUDGET_STANDS)).all())
    assert rows == []
    with pytest.raises(NotFound) as refused:
        await treasury.budgets.get(budget.id)
    assert refused.value.reason == "BUDGET_NOT_FOUND"
