"""The example of the executor SDK is an engine that works: it is run here as it is shown in the docs."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from pathlib import Path
from types import ModuleType

import pytest

from pilothouse.v1.commands_pb2 import (
    COMMAND_STATE_ACCEPTED,
    COMMAND_STATE_EFFECTIVE,
    COMMAND_STATE_FAILED,
)
from pilothouse.v1.enums_pb2 import (
    CONTROL_ACTION_CANCEL,
    CONTROL_ACTION_PAUSE,
    CONTROL_ACTION_RESUME,
    WORKFLOW_STATE_CANCELLED,
    WORKFLOW_STATE_COMPLETED,
    WORKFLOW_STATE_PAUSED,
    WorkflowState,
)
from tests.client.support import Server
from tests.support import wait_until

EXAMPLE = Path(__file__).resolve().parents[2] / "clients" / "python" / "examples" / "engine.py"


@pytest.fixture
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("example_engine", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def states(server: Server) -> dict[str, WorkflowState.ValueType]:
    return {each.id: each.state for each in server.workflows.values()}


async def test_the_example_pauses_resumes_cancels_and_completes(
    server: Server, example: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_step = threading.Event()

    def do(step: str) -> None:
        if step == "fetch":
            first_step.wait(10)

    monkeypatch.setattr(example, "do", do)
    engine = asyncio.create_task(example.main(server.target, ["a", "b", "c"]))
    await wait_until(lambda: len(states(server)) == 3)
    pause = server.request(CONTROL_ACTION_PAUSE, "a", "example-engine")
    cancel = server.request(CONTROL_ACTION_CANCEL, "b", "example-engine")
    unknown = server.request(CONTROL_ACTION_PAUSE, "z", "example-engine")
    await wait_until(lambda: unknown.state == COMMAND_STATE_FAILED)
    assert pause.state == cancel.state == COMMAND_STATE_ACCEPTED
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


def test_the_example_fits_on_a_screen() -> None:
    lines = EXAMPLE.read_text("utf-8").split('"""\n', 1)[1].splitlines()
    assert len([line for line in lines if line.strip()]) <= 50


def test_the_docs_show_the_example_as_it_is() -> None:
    docs = EXAMPLE.parents[3] / "docs" / "python.md"
    code = EXAMPLE.read_text("utf-8")
    assert code[code.index("import asyncio") :].strip() in docs.read_text("utf-8")
