"""When Redis or PostgreSQL is away: what publishers, readers and operators are told, and that it mends by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

import pilothouse.aio
from pilothouse.errors import Unavailable
from pilothouse.executor import Executor, ExecutorOptions
from pilothouse.retry import NO_RETRY
from pilothouse.v1.events_pb2 import EVENT_TYPE_WORKFLOW_STARTED, Event, PublishEventRequest
from tests.e2e.support import Pilothouse
from tests.servers.postgres import Postgres
from tests.servers.valkey import Valkey
from tests.support import free_port, wait_until

PATIENCE = 60.0
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest_asyncio.fixture(loop_scope="session")
async def valkey(tmp_path: Path) -> AsyncIterator[Valkey]:
    server = Valkey(tmp_path / "valkey", password="hunter2")
    await asyncio.to_thread(server.start)
    yield server
    await asyncio.to_thread(server.stop)


@pytest_asyncio.fixture(loop_scope="session")
async def postgres(servers_directory: Path) -> AsyncIterator[Postgres]:
    server = Postgres(servers_directory / f"postgres-{free_port()}", fsync="off")
    await asyncio.to_thread(server.start)
    yield server
    await asyncio.to_thread(server.stop)


@asynccontextmanager
async def up(tmp_path: Path, redis: str, database: str) -> AsyncGenerator[Pilothouse]:
    settings = {"PILOTHOUSE_REDIS_URL": redis, "PILOTHOUSE_DATABASE_URL": database}
    async with Pilothouse(tmp_path / "data", **settings) as server:
        yield server
        assert "Traceback" not in server.log
        assert "hunter2" not in server.log


async def ask(server: Pilothouse, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=PATIENCE) as http:
        return await http.get(path)


async def readiness(server: Pilothouse) -> tuple[int, list[str]]:
    answer = await ask(server, "/readyz")
    return answer.status_code, answer.json()["reasons"]


async def health(server: Pilothouse) -> dict[str, Any]:
    found: dict[str, Any] = (await ask(server, "/api/v1/monitoring/metrics/realtime")).json()
    return found.get("health") or found.get("snapshot", {}).get("health") or {}


async def until_well(server: Pilothouse) -> None:
    async def well() -> bool:
        return await readiness(server) == (200, [])

    await wait_until(well, within=PATIENCE, what="no reasons at /readyz")


async def publish(client: pilothouse.aio.Client, workflow: str) -> None:
    event = Event(type=EVENT_TYPE_WORKFLOW_STARTED, workflow_id=workflow, source="engine")
    await client.events.PublishEvent(PublishEventRequest(event=event))


async def until_known(server: Pilothouse, workflow: str) -> None:
    async def known() -> bool:
        return (await ask(server, f"/api/v1/workflows/{workflow}")).status_code == 200

    await wait_until(known, within=PATIENCE, what=f"the row of {workflow}")


async def test_without_redis_publishers_keep_what_they_have_and_numbers_say_that_they_are_old(
    tmp_path: Path, valkey: Valkey, database_url: str
) -> None:
    options = ExecutorOptions(max_events=20, max_delay=0.5, close_timeout=PATIENCE)
    async with (
        up(tmp_path, valkey.url, database_url) as server,
        pilothouse.aio.Client(server.grpc, retry=NO_RETRY) as client,
        Executor(server.grpc, source="engine", options=options) as executor,
    ):
        await publish(client, "before")
        await until_known(server, "before")
        await asyncio.to_thread(valkey.stop)

        with pytest.raises(Unavailable) as refused:
            await publish(client, "refused")
        assert refused.value.reason == "LOG_UNAVAILABLE"
        assert refused.value.retry_after
        for number in range(30):
            executor.report(type=EVENT_TYPE_WORKFLOW_STARTED, workflow_id=f"kept-{number}")
        assert (executor.stats.buffered, executor.stats.dropped) == (20, 10)

        async def said() -> bool:
            code, reasons = await readiness(server)
            return code == 200 and any(each.startswith("log: ") for each in reasons)

        await wait_until(said, within=PATIENCE, what="the log among the reasons")
        assert (await ask(server, "/api/v1/workflows/before")).status_code == 200

        async def told_with_the_numbers() -> bool:
            return any(
                "the event log has not" in each
                for each in (await health(server)).get("reasons", [])
            )

        await wait_until(told_with_the_numbers, within=PATIENCE, what="the reason of health")

        await asyncio.to_thread(valkey.start)
        await executor.flush(PATIENCE)
        await until_known(server, "kept-0")
        await until_known(server, "kept-19")
        await until_well(server)
        assert (executor.stats.delivered, executor.stats.buffered) == (20, 0)


async def test_without_postgresql_numbers_stay_live_and_rows_catch_up(
    tmp_path: Path, valkey: Valkey, postgres: Postgres
) -> None:
    async with (
        up(tmp_path, valkey.url, postgres.url()) as server,
        pilothouse.aio.Client(server.grpc) as client,
    ):
        await publish(client, "before")
        await until_known(server, "before")
        await asyncio.to_thread(postgres.stop)

        await publish(client, "during")

        async def counted() -> bool:
            return (await client.get_metrics()).totals.workflows == 2

        await wait_until(counted, within=PATIENCE, what="the second workflow in the metrics")
        listed = await ask(server, "/api/v1/workflows")
        assert (listed.status_code, listed.json()["reason"]) == (503, "DATABASE_UNAVAILABLE")

        async def said() -> bool:
            code, reasons = await readiness(server)
            return code == 200 and any(each.startswith("database: ") for each in reasons)

        await wait_until(said, within=PATIENCE, what="the database among the reasons")
        await asyncio.to_thread(valkey.stop)

        async def useless() -> bool:
            return (await readiness(server))[0] == 503

        await wait_until(useless, within=PATIENCE, what="not ready without either")

        await asyncio.to_thread(valkey.start)
        await asyncio.to_thread(postgres.start)
        await until_known(server, "during")
        await until_well(server)
        assert (await client.get_metrics()).totals.workflows == 2
