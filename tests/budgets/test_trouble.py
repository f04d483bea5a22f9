"""Budgets under engines that are away for long, and engines that report absurd usage."""

from __future__ import annotations

from pilothouse_server.domain.budgets import BudgetState, Ceilings, Scope
from pilothouse_server.domain.commands import Capability, CommandState, Executor
from pilothouse_server.domain.events import EventType, Usage
from pilothouse_server.domain.workflows import Action
from pilothouse_server.wire.budgets import view_to_proto
from tests.budgets.conftest import Treasury
from tests.control.build import SECOND


async def test_no_engine_brings_the_projector_or_the_keeper_down_by_what_it_says_it_used(
    treasury: Treasury,
) -> None:
    await treasury.make(
        "all", scope=Scope.TYPE, ceilings=Ceilings(tokens=100), window_us=48 * 3600 * SECOND
    )
    absurd = Usage((1 << 64) - 1, (1 << 64) - 1, (1 << 64) - 1)
    for hour in range(3):
        treasury.plant.clock.us += hour * 3600 * SECOND
        for _ in range(2):
            await treasury.say(EventType.LOG, workflow_id="w", workflow_type="t", usage=absurd)
    await treasury.keeper.look()
    (view,) = await treasury.budgets.every("")
    assert view.uses[0].state == BudgetState.EXCEEDED
    run = await treasury.make("run", pause=False)
    for each in await treasury.budgets.every(""):
        shown = view_to_proto(each).uses[0]
        assert (int(shown.state), shown.tokens > 1 << 60) == (int(BudgetState.EXCEEDED), True)
    assert (await treasury.uses(run))[0].used.tokens > 1 << 64


async def test_a_pause_waits_for_an_engine_that_is_away_however_long(treasury: Treasury) -> None:
    plant = treasury.plant
    await treasury.make()
    await treasury.say(EventType.WORKFLOW_STARTED, workflow_id="w", attempt=1)
    await treasury.use(100)
    for _ in range(120):
        await treasury.keeper.look()
        plant.clock.us += 4 * SECOND
        await plant.control.sweep()
    asked = [state for *_, state in await treasury.asked()]
    assert asked == [int(CommandState.EXPIRED)]
    able = tuple(Capability(action) for action in Action)
    await plant.store.write(lambda t: t.put_executor(Executor("e", able, connected=True)))
    for _ in range(4):
        await treasury.keeper.look()
        plant.clock.us += 10 * SECOND
    asked = [state for *_, state in await treasury.asked()]
    assert asked == [int(CommandState.EXPIRED), int(CommandState.REQUESTED)]
