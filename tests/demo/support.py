"""An engine of the demo for a test: in this process or in one of its own, against a small server."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from pilothouse.executor import Executor
from pilothouse.v1.commands_pb2 import Command, CommandScope, CommandState
from pilothouse.v1.enums_pb2 import ControlAction
from pilothouse.v1.events_pb2 import Event, EventType
from pilothouse_server.demo.brief import Brief, brief_of
from pilothouse_server.demo.engine import Engine, EngineOptions
from pilothouse_server.demo.journal import Hold, Journal
from pilothouse_server.demo.tools import catalogue
from tests.client.support import Server
from tests.support import wait_until

QUICK = frozenset({*catalogue.PURE, "write_log"})
"""Modules whose tests do not wait for the clock."""

AT_ONCE = 6000.0
"""A pace at which workflows do not wait for each other."""


RELEASE = "deployment/release"
"""The task by which a workflow ends."""


def keep_back(folder: Path, agent_type: str) -> None:
    """An engine in this folder gives no task to agents of this type until that is lifted: whoever asks for something
    meanwhile is not too late, however slow the machine is."""
    with Journal(folder, lambda _: None) as journal:
        journal.commit_hold(Hold(agent_type=agent_type), True, [])


def seed_where(*wanted: Callable[[Brief], bool]) -> int:
    """The first seed whose first workflows are as wanted, one by one."""
    return next(
        seed
        for seed in range(1_000_000)
        if all(fits(brief_of(seed, number)) for number, fits in enumerate(wanted, start=1))
    )


def is_quick(brief: Brief, kind: str = "bugfix", defect: str = "") -> bool:
    """Whether a workflow is of this kind, done in a few seconds, and has this defect only."""
    defects = {module.defect for module in brief.modules} | {brief.service.defect}
    quick = brief.kind == kind and all(module.name in QUICK for module in brief.modules)
    return quick and defects == {"", defect}


def kind_of(event: Event) -> str:
    """The type of an event in short: `STAGE_STARTED`."""
    return EventType.Name(event.type).removeprefix("EVENT_TYPE_")


@dataclass(frozen=True)
class Seen:
    """What an engine told the server."""

    server: Server

    def events(self, *kinds: str) -> list[Event]:
        """Events about work, of these types (`STAGE_STARTED`), in the order in which they came."""
        return [
            event
            for event in self.server.log.items
            if event.workflow_id and (not kinds or kind_of(event) in kinds)
        ]

    def story(self) -> list[str]:
        """Workflow and stage events in words: `STAGE_STARTED validation`."""
        return [
            f"{name} {event.stage}".rstrip()
            for event in self.events()
            if (name := EventType.Name(event.type).removeprefix("EVENT_TYPE_")).startswith(
                ("WORKFLOW", "STAGE")
            )
        ]

    async def until(
        self,
        kind: str,
        *,
        stage: str = "",
        workflow: str = "",
        task: str = "",
        within: float = 60.0,
    ) -> Event:
        """The first event of this type, and of this stage, workflow and task if they are named."""

        def matching() -> list[Event]:
            return [
                event
                for event in self.events(kind)
                if stage in {"", event.stage}
                and workflow in {"", event.workflow_id}
                and task in {"", event.task_id}
            ]

        return (await wait_until(matching, within=within, what=f"{kind} {stage} {task}"))[0]

    async def created(self, count: int) -> list[str]:
        """The workflows, once there are so many."""

        def so_many() -> list[Event]:
            events = self.events("WORKFLOW_CREATED")
            return events if len(events) >= count else []

        return [event.workflow_id for event in await wait_until(so_many, what="the workflows")]

    async def lift(self, agent_type: str) -> None:
        """What `keep_back` kept back is given out."""
        fleet = CommandScope.COMMAND_SCOPE_FLEET
        await self.effective(self.order("RESUME", scope=fleet, agent_type=agent_type))

    async def in_its_midst(self, folder: Path) -> Event:
        """The start of a release whose tool does not come to its end: the task was kept back, so that what the tool
        reads could be made a pipe to which nobody writes."""
        queued = await self.until("TASK_QUEUED", task=RELEASE)
        sums = folder / "work" / queued.workflow_id / "dist" / "SHA256SUMS.json"
        sums.unlink()
        os.mkfifo(sums)
        await self.lift("deployment")
        return await self.until("TASK_STARTED", task=RELEASE)

    async def effective(self, command: Command) -> None:
        """Wait until the engine's event showed the effect of a command."""
        await self.ended(command, CommandState.COMMAND_STATE_EFFECTIVE)

    async def ended(self, command: Command, state: CommandState.ValueType) -> None:
        """Wait until a command has this state."""
        await wait_until(
            lambda: command.state == state, within=60, what=f"{CommandState.Name(state)}"
        )

    def ask(self, action: str, workflow_id: str) -> Command:
        """An operator asks for something."""
        return self.order(action, workflow_id)

    def order(self, action: str, workflow_id: str = "", **fields: Any) -> Command:
        """An operator asks for something of an agent, or of everything: `scope=`, `agent_id=` and so on."""
        return self.server.request(
            ControlAction.Value(f"CONTROL_ACTION_{action}"), workflow_id, "demo", **fields
        )


@asynccontextmanager
async def engine_on(
    target: str, folder: Path, seed: int, *, max_workflows: int = 1, slots: int = 8
) -> AsyncGenerator[asyncio.Task[None]]:
    """An engine in this process; stopped at the end."""
    options = EngineOptions(pace=AT_ONCE, max_workflows=max_workflows, slots=slots, seed=seed)
    executor = Executor(target, source=options.source)
    stop = asyncio.Event()
    running = asyncio.create_task(Engine(executor, folder, options).run(stop))
    try:
        yield running
    finally:
        stop.set()
        await running


@asynccontextmanager
async def engine_process(
    server: Server, data_dir: Path, seed: int, *words: str
) -> AsyncGenerator[Process]:
    """An engine in a process of its own with one workflow; killed at the end if it is still there."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pilothouse_server.demo"),
        *("--server", server.target, "--data-dir", str(data_dir)),
        *("--pace", str(AT_ONCE), "--max-workflows", "1", "--seed", str(seed), *words),
        stdin=DEVNULL,
        stderr=PIPE,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


def tools_in(folder: Path) -> list[psutil.Process]:
    """The processes that work in a folder: tools, and what they started."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()
            is_tool = "pilothouse_server.demo" not in words and any(
                str(folder) in word for word in words
            )
            # One that was killed may wait a moment for whoever adopted it.
            if is_tool and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
