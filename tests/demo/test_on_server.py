"""The engine on the real server: what an operator asks for is done, and a server that is killed has missed nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from tests.demo.support import engine_on, is_quick, keep_back, seed_where
from tests.e2e.support import Pilothouse
from tests.support import wait_until

pytestmark = pytest.mark.timeout(180)

GOOD = seed_where(is_quick)
BUGGY = seed_where(lambda brief: is_quick(brief, defect="wrong"))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Pilothouse]:
    """The real server, ready."""
    running = Pilothouse(tmp_path / "data")
    try:
        await running.start(within=60)
        yield running
    finally:
        await running.stop()


async def first(server: Pilothouse) -> dict[str, Any]:
    """The workflow that came first, as the server knows it; empty when there is none."""
    listed = await server.get("/api/v1/workflows?orderBy=create_time")
    found = cast("list[dict[str, Any]]", listed.get("workflows", []))
    return found[0] if found else {}


async def reaches(server: Pilothouse, state: str, stage: str = "") -> dict[str, Any]:
    """The first workflow, once it is in this state (and this stage)."""

    async def is_there() -> bool:
        seen = await first(server)
        return seen.get("state") == f"WORKFLOW_STATE_{state}" and stage in {
            "",
            seen.get("current_stage"),
        }

    await wait_until(is_there, within=60, what=f"{state} {stage}")
    return await first(server)


async def ask(server: Pilothouse, action: str) -> None:
    """An operator asks for something, and the server takes it down."""
    workflow_id = (await first(server))["id"]
    answer = await server.post(f"/api/v1/workflows/{workflow_id}/control", {"action": action})
    assert answer.status_code == 200, answer.text


def stage_states(seen: dict[str, Any]) -> dict[str, str]:
    """What the server knows of the stages."""
    return {stage["name"]: stage["state"].removeprefix("WORK_STATE_") for stage in seen["stages"]}


async def test_a_pause_holds_the_next_stage_and_a_resume_finishes_it(
    server: Pilothouse, tmp_path: Path
) -> None:
    keep_back(tmp_path / "engine", "scaffolding")
    async with engine_on(server.grpc, tmp_path / "engine", GOOD) as running:
        await reaches(server, "RUNNING", "scaffolding")
        await ask(server, "pause")
        await lift(server, "scaffolding")
        held = stage_states(await reaches(server, "PAUSED"))
        assert (held["scaffolding"], held["deployment"]) == ("COMPLETED", "QUEUED")
        assert "RUNNING" not in held.values()
        await ask(server, "resume")
        await running
        done = await reaches(server, "COMPLETED")
    assert set(stage_states(done).values()) == {"COMPLETED"}


async def test_a_retry_goes_on_from_the_stage_that_failed(
    server: Pilothouse, tmp_path: Path
) -> None:
    keep_back(tmp_path / "engine", "packaging")
    async with engine_on(server.grpc, tmp_path / "engine", BUGGY, max_workflows=2, slots=1):
        await reaches(server, "FAILED")
        await ask(server, "retry")
        await lift(server, "packaging")
        retried = await reaches(server, "COMPLETED")
    assert retried["attempt"] == 2
    assert stage_states(retried)["scaffolding"] == "SKIPPED"
    assert stage_states(retried)["unit_tests"] == "COMPLETED"


async def test_a_server_that_is_killed_during_the_work_has_missed_nothing(
    server: Pilothouse, tmp_path: Path
) -> None:
    keep_back(tmp_path / "engine", "packaging")
    async with engine_on(server.grpc, tmp_path / "engine", GOOD) as running:
        await reaches(server, "RUNNING")
        await server.kill()
        await server.start(within=60)
        await lift(server, "packaging")
        await running
        done = await reaches(server, "COMPLETED")
    assert set(stage_states(done).values()) == {"COMPLETED"}
    detail = await server.get(f"/api/v1/workflows/{done['id']}")
    assert {task["state"] for task in detail["tasks"]} == {"WORK_STATE_COMPLETED"}


async def effective(server: Pilothouse, path: str, **fields: Any) -> None:
    """An operator asks for something that is no workflow's, and the engine does it."""
    asked = await server.post(f"/api/v1/{path}", fields)
    assert asked.status_code == 200, asked.text
    command_id = asked.json()["command"]["id"]

    async def is_so() -> bool:
        command = (await server.get(f"/api/v1/commands/{command_id}"))["command"]
        state = command["state"].removeprefix("COMMAND_STATE_")
        assert state in {"REQUESTED", "ACCEPTED", "EFFECTIVE"}, command
        return bool(state == "EFFECTIVE")

    await wait_until(is_so, within=60, what=f"{path} {fields}")


async def lift(server: Pilothouse, agent_type: str) -> None:
    """What was kept back of agents of this type is given out."""
    await effective(server, "queues:resume", source="demo", agent_type=agent_type)


async def test_agents_and_holds_are_steered_and_the_server_shows_it(
    server: Pilothouse, tmp_path: Path
) -> None:
    async def agent() -> tuple[str, int, bool]:
        seen = (await server.get("/api/v1/agents/deployer-1"))["agent"]
        state = seen["state"].removeprefix("AGENT_STATE_")
        resumable = any(
            each["available"] for each in seen["actions"] if each["action"].endswith("_ACTIVATE")
        )
        return state, seen["load"]["capacity"], resumable

    async def held() -> set[str]:
        queues = (await server.get("/api/v1/queues?source=demo"))["queues"]
        return {
            f"{queue['workflow_type']}/{queue['agent_type']}"
            for queue in queues
            if queue["state"] == "QUEUE_STATE_PAUSED"
        }

    keep_back(tmp_path / "engine", "planning")
    async with engine_on(server.grpc, tmp_path / "engine", GOOD) as running:
        await reaches(server, "RUNNING")
        await effective(server, "agents/deployer-1:drain", reason="a new disk")
        await effective(server, "agents/deployer-1:resize", pool_size=3)
        await effective(server, "agents/deployer-1:restart")
        assert await agent() == ("DRAINING", 3, True)
        await lift(server, "planning")
        await reaches(server, "RUNNING", "deployment")
        await effective(server, "queues:pause", source="demo", reason="freeze")
        await effective(server, "queues:pause", source="demo", agent_type="deployment")
        assert await held() == {"/", "/deployment"}
        await effective(server, "agents/deployer-1:activate")
        await effective(server, "queues:resume", source="demo")
        assert await held() == {"/deployment"}
        assert (await first(server))["state"] == "WORKFLOW_STATE_RUNNING"
        await effective(server, "queues:resume", source="demo", agent_type="deployment")
        await running
        done = await reaches(server, "COMPLETED")
    assert int(done["usage"]["cost_micros"]) > 0


@pytest.mark.parametrize("way", ["interrupt", "kill"])
async def test_the_demo_works_and_leaves_no_process_behind(tmp_path: Path, way: str) -> None:
    async with Pilothouse(tmp_path / "data", "demo") as demo:
        await reaches(demo, "RUNNING")
        agents = (await demo.get("/api/v1/agents"))["agents"]
        assert len(agents) > 9
        family = psutil.Process(demo.pid).children(recursive=True)
        assert family
        await (demo.interrupt() if way == "interrupt" else demo.kill())
        gone = await asyncio.to_thread(psutil.wait_procs, family, 15)
        assert gone[1] == []
