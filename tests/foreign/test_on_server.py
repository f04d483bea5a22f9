"""A real server on a Redis: other producers write into its stream, and people see to what could not be read."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.e2e.support import Pilothouse
from tests.support import wait_until

STREAM = "workflow:events"


async def cli(server: Pilothouse, *words: str, code: int = 0) -> str:
    """What the command line prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pilothouse.cli", *words, "--server", server.grpc,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == code, err.decode()
    return (out or err).decode()


@pytest.mark.timeout(240)
async def test_people_see_to_what_could_not_be_read(tmp_path: Path, redis_url: str) -> None:
    connection: Any = redis.Redis.from_url(redis_url)  # pyright: ignore[reportUnknownMemberType]
    started = {"type": "orchestrator:workflow:started", "workflow_id": "foreign-1"}
    connection.xadd(STREAM, {"event": json.dumps(started)})
    first = connection.xadd(STREAM, {"data": '{"type": "workflow.sta'}).decode()
    second = connection.xadd(STREAM, {"nonsense": b"\xff\x00"}).decode()
    async with Pilothouse(tmp_path / "data", PILOTHOUSE_REDIS_URL=redis_url) as server:

        async def both_dead() -> list[dict[str, Any]]:
            listed = await cli(server, "events", "dead", "list", "-o", "json")
            events: list[dict[str, Any]] = json.loads(listed).get("deadEvents", [])
            return events if len(events) >= 2 else []

        found = await wait_until(both_dead, within=60)
        assert [(event["id"], event["reason"]) for event in found] == [
            (f"0-{second}", "no field that holds an event (event, batch, data, payload or message); it has: nonsense"),
            (f"0-{first}", "data: not JSON"),
        ]  # fmt: skip
        (field,) = found[1]["fields"]
        assert field["text"] == '{"type": "workflow.sta'
        assert "data: not JSON" in await cli(server, "events", "dead", "list")
        await cli(server, "events", "dead", "drop", f"0-{second}", "--reason", "a test")
        assert "there is no dead event" in await cli(
            server, "events", "dead", "drop", f"0-{second}", code=15
        )
        answer = await server.post(f"/api/v1/dead-events/0-{first}:retry", {"reason": "a test"})
        assert answer.status_code == 200, answer.text

        async def comes_back() -> bool:
            # It still cannot be read, so it is dead again, under the id of its new place.
            body = await server.get("/api/v1/dead-events?pageSize=5")
            ids = [event["id"] for event in body["dead_events"]]
            return ids == [f"0-{answer.json()['cursor']}"]

        await wait_until(comes_back, within=30)

        async def workflow() -> bool:
            listed = await server.get("/api/v1/workflows")
            return [each["id"] for each in listed.get("workflows", [])] == ["foreign-1"]

        await wait_until(workflow, within=30)
    connection.close()


async def test_the_embedded_log_has_no_dead_events(tmp_path: Path) -> None:
    async with Pilothouse(tmp_path / "data") as server:
        assert (await server.get("/api/v1/dead-events"))["dead_events"] == []
        answer = await server.post("/api/v1/dead-events/0-1-1:drop", {})
        assert answer.status_code == 404
        assert "DEAD_EVENT_NOT_FOUND" in answer.text
