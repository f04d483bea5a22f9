"""An engine that may be killed at any moment: what it did is in its journal before it says so.

    python -m tests.batches.engine --server HOST:PORT --journal FILE --workflows N

Each line of the journal is a command that was applied. After a start it says again what the journal has; the ids of its
events follow from it, so that saying a thing twice is saying it once.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pilothouse.aio
from pilothouse.errors import CallError, CommandEnded
from pilothouse.v1 import commands_pb2, enums_pb2, events_pb2

SOURCE = "tests-batches"
PAUSE = enums_pb2.CONTROL_ACTION_PAUSE
AGAIN = 0.05


def workflow_ids(count: int) -> list[str]:
    """The workflows that it runs."""
    return [f"batch-wf-{number:04}" for number in range(count)]


def applied(journal: Path) -> list[tuple[str, str]]:
    """(command, workflow) of each line that was written whole."""
    lines = journal.read_text("utf-8").split("\n")[:-1] if journal.exists() else []
    return [(words[0], words[1]) for line in lines if len(words := line.split()) == 2]


def _event(
    kind: events_pb2.EventType.ValueType, id_: str, workflow_id: str, command_id: str = ""
) -> events_pb2.Event:
    event = events_pb2.Event(
        type=kind,
        id=id_,
        workflow_id=workflow_id,
        source=SOURCE,
        attempt=1,
        command_id=command_id,
    )
    event.occur_time.FromNanoseconds(time.time_ns())
    return event


def _paused(command_id: str, workflow_id: str) -> events_pb2.Event:
    kind = events_pb2.EVENT_TYPE_WORKFLOW_PAUSED
    return _event(kind, f"{command_id}-paused", workflow_id, command_id)


class Engine:
    """Everything that it runs goes on until it is told to pause."""

    def __init__(self, client: pilothouse.aio.Client, journal: Path) -> None:
        self._client = client
        self._journal = journal
        self._done = dict(applied(journal))
        # The last line may have been cut off by a kill: nothing of it counts.
        journal.write_text("".join(f"{a} {b}\n" for a, b in self._done.items()), "utf-8")
        self._file = journal.open("a", encoding="utf-8")

    async def run(self, workflows: Sequence[str]) -> None:
        """Until it is killed."""
        kind = events_pb2.EVENT_TYPE_WORKFLOW_STARTED
        await self._say([_event(kind, f"{each}-started", each) for each in workflows])
        await self._say([_paused(*each) for each in self._done.items()])
        while True:
            try:
                async for command in self._commands():
                    await self._apply(command)
            except CallError:  # the server is being killed as well
                await asyncio.sleep(AGAIN)

    async def _commands(self) -> AsyncIterator[commands_pb2.Command]:
        request = commands_pb2.WatchCommandsRequest(
            source=SOURCE,
            capabilities=[
                commands_pb2.Capability(action=PAUSE, scope=commands_pb2.COMMAND_SCOPE_RUN)
            ],
        )
        async for message in self._client.commands.WatchCommands(request):
            if message.HasField("command"):
                yield message.command

    async def _apply(self, command: commands_pb2.Command) -> None:
        try:
            await self._client.commands.AcceptCommand(
                commands_pb2.AcceptCommandRequest(command_id=command.id, source=SOURCE)
            )
        except CommandEnded:
            return
        if command.id not in self._done:
            self._done[command.id] = command.workflow_id
            self._file.write(f"{command.id} {command.workflow_id}\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        await self._say([_paused(command.id, command.workflow_id)])

    async def _say(self, events: Sequence[events_pb2.Event]) -> None:
        while events:
            try:
                request = events_pb2.PublishEventsRequest(events=events)
                await self._client.events.PublishEvents(request)
            except CallError:
                await asyncio.sleep(AGAIN)
            else:
                return


async def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--workflows", type=int, required=True)
    given = parser.parse_args()
    async with pilothouse.aio.Client(given.server) as client:
        await Engine(client, given.journal).run(workflow_ids(given.workflows))


if __name__ == "__main__":
    asyncio.run(_main())
