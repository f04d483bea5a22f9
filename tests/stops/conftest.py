"""The plant of control, with emergency stops on it and engines that obey when they are told to."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from sqlalchemy import select

from pilothouse_server.adapters.sql.audit_rows import head
from pilothouse_server.adapters.sql.command_store import command_of
from pilothouse_server.adapters.sql.stop_store import SqlStops
from pilothouse_server.adapters.sql.tables_audit import AUDIT
from pilothouse_server.adapters.sql.tables_control import COMMANDS
from pilothouse_server.adapters.sql.tables_projection import WORKFLOWS
from pilothouse_server.domain.commands import Capability, Command, Executor, Scope
from pilothouse_server.domain.events import AgentLoad, Event, EventError, EventType
from pilothouse_server.domain.stops import Scope as About
from pilothouse_server.domain.stops import Stage, Stop, TargetState
from pilothouse_server.domain.workflows import Action, WorkflowState
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.ids import uuid7
from pilothouse_server.services.stop_ports import StopView
from pilothouse_server.services.stop_runner import StopRunner
from pilothouse_server.services.stops import EmergencyStops, StopRequest
from tests.control.build import SECOND
from tests.control.conftest import Plant, SetClock
from tests.databases import Place

_ALL = {
    Scope.RUN: (Action.PAUSE, Action.RESUME, Action.CANCEL, Action.RETRY),
    Scope.POOL: (Action.DRAIN, Action.ACTIVATE, Action.RESTART, Action.RESIZE),
    Scope.FLEET: (Action.PAUSE, Action.RESUME),
}
ABLE = tuple(
    Capability(action, scope, selective=True)
    for scope, actions in _ALL.items()
    for action in actions
)
"""An engine that can do everything."""

_SHOWN = {
    (Scope.RUN, Action.PAUSE): EventType.WORKFLOW_PAUSED,
    (Scope.RUN, Action.RESUME): EventType.WORKFLOW_RESUMED,
    (Scope.RUN, Action.CANCEL): EventType.WORKFLOW_CANCELLED,
    (Scope.POOL, Action.DRAIN): EventType.AGENT_DRAINING,
    (Scope.POOL, Action.ACTIVATE): EventType.AGENT_REGISTERED,
    (Scope.FLEET, Action.PAUSE): EventType.QUEUE_PAUSED,
    (Scope.FLEET, Action.RESUME): EventType.QUEUE_ACTIVE,
}


@dataclass
class Fleet(Plant):
    """What emergency stops act on. Nothing happens by itself: `carry` is a look of the lead, `obey` of the engines."""

    changes: Changes = field(default_factory=Changes)

    def open(self) -> None:
        super().open()
        store = SqlStops(self.database)
        self.stops = EmergencyStops(
            store,
            store.follow,
            self.clock,
            changes=self.changes,
            told=self.signals.notify,
            new_id=uuid7,
        )
        self.lead()

    def lead(self) -> None:
        """Another replica leads, which knows nothing of what was done."""
        self.runner = StopRunner(
            SqlStops(self.database),
            self.clock,
            changes=self.changes,
            signals=self.signals,
            new_id=uuid7,
        )

    def step(self, seconds: float) -> None:
        """Time passes."""
        self.clock.us += round(seconds * SECOND)

    async def engine(
        self, source: str = "e", able: Iterable[Capability] = ABLE, *, connected: bool = True
    ) -> None:
        """An engine connects, or is away."""
        now_us = self.clock.us
        executor = Executor(source, tuple(able), connected, now_us, now_us, stream=uuid7())
        await self.store.write(lambda transaction: transaction.put_executor(executor))
        self.signals.notify()

    async def told(self, kind: EventType, source: str = "e", **fields: Any) -> None:
        """An engine reports something that happens now."""
        self.clock.us += 1
        now_us = self.clock.us
        await self.report(Event(uuid7(), kind, now_us, now_us, source, **fields))

    async def works(self, *ids: str, source: str = "e", kind: str = "") -> None:
        """Workflows start."""
        for id_ in ids:
            await self.told(
                EventType.WORKFLOW_STARTED, source, workflow_id=id_, workflow_type=kind, attempt=1
            )

    async def agent(self, id_: str, kind: str = "", *, active: int = 0, source: str = "e") -> None:
        """An agent comes."""
        await self.told(
            EventType.AGENT_REGISTERED,
            source,
            agent_id=id_,
            agent_type=kind,
            load=AgentLoad(active, 4),
        )

    async def carry(self) -> None:
        """The lead looks until there is nothing more to do at once."""
        for _ in range(50):
            if not await self.runner.look() and not await self.runner.look():
                return
        raise AssertionError("the runner does not come to rest")

    async def pending(self) -> list[Command]:
        """Commands that have not ended, oldest first."""
        query = select(COMMANDS).where(COMMANDS.c.end_us.is_(None)).order_by(COMMANDS.c.sequence)
        rows = await self.database.read(lambda c: c.execute(query).mappings().all())
        return [command_of(row) for row in rows]

    async def commands(self) -> list[Command]:
        """All commands, oldest first."""
        query = select(COMMANDS).order_by(COMMANDS.c.sequence)
        rows = await self.database.read(lambda c: c.execute(query).mappings().all())
        return [command_of(row) for row in rows]

    async def obey(self, *, but: Collection[str] = (), fail: Collection[str] = ()) -> int:
        """The engines do what they were asked; of these targets nothing, or say of them that they cannot."""
        asked = [each for each in await self.pending() if each.target not in but]
        events: list[Event] = []
        for each in asked:
            if each.target in fail:
                await self.control.fail(each.id, each.source, EventError("BROKEN", "it broke"))
                continue
            fields: dict[str, Any] = {"command_id": each.id}
            match each.scope:
                case Scope.RUN:
                    fields |= {"workflow_id": each.workflow_id, "attempt": each.attempt}
                case Scope.POOL:
                    fields |= {"agent_id": each.agent_id}
                case _:
                    fields |= {"workflow_type": each.workflow_type, "agent_type": each.agent_type}
            self.clock.us += 1
            shown, now_us = _SHOWN[each.scope, each.action], self.clock.us
            events.append(Event(uuid7(), shown, now_us, now_us, each.source, **fields))
        if events:
            await self.report(*events)
        return len(asked)

    async def all_obey(self) -> None:
        """The lead and the engines take turns until there is nothing more to do."""
        for _ in range(20):
            self.step(0.3)
            await self.carry()
            if not await self.obey():
                return
        raise AssertionError("it goes on and on")

    async def stop(
        self, stage: Stage = Stage.PAUSE_ALL, about: About | None = None, **said: Any
    ) -> Stop:
        """Somebody presses the button."""
        request = StopRequest("ana", "fire", stage=stage, scope=about or About())
        request = replace(request, confirmation=stage.confirmation)
        return (await self.stops.start(replace(request, **said))).stop

    async def escalate(self, stop: Stop, stage: Stage) -> Stop:
        """Goes further."""
        said = StopRequest("ana", "more", stop.id, stage, confirmation=stage.confirmation)
        return (await self.stops.escalate(said)).stop

    async def release(self, stop: Stop) -> Stop:
        """Lets go."""
        return (await self.stops.release(StopRequest("ben", "over", stop.id))).stop

    async def view(self, stop: Stop) -> StopView:
        """As it is now."""
        return await self.stops.get(stop.id)

    async def now(self, stop: Stop) -> Stop:
        """The same without what disobeys."""
        return (await self.view(stop)).stop

    async def targets(self, stop: Stop) -> dict[str, str]:
        """Where each target stands."""
        found, _ = await self.stops.targets(stop.id, (), 500, "")
        return {target.id: target.state.name for target in found}

    async def standing(self, stop: Stop, *states: TargetState) -> list[str]:
        """The targets that stand so."""
        found, _ = await self.stops.targets(stop.id, states, 500, "")
        return [target.id for target in found]

    async def states(self) -> dict[str, str]:
        """The state of each workflow."""
        query = select(WORKFLOWS.c.id, WORKFLOWS.c.state)
        rows = await self.database.read(lambda c: c.execute(query).all())
        return {id_: WorkflowState(state).name for id_, state in rows}

    async def recorded(self) -> Counter[str]:
        """What the audit log has, by verb and outcome."""
        query = select(AUDIT.c.verb, AUDIT.c.outcome)
        rows = await self.database.read(lambda c: c.execute(query).all())
        return Counter(f"{verb} {outcome}" for verb, outcome in rows)

    async def audited(self) -> int:
        """How many records there are."""
        sequence, _ = await self.database.read(head)
        return sequence


@pytest.fixture
async def fleet(place: Place) -> AsyncIterator[Fleet]:
    """Engine e is connected and can do everything."""
    fleet = Fleet(place, SetClock())
    await fleet.engine()
    yield fleet
    await fleet.database.close()
