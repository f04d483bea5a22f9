"""A kill -9 of the engine at any moment loses no workflow, no event and no command, and leaves no work running."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from pilothouse_server.demo.brief import Brief
from pilothouse_server.demo.journal import Journal, JournalInUse
from pilothouse_server.demo.tools import catalogue
from tests.demo.support import (
    Seen,
    engine_on,
    engine_process,
    is_quick,
    keep_back,
    kind_of,
    seed_where,
    tools_in,
)
from tests.support import wait_until

pytestmark = pytest.mark.timeout(180)

GOOD = seed_where(is_quick)


def written(data_dir: Path, query: str, *values: str) -> bool:
    """Whether the journal of a running engine has such a row."""
    with closing(sqlite3.connect(f"file:{data_dir}/journal.db?mode=ro", uri=True)) as journal:
        return journal.execute(query, values).fetchone() is not None


async def test_a_killed_engine_goes_on_from_the_stage_it_was_in(seen: Seen, tmp_path: Path) -> None:
    keep_back(tmp_path, "deployment")
    async with engine_process(seen.server, tmp_path, GOOD) as process:
        started = await seen.in_its_midst(tmp_path)
        folder = tmp_path / "work" / started.workflow_id
        process.kill()
        await process.wait()
        await wait_until(lambda: not tools_in(folder), what="its tools die with it")
    async with engine_process(seen.server, tmp_path, GOOD) as process:
        assert await process.wait() == 0
    story = seen.story()
    assert story.count("STAGE_STARTED validation") == 1
    assert story.count("STAGE_STARTED deployment") == 2
    assert story.count("WORKFLOW_STARTED") == story.count("WORKFLOW_COMPLETED") == 1
    steps = [
        (kind_of(event), event.attempt)
        for event in seen.events()
        if event.task_id == started.task_id
    ]
    again = [step for step in steps if step[0].startswith("TASK") and step[1] == 2]
    assert [kind for kind, _ in again] == [
        "TASK_RETRYING", "TASK_QUEUED", "TASK_ASSIGNED", "TASK_STARTED", "TASK_COMPLETED",
    ]  # fmt: skip


async def test_a_paused_workflow_is_still_paused_after_a_kill(seen: Seen, tmp_path: Path) -> None:
    async with engine_process(seen.server, tmp_path, GOOD) as process:
        started = await seen.until("STAGE_STARTED")
        await seen.effective(seen.ask("PAUSE", started.workflow_id))
        told = seen.story()
        process.kill()
        await process.wait()
    async with engine_process(seen.server, tmp_path, GOOD) as process:
        resume = seen.ask("RESUME", started.workflow_id)
        await seen.effective(resume)
        assert seen.story()[: len(told) + 1] == [*told, "WORKFLOW_RESUMED"]
        assert await process.wait() == 0
    assert seen.story()[-1] == "WORKFLOW_COMPLETED"


async def test_a_pause_that_was_taken_before_a_kill_takes_effect_after_it(
    seen: Seen, tmp_path: Path
) -> None:
    keep_back(tmp_path, "testing")
    async with engine_process(seen.server, tmp_path, GOOD) as process:
        started = await seen.until("TASK_QUEUED", stage="unit_tests")
        pause = seen.ask("PAUSE", started.workflow_id)
        query = "SELECT 1 FROM command WHERE id = ?"
        await wait_until(
            lambda: written(tmp_path, query, pause.id), what="the pause is written down"
        )
        process.kill()
        await process.wait()
    async with engine_process(seen.server, tmp_path, GOOD):
        await seen.lift("testing")
        await seen.effective(pause)
    assert len(seen.events("WORKFLOW_PAUSED")) == 1
    assert "STAGE_STARTED deployment" not in seen.story()


async def test_what_could_not_be_told_before_a_kill_is_told_after_it(
    seen: Seen, tmp_path: Path
) -> None:
    keep_back(tmp_path, "packaging")
    async with engine_process(seen.server, tmp_path, GOOD) as process:
        await seen.until("STAGE_STARTED", stage="validation")
        await seen.server.stop()
        query = "SELECT 1 FROM workflow WHERE body LIKE '%\"next_stage\": 4%'"
        await wait_until(lambda: written(tmp_path, query), within=60, what="it goes on alone")
        process.kill()
        await process.wait()
    await seen.server.start()
    async with engine_process(seen.server, tmp_path, GOOD) as process:
        await seen.lift("packaging")
        assert await process.wait() == 0
    story = seen.story()
    assert story.count("STAGE_COMPLETED unit_tests") == story.count("WORKFLOW_COMPLETED") == 1
    tasks = [
        event.task_id for event in seen.events("TASK_COMPLETED") if event.stage == "unit_tests"
    ]
    assert len(tasks) == len(set(tasks)) == 2


async def test_a_command_that_comes_again_is_not_done_again(seen: Seen, tmp_path: Path) -> None:
    async with engine_on(seen.server.target, tmp_path, GOOD):
        started = await seen.until("STAGE_STARTED")
        pause = seen.ask("PAUSE", started.workflow_id)
        await seen.effective(pause)
        await seen.effective(seen.ask("RESUME", started.workflow_id))
    seen.server.command_feed.lose_history()
    async with engine_on(seen.server.target, tmp_path, GOOD) as running:
        await running
    assert len(seen.events("WORKFLOW_PAUSED")) == 1
    assert seen.story()[-1] == "WORKFLOW_COMPLETED"


async def test_a_stopped_engine_goes_on_where_it_was(seen: Seen, tmp_path: Path) -> None:
    keep_back(tmp_path, "deployment")
    async with engine_on(seen.server.target, tmp_path, GOOD):
        started = await seen.in_its_midst(tmp_path)
    folder = tmp_path / "work" / started.workflow_id
    await wait_until(lambda: not tools_in(folder), what="its tools end with it")
    assert seen.story()[-1] == "STAGE_STARTED deployment"
    async with engine_on(seen.server.target, tmp_path, GOOD) as running:
        await running
    assert seen.story()[-3:] == [
        "STAGE_STARTED deployment",
        "STAGE_COMPLETED deployment",
        "WORKFLOW_COMPLETED",
    ]


async def test_a_folder_has_one_engine_at_a_time(seen: Seen, tmp_path: Path) -> None:
    with Journal(tmp_path, lambda _: None):
        with pytest.raises(JournalInUse):
            Journal(tmp_path, lambda _: None)
        async with engine_process(seen.server, tmp_path, GOOD) as process:
            _, words = await process.communicate()
    assert process.returncode == 73
    assert b"another demo engine works in" in words


def has_a_flaky_test(brief: Brief) -> bool:
    """Whether chance decides something in it, and little else is there to do."""
    return len(brief.modules) <= 4 and any(module.defect == "flaky" for module in brief.modules)


async def test_the_same_seed_has_the_same_outcomes(seen: Seen, tmp_path: Path) -> None:
    chancy = {f"unit_tests/{name}" for name in catalogue.CHANCY}
    seed = seed_where(has_a_flaky_test, has_a_flaky_test)

    async def outcomes(folder: Path) -> list[tuple[str, str, str]]:
        before = len(seen.server.log.items)
        async with engine_on(seen.server.target, folder, seed, max_workflows=2) as running:
            await running
        return sorted(
            (event.workflow_id, kind_of(event), event.task_id or event.stage)
            for event in seen.server.log.items[before:]
            if kind_of(event).startswith(("WORKFLOW", "STAGE")) or event.task_id in chancy
        )

    assert await outcomes(tmp_path / "one") == await outcomes(tmp_path / "two")


async def test_an_interrupted_engine_leaves_nothing_running(seen: Seen, tmp_path: Path) -> None:
    keep_back(tmp_path, "deployment")
    async with engine_process(seen.server, tmp_path, GOOD) as process:
        await seen.in_its_midst(tmp_path)
        below = psutil.Process(process.pid).children(recursive=True)
        assert below
        process.terminate()
        async with asyncio.timeout(30):
            assert await process.wait() == 0
        assert psutil.wait_procs(below, timeout=10)[1] == []
    assert {event.agent_id for event in seen.server.log.items if kind_of(event) == "AGENT_OFFLINE"}
