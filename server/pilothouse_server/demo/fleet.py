"""The agents: work goes to the least busy one of its type that takes any, in the order of asking.

What an operator made of an agent (draining, its size, a restart that waits for what is in hand) is in the journal,
with the events that tell of it; heartbeats are not, the next one says it all.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager

from pilothouse.executor import CommandRefused, ReportedAgent
from pilothouse.v1.events_pb2 import Event
from pilothouse_server.demo.account import Account
from pilothouse_server.demo.journal import AgentRecord, Journal
from pilothouse_server.demo.line import Line

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
LARGEST = 16
"""Tasks that an agent can have at once, at most: each is a process of its own."""

Report = Callable[[Event], "str | None"]
Given = Callable[[ReportedAgent], None]
"""Writes down that a task was given to an agent."""


class Agent:
    """One agent, as it is and as it is told of."""

    def __init__(self, record: AgentRecord, told: ReportedAgent) -> None:
        self.record = record
        self.told = told

    @property
    def has_room(self) -> bool:
        """Whether it takes another task."""
        record = self.record
        takes = not (record.draining or record.restart_command)
        return takes and self.told.active < record.capacity


class Fleet:
    """All agents. `gives` says whether an agent type may get a task of a workflow type now."""

    def __init__(
        self, journal: Journal, source: str, report: Report, gives: Callable[[str, str], bool]
    ) -> None:
        self._journal = journal
        self._report_now = report
        self._account = Account(source)
        self._gives = gives
        self._written_down = False
        self.line = Line()
        """Tasks that wait for an agent."""
        self._agents: dict[str, Agent] = {}
        for agent_id, agent_type, capacity in AGENTS:
            record = journal.agent(agent_id) or AgentRecord(agent_id, capacity)
            told = ReportedAgent(
                self._report, agent_id, agent_type=agent_type, capacity=record.capacity
            )
            self._agents[agent_id] = Agent(record, told)

    @property
    def types(self) -> list[str]:
        """The types of its agents."""
        return sorted({agent.told.agent_type for agent in self._agents.values()})

    def begin(self, beat: Callable[[ReportedAgent, float], None]) -> None:
        """Say how each agent stands, and let it `beat`. What was restarting when the engine ended has restarted."""
        for agent in self._agents.values():
            if agent.record.restart_command:
                self._restarted(agent)
            elif agent.record.draining:
                # Registered would say that it takes work.
                agent.told.draining("it was draining when the engine ended")
            else:
                agent.told.registered()
            beat(agent.told, HEARTBEAT_SECONDS)

    @asynccontextmanager
    async def lease(
        self, agent_type: str, *, workflow_type: str, workflow_id: str, task_id: str, given: Given
    ) -> AsyncGenerator[ReportedAgent]:
        """Wait for an agent of this type and have a share of it for one task."""
        taken: list[Agent] = []

        def begin() -> bool:
            if (agent := self._able(workflow_type, agent_type)) is None:
                return False
            taken.append(agent)
            agent.told.take_up(workflow_id, task_id)
            given(agent.told)
            return True

        try:
            await self.line.wait(begin)
            yield taken[0].told
        finally:
            for agent in taken:
                self._put_down(agent, task_id)

    def _able(self, workflow_type: str, agent_type: str) -> Agent | None:
        if not self._gives(workflow_type, agent_type):
            return None
        able = (
            agent
            for agent in self._agents.values()
            if agent.told.agent_type == agent_type and agent.has_room
        )
        return min(able, key=lambda agent: agent.told.active, default=None)

    def _put_down(self, agent: Agent, task_id: str) -> None:
        agent.told.put_down(task_id)
        # While the engine stops, work is not finished but cut: the restart is for the next start.
        if agent.record.restart_command and not agent.told.active and not self.line.closed:
            self._restarted(agent)
        self.line.serve()

    def drain(self, agent_id: str, command_id: str) -> None:
        """Give it nothing new. Raises CommandRefused."""
        agent = self._agent(agent_id)
        if agent.record.draining:
            raise CommandRefused("ALREADY_DRAINING", "it takes nothing new already")
        agent.record.draining = True
        with self._change(agent, command_id) as told:
            told.draining(command=command_id)

    def activate(self, agent_id: str, command_id: str) -> None:
        """Give it work again. Raises CommandRefused."""
        agent = self._agent(agent_id)
        if not agent.record.draining:
            raise CommandRefused("NOT_DRAINING", "it is not draining")
        agent.record.draining = False
        with self._change(agent, command_id) as told:
            told.activated(command_id)
        self.line.serve()

    def resize(self, agent_id: str, capacity: int, command_id: str) -> None:
        """Let it have so many tasks at once; what it has above that it finishes. Raises CommandRefused."""
        agent = self._agent(agent_id)
        if not 1 <= capacity <= LARGEST:
            raise CommandRefused("SIZE_OUT_OF_RANGE", f"it can have 1 to {LARGEST} tasks at once")
        agent.record.capacity = capacity
        with self._change(agent, command_id) as told:
            told.resized(capacity, command=command_id)
        self.line.serve()

    def restart(self, agent_id: str, command_id: str) -> None:
        """Let it finish what it has, go and come again; one that was draining is draining still. Raises
        CommandRefused."""
        agent = self._agent(agent_id)
        agent.record.restart_command = command_id
        if not agent.told.active:
            self._restarted(agent, command_id)
            return
        with self._change(agent, command_id) as told:
            told.draining("it finishes what it has, and is restarted")

    def _restarted(self, agent: Agent, command_id: str = "") -> None:
        answered, agent.record.restart_command = agent.record.restart_command, ""
        with self._change(agent, command_id) as told:
            told.offline("an operator restarts it")
            told.registered(command=answered)
            if agent.record.draining:
                told.draining("it was draining before its restart")
        self.line.serve()

    def _agent(self, agent_id: str) -> Agent:
        agent = self._agents.get(agent_id)
        if agent is None:
            raise CommandRefused("UNKNOWN_AGENT", "this engine has no such agent")
        return agent

    @contextmanager
    def _change(self, agent: Agent, command_id: str) -> Generator[ReportedAgent]:
        """What is said of the agent meanwhile is written down with its record and the command."""
        self._written_down = True
        try:
            yield agent.told
        finally:
            self._written_down = False
        self._journal.commit_agent(agent.record, self._account.take(), command_id)

    def _report(self, event: Event) -> str | None:
        return self._account.report(event) if self._written_down else self._report_now(event)
