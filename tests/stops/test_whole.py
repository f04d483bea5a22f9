"""A stop through a whole server: REST, the command line and the WebSocket say the same, and refuse by name."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

import pilothouse.aio
from pilothouse.executor import Executor
from pilothouse.v1 import commands_pb2, enums_pb2, events_pb2
from tests.e2e.support import Pilothouse
from tests.support import wait_until

PATH = "/api/v1/emergency-stops"


@asynccontextmanager
async def serving(data: Path) -> AsyncGenerator[Pilothouse]:
    """A server, which may take its time to start."""
    server = Pilothouse(data)
    try:
        await server.start(within=120)
        yield server
    finally:
        await server.kill()


@asynccontextmanager
async def engine(server: Pilothouse) -> AsyncGenerator[Executor]:
    """Runs one workflow, and holds, pauses and resumes at once."""
    executor = Executor(server.grpc, source="whole")
    run = executor.workflow("wf-1", workflow_type="feature")
    fleet = commands_pb2.COMMAND_SCOPE_FLEET

    @executor.on(enums_pb2.CONTROL_ACTION_PAUSE)
    async def pause(command: commands_pb2.Command) -> None:
        run.paused(command)

    @executor.on(enums_pb2.CONTROL_ACTION_RESUME)
    async def resume(command: commands_pb2.Command) -> None:
        run.resumed(command)

    @executor.on(enums_pb2.CONTROL_ACTION_PAUSE, scope=fleet, selective=True)
    async def hold(command: commands_pb2.Command) -> None:
        executor.report(type=events_pb2.EVENT_TYPE_QUEUE_PAUSED, command_id=command.id)

    @executor.on(enums_pb2.CONTROL_ACTION_RESUME, scope=fleet, selective=True)
    async def let_go(command: commands_pb2.Command) -> None:
        executor.report(type=events_pb2.EVENT_TYPE_QUEUE_ACTIVE, command_id=command.id)

    async with executor:
        run.created()
        run.started()
        yield executor


async def frames(
    socket: Any, kind: str, wanted: Callable[[dict[str, Any]], object]
) -> dict[str, Any]:
    """The first frame of this type that is as wanted."""
    async with asyncio.timeout(60):
        while True:
            frame: dict[str, Any] = json.loads(await socket.recv())
            if frame["type"] == kind and wanted(frame["data"]):
                return frame["data"]  # type: ignore[no-any-return]


def refused(answer: Any, status: int, reason: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.json()["reason"] == reason, answer.text


@pytest.mark.timeout(240)
async def test_every_surface_shows_the_same_stop(tmp_path: Path) -> None:
    async with (
        serving(tmp_path / "data") as server,
        engine(server),
        pilothouse.aio.Client(server.grpc) as client,
        connect(f"ws{server.url[4:]}/ws/monitoring") as socket,
    ):
        await socket.send(json.dumps({"type": "subscribe", "channels": ["emergency:stops"]}))
        first = await frames(socket, "emergency:snapshot", lambda _: True)
        assert first["emergency_stops"] == []

        async def runs() -> bool:
            asked = await server.post(f"{PATH}:preview", {"stage": "EMERGENCY_STAGE_PAUSE_ALL"})
            preview = asked.json()
            return (preview["engines"], preview["workflows"]) == ("1", "1")

        await wait_until(runs, within=60, what="the engine is there, and its workflow runs")
        wish = {"stage": "EMERGENCY_STAGE_PAUSE_ALL", "reason": "fire"}
        refused(await server.post(PATH, wish | {"confirmation": "yes"}), 409, "NOT_CONFIRMED")
        refused(await server.post(PATH, {"stage": "NO_STAGE"}), 400, "MALFORMED_REQUEST")
        refused(
            await server.post(f"{PATH}/nobody:release", {"reason": "x"}),
            404,
            "EMERGENCY_STOP_NOT_FOUND",
        )
        wish |= {"confirmation": "PAUSE ALL", "request_id": str(uuid.uuid4())}
        started = (await server.post(PATH, wish)).json()["emergency_stop"]
        again = (await server.post(PATH, wish)).json()["emergency_stop"]
        assert again["id"] == started["id"]
        stop_id = started["id"]
        quiet = await frames(socket, "emergency:update", lambda data: data.get("quiet_time"))
        assert quiet["id"] == stop_id
        assert (await client.workflow("wf-1").get()).state == enums_pb2.WORKFLOW_STATE_PAUSED
        release = {"reason": "over", "etag": "stale"}
        refused(await server.post(f"{PATH}/{stop_id}:release", release), 409, "ETAG_MISMATCH")
        said = await asyncio.to_thread(command_line, server, "release", stop_id, "--reason", "over")
        assert stop_id in said
        over = await frames(
            socket,
            "emergency:update",
            lambda data: data["state"] == "EMERGENCY_STOP_STATE_RELEASED",
        )
        assert over["released_by"] == "anonymous"
        refused(await server.post(f"{PATH}/{stop_id}:release", {"reason": "x"}), 409, "WRONG_STATE")
        listed = await server.get(f"{PATH}?include_released=true")
        assert [stop["id"] for stop in listed["emergency_stops"]] == [stop_id]

        async def critical() -> list[str]:
            events = [event async for event in client.list_events(filter="severity = CRITICAL")]
            return [event.attributes["emergency_stop_id"] for event in events]

        # What the server tells of it goes through the log, for which nothing above waits.
        assert await wait_until(critical, within=60, what="the event of the stop") == [stop_id]


def command_line(server: Pilothouse, *words: str) -> str:
    """What the command line answers."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pilothouse.cli", "emergency-stops", *words),
            *("--output", "json", "--server", server.grpc),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
