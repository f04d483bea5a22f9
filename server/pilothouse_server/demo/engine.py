"""The engine: workflows arrive at a steady pace, agents work on them, operators steer them, a restart goes on."""

from __future__ import annotations

import asyncio
import logging
import shutil
import uuid
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilothouse.executor import CommandRefused, Executor
from pilothouse.v1.commands_pb2 import Command, CommandBoundary
from pilothouse.v1.enums_pb2 import ControlAction
from pilothouse_server.demo.brief import PLANS, brief_of
from pilothouse_server.demo.fleet import Fleet
from pilothouse_server.demo.holds import Holds
from pilothouse_server.demo.journal import Journal, Record, State, new_seed
from pilothouse_server.demo.line import Slots
from pilothouse_server.demo.orders import Orders
from pilothouse_server.demo.run import Run, Workshop

log = logging.getLogger("pilothouse.demo")

KEPT_FOLDERS = 50
"""Work folders of ended workflows that stay."""
MOST_UNFINISHED = 60
"""Workflows that have not ended; at this many, paused ones included, none arrives."""
MOST_HELD = 8
"""Workflows of held types that arrive all the same, to wait; the next one that is held waits to arrive."""
MOST_UNDELIVERED = 20_000
"""Events that the server has not taken; at this many none arrives."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What can be chosen."""

    pace: float = 24.0
    """Workflows that arrive in a minute, at most."""
    slots: int = 8
    """Workflows that work at once."""
    waiting: int = 4
    """Workflows that may wait for a slot; at this many none arrives."""
    max_workflows: int | None = None
    """End when so many were worked on in this folder and the server knows all of it; None: never."""
    seed: int | None = None
    """Decides the workflows of a new folder; None: by chance. A folder keeps its seed."""
    source: str = "demo"
    """The name under which it reports."""


class Engine:
    """One engine, at work in one folder."""

    def __init__(self, executor: Executor, folder: Path, options: EngineOptions) -> None:
        self._executor = executor
        self._folder = folder
        self._options = options
        self._journal = Journal(folder, executor.report)
        seed = new_seed() if options.seed is None else options.seed
        self._holds = Holds(self._journal, options.source, self._serve)
        self._shop = Workshop(
            seed=self._journal.setting("seed", seed),
            journal=self._journal,
            fleet=Fleet(self._journal, options.source, executor.report, self._holds.gives),
            slots=Slots(options.slots),
            holds=self._holds,
            source=options.source,
            folders=folder / "work",
            releases=folder / "releases",
        )
        self._runs: dict[str, Run] = {}
        self._drivers: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._register()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set or all workflows have ended. Then no process of it is left."""
        with self._journal:
            _, undelivered = self._journal.outbox()
            for event in undelivered:
                self._executor.report(event)
            self._shop.fleet.begin(self._executor.beat)
            self._holds.tell(self._executor.report, PLANS, self._shop.fleet.types)
            async with self._executor, asyncio.TaskGroup() as group:
                self._group = group
                _remove(list((self._folder / "trash").glob("*")))
                for record in self._journal.unfinished():
                    self._drive(Run(record, self._shop), group)
                tasks = [group.create_task(self._arrive(group)), group.create_task(self._confirm())]
                await _first(stop.wait(), self._all_ended())
                self._group = None
                self._shop.slots.line.close()
                self._shop.fleet.line.close()
                for task in (*tasks, *self._drivers.values()):
                    task.cancel()
            self._forget_delivered()

    def _forget_delivered(self) -> None:
        """What the executor could not deliver when it was closed stays in the outbox; ids make the rest harmless."""
        if not self._executor.undelivered:
            self._journal.delivered(self._journal.outbox_end()[0])

    async def _arrive(self, group: asyncio.TaskGroup) -> None:
        number = self._journal.next_number()
        while self._options.max_workflows is None or number <= self._options.max_workflows:
            kind = brief_of(self._shop.seed, number).kind
            await self._until(lambda: self._has_room(kind))  # noqa: B023 - awaited
            record = Record(f"{kind}-{self._shop.seed & 0xFFFF:04x}-{number:05d}", number)
            run = Run(record, self._shop)
            run.create()
            self._drive(run, group)
            number += 1
            await asyncio.sleep(60 / self._options.pace)

    def _has_room(self, kind: str) -> bool:
        """Whether a workflow of this type may arrive. While everything is held none does."""
        if self._holds.everything or len(self._runs) >= MOST_UNFINISHED:
            return False
        held = not self._holds.begins(kind)
        alike = [
            run
            for run in self._runs.values()
            if run.record.state is State.QUEUED and self._holds.begins(run.kind) is not held
        ]
        most = MOST_HELD if held else self._options.waiting
        return len(alike) < most and self._journal.outbox_end()[1] < MOST_UNDELIVERED

    def _serve(self) -> None:
        """Something is held, or is not any more."""
        self._shop.slots.line.serve()
        self._shop.fleet.line.serve()
        self._changed.set()

    async def _all_ended(self) -> None:
        """Return when there is nothing more to do, and nothing more to tell."""
        await self._until(self._is_done)

    def _is_done(self) -> bool:
        most = self._options.max_workflows
        if most is None or self._runs or self._journal.next_number() <= most:
            return False
        return self._journal.outbox_end()[1] == 0

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            # Most changes are told; the rest are seen a second later.
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._changed.wait()

    async def _confirm(self) -> None:
        """Empty the journal's outbox as the server takes what is in it."""
        while True:
            last, _ = self._journal.outbox_end()
            await self._executor.flush()
            self._journal.delivered(last)
            self._changed.set()
            await asyncio.sleep(1)

    def _drive(self, run: Run, group: asyncio.TaskGroup) -> None:
        self._runs[run.record.id] = run
        self._drivers[run.record.id] = group.create_task(self._driven(run), name=run.record.id)

    async def _driven(self, run: Run) -> None:
        try:
            await run.drive()
        except Exception as error:
            log.exception("%s cannot go on", run.record.id)
            run.give_up(error)
        await self._ended(run)

    async def _ended(self, run: Run) -> None:
        self._runs.pop(run.record.id, None)
        self._drivers.pop(run.record.id, None)
        self._changed.set()
        kept = self._journal.ended_ids(KEPT_FOLDERS) | self._runs.keys()
        await asyncio.to_thread(_remove, set_aside(self._shop.folders, kept))

    def _register(self) -> None:
        step, now = (
            CommandBoundary.COMMAND_BOUNDARY_STEP,
            CommandBoundary.COMMAND_BOUNDARY_IMMEDIATE,
        )
        on = self._executor.on
        on(ControlAction.CONTROL_ACTION_PAUSE, boundary=step)(self._pause)
        on(ControlAction.CONTROL_ACTION_RESUME, boundary=now)(self._resume)
        on(ControlAction.CONTROL_ACTION_CANCEL, boundary=now)(self._cancel)
        on(ControlAction.CONTROL_ACTION_RETRY, boundary=now)(self._retry)
        Orders(self._shop.fleet, self._holds, self._is_to_do).register(self._executor)

    def _is_to_do(self, command: Command) -> bool:
        """Whether the command has not been applied. While the engine stops it is left for the next start."""
        return self._group is not None and not self._journal.was_applied(command.id)

    def _running(self, command: Command) -> Run:
        run = self._runs.get(command.workflow_id)
        if run is None:
            raise CommandRefused("NOT_RUNNING", "this engine does not work on it")
        return run

    async def _pause(self, command: Command) -> None:
        if self._is_to_do(command):
            run = self._running(command)
            if run.record.state is State.PAUSED:
                raise CommandRefused("ALREADY_PAUSED", "it is paused")
            run.pause(command.id)

    async def _resume(self, command: Command) -> None:
        if self._is_to_do(command):
            run = self._running(command)
            if run.record.state is not State.PAUSED:
                raise CommandRefused("NOT_PAUSED", "it is not paused")
            run.resume(command.id)

    async def _cancel(self, command: Command) -> None:
        if not self._is_to_do(command):
            return
        run = self._running(command)
        driver = self._drivers[command.workflow_id]
        driver.cancel()
        await asyncio.wait([driver])
        if self._group is None:
            return
        if run.record.state.has_ended:
            raise CommandRefused(
                "ALREADY_ENDED", f"it was {run.record.state} before it could be cancelled"
            )
        run.cancelled(command.id)
        await self._ended(run)

    async def _retry(self, command: Command) -> None:
        group = self._group
        if group is None or self._journal.was_applied(command.id):
            return
        record = self._journal.find(command.workflow_id)
        if record is None or record.state is not State.FAILED or record.id in self._runs:
            raise CommandRefused("NOT_FAILED", "this engine knows of no failure of it")
        run = Run(record, self._shop)
        run.retry(command.id)
        self._drive(run, group)


async def _first(*waits: Coroutine[Any, Any, object]) -> None:
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def set_aside(folders: Path, kept: set[str]) -> list[Path]:
    """Take the work folders that are not kept out of the way, at once; they can then be removed at leisure."""
    aside = folders.with_name("trash")
    stale = [folder for folder in folders.glob("*") if folder.name not in kept]
    aside.mkdir(exist_ok=True)
    return [folder.rename(aside / f"{folder.name}.{uuid.uuid4().hex}") for folder in stale]


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
