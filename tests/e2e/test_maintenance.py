"""What is done while no server runs, by the commands that do it: other shards, and the schema down and up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import pytest

import pilothouse.aio
from pilothouse.errors import NoSnapshot
from pilothouse.v1.events_pb2 import (
    EVENT_TYPE_WORKFLOW_COMPLETED,
    EVENT_TYPE_WORKFLOW_STARTED,
    Event,
    EventType,
    PublishEventsRequest,
)
from pilothouse.v1.metrics_pb2 import GetMetricsRequest
from tests.e2e.support import Pilothouse
from tests.e2e.terminal import ended
from tests.support import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


class Installation:
    """One Redis, one database, and whatever is run on them."""

    def __init__(self, directory: Path, redis: str, database: str) -> None:
        self._directory = directory
        self._settings = {"PILOTHOUSE_REDIS_URL": redis, "PILOTHOUSE_DATABASE_URL": database}

    def server(self, shards: int) -> Pilothouse:
        settings = self._settings | {"PILOTHOUSE_LOG_SHARDS": str(shards)}
        return Pilothouse(self._directory / f"shards-{shards}", **settings)

    async def run(self, *words: str) -> tuple[int, str]:
        """One command: its exit code and everything it said."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pilothouse_server", *words),
            env={**os.environ, **self._settings},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await ended(process)
        assert process.returncode is not None
        return process.returncode, said


@pytest.fixture
def installation(tmp_path: Path, redis_url: str, database_url: str) -> Installation:
    return Installation(tmp_path, redis_url, database_url)


async def publish(server: Pilothouse, kind: EventType.ValueType, workflows: range) -> None:
    events = [
        Event(type=kind, workflow_id=f"wf-{number}", workflow_type="nightly", source="engine")
        for number in workflows
    ]
    async with pilothouse.aio.Client(server.grpc) as client:
        await client.events.PublishEvents(PublishEventsRequest(events=events))


async def until_totals(server: Pilothouse, workflows: int, completed: int) -> None:
    async with pilothouse.aio.Client(server.grpc) as client:

        async def reached() -> bool:
            with contextlib.suppress(NoSnapshot):  # not yet
                totals = (await client.metrics.GetMetrics(GetMetricsRequest())).snapshot.totals
                return (totals.workflows, totals.completed) == (workflows, completed)
            return False

        await wait_until(reached, within=60, what=f"{completed} of {workflows} completed")


async def test_the_number_of_shards_changes_and_no_count_does(installation: Installation) -> None:
    async with installation.server(1) as server:
        await publish(server, EVENT_TYPE_WORKFLOW_STARTED, range(20))
        await publish(server, EVENT_TYPE_WORKFLOW_COMPLETED, range(10))
        await until_totals(server, 20, 10)
        code, said = await installation.run("reshard", "--shards", "3")
        assert (code, "replicas are running" in said) == (1, True), said

    code, said = await installation.run("reshard", "--shards", "3")
    assert (code, "1 -> 3 shards" in said) == (0, True), said
    code, said = await installation.run("serve")
    assert (code, "pilothouse-server reshard --shards 1" in said) == (2, True), said

    async with installation.server(3) as server:
        await publish(server, EVENT_TYPE_WORKFLOW_COMPLETED, range(10, 20))
        await publish(server, EVENT_TYPE_WORKFLOW_STARTED, range(20, 30))
        await until_totals(server, 30, 20)

    code, said = await installation.run("reshard", "--shards", "1")
    assert (code, "3 -> 1 shards" in said) == (0, True), said
    async with installation.server(1) as server:
        await publish(server, EVENT_TYPE_WORKFLOW_COMPLETED, range(20, 30))
        await until_totals(server, 30, 30)


async def test_the_schema_goes_down_for_an_older_version_and_up_again(
    installation: Installation,
) -> None:
    async with installation.server(1) as server:
        await publish(server, EVENT_TYPE_WORKFLOW_STARTED, range(5))
        await until_totals(server, 5, 0)
        code, said = await installation.run("migrate", "0003_control")
        assert (code, "replicas are running" in said) == (1, True), said

    code, said = await installation.run("migrate", "0003_control")
    assert (code, "-> 0003_control" in said) == (0, True), said
    code, said = await installation.run("migrate", "no-such-revision")
    assert (code, "there is no revision no-such-revision" in said) == (2, True), said

    async with installation.server(1) as server:
        await publish(server, EVENT_TYPE_WORKFLOW_COMPLETED, range(5))
        await until_totals(server, 5, 5)
