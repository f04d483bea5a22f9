"""The examples of the executor SDK are engines that work: they are run here as they are shown in the docs."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pilothouse.v1.commands_pb2 import (
    COMMAND_SCOPE_FLEET,
    COMMAND_SCOPE_POOL,
    COMMAND_STATE_ACCEPTED,
    COMMAND_STATE_EFFECTIVE,
    COMMAND_STATE_FAILED,
)
from pilothouse.v1.enums_pb2 import (
    CONTROL_ACTION_ACTIVATE,
    CONTROL_ACTION_CANCEL,
    CONTROL_ACTION_DRAIN,
    CONTROL_ACTION_PAUSE,
    CONTROL_ACTION_RESIZE,
    CONTROL_ACTION_RESUME,
    WORKFLOW_STATE_CANCELLED,
    WORKFLOW_STATE_COMPLETED,
    WORKFLOW_STATE_PAUSED,
    ControlAction,
    WorkflowState,
)
from tests.client.support import Server
from tests.support import wait_until

EXAMPLES = Path(__file__).resolve().parents[2] / "clients" / "python" / "examples"
POOL, FLEET = COMMAND_SCOPE_POOL, COMMAND_SCOPE_FLEET


def module_of(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def example() -> ModuleType:
    return module_of("engine")


def states(server: Server) -> dict[str, WorkflowState.ValueType]:
    return {each.id: each.state for each in server.workflows.values()}


async def test_the_example_pauses_resumes_cancels_and_completes(
    server: Server, example: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_step = threading.Event()

    def do(step: str) -> None:
        if step == "fetch":
            first_step.wait(50)

    monkeypatch.setattr(example, "do", do)
    engine = asyncio.create_task(example.main(server.target, ["a", "b", "c"]))
    await wait_until(lambda: len(states(server)) == 3)
    pause = server.request(CONTROL_ACTION_PAUSE, "a", "example-engine")
    cancel = server.request(CONTROL_ACTION_CANCEL, "b", "example-engine")
    await wait_until(lambda: pause.state == cancel.state == COMMAND_STATE_ACCEPTED)
    # Its answer comes after theirs, so by then both jobs have theirs.
    unknown = server.request(CONTROL_ACTION_PAUSE, "z", "example-engine")
    await wait_until(lambda: unknown.state == COMMAND_STATE_FAILED)
    first_step.set()
    await wait_until(lambda: pause.state == cancel.state == COMMAND_STATE_EFFECTIVE)
    assert states(server)["a"] == WORKFLOW_STATE_PAUSED
    resume = server.request(CONTROL_ACTION_RESUME, "a", "example-engine")
    await wait_until(lambda: resume.state == COMMAND_STATE_EFFECTIVE)
    await engine
    assert states(server) == {
        "a": WORKFLOW_STATE_COMPLETED,
        "b": WORKFLOW_STATE_CANCELLED,
        "c": WORKFLOW_STATE_COMPLETED,
    }
    assert unknown.error.code == "UNKNOWN_JOB"


async def test_the_pool_is_drained_activated_resized_and_held(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = module_of("pool")
    begun: list[str] = []
    go_on = asyncio.Event()

    async def do(job: str) -> None:
        begun.append(job)
        await go_on.wait()

    monkeypatch.setattr(example, "do", do)
    engine = asyncio.create_task(example.main(server.target, ["a", "b", "c", "d"]))

    async def effective(action: ControlAction.ValueType, **fields: Any) -> None:
        command = server.request(action, "", "example-pool", **fields)
        await wait_until(lambda: command.state == COMMAND_STATE_EFFECTIVE)

    await wait_until(lambda: begun == ["a", "b"])
    await effective(CONTROL_ACTION_DRAIN, scope=POOL, agent_id="worker-1")
    await effective(CONTROL_ACTION_RESIZE, scope=POOL, agent_id="worker-1", pool_size=3)
    await effective(CONTROL_ACTION_PAUSE, scope=FLEET, workflow_type="job")
    await effective(CONTROL_ACTION_ACTIVATE, scope=POOL, agent_id="worker-1")
    assert begun == ["a", "b"], "it is held"
    await effective(CONTROL_ACTION_RESUME, scope=FLEET, workflow_type="job")
    await wait_until(lambda: begun == ["a", "b", "c"], what="one more at once")
    go_on.set()
    await engine
    assert set(states(server).values()) == {WORKFLOW_STATE_COMPLETED}
    assert begun == ["a", "b", "c", "d"]


@pytest.mark.parametrize(("name", "most"), [("engine", 50), ("pool", 75)])
def test_an_example_fits_on_a_screen_or_two(name: str, most: int) -> None:
    lines = (EXAMPLES / f"{name}.py").read_text("utf-8").split('"""\n', 1)[1].splitlines()
    assert len([line for line in lines if line.strip()]) <= most


@pytest.mark.parametrize("name", ["engine", "pool"])
def test_the_docs_show_the_examples_as_they_are(name: str) -> None:
    docs = (EXAMPLES.parents[2] / "docs" / "python.md").read_text("utf-8")
    code = (EXAMPLES / f"{name}.py").read_text("utf-8")
    assert code[code.index("import asyncio") :].strip() in docs
