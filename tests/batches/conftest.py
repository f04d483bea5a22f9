"""The plant of control, with batches on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from sqlalchemy import select

from pilothouse_server.adapters.sql.batch_store import SqlBatches
from pilothouse_server.adapters.sql.command_store import command_of
from pilothouse_server.adapters.sql.tables_audit import AUDIT
from pilothouse_server.adapters.sql.tables_control import COMMANDS
from pilothouse_server.domain.batches import Batch, BatchItem, BatchView, ItemOutcome
from pilothouse_server.domain.commands import Command
from pilothouse_server.domain.events import EventType
from pilothouse_server.domain.platform import PlatformConfig
from pilothouse_server.domain.workflows import Action
from pilothouse_server.services.batch_rows import Selection
from pilothouse_server.services.batch_runner import BatchRunner
from pilothouse_server.services.batches import Act, Batches, Draft
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.ids import uuid7
from pilothouse_server.services.views import PageRequest
from tests.control.build import SECOND, event
from tests.control.conftest import Plant, SetClock
from tests.databases import Place

ALL = PageRequest(500)


@dataclass
class StepClock(SetClock):
    """Both times are the wall's."""

    def monotonic(self) -> float:
        return self.us / SECOND


@dataclass
class Yard(Plant):
    """What batches run through. `config` is what is in force."""

    config: PlatformConfig = PlatformConfig()  # noqa: RUF009 - frozen
    changes: Changes = field(default_factory=Changes)

    def open(self) -> None:
        super().open()
        batches = SqlBatches(self.database, self.clock)
        self.batches = Batches(
            batches,
            self.clock,
            self.signals,
            self.changes,
            new_id=uuid7,
            configured=lambda: self.config,
        )
        self.runner = BatchRunner(
            batches,
            self.clock,
            self.signals,
            self.changes,
            new_id=uuid7,
            configured=lambda: self.config,
        )

    def step(self, seconds: float) -> None:
        """Time passes."""
        self.clock.us += round(seconds * SECOND)

    def configure(self, **values: Any) -> None:
        """From now on these are in force."""
        self.config = replace(self.config, **values)

    async def run_many(self, count: int, source: str = "e", prefix: str = "w") -> list[str]:
        """So many workflows that run, oldest first."""
        ids = [f"{prefix}{number:05}" for number in range(count)]
        now_us = self.clock.us - 10 * SECOND
        started = EventType.WORKFLOW_STARTED
        await self.report(
            *(
                event(
                    started,
                    id=f"{id_}-started",
                    workflow_id=id_,
                    occur_us=now_us + number,
                    receive_us=now_us + number,
                    source=source,
                )
                for number, id_ in enumerate(ids)
            )
        )
        return ids

    async def make(
        self, action: Action = Action.PAUSE, ids: Sequence[str] = (), **said: Any
    ) -> Batch:
        """A batch of these workflows, or of all that run."""
        wanted = "" if ids else "state = RUNNING"
        draft = Draft(Selection(action, wanted, tuple(ids)), actor="ana", reason="freeze")
        return (await self.batches.create(replace(draft, **said))).batch

    async def start(self, batch: Batch) -> None:
        """Somebody looked, and began."""
        await self.batches.start(Act(batch.id, "ben"), batch.size)

    async def counts(self, batch: Batch) -> dict[str, int]:
        """What became of its workflows."""
        view = await self.batches.get(batch.id)
        return {outcome.name: count for outcome, count in view.counts.items()}

    async def items(self, batch: Batch, *outcomes: ItemOutcome) -> Sequence[BatchItem]:
        """Its workflows with these outcomes."""
        return (await self.batches.items(batch.id, outcomes, ALL)).items

    async def view(self, batch: Batch) -> BatchView:
        """As it is now."""
        return await self.batches.get(batch.id)

    async def commands(self) -> list[Command]:
        """All of them, in their order."""
        query = select(COMMANDS).order_by(COMMANDS.c.sequence)
        return await self.database.read(
            lambda c: [command_of(row) for row in c.execute(query).mappings()]
        )

    async def audited(self) -> list[tuple[str, str, str]]:
        """(actor, verb, outcome) of each record."""
        query = select(AUDIT.c.actor, AUDIT.c.verb, AUDIT.c.outcome)
        rows = await self.database.read(lambda c: c.execute(query.order_by(AUDIT.c.sequence)).all())
        outcomes = ("", "ACCEPTED", "REFUSED", "EFFECTIVE", "FAILED", "EXPIRED")
        return [(row.actor, row.verb, outcomes[row.outcome]) for row in rows]

    async def obey(self, commands: Sequence[Command]) -> None:
        """The engine's own events show what was asked."""
        shown = {
            Action.PAUSE: EventType.WORKFLOW_PAUSED,
            Action.RESUME: EventType.WORKFLOW_RESUMED,
            Action.CANCEL: EventType.WORKFLOW_CANCELLED,
        }
        await self.report(
            *(
                event(
                    shown[each.action],
                    id=f"{each.id}-done",
                    workflow_id=each.workflow_id,
                    occur_us=self.clock.us,
                    receive_us=self.clock.us,
                    source=each.source,
                    command_id=each.id,
                )
                for each in commands
            )
        )


@pytest.fixture
async def yard(place: Place) -> AsyncIterator[Yard]:
    """Nothing runs; engine e can do everything."""
    yard = Yard(place, StepClock())
    await yard.register()
    yield yard
    await yard.database.close()
