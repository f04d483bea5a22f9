"""An emergency stop of a thousand running workflows: time to quiet at each stage, and time to let everything go on.

    python -m bench.emergency_stop [--workflows 1000] [--redis] [--postgres]

An executor in this process reports each effect as soon as it is asked for it, as many together as have gathered: so
what is measured is the server. Times to quiet are the server's own, from the request to the look that found everything
stopped.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping

from bench.batch import SOURCE, event, publish
from bench.process import running_server
from bench.report import provenance, table
from bench.storage import Storage, add_storage, running_storage
from pilothouse import aio
from pilothouse.v1 import commands_pb2, enums_pb2, events_pb2
from pilothouse.v1 import emergency_stops_pb2 as pb
from tests.support import wait_until

AT_ONCE = 500
RUN, FLEET = commands_pb2.COMMAND_SCOPE_RUN, commands_pb2.COMMAND_SCOPE_FLEET
EFFECTS: Mapping[tuple[int, int], events_pb2.EventType.ValueType] = {
    (RUN, enums_pb2.CONTROL_ACTION_PAUSE): events_pb2.EVENT_TYPE_WORKFLOW_PAUSED,
    (RUN, enums_pb2.CONTROL_ACTION_RESUME): events_pb2.EVENT_TYPE_WORKFLOW_RESUMED,
    (RUN, enums_pb2.CONTROL_ACTION_CANCEL): events_pb2.EVENT_TYPE_WORKFLOW_CANCELLED,
    (FLEET, enums_pb2.CONTROL_ACTION_PAUSE): events_pb2.EVENT_TYPE_QUEUE_PAUSED,
    (FLEET, enums_pb2.CONTROL_ACTION_RESUME): events_pb2.EVENT_TYPE_QUEUE_ACTIVE,
}


def effect(command: commands_pb2.Command) -> events_pb2.Event:
    """What the engine reports once it did what it was asked."""
    shown = event(EFFECTS[command.scope, command.action], command.workflow_id, command.id)
    if command.scope == FLEET:
        shown.ClearField("attempt")
    return shown


async def obey(client: aio.Client) -> None:
    """Reports each effect as soon as it is asked for."""
    asked: asyncio.Queue[commands_pb2.Command] = asyncio.Queue()

    async def report() -> None:
        while True:
            some = [await asked.get()]
            while not asked.empty() and len(some) < AT_ONCE:
                some.append(asked.get_nowait())
            await publish(client, [effect(each) for each in some])

    able = [
        commands_pb2.Capability(action=action, scope=scope, selective=True)
        for scope, action in (
            (RUN, enums_pb2.CONTROL_ACTION_PAUSE),
            (RUN, enums_pb2.CONTROL_ACTION_RESUME),
            (RUN, enums_pb2.CONTROL_ACTION_CANCEL),
            (FLEET, enums_pb2.CONTROL_ACTION_PAUSE),
            (FLEET, enums_pb2.CONTROL_ACTION_RESUME),
        )
    ]
    request = commands_pb2.WatchCommandsRequest(source=SOURCE, capabilities=able)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(report())
        async for message in client.commands.WatchCommands(request):
            if message.HasField("command"):
                asked.put_nowait(message.command)


async def ready(client: aio.Client, workflows: int) -> None:
    """All of them run, and their engine is there."""
    started = events_pb2.EVENT_TYPE_WORKFLOW_STARTED
    await publish(client, [event(started, f"wf-{number:06}") for number in range(workflows)])

    async def running() -> bool:
        asked = pb.PreviewEmergencyStopRequest(stage=pb.EMERGENCY_STAGE_PAUSE_ALL)
        preview = await client.emergency_stops.PreviewEmergencyStop(asked)
        return (preview.engines, preview.workflows) == (1, workflows)

    await wait_until(running, within=120, what="every workflow runs")


async def stop_of(client: aio.Client, stop_id: str) -> pb.EmergencyStop:
    """As it is now."""
    asked = pb.GetEmergencyStopRequest(emergency_stop_id=stop_id)
    return (await client.emergency_stops.GetEmergencyStop(asked)).emergency_stop


async def stopped(
    client: aio.Client, stage: pb.EmergencyStage.ValueType
) -> tuple[pb.EmergencyStop, float]:
    """A stop of everything at this stage, once it is quiet, and how long that took."""
    word = pb.EmergencyStage.Name(stage).removeprefix("EMERGENCY_STAGE_").replace("_", " ")
    started = await client.emergency_stops.StartEmergencyStop(
        pb.StartEmergencyStopRequest(stage=stage, reason="bench", confirmation=word)
    )
    stop_id = started.emergency_stop.id

    async def quiet() -> bool:
        return (await stop_of(client, stop_id)).HasField("quiet_time")

    await wait_until(quiet, within=300, what=word)
    stop = await stop_of(client, stop_id)
    return stop, stop.time_to_quiet.ToMicroseconds() / 1e6


async def released(client: aio.Client, stop: pb.EmergencyStop) -> float:
    """How long letting everything go took."""
    await client.emergency_stops.ReleaseEmergencyStop(
        pb.ReleaseEmergencyStopRequest(emergency_stop_id=stop.id, reason="bench")
    )

    async def over() -> bool:
        return (await stop_of(client, stop.id)).state == pb.EMERGENCY_STOP_STATE_RELEASED

    await wait_until(over, within=300, what="the release")
    done = await stop_of(client, stop.id)
    return (done.end_time.ToMicroseconds() - done.release_time.ToMicroseconds()) / 1e6


async def run(given: argparse.Namespace, storage: Storage) -> None:
    """Prints the table."""
    async with (
        running_server(storage, command="serve") as server,
        aio.Client(server.grpc) as client,
        asyncio.TaskGroup() as tasks,
    ):
        engine = tasks.create_task(obey(client))
        await ready(client, given.workflows)
        _, holding = await stopped(client, pb.EMERGENCY_STAGE_HOLD_NEW)
        used = server.cpu_seconds()
        stop, pausing = await stopped(client, pb.EMERGENCY_STAGE_PAUSE_ALL)
        cpu = server.cpu_seconds() - used
        letting_go = await released(client, stop)
        _, cancelling = await stopped(client, pb.EMERGENCY_STAGE_CANCEL_ALL)
        engine.cancel()
    count = given.workflows
    rows = [
        ["HOLD NEW, to quiet", f"{holding:.2f} s"],
        ["PAUSE ALL, to quiet", f"{pausing:.2f} s, {count / pausing:,.0f} workflows/s"],
        ["processor time of the server for that", f"{cpu:.2f} s"],
        ["release, until everything goes on", f"{letting_go:.2f} s"],
        ["CANCEL ALL, to quiet", f"{cancelling:.2f} s"],
    ]
    print(table(f"emergency stop of {count:,} running workflows", ("", ""), rows))


async def main() -> None:
    """Ends when the figures are printed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workflows", type=int, default=1_000)
    add_storage(parser)
    given = parser.parse_args()
    with running_storage(with_redis=given.redis, with_postgres=given.postgres) as storage:
        print(provenance(*storage.names), flush=True)
        await run(given, storage)


if __name__ == "__main__":
    asyncio.run(main())
