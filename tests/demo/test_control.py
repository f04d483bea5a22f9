"""An engine tells all it does in order, and obeys at the boundary that it declared."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from pilothouse.v1.commands_pb2 import (
    CommandBoundary,
    CommandScope,
    CommandState,
    WatchCommandsRequest,
)
from pilothouse.v1.enums_pb2 import ControlAction
from pilothouse_server.demo.brief import brief_of
from tests.demo.support import (
    RELEASE,
    Seen,
    engine_on,
    is_quick,
    keep_back,
    kind_of,
    seed_where,
    tools_in,
)
from tests.support import wait_until

pytestmark = pytest.mark.timeout(180)

GOOD = seed_where(is_quick, is_quick)
BUGGY = seed_where(lambda brief: is_quick(brief, defect="wrong"), is_quick)
BUGFIX = ("initialization", "scaffolding", "validation", "unit_tests", "deployment")


async def test_a_workflow_goes_through_its_plan_and_each_task_through_its_steps(
    seen: Seen, tmp_path: Path
) -> None:
    async with engine_on(seen.server.target, tmp_path, GOOD) as running:
        await running
    stages = [f"STAGE_{step} {stage}" for stage in BUGFIX for step in ("STARTED", "COMPLETED")]
    assert seen.story() == ["WORKFLOW_CREATED", "WORKFLOW_STARTED", *stages, "WORKFLOW_COMPLETED"]
    (created,) = seen.events("WORKFLOW_CREATED")
    assert tuple(created.stage_plan) == BUGFIX
    for task in {event.task_id for event in seen.events("TASK_QUEUED")}:
        steps = [
            kind_of(event)
            for event in seen.events()
            if event.task_id == task and "TASK" in kind_of(event)
        ]
        assert steps == ["TASK_QUEUED", "TASK_ASSIGNED", "TASK_STARTED", "TASK_COMPLETED"], task
    assert all(event.agent_type for event in seen.events("TASK_QUEUED")), "who is waited for"
    assert all(event.usage.cost_micros > 0 for event in seen.events("TASK_COMPLETED"))
    times = [
        event.occur_time.ToNanoseconds()
        for event in seen.events("STAGE_STARTED", "STAGE_COMPLETED")
    ]
    assert all(before <= after for before, after in pairwise(times))


async def test_a_pause_lets_the_stage_finish_and_the_next_not_start(
    seen: Seen, tmp_path: Path
) -> None:
    keep_back(tmp_path, "testing")
    async with engine_on(seen.server.target, tmp_path, GOOD):
        started = await seen.until("TASK_QUEUED", stage="unit_tests")
        pause = seen.ask("PAUSE", started.workflow_id)
        await seen.ended(pause, CommandState.COMMAND_STATE_ACCEPTED)
        await seen.lift("testing")
        await seen.effective(pause)
        assert seen.story()[-2:] == ["STAGE_COMPLETED unit_tests", "WORKFLOW_PAUSED"]
        (paused,) = seen.events("WORKFLOW_PAUSED")
        assert paused.command_id == pause.id
        await seen.effective(seen.ask("RESUME", started.workflow_id))
        await seen.until("WORKFLOW_COMPLETED")
    assert seen.story()[-5:] == [
        "WORKFLOW_PAUSED",
        "WORKFLOW_RESUMED",
        "STAGE_STARTED deployment",
        "STAGE_COMPLETED deployment",
        "WORKFLOW_COMPLETED",
    ]


async def test_a_paused_workflow_gives_its_slot_to_another(seen: Seen, tmp_path: Path) -> None:
    async with engine_on(seen.server.target, tmp_path, GOOD, max_workflows=2, slots=1):
        first = await seen.until("STAGE_STARTED")
        await seen.effective(seen.ask("PAUSE", first.workflow_id))
        other = await seen.until("WORKFLOW_COMPLETED")
        assert other.workflow_id != first.workflow_id
        await seen.effective(seen.ask("CANCEL", first.workflow_id))


async def test_a_workflow_that_waits_is_paused_at_once_and_waits_again(
    seen: Seen, tmp_path: Path
) -> None:
    keep_back(tmp_path, "packaging")
    async with engine_on(seen.server.target, tmp_path, GOOD, max_workflows=2, slots=1):
        await seen.until("STAGE_STARTED", stage="deployment")
        first, second = await seen.created(2)
        await seen.effective(seen.ask("PAUSE", second))
        await seen.effective(seen.ask("RESUME", second))
        assert [event.workflow_id for event in seen.events("WORKFLOW_STARTED")] == [first]
        await seen.effective(seen.ask("CANCEL", first))
        await seen.lift("packaging")
        await seen.until("WORKFLOW_COMPLETED")


async def test_a_cancel_stops_the_work_at_once(seen: Seen, tmp_path: Path) -> None:
    keep_back(tmp_path, "deployment")
    async with engine_on(seen.server.target, tmp_path, GOOD):
        started = await seen.in_its_midst(tmp_path)
        folder = tmp_path / "work" / started.workflow_id
        assert tools_in(folder)
        cancel = seen.ask("CANCEL", started.workflow_id)
        await seen.effective(cancel)
        await wait_until(lambda: not tools_in(folder), what="the end of its tool")
    (cancelled,) = seen.events("WORKFLOW_CANCELLED")
    assert cancelled.command_id == cancel.id
    assert [event.task_id for event in seen.events("TASK_CANCELLED")] == [RELEASE]
    assert seen.story()[-2:] == ["STAGE_STARTED deployment", "WORKFLOW_CANCELLED"]


async def test_a_paused_workflow_is_cancelled_at_once(seen: Seen, tmp_path: Path) -> None:
    async with engine_on(seen.server.target, tmp_path, GOOD) as running:
        started = await seen.until("STAGE_STARTED")
        await seen.effective(seen.ask("PAUSE", started.workflow_id))
        await seen.effective(seen.ask("CANCEL", started.workflow_id))
        await running
    assert seen.story()[-2:] == ["WORKFLOW_PAUSED", "WORKFLOW_CANCELLED"]


async def test_a_cancel_overtakes_a_pause_that_has_not_begun(seen: Seen, tmp_path: Path) -> None:
    keep_back(tmp_path, "deployment")
    async with engine_on(seen.server.target, tmp_path, GOOD) as running:
        started = await seen.in_its_midst(tmp_path)
        pause = seen.ask("PAUSE", started.workflow_id)
        await seen.ended(pause, CommandState.COMMAND_STATE_ACCEPTED)
        await seen.effective(seen.ask("CANCEL", started.workflow_id))
        await running
    assert seen.events("WORKFLOW_PAUSED") == []


async def test_a_retry_repairs_what_failed_and_keeps_the_rest(seen: Seen, tmp_path: Path) -> None:
    keep_back(tmp_path, "packaging")
    async with engine_on(seen.server.target, tmp_path, BUGGY, max_workflows=2, slots=1):
        failed = await seen.until("WORKFLOW_FAILED")
        assert (failed.error.code, failed.error.retryable, failed.attempt) == (
            "TESTS_FAILED",
            True,
            1,
        )
        await seen.effective(seen.ask("RETRY", failed.workflow_id))
        await seen.lift("packaging")

        def second() -> list[str]:
            return [
                f"{kind_of(event)} {event.stage}".rstrip()
                for event in seen.events()
                if event.attempt == 2
                and event.workflow_id == failed.workflow_id
                and kind_of(event).startswith(("WORKFLOW", "STAGE"))
            ]

        await seen.until("WORKFLOW_COMPLETED", workflow=failed.workflow_id)
    kept = [f"STAGE_SKIPPED {stage}" for stage in BUGFIX[:3]]
    done = [f"STAGE_{step} {stage}" for stage in BUGFIX[3:] for step in ("STARTED", "COMPLETED")]
    assert second() == ["WORKFLOW_RETRIED", "WORKFLOW_STARTED", *kept, *done, "WORKFLOW_COMPLETED"]


async def test_a_retry_without_its_work_folder_begins_anew(seen: Seen, tmp_path: Path) -> None:
    keep_back(tmp_path, "packaging")
    async with engine_on(seen.server.target, tmp_path, BUGGY, max_workflows=2, slots=1):
        failed = await seen.until("WORKFLOW_FAILED")
        shutil.rmtree(tmp_path / "work" / failed.workflow_id)
        await seen.effective(seen.ask("RETRY", failed.workflow_id))
        await seen.lift("packaging")
        await seen.until("WORKFLOW_COMPLETED", workflow=failed.workflow_id)
    assert seen.events("STAGE_SKIPPED") == []


async def test_what_cannot_be_done_is_refused(seen: Seen, tmp_path: Path) -> None:
    keep_back(tmp_path, "planning")
    async with engine_on(seen.server.target, tmp_path, GOOD):
        started = await seen.until("WORKFLOW_STARTED")
        for action, workflow, code in (
            ("PAUSE", "nobody", "NOT_RUNNING"),
            ("RESUME", started.workflow_id, "NOT_PAUSED"),
            ("RETRY", started.workflow_id, "NOT_FAILED"),
        ):
            command = seen.ask(action, workflow)
            await seen.ended(command, CommandState.COMMAND_STATE_FAILED)
            assert command.error.code == code


async def test_it_declares_what_it_can_do_and_when(seen: Seen, tmp_path: Path) -> None:
    async with engine_on(seen.server.target, tmp_path, GOOD) as running:
        await running
    request = seen.server.requests("WatchCommands")[0]
    assert isinstance(request, WatchCommandsRequest)
    run, pool, fleet = (
        CommandScope.COMMAND_SCOPE_RUN,
        CommandScope.COMMAND_SCOPE_POOL,
        CommandScope.COMMAND_SCOPE_FLEET,
    )
    declared = {
        (ControlAction.Name(each.action).removeprefix("CONTROL_ACTION_"), each.scope): (
            CommandBoundary.Name(each.boundary).removeprefix("COMMAND_BOUNDARY_"),
            each.selective,
        )
        for each in request.capabilities
    }
    assert declared == {
        ("PAUSE", run): ("STEP", False),
        ("RESUME", run): ("IMMEDIATE", False),
        ("CANCEL", run): ("IMMEDIATE", False),
        ("RETRY", run): ("IMMEDIATE", False),
        ("DRAIN", pool): ("STEP", False),
        ("ACTIVATE", pool): ("IMMEDIATE", False),
        ("RESTART", pool): ("STEP", False),
        ("RESIZE", pool): ("IMMEDIATE", False),
        ("PAUSE", fleet): ("STEP", True),
        ("RESUME", fleet): ("IMMEDIATE", True),
    }


async def test_a_flaky_test_is_tried_again(seen: Seen, tmp_path: Path) -> None:
    seed = seed_where(lambda brief: is_quick(brief, defect="flaky"))
    flaky = next(module.name for module in brief_of(seed, 1).modules if module.defect)
    async with engine_on(seen.server.target, tmp_path, seed) as running:
        await running
    steps = [
        (kind_of(event), event.attempt)
        for event in seen.events()
        if event.task_id == f"unit_tests/{flaky}"
    ]
    retries = [attempt for kind, attempt in steps if kind == "TASK_RETRYING"]
    assert retries == list(range(2, 2 + len(retries)))
    assert steps[-1][0] in {"TASK_COMPLETED", "TASK_FAILED"}
    assert steps[-1][1] == 1 + len(retries)


async def test_a_server_that_goes_away_and_comes_back_has_missed_nothing(
    seen: Seen, tmp_path: Path
) -> None:
    keep_back(tmp_path, "packaging")
    async with engine_on(seen.server.target, tmp_path, GOOD) as running:
        await seen.until("STAGE_STARTED", stage="validation")
        await seen.server.stop()
        assert not running.done()
        await seen.server.start()
        await seen.lift("packaging")
        await running
    stages = [f"STAGE_{step} {stage}" for stage in BUGFIX for step in ("STARTED", "COMPLETED")]
    assert seen.story() == ["WORKFLOW_CREATED", "WORKFLOW_STARTED", *stages, "WORKFLOW_COMPLETED"]
