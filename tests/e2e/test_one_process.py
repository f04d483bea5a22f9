"""The whole system as one process: what is published is counted, listed, streamed and kept."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import httpx
import websockets

import pilothouse.aio
from pilothouse.errors import NoSnapshot
from pilothouse.executor import Executor
from tests.e2e.support import PATIENCE, Pilothouse
from tests.e2e.terminal import ended
from tests.support import wait_until


async def live_one(server: Pilothouse, workflow_id: str, *, failing: bool = False) -> None:
    """One workflow's whole life, delivered."""
    async with Executor(server.grpc, source="tests") as executor:
        run = executor.workflow(workflow_id, workflow_type="feature", stage_plan=["build"])
        run.created()
        run.started()
        with run.stage("build"):
            pass
        if failing:
            run.failed(RuntimeError("broken"))
        else:
            run.completed()
        await executor.flush(PATIENCE)


async def totals(client: pilothouse.aio.Client) -> tuple[int, int, int]:
    """(workflows, completed, failed) since the log began."""
    try:
        found = (await client.get_metrics()).totals
    except NoSnapshot:
        return (0, 0, 0)
    return (found.workflows, found.completed, found.failed)


async def test_published_work_is_counted_listed_and_the_same_on_every_surface(
    server: Pilothouse, client: pilothouse.aio.Client
) -> None:
    await live_one(server, "good")
    await live_one(server, "bad", failing=True)

    async def counted() -> bool:
        return await totals(client) == (2, 1, 1)

    await wait_until(counted, within=PATIENCE, what="one completed and one failed")

    async def projected() -> bool:
        return len([w async for w in client.list_workflows(filter="NOT state = RUNNING")]) == 2

    await wait_until(projected, within=PATIENCE, what="both in the list")
    listed = {workflow.id: workflow async for workflow in client.list_workflows()}
    fleet = (await client.get_metrics()).series[0]
    rest = await server.get("/api/v1/workflows/bad")

    assert set(listed) == {"good", "bad"}
    assert fleet.windows[0].error_rate == 0.5
    assert rest["workflow"]["state"] == "WORKFLOW_STATE_FAILED"
    assert rest["workflow"]["error"]["message"] == "broken"
    assert [stage["name"] for stage in rest["workflow"]["stages"]] == ["build"]


async def test_nothing_known_is_shown_as_nothing_known(
    server: Pilothouse, client: pilothouse.aio.Client
) -> None:
    async def there() -> bool:
        try:
            await client.get_metrics()
        except NoSnapshot:
            return False
        return True

    await wait_until(there, within=PATIENCE, what="the first snapshot")
    snapshot = await client.get_metrics()

    window = snapshot.series[0].windows[0]
    assert not window.HasField("error_rate")
    assert not window.HasField("success_rate")
    assert not window.HasField("latency")
    assert not snapshot.health.HasField("score")


async def test_the_original_rest_fallback_has_the_snapshot_and_its_age(server: Pilothouse) -> None:
    await live_one(server, "one")

    async def answered() -> dict[str, Any] | None:
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
            answer = await http.get("/api/v1/monitoring/metrics/realtime")
        if answer.status_code == 503:
            return None
        body: dict[str, Any] = answer.json()
        assert answer.headers["cache-control"] == "no-cache"
        return body if int(body["snapshot"]["totals"]["completed"]) == 1 else None

    body = await wait_until(answered, within=PATIENCE, what="the snapshot over REST")

    assert body is not None
    assert body["ttl_seconds"] == 300
    assert 0 <= body["age_seconds"] < 10


async def test_a_socket_gets_a_snapshot_at_once_and_then_what_changes(server: Pilothouse) -> None:
    await live_one(server, "before")
    url = f"ws://127.0.0.1:{server.http_port}/ws/monitoring"
    async with websockets.connect(url) as socket, asyncio.timeout(60):
        request = {"type": "subscribe", "channels": ["workflows:changes", "metrics:realtime"]}
        await socket.send(json.dumps(request))
        frames: list[dict[str, Any]] = []

        async def until(kind: str, text: str) -> None:
            while not any(f["type"].startswith(kind) and text in json.dumps(f) for f in frames):
                frames.append(json.loads(await socket.recv()))

        await until("workflows:", '"before"')
        await until("metrics:update", "sequence")
        await live_one(server, "after")
        await until("workflows:update", '"after"')

    sequences = [f["sequence"] for f in frames if f["type"] == "workflows:update"]
    assert sequences == sorted(set(sequences))


async def test_a_second_start_goes_on_with_the_data_of_the_first(
    server: Pilothouse, client: pilothouse.aio.Client
) -> None:
    await live_one(server, "one")
    assert await server.stop() == 0

    await server.start()
    await live_one(server, "two")

    async def both() -> bool:
        return await totals(client) == (2, 2, 0)

    await wait_until(both, what="both workflows", within=PATIENCE)

    async def listed() -> bool:
        return {workflow.id async for workflow in client.list_workflows()} == {"one", "two"}

    await wait_until(listed, within=PATIENCE, what="both in the list")


async def refusal(server: Pilothouse, **environment: str) -> tuple[int, str]:
    """Exit code and what was printed by a second server that differs in `environment`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "pilothouse_server", "up"),
        env={**os.environ, "PILOTHOUSE_HTTP_PORT": "0", "PILOTHOUSE_GRPC_PORT": "0", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await ended(process)
    return process.returncode or 0, out


async def test_a_second_process_on_the_same_data_is_refused(server: Pilothouse) -> None:
    code, said = await refusal(server, PILOTHOUSE_DATA_DIR=str(server.data_dir))

    assert code == 1
    assert f"in use by process {server.pid}" in said
    assert "--data-dir" in said


async def test_a_taken_port_is_a_clear_message(server: Pilothouse, tmp_path: Path) -> None:
    for variable, port in (
        ("PILOTHOUSE_GRPC_PORT", server.grpc_port),
        ("PILOTHOUSE_HTTP_PORT", server.http_port),
    ):
        environment = {variable: str(port), "PILOTHOUSE_DATA_DIR": str(tmp_path / variable)}
        code, said = await refusal(server, **environment)

        assert code == 1
        assert f"127.0.0.1:{port} is taken" in said
        assert "Traceback" not in said


async def test_wrong_settings_are_named(server: Pilothouse) -> None:
    code, said = await refusal(server, PILOTHOUSE_HTTP_PORT="80808", PILOTHOUSE_LOG_LEVEL="loud")

    assert code == 2
    assert "PILOTHOUSE_HTTP_PORT" in said
    assert "PILOTHOUSE_LOG_LEVEL" in said
    assert "Traceback" not in said


async def test_listening_on_every_address_says_what_that_exposes(tmp_path: Path) -> None:
    async with Pilothouse(tmp_path / "data", PILOTHOUSE_HOST="0.0.0.0") as server:
        assert "nobody is authenticated" in server.log


async def test_listening_on_this_machine_alone_says_nothing(server: Pilothouse) -> None:
    assert "authenticated" not in server.log
