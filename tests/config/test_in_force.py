"""Parts of the server that take up another configuration while they run, each held against the real store."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql.agent_views import SqlAgentViews
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.projection_store import SqlProjectionStore
from pilothouse_server.adapters.sql.retention_store import SqlRetention
from pilothouse_server.domain.events import Event, EventType
from pilothouse_server.domain.platform import DAY_US, PlatformConfig
from pilothouse_server.domain.projection.agent import AgentState
from pilothouse_server.ports import LogEntry
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.pace import Pace
from pilothouse_server.services.project import SilenceSweeper
from pilothouse_server.services.retention import Policy, Retention
from pilothouse_server.services.views import PageRequest
from pilothouse_server.wire.events import decode_stored, encode_events
from tests.config.conftest import HOUR, SECOND
from tests.projection.build import NOON


@dataclass
class SetClock(SystemClock):
    """A wall that tests move."""

    us: int = NOON

    def now_us(self) -> int:
        return self.us


@dataclass
class Plant:
    """A projection, and the configuration that its readers ask for."""

    database: Database
    config: PlatformConfig = PlatformConfig()  # noqa: RUF009 - it cannot change

    def __post_init__(self) -> None:
        self.clock = SetClock()
        self.store = SqlProjectionStore(self.database, decode_stored)
        self.agents = SqlAgentViews(self.database, self.clock, self.configured)

    def configured(self) -> PlatformConfig:
        return self.config

    def configure(self, **values: int) -> None:
        self.config = replace(self.config, **values)

    async def hear(self, *agent_ids: str) -> None:
        beats = [
            Event(
                f"{each}-{self.clock.us}",
                EventType.AGENT_HEARTBEAT,
                self.clock.us,
                self.clock.us,
                agent_id=each,
            )
            for each in agent_ids
        ]
        await self.store.apply([LogEntry(agent_ids[0], encode_events(beats))])

    async def offline(self) -> list[str]:
        page = await self.agents.page(PageRequest(50))
        asked = await self.agents.page(PageRequest(50, filter="state = OFFLINE"))
        found = [each.record.id for each in page.agents if each.state == AgentState.OFFLINE]
        assert [each.record.id for each in asked.agents] == found
        return found

    async def changed_since(self, mark: int) -> list[str]:
        """What a watch sees."""
        return [view.record.id for _, view in (await self.agents.after(mark, 50)).items]

    async def mark(self) -> int:
        return (await self.agents.after(0, 50)).mark


@pytest.fixture
def plant(database: Database) -> Plant:
    return Plant(database)


async def test_who_watches_agents_sees_each_that_a_new_time_makes_silent_or_not(
    plant: Plant,
) -> None:
    sweeper = SilenceSweeper(plant.store, plant.clock, Changes(), plant.configured)
    await plant.hear("old", "gone")
    plant.clock.us += 20 * SECOND
    await plant.hear("young")
    plant.clock.us += 15 * SECOND
    assert await sweeper.sweep() == 2
    assert await plant.offline() == ["gone", "old"]
    mark = await plant.mark()
    plant.configure(agent_offline_after_us=10 * SECOND)
    assert await sweeper.sweep() == 1
    assert await plant.offline() == ["gone", "old", "young"]
    assert await plant.changed_since(mark) == ["young"]
    mark = await plant.mark()
    plant.configure(agent_offline_after_us=30 * SECOND)
    assert await sweeper.sweep() == 1
    assert await plant.changed_since(mark) == ["young"]
    plant.configure(agent_offline_after_us=600 * SECOND)
    assert await sweeper.sweep() == 2
    assert await sweeper.sweep() == 0
    assert await plant.offline() == []


async def test_a_new_lead_takes_back_what_the_one_before_marked_with_less_time(
    plant: Plant,
) -> None:
    await plant.hear("a")
    plant.clock.us += 35 * SECOND
    assert await SilenceSweeper(plant.store, plant.clock, Changes()).sweep() == 1
    mark = await plant.mark()
    plant.configure(agent_offline_after_us=600 * SECOND)
    fresh = SilenceSweeper(plant.store, plant.clock, Changes(), plant.configured)
    assert await fresh.sweep() == 1
    assert await plant.changed_since(mark) == ["a"]


async def test_what_is_kept_for_less_is_removed_at_the_next_look(plant: Plant) -> None:
    policy = Policy()
    store = SqlRetention(plant.database)
    retention = Retention(store, {}, plant.clock, lambda: policy.configured(plant.config))
    ended = [
        Event(kind.name, kind, NOON, NOON, workflow_id="w")
        for kind in (EventType.WORKFLOW_STARTED, EventType.WORKFLOW_COMPLETED)
    ]
    await plant.store.apply([LogEntry("c", encode_events(ended))])
    await retention.sweep()
    plant.clock.us += DAY_US
    await retention.sweep()
    assert not any(retention.counts.removed.values())
    plant.configure(keep_events_us=2 * HOUR, keep_workflows_us=2 * HOUR)
    await retention.sweep()
    assert retention.counts.removed["workflows"] == 1
    assert retention.counts.removed["events"]


def test_every_age_that_can_be_set_is_one_that_retention_goes_by() -> None:
    config = PlatformConfig(
        keep_events_us=1, keep_event_count=2, keep_workflows_us=3, keep_commands_us=4,
        keep_alerts_us=5, keep_agents_us=6,
    )  # fmt: skip
    policy = Policy().configured(config)
    assert policy == replace(
        Policy(), events_us=1, events=2, workflows_us=3, commands_us=4, alerts_us=5, agents_us=6
    )


def test_an_idle_reader_ticks_by_what_is_configured_then() -> None:
    idle = 1.0
    pace = Pace(0.05, lambda: idle, 0.25)
    pace.ticked(10.0, 10.0)
    assert pace.due_at(fresh=False) == pytest.approx(11.0)
    idle = 0.25
    assert pace.due_at(fresh=False) == pytest.approx(10.25)
