"""A whole engine under Pilothouse: jobs of three steps, paused and cancelled between two of them.

Run it beside a server: `python engine.py 127.0.0.1:50051 job-1 job-2`.
"""

import asyncio
import sys

from pilothouse.executor import CommandRefused, Executor
from pilothouse.v1.commands_pb2 import Command
from pilothouse.v1.enums_pb2 import ControlAction

STEPS = ("fetch", "build", "test")


def do(step: str) -> None:
    print(step, sum(range(10_000_000)))


class Job:
    """One job. An operator's command takes effect before the next step."""

    def __init__(self, executor: Executor, job_id: str) -> None:
        self.run = executor.workflow(job_id, workflow_type="example", stage_plan=STEPS)
        self.commands: asyncio.Queue[Command] = asyncio.Queue()

    async def work(self) -> None:
        with self.run:
            for step in STEPS:
                if not self.commands.empty() and not await self.obey(self.commands.get_nowait()):
                    return
                with self.run.stage(step):
                    await asyncio.to_thread(do, step)

    async def obey(self, command: Command) -> bool:
        while command.action != ControlAction.CONTROL_ACTION_RESUME:
            if command.action == ControlAction.CONTROL_ACTION_CANCEL:
                self.run.cancelled(command)
                return False
            self.run.paused(command)
            command = await self.commands.get()
        self.run.resumed(command)
        return True


async def main(target: str, job_ids: list[str]) -> None:
    executor = Executor(target, source="example-engine")
    jobs = {job_id: Job(executor, job_id) for job_id in job_ids}

    @executor.on(ControlAction.CONTROL_ACTION_PAUSE)
    @executor.on(ControlAction.CONTROL_ACTION_RESUME)
    @executor.on(ControlAction.CONTROL_ACTION_CANCEL)
    async def control(command: Command) -> None:
        if command.workflow_id not in jobs:
            raise CommandRefused("UNKNOWN_JOB", "this engine does not run it any more")
        jobs[command.workflow_id].commands.put_nowait(command)

    async with executor, asyncio.TaskGroup() as group:
        for job in jobs.values():
            group.create_task(job.work())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
