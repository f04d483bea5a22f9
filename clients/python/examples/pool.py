"""A worker with a pool under Pilothouse: it is drained, activated and resized, and its jobs are held by type.

Run it beside a server: `python pool.py 127.0.0.1:50051 job-1 job-2`.
"""

import asyncio
import sys

from pilothouse.executor import CommandRefused, Executor
from pilothouse.v1.commands_pb2 import Command, CommandScope
from pilothouse.v1.enums_pb2 import ControlAction

POOL, FLEET = CommandScope.COMMAND_SCOPE_POOL, CommandScope.COMMAND_SCOPE_FLEET


async def do(job: str) -> None:
    await asyncio.to_thread(print, job, sum(range(10_000_000)))


class Worker:
    """One agent. What it has begun it finishes, whatever it is asked for."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.agent = executor.agent("worker-1", agent_type="worker", capacity=2, heartbeat_every=5)
        executor.queue().active()
        self.held: set[str] = set()
        self.changed = asyncio.Condition()
        for action in ("DRAIN", "ACTIVATE", "RESIZE"):
            executor.on(ControlAction.Value(f"CONTROL_ACTION_{action}"), scope=POOL)(self.obey)
        for action in ("PAUSE", "RESUME"):
            wanted = ControlAction.Value(f"CONTROL_ACTION_{action}")
            executor.on(wanted, scope=FLEET, selective=True)(self.hold)

    async def obey(self, command: Command) -> None:
        if command.agent_id != self.agent.id:
            raise CommandRefused("UNKNOWN_AGENT", "this engine has no such agent")
        if command.action == ControlAction.CONTROL_ACTION_DRAIN:
            self.agent.draining(command=command)
        elif command.action == ControlAction.CONTROL_ACTION_ACTIVATE:
            self.agent.activated(command)
        else:
            self.agent.resized(command.pool_size, command=command)
        async with self.changed:
            self.changed.notify_all()

    async def hold(self, command: Command) -> None:
        if command.agent_type:
            raise CommandRefused("ONE_AGENT_TYPE", "this engine has one type of agent")
        queue = self.executor.queue(workflow_type=command.workflow_type)
        if command.action == ControlAction.CONTROL_ACTION_PAUSE:
            self.held.add(command.workflow_type)
            queue.paused(command)
        else:
            self.held.discard(command.workflow_type)
            queue.active(command)
        async with self.changed:
            self.changed.notify_all()

    def takes(self) -> bool:
        has_room = self.agent.active < self.agent.capacity
        return has_room and not self.agent.is_draining and self.held.isdisjoint({"", "job"})

    async def work(self, job: str) -> None:
        run = self.executor.workflow(job, workflow_type="job")
        run.created()
        async with self.changed:
            await self.changed.wait_for(self.takes)
        with run, run.task("do", agent=self.agent):
            await do(job)
        async with self.changed:
            self.changed.notify_all()


async def main(target: str, jobs: list[str]) -> None:
    executor = Executor(target, source="example-pool")
    worker = Worker(executor)
    async with executor, asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(worker.work(job))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
