"""kill -9 of the server and of the demo engine at every stage of an emergency stop: everything is stopped, everything
that was stopped goes on, each command took effect once, and the audit log is whole."""

from __future__ import annotations

import asyncio
import random
import sys
from asyncio.subprocess import DEVNULL, Process
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

import pilothouse.aio
from pilothouse.errors import CallError
from pilothouse.v1 import audit_pb2, commands_pb2, enums_pb2
from pilothouse.v1 import emergency_stops_pb2 as pb
from tests.e2e.support import Pilothouse
from tests.stops.test_whole import serving
from tests.support import wait_until

WORKFLOWS = 12
PAUSED = enums_pb2.WORKFLOW_STATE_PAUSED
ENDED = (
    enums_pb2.WORKFLOW_STATE_COMPLETED,
    enums_pb2.WORKFLOW_STATE_FAILED,
    enums_pb2.WORKFLOW_STATE_CANCELLED,
)


class Demo:
    """The demo engine as a process, which may be killed and started again."""

    def __init__(self, server: Pilothouse, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._process: Process | None = None

    async def start(self) -> None:
        """Starts it, where it was."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pilothouse_server.demo"),
            *("--server", self._server.grpc, "--data-dir", str(self._folder)),
            *("--pace", "6000", "--max-workflows", str(WORKFLOWS), "--seed", "7"),
            stdin=DEVNULL,
            stderr=DEVNULL,
        )

    async def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def demo_on(server: Pilothouse, folder: Path) -> AsyncGenerator[Demo]:
    demo = Demo(server, folder)
    await demo.start()
    try:
        yield demo
    finally:
        await demo.kill()


async def until(ask: Callable[[], Awaitable[bool]], what: str) -> None:
    """Waits for something that a server says, which may be dead just now."""

    async def asked() -> bool:
        try:
            return await ask()
        except CallError:
            return False

    await wait_until(asked, within=90, what=what)


async def states(client: pilothouse.aio.Client) -> dict[str, int]:
    """Of every workflow, newest first."""
    return {each.id: each.state async for each in client.list_workflows()}


async def stop_of(client: pilothouse.aio.Client, stop_id: str) -> pb.EmergencyStop:
    asked = pb.GetEmergencyStopRequest(emergency_stop_id=stop_id)
    return (await client.emergency_stops.GetEmergencyStop(asked)).emergency_stop


async def disturb(server: Pilothouse, demo: Demo, chance: random.Random) -> None:
    """Kills one, then the other."""
    await asyncio.sleep(chance.uniform(0, 0.4))
    await server.kill()
    await asyncio.gather(server.start(within=90), demo.kill())
    await demo.start()


async def paused_by_hand(client: pilothouse.aio.Client) -> str:
    """Once everything has come, somebody pauses the newest, which has not begun."""

    async def all_came() -> bool:
        return len(await states(client)) == WORKFLOWS

    await until(all_came, "every workflow has come")
    newest = next(iter(await states(client)))
    handle = await client.workflow(newest).pause(reason="by hand")

    async def effective() -> bool:
        asked = commands_pb2.GetCommandRequest(command_id=handle.id)
        command = (await client.commands.GetCommand(asked)).command
        return command.state == commands_pb2.COMMAND_STATE_EFFECTIVE

    await until(effective, "the pause by hand")
    return newest


async def applied(client: pilothouse.aio.Client) -> Counter[str]:
    """How often each command of anybody showed an effect in the engine's events."""
    kinds = [
        "WORKFLOW_PAUSED",
        "WORKFLOW_RESUMED",
        "WORKFLOW_CANCELLED",
        "QUEUE_PAUSED",
        "QUEUE_ACTIVE",
    ]
    wanted = " OR ".join(f"type = {kind}" for kind in kinds)
    events = [event async for event in client.list_events(filter=f"({wanted})")]
    return Counter(event.command_id for event in events if event.command_id)


@pytest.mark.timeout(300)
async def test_a_stop_and_its_release_survive_whoever_is_killed(tmp_path: Path) -> None:
    chance = random.Random(31)
    async with (
        serving(tmp_path / "data") as server,
        demo_on(server, tmp_path / "demo") as demo,
        pilothouse.aio.Client(server.grpc) as client,
    ):
        by_hand = await paused_by_hand(client)
        started = await client.emergency_stops.StartEmergencyStop(
            pb.StartEmergencyStopRequest(
                stage=pb.EMERGENCY_STAGE_PAUSE_ALL, reason="fire", confirmation="PAUSE ALL"
            )
        )
        stop_id = started.emergency_stop.id
        await disturb(server, demo, chance)

        async def quiet() -> bool:
            return (await stop_of(client, stop_id)).HasField("quiet_time")

        await until(quiet, "quiet")
        stopped = await states(client)
        assert {state for state in stopped.values() if state not in ENDED} == {PAUSED}
        await client.emergency_stops.ReleaseEmergencyStop(
            pb.ReleaseEmergencyStopRequest(emergency_stop_id=stop_id, reason="over")
        )
        await disturb(server, demo, chance)

        async def released() -> bool:
            stop = await stop_of(client, stop_id)
            return stop.state == pb.EMERGENCY_STOP_STATE_RELEASED

        await until(released, "the release")
        gone_on = await states(client)
        assert [id_ for id_, state in gone_on.items() if state == PAUSED] == [by_hand]
        counts = {
            (count.kind, count.state): count.count
            for count in (await stop_of(client, stop_id)).counts
        }
        not_released = pb.EMERGENCY_TARGET_STATE_NOT_RELEASED
        assert not [key for key in counts if key[1] == not_released], counts
        assert set((await applied(client)).values()) == {1}
        verify = client.audit.VerifyAudit(audit_pb2.VerifyAuditRequest())
        *_, verdict = [answer async for answer in verify]
        assert verdict.complete, verdict
        assert verdict.intact, verdict
