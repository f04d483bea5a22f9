"""One workflow on its way through its stages.

A pause takes effect between two stages: the one that runs is finished, and PAUSED is reported when the next one is
held, not before. A cancel takes effect at once. Each change is written to the journal together with the events that
tell of it.

A task that ran says what it cost: the processor time that its tool measured, at a rate of one cent for a second.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path

from pilothouse.executor import ReportedAgent, StageRun, TaskRun, WorkflowRun
from pilothouse.v1.events_pb2 import EventError, Usage
from pilothouse_server.demo.account import Account
from pilothouse_server.demo.brief import Brief, brief_of
from pilothouse_server.demo.fleet import Fleet
from pilothouse_server.demo.holds import Holds
from pilothouse_server.demo.journal import Journal, Record, State
from pilothouse_server.demo.line import Slots
from pilothouse_server.demo.processes import Verdict, run_tool
from pilothouse_server.demo.stages import Step, Task, steps_of

MICROS_PER_CPU_SECOND = 10_000
"""What a second of processor time costs, in millionths of the accounting currency."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """What all workflows of an engine share."""

    seed: int
    journal: Journal
    fleet: Fleet
    slots: Slots
    holds: Holds
    source: str
    """The name of the engine."""
    folders: Path
    """A work folder for each workflow is in here."""
    releases: Path


class Run:
    """One workflow that has not ended."""

    def __init__(self, record: Record, workshop: Workshop) -> None:
        self.record = record
        self._shop = workshop
        self._account = Account(workshop.source)
        brief = brief_of(workshop.seed, record.number)
        self._brief: Brief = brief.without_defects() if record.redone else brief
        self._workflow = WorkflowRun(
            self._account.report,
            record.id,
            workflow_type=brief.kind,
            name=brief.title,
            stage_plan=brief.plan,
            attempt=record.attempt,
        )
        self._folder = workshop.folders / record.id
        self._open: dict[str, TaskRun] = {}
        self._go_on = asyncio.Event()
        self._has_slot = False

    def create(self) -> None:
        """Say that there is something to do."""
        self._workflow.created(f"{len(self._brief.modules)} modules for {self._brief.package}")
        self._commit()

    async def drive(self) -> None:
        """Work on it until it ends. Cancelled, nothing of it is left running and its record says where to go on."""
        try:
            await self._start()
            while self.record.next_stage < len(self._brief.plan):
                await self._hold_if_asked()
                if (
                    wrong := await self._stage(self._brief.plan[self.record.next_stage])
                ) is not None:
                    self._fail(wrong)
                    return
            self._complete()
        finally:
            self._leave()

    def pause(self, command_id: str) -> None:
        """Hold it before its next stage; at once when none has begun."""
        if self.record.started:
            self.record.pause_command = command_id
        else:
            self._hold(command_id)
        self._commit(command_id)

    def resume(self, command_id: str) -> None:
        """Go on."""
        self.record.state = State.RUNNING if self.record.started else State.QUEUED
        self._workflow.resumed(command_id)
        self._commit(command_id)
        self._go_on.set()
        self._shop.slots.line.serve()

    def cancelled(self, command_id: str) -> None:
        """Say that it was ended; `drive` has been cancelled before."""
        for task in self._open.values():
            task.cancelled("stopped with its workflow")
        self.record.open.clear()
        self.record.state = State.CANCELLED
        self._workflow.cancelled(command_id)
        self._commit(command_id)

    def retry(self, command_id: str) -> None:
        """Open the next attempt, from the stage that failed; from the first when its work folder is gone."""
        record = self.record
        if record.next_stage and not self._folder.exists():
            record.next_stage, record.redone, record.blamed = 0, True, []
            self._brief = self._brief.without_defects()
        record.attempt += 1
        record.state, record.started = State.QUEUED, False
        self._workflow.retried(command_id)
        self._commit(command_id)

    def give_up(self, error: Exception) -> None:
        """Say that the engine itself could not go on with it."""
        self._fail(Verdict(False, f"{type(error).__name__}: {error}", "ENGINE_ERROR"))

    @property
    def kind(self) -> str:
        """Its workflow type."""
        return self._brief.kind

    async def _start(self) -> None:
        if self.record.started:
            await self._wait_while_paused()
            self._enter()
        else:
            await self._shop.slots.wait_for_one(self._is_ready, self._begin)

    def _is_ready(self) -> bool:
        return self.record.state is State.QUEUED and self._shop.holds.begins(self.kind)

    def _begin(self) -> None:
        self._has_slot = True
        self.record.started = True
        self.record.state = State.RUNNING
        self._workflow.started()
        for name in self._brief.plan[: self.record.next_stage]:
            self._workflow.stage(name).skipped("what it made in an earlier attempt is kept")
        self._commit()

    async def _hold_if_asked(self) -> None:
        if self.record.pause_command:
            self._hold(self.record.pause_command)
            self._commit()
            self._leave()
            await self._wait_while_paused()
            self._enter()

    def _hold(self, command_id: str) -> None:
        self.record.pause_command = ""
        self.record.state = State.PAUSED
        self._go_on.clear()
        stage = self._brief.plan[self.record.next_stage]
        self._workflow.paused(command_id, f"held before {stage}")

    async def _wait_while_paused(self) -> None:
        while self.record.state is State.PAUSED:
            await self._go_on.wait()

    def _enter(self) -> None:
        self._shop.slots.take()
        self._has_slot = True

    def _leave(self) -> None:
        if self._has_slot:
            self._has_slot = False
            self._shop.slots.give_back()

    async def _stage(self, name: str) -> Verdict | None:
        """Do one stage; what was wrong, if anything."""
        stage = self._workflow.stage(name)
        stage.started()
        self._commit()
        steps = steps_of(
            name,
            self._brief,
            folder=self._folder,
            releases=self._shop.releases,
            release=self.record.id,
            blamed=self.record.blamed,
        )
        for step in steps:
            if wrong := [verdict for verdict in await self._step(name, step) if not verdict.ok]:
                self._stage_failed(stage, wrong)
                return wrong[0]
        stage.completed()
        self.record.blamed = []
        self.record.next_stage += 1
        self._commit()
        return None

    def _stage_failed(self, stage: StageRun, wrong: list[Verdict]) -> None:
        stage.failed(_error(wrong[0]))
        self.record.blamed = sorted({file for verdict in wrong for file in verdict.files})

    async def _step(self, stage: str, step: Step) -> list[Verdict]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._task(stage, task)) for task in step]
        return [task.result() for task in tasks]

    async def _task(self, stage: str, task: Task) -> Verdict:
        """Do one task, again if it may be flaky."""
        task_id = f"{stage}/{task.name}"
        told = self._take_up(stage, task_id, task.agent_type)
        tried = 1
        while not (verdict := await self._try(told, task, tried)).ok and tried < task.tries:
            tried += 1
            told.retrying(_error(verdict), usage=_usage(verdict))
            self.record.tasks[task_id] = told.attempt
            self._commit()
        return self._task_ended(told, verdict)

    def _take_up(self, stage: str, task_id: str, agent_type: str) -> TaskRun:
        attempt = self.record.tasks.get(task_id, 0)
        told = self._workflow.task(
            task_id, stage=stage, attempt=attempt or 1, agent_type=agent_type
        )
        if task_id in self.record.open:
            told.retrying(
                EventError(code="ENGINE_STOPPED", message="the engine was stopped while it ran")
            )
        elif attempt:
            told.attempt = attempt + 1
        self.record.tasks[task_id] = told.attempt
        if task_id not in self.record.open:
            self.record.open.append(task_id)
        self._open[task_id] = told
        return told

    async def _try(self, told: TaskRun, task: Task, tried: int) -> Verdict:
        told.agent = None
        told.queued()
        self._commit()

        def given(agent: ReportedAgent) -> None:
            told.assigned(agent)
            self._commit()

        def started() -> None:
            told.started()
            self._commit()

        lease = self._shop.fleet.lease(
            task.agent_type,
            workflow_type=self.kind,
            workflow_id=self.record.id,
            task_id=told.id,
            given=given,
        )
        async with lease:
            environment = {"TEST_SEED": self._test_seed(told.id, tried)}
            return await run_tool(
                task.tool, task.arguments, environment=environment, on_start=started
            )

    def _task_ended(self, told: TaskRun, verdict: Verdict) -> Verdict:
        if verdict.ok:
            told.completed(verdict.message, usage=_usage(verdict))
        else:
            told.failed(_error(verdict), usage=_usage(verdict))
        self.record.open.remove(told.id)
        del self._open[told.id]
        self._commit()
        return verdict

    def _test_seed(self, task_id: str, tried: int) -> str:
        words = f"{self._shop.seed}:{self.record.number}:{task_id}:{self.record.attempt}:{tried}"
        return str(int.from_bytes(hashlib.blake2b(words.encode(), digest_size=4).digest(), "big"))

    def _complete(self) -> None:
        self.record.pause_command = ""
        self.record.state = State.COMPLETED
        self._workflow.completed(f"{self._brief.package} {self._brief.version}")
        self._commit()

    def _fail(self, verdict: Verdict) -> None:
        self.record.pause_command = ""
        self.record.state = State.FAILED
        self._workflow.failed(_error(verdict), retryable=True)
        self._commit()

    def _commit(self, command_id: str = "") -> None:
        self._shop.journal.commit(self.record, self._account.take(), command_id)


def _error(verdict: Verdict) -> EventError:
    return EventError(code=verdict.code, message=verdict.message[:4000], retryable=True)


def _usage(verdict: Verdict) -> Usage | None:
    if verdict.cpu_seconds is None:
        return None
    return Usage(cost_micros=round(verdict.cpu_seconds * MICROS_PER_CPU_SECOND))
