"""The compose file by hand, as the deployment guide says: its commands and environment, on servers of this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio

import pilothouse.aio
from pilothouse.v1.platform_pb2 import GetServerStatusRequest, ServerStatus
from tests.compose import OUR_SERVICES, SECRETS, Service
from tests.servers.valkey import Valkey
from tests.support import free_port, wait_until

PASSWORD = "from-the-env-file"
PORTS = ("PILOTHOUSE_GRPC_PORT", "PILOTHOUSE_METRICS_PORT", "PILOTHOUSE_HTTP_PORT")
STARTED = {"type": "workflow_started", "source": "engine"}


@dataclass
class Running:
    """A service of the file as a process."""

    service: Service
    environment: dict[str, str]
    log: Path
    process: asyncio.subprocess.Process

    def port(self, name: str) -> int:
        return int(self.environment[f"PILOTHOUSE_{name}_PORT"])

    @property
    def said(self) -> str:
        return self.log.read_text("utf-8")

    async def answers(self) -> bool:
        """What the health check of the file asks."""
        assert self.process.returncode is None, self.said
        text: str = self.service.said["healthcheck"]["test"][3]
        for name in PORTS:
            said = self.service.environment(**SECRETS).get(name, "-")
            text = text.replace(f":{said}/", f":{self.environment.get(name, '-')}/")
        asked = await asyncio.create_subprocess_exec(
            sys.executable, "-c", text, stderr=asyncio.subprocess.DEVNULL
        )
        return await asked.wait() == 0


@asynccontextmanager
async def started(
    service: Service, here: dict[str, str], directory: Path
) -> AsyncGenerator[Running]:
    """The service with its own command and environment, but for where things are on this machine."""
    environment = service.environment(
        **(SECRETS | {"REDIS_PASSWORD": PASSWORD, "POSTGRES_PASSWORD": PASSWORD})
    )
    for name, value in environment.items():
        for there, instead in here.items():
            value = value.replace(there, instead)  # noqa: PLW2901 - one after the other
        environment[name] = value
    environment["PILOTHOUSE_HOST"] = "127.0.0.1"
    own = here.get(f"{service.name}:50051", "").rpartition(":")[2]
    for name in PORTS:
        if name in environment:
            environment[name] = own if name == PORTS[0] else str(free_port())
    inherited = {name: value for name, value in os.environ.items() if "PILOTHOUSE_" not in name}
    log = directory / f"{service.name}.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "pilothouse_server", *service.command),
            env=inherited | environment,
            cwd=directory,
            stdout=out,
            stderr=out,
        )
    try:
        yield Running(service, environment, log, process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest_asyncio.fixture(loop_scope="session")
async def compose(tmp_path: Path, database_url: str) -> AsyncIterator[dict[str, Running]]:
    """Everything of the file, healthy in the order in which it waits for each other."""
    valkey = Valkey(tmp_path / "valkey", password=PASSWORD)
    await asyncio.to_thread(valkey.start)
    database = urlsplit(database_url)
    here = {
        "redis:6379": f"127.0.0.1:{valkey.port}",
        "postgres:5432/pilothouse": f"{database.hostname}:{database.port}{database.path}",
        "server-1:50051": f"127.0.0.1:{free_port()}",
        "server-2:50051": f"127.0.0.1:{free_port()}",
    }
    async with AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, valkey.stop)
        found: dict[str, Running] = {}
        for service in OUR_SERVICES:
            made = await stack.enter_async_context(started(service, here, tmp_path))
            found[service.name] = made
            if service.name != "server-1":
                await asyncio.gather(
                    *(wait_until(each.answers, within=90) for each in found.values())
                )
        yield found


async def status_of(running: Running) -> ServerStatus:
    async with pilothouse.aio.Client(f"127.0.0.1:{running.port('GRPC')}") as client:
        return (await client.platform.GetServerStatus(GetServerStatusRequest())).status


async def leader(compose: dict[str, Running], *names: str) -> str:
    """The replica that leads, once one does."""

    async def find() -> str:
        for name in names:
            status = await status_of(compose[name])
            if any(each.leads and each.answers for each in status.replicas):
                return name
        return ""

    return await wait_until(find, within=60, what="a replica that leads")


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_two_replicas_and_a_bridge_run_and_outlive_the_one_that_leads(
    compose: dict[str, Running],
) -> None:
    url = f"http://127.0.0.1:{compose['bridge'].port('HTTP')}"
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as http:

        async def state(workflow: str) -> Any:
            answer = await http.get(f"/api/v1/workflows/{workflow}")
            return answer.json().get("workflow", {}).get("state") or answer.json().get("state")

        async def publish(workflow: str) -> None:
            async def once() -> bool:
                event = STARTED | {"workflow_id": workflow, "id": f"e-{workflow}"}
                return (await http.post("/api/v1/events", json=event)).status_code == 200

            await wait_until(once, within=60)
            await wait_until(lambda: state(workflow), within=60)

        await publish("before")
        leads = await leader(compose, "server-1", "server-2")
        other = "server-2" if leads == "server-1" else "server-1"
        status = await status_of(compose[other])
        assert len(status.replicas) == 2
        assert [lease.name for lease in status.leases if lease.holder] == ["shard-0"]
        assert (status.ready, PASSWORD in str(status)) == (True, False)

        compose[leads].process.kill()
        await compose[leads].process.wait()
        assert await leader(compose, other) == other
        await publish("after")
        assert await state("before") == await state("after")

        metrics = f"http://127.0.0.1:{compose[other].port('METRICS')}/metrics"
        assert "pilothouse_events_accepted_total" in (await http.get(metrics)).text
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()["ready"]) == (200, True)

    for name in ("bridge", other):
        compose[name].process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            assert await compose[name].process.wait() == 0, compose[name].said
    assert all(PASSWORD not in each.said for each in compose.values())
    assert all("Traceback" not in each.said for each in compose.values())


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_a_replica_that_is_asked_to_end_hands_its_work_over_at_once(
    compose: dict[str, Running],
) -> None:
    leads = await leader(compose, "server-1", "server-2")
    other = "server-2" if leads == "server-1" else "server-1"
    compose[leads].process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(60):
        assert await compose[leads].process.wait() == 0, compose[leads].said
    ended = time.time()
    assert await leader(compose, other) == other

    lease = (await status_of(compose[other])).leases[0]
    # One that is not given back is free only when PostgreSQL ends the session of who had it, after three seconds.
    assert lease.acquire_time.ToMicroseconds() / 1e6 - ended < 3
