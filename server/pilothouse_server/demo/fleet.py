"""The agents, and who waits for them: work goes to the least busy agent of its type, in the order of asking."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from pilothouse.executor import ReportedAgent

AGENTS: tuple[tuple[str, str, int], ...] = (
    ("planner-1", "planning", 2),
    ("scaffolder-1", "scaffolding", 1),
    ("scaffolder-2", "scaffolding", 1),
    ("dependencies-1", "dependency", 1),
    ("validator-1", "validation", 1),
    ("validator-2", "validation", 1),
    ("tester-1", "testing", 1),
    ("tester-2", "testing", 1),
    ("tester-3", "testing", 1),
    ("integrator-1", "integration", 1),
    ("integrator-2", "integration", 1),
    ("packager-1", "packaging", 2),
    ("deployer-1", "deployment", 1),
)
"""Id, type and how many tasks it can have at once. Few, so that work has to wait for them."""

HEARTBEAT_SECONDS = 5.0

Enlist = Callable[..., ReportedAgent]
"""`Executor.agent`."""


class Fleet:
    """All agents."""

    def __init__(self, enlist: Enlist) -> None:
        self._agents: defaultdict[str, list[ReportedAgent]] = defaultdict(list)
        for agent_id, agent_type, capacity in AGENTS:
            agent = enlist(
                agent_id,
                agent_type=agent_type,
                capacity=capacity,
                heartbeat_every=HEARTBEAT_SECONDS,
            )
            self._agents[agent_type].append(agent)
        # A semaphore wakes its waiters in order, and gives back what a cancelled one was given.
        self._room = {
            agent_type: asyncio.Semaphore(sum(agent.capacity for agent in agents))
            for agent_type, agents in self._agents.items()
        }

    @asynccontextmanager
    async def lease(
        self, agent_type: str, *, workflow_id: str, task_id: str
    ) -> AsyncGenerator[ReportedAgent]:
        """Wait for an agent of this type and have a share of it for one task."""
        async with self._room[agent_type]:
            able = [agent for agent in self._agents[agent_type] if agent.active < agent.capacity]
            agent = min(able, key=lambda agent: agent.active)
            agent.take_up(workflow_id, task_id)
            try:
                yield agent
            finally:
                agent.put_down(task_id)


class Slots:
    """How many workflows work at once. One that goes on after a pause or a restart is never kept waiting."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._changed = asyncio.Condition()
        self.taken = 0

    async def wait_for_one(self) -> None:
        """Take a slot when there is one."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.taken < self._limit)
            self.taken += 1

    def take(self) -> None:
        """Take a slot, whether there is one or not."""
        self.taken += 1

    async def give_back(self) -> None:
        """Let another one work."""
        async with self._changed:
            self.taken -= 1
            self._changed.notify()
