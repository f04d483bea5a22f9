"""kill -9 of the server and of the engine in the middle of a batch: each command once, and the audit log whole."""

from __future__ import annotations

import asyncio
import random
import sys
from asyncio.subprocess import Process
from collections import Counter
from pathlib import Path

import pytest

import pilothouse.aio
from pilothouse.errors import CallError
from pilothouse.v1 import audit_pb2, batches_pb2, commands_pb2, enums_pb2
from tests.batches.engine import PAUSE, SOURCE, applied, workflow_ids
from tests.e2e.support import Pilothouse
from tests.support import wait_until

WORKFLOWS = 100
RATE = 60.0
KILLS = 2


async def start_engine(server: Pilothouse, journal: Path) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.batches.engine"),
        *("--server", server.grpc, "--journal", str(journal), "--workflows", str(WORKFLOWS)),
    )


async def running(client: pilothouse.aio.Client) -> int:
    """Workflows that run, once an engine is there to pause them."""
    executors = await client.commands.ListExecutors(commands_pb2.ListExecutorsRequest())
    if SOURCE not in {each.source for each in executors.executors if each.connected}:
        return 0
    return len([each async for each in client.list_workflows(filter="state = RUNNING")])


async def begin(client: pilothouse.aio.Client) -> str:
    """A batch of all workflows, started."""

    async def all_run() -> bool:
        return await running(client) == WORKFLOWS

    await wait_until(all_run, within=60, what="every workflow runs")
    asked = batches_pb2.CreateBatchRequest(
        action=PAUSE, filter="state = RUNNING", reason="deploy freeze", rate=RATE
    )
    batch = (await client.batches.CreateBatch(asked)).batch
    assert batch.preview.acceptable == batch.size == WORKFLOWS
    await client.batches.StartBatch(
        batches_pb2.StartBatchRequest(batch_id=batch.id, confirm_size=batch.size)
    )
    return batch.id


async def disturb(server: Pilothouse, engine: Process, journal: Path, seed: int) -> Process:
    """Kills one and the other, by turns; returns the engine that runs last."""
    chance = random.Random(seed)
    for number in range(KILLS):
        await asyncio.sleep(chance.uniform(0.2, 0.6))
        if number % 2:
            engine.kill()
            await engine.wait()
            engine = await start_engine(server, journal)
        else:
            await server.kill()
            await server.start(within=60)
    return engine


async def until_done(client: pilothouse.aio.Client, batch_id: str) -> batches_pb2.Batch:
    asked = batches_pb2.GetBatchRequest(batch_id=batch_id)
    seen = batches_pb2.Batch()

    async def done() -> bool:
        try:
            seen.CopyFrom((await client.batches.GetBatch(asked)).batch)
        except CallError:
            return False
        return seen.state == batches_pb2.BATCH_STATE_DONE

    await wait_until(done, within=90, what=f"the end of {seen}")
    return seen


async def told(client: pilothouse.aio.Client) -> list[str]:
    """The commands that the log tells of, once it tells of so many: what an engine does need not wait for that."""
    found: list[str] = []

    async def all_told() -> bool:
        events = client.list_events(filter="type = COMMAND_REQUESTED")
        found[:] = [each.command_id async for each in events]
        return len(found) >= WORKFLOWS

    await wait_until(all_told, within=60, what="the events of the commands")
    return found


async def verified(client: pilothouse.aio.Client) -> audit_pb2.VerifyAuditResponse:
    """The verdict about the audit log."""
    last = audit_pb2.VerifyAuditResponse()
    async for answer in client.audit.VerifyAudit(audit_pb2.VerifyAuditRequest()):
        last = answer
    return last


@pytest.mark.timeout(300)
async def test_each_command_is_given_and_applied_once_whoever_is_killed(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with (
        Pilothouse(tmp_path / "data") as server,
        pilothouse.aio.Client(server.grpc) as client,
    ):
        engine = await start_engine(server, journal)
        try:
            batch_id = await begin(client)
            engine = await disturb(server, engine, journal, seed=7)
            batch = await until_done(client, batch_id)
        finally:
            engine.kill()
            await engine.wait()

        assert [(each.outcome, each.count) for each in batch.counts] == [
            (batches_pb2.BATCH_OUTCOME_EFFECTIVE, WORKFLOWS)
        ]
        commands = [each async for each in client.list_commands(filter=f'batch_id = "{batch_id}"')]
        assert Counter(each.workflow_id for each in commands) == Counter(workflow_ids(WORKFLOWS))
        done = applied(journal)
        assert sorted(done) == sorted((each.id, each.workflow_id) for each in commands)
        paused = [each async for each in client.list_workflows(filter="state = PAUSED")]
        assert len(paused) == WORKFLOWS
        assert not any(each.HasField("pending_command") for each in paused)
        assert sorted(await told(client)) == sorted(each.id for each in commands)
        verdict = await verified(client)
        assert (verdict.complete, verdict.intact) == (True, True), verdict.problem
        assert verdict.checked >= 2 * WORKFLOWS
        assert {each.state for each in paused} == {enums_pb2.WORKFLOW_STATE_PAUSED}
