"""The whole server: a job that beats over HTTP, its silence told to a webhook, over a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.channels.receiver import Received, Receiver, listening
from tests.e2e.support import Pilothouse
from tests.support import wait_until


@pytest.mark.timeout(240)
async def test_a_job_that_falls_silent_is_told_of_and_so_is_its_return(tmp_path: Path) -> None:
    async with listening() as receiver, httpx.AsyncClient() as http:
        server = Pilothouse(tmp_path / "data", PILOTHOUSE_WEBHOOK_HOSTS="127.0.0.1")
        async with server:
            channel = {
                "name": "Ops",
                "webhook": {"url": receiver.url("/hook?key=qu3ry"), "secret": "s3cret"},
            }
            await answered(server, "channels", {"channel": channel})
            await expect_every(http, server, "3600s")
            # As `curl -X POST` does it: no body, no content type.
            beat = await http.post(f"{server.url}/api/v1/heartbeats/nightly:beat")
            assert beat.is_success, beat.text
            unknown = await http.post(f"{server.url}/api/v1/heartbeats/other:beat")
            assert (unknown.status_code, unknown.json()["reason"]) == (404, "HEARTBEAT_NOT_FOUND")
            # Only now: a job that is slow to beat for the first time would have been silent twice.
            await expect_every(http, server, "3s")
            await wait_until(lambda: states(server, "FIRING"), within=40)
            await receiver.has(1)
            await server.kill()
            await server.start(within=60)

            async def told() -> bool:
                # It stays: a slow machine may need longer to tell than the job may be silent.
                await http.post(f"{server.url}/api/v1/heartbeats/nightly:beat")
                return await states(server, "RESOLVED") and len(by_key(receiver)) == 2

            await wait_until(told, within=40)
        # The kill may have come before it was stored that the first one arrived: then it came twice, under one key.
        firing, resolved = by_key(receiver)
        assert firing.json["alerts"][0]["labels"]["heartbeat"] == "nightly"
        assert [each.json["status"] for each in (firing, resolved)] == ["firing", "resolved"]
        assert all("x-pilothouse-signature" in each.headers for each in receiver.received)
        assert not any(secret in server.log for secret in ("s3cret", "qu3ry"))
        data = b"".join(each.read_bytes() for each in server.data_dir.iterdir() if each.is_file())
        assert not any(secret in data for secret in (b"s3cret", b"qu3ry"))


async def expect_every(http: httpx.AsyncClient, server: Pilothouse, interval: str) -> None:
    """The job is to beat as often."""
    put = await http.put(
        f"{server.url}/api/v1/heartbeats/nightly",
        json={"heartbeat": {"interval": interval, "channels": ["ops"]}},
    )
    assert put.is_success, put.text


def by_key(receiver: Receiver) -> list[Received]:
    """What arrived, each notification once."""
    return list({each.headers["idempotency-key"]: each for each in receiver.received}.values())


async def answered(server: Pilothouse, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """What is made by a POST."""
    answer = await server.post(f"/api/v1/{path}", body)
    assert answer.is_success, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def states(server: Pilothouse, state: str) -> bool:
    """Whether there is one alert, and it is in this state."""
    alerts = (await server.get("/api/v1/alerts"))["alerts"]
    return [each["state"] for each in alerts] == [f"ALERT_STATE_{state}"]
