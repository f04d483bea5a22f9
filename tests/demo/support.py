"""An engine of the demo for a test: in this process or in one of its own, against a small server."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from pilothouse.executor import Executor
from pilothouse.v1.commands_pb2 import Command, CommandState
from pilothouse.v1.enums_pb2 import ControlAction
from pilothouse.v1.events_pb2 import Event, EventType
from pilothouse_server.demo.brief import Brief, brief_of
from pilothouse_server.demo.engine import Engine, EngineOptions
from pilothouse_server.demo.tools import catalogue
from tests.client.support import Server
from tests.support import wait_until

QUICK = frozenset({*catalogue.PURE, "write_log"})
"""Modules whose tests do not wait for the clock."""

AT_ONCE = 6000.0
"""A pace at which workflows do not wait for each other."""


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
        self, kind: str, *, stage: str = "", workflow: str = "", within: float = 30.0
    ) -> Event:
        """The first event of this type, and of this stage and workflow if they are named."""

        def matching() -> list[Event]:
            return [
                event
                for event in self.events(kind)
                if stage in {"", event.stage} and workflow in {"", event.workflow_id}
            ]

        await wait_until(matching, within=within, what=f"{kind} {stage}")
        return matching()[0]

    async def effective(self, command: Command) -> None:
        """Wait until the engine's event showed the effect of a command."""
        await self.ended(command, CommandState.COMMAND_STATE_EFFECTIVE)

    async def ended(self, command: Command, state: CommandState.ValueType) -> None:
        """Wait until a command has this state."""
        await wait_until(
            lambda: command.state == state, within=30, what=f"{CommandState.Name(state)}"
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
