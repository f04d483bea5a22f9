"""Files, headers, origins and probes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from pilothouse.v1 import platform_pb2
from pilothouse_server.bridge.guard import is_loopback
from pilothouse_server.bridge.settings import BridgeSettings
from tests.bridge.support import PATIENCE, Stage, frame, staged, subscribe
from tests.support import wait_until

ACTION = {"action": "pause"}
CONTROL = "/api/v1/workflows/w-1/control"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A built dashboard."""
    (tmp_path / "site" / "assets").mkdir(parents=True)
    (tmp_path / "site" / "index.html").write_text("<!doctype html><title>page</title>")
    (tmp_path / "site" / "favicon.svg").write_text("<svg/>")
    (tmp_path / "site" / "assets" / "app-1a2b.js").write_text("export {}")
    (tmp_path / "secret.txt").write_text("hidden treasure")
    return tmp_path / "site"


@pytest.fixture
async def stage(site: Path) -> AsyncIterator[Stage]:
    """A bridge with a dashboard."""
    async with staged(
        static_dir=site, allowed_origins=frozenset({"https://ops.example.org"})
    ) as running:
        yield running


@pytest.mark.parametrize(
    ("path", "status", "caching"),
    [
        ("/", 200, "no-cache"),
        ("/workflows/w-1", 200, "no-cache"),
        ("/favicon.svg", 200, "no-cache"),
        ("/assets/app-1a2b.js", 200, "public, max-age=31536000, immutable"),
        ("/assets/gone-1a2b.js", 404, "no-store"),
        ("/api/v1/nothing", 404, "no-store"),
        ("/%2e%2e/secret.txt", 404, "no-store"),
        ("/..%2fsecret.txt", 404, "no-store"),
    ],
)
async def test_a_file_is_cached_as_long_as_its_name_lasts(
    stage: Stage, path: str, status: int, caching: str
) -> None:
    async with stage.http() as http:
        answer = await http.get(path)
    assert (answer.status_code, answer.headers["cache-control"]) == (status, caching)
    assert "treasure" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


async def test_an_unchanged_file_is_not_sent_again(stage: Stage) -> None:
    async with stage.http() as http:
        first = await http.get("/")
        again = await http.get("/", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304


async def test_without_a_dashboard_the_page_says_how_to_get_one() -> None:
    async with staged() as stage, stage.http() as http:
        answer = await http.get("/")
        assert answer.status_code == 503
        assert "make dashboard" in answer.text


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1"]
)
async def test_a_page_of_another_origin_is_refused_by_name(stage: Stage, origin: str) -> None:
    async with stage.http() as http:
        answer = await http.post(CONTROL, json=ACTION, headers={"origin": origin})
    assert (answer.status_code, answer.json()["reason"]) == (403, "ORIGIN_NOT_ALLOWED")
    assert answer.json()["metadata"] == {"origin": origin}
    assert stage.server.requests == []
    with pytest.raises(InvalidStatus) as refused:
        async with stage.live(origin=origin):
            pass
    assert refused.value.response.status_code == 403
    assert b"ORIGIN_NOT_ALLOWED" in refused.value.response.body


async def test_the_own_origin_and_an_allowed_one_and_none_at_all_pass(stage: Stage) -> None:
    for origin in (stage.url, "https://ops.example.org"):
        async with stage.http() as http:
            answer = await http.post(CONTROL, json=ACTION, headers={"origin": origin})
        assert answer.status_code == 200
        shared = answer.headers.get("access-control-allow-origin")
        assert shared == (origin if origin != stage.url else None)
        async with stage.live(origin=origin) as socket:
            await subscribe(socket, "events:live")
    async with stage.http() as http:
        assert (await http.post(CONTROL, json=ACTION)).status_code == 200


async def test_a_preflight_of_an_allowed_origin_is_answered(stage: Stage) -> None:
    asked = {"access-control-request-method": "POST"}
    async with stage.http() as http:
        answer = await http.options(CONTROL, headers={"origin": "https://ops.example.org", **asked})
        assert (answer.status_code, answer.headers["access-control-allow-headers"]) == (
            204,
            "content-type",
        )
        refused = await http.options(CONTROL, headers={"origin": "https://evil.example", **asked})
        assert refused.status_code == 405
        assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "", "[", "[::2]"])
async def test_a_local_bridge_does_not_answer_to_a_name_that_was_pointed_at_it(
    stage: Stage, host: str
) -> None:
    async with stage.http() as http:
        answer = await http.get("/api/v1/workflows", headers={"host": host})
    assert (answer.status_code, answer.json()["reason"]) == (403, "HOST_NOT_ALLOWED")


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:8080", "LOCALHOST"])
async def test_local_names_are_answered(stage: Stage, host: str) -> None:
    async with stage.http() as http:
        assert (await http.get("/healthz", headers={"host": host})).status_code == 200


def test_what_is_loopback_is_known() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.8.8.8", "::1", "localhost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "10.0.0.1", "example.org"]))
    assert is_loopback(BridgeSettings().host), "nothing is exposed unless someone says so"


async def test_readiness_follows_the_server_and_gives_its_reasons(stage: Stage) -> None:
    async def ready() -> dict[str, Any]:
        async with stage.http() as http:
            answer = await http.get("/readyz")
            body: dict[str, Any] = answer.json()
            assert (answer.status_code == 200) is body["ready"]
            assert (await http.get("/healthz")).json() == {"alive": True}
            return body

    async def again() -> bool:
        return bool((await ready())["ready"])

    await wait_until(again, within=PATIENCE)
    await stage.server.stop()
    body = await ready()
    assert (body["ready"], len(body["reasons"])) == (False, 1)
    assert "UNAVAILABLE" in body["reasons"][0]
    await stage.server.start()
    await wait_until(again, within=PATIENCE)


async def test_less_than_it_should_have_is_ready_and_says_what_is_wrong(stage: Stage) -> None:
    status = stage.server.status
    status.reasons.append("log: Redis cannot be reached")
    status.components.add(
        name="log",
        state=platform_pb2.COMPONENT_STATE_DOWN,
        reason="Redis cannot be reached",
        since_time=Timestamp(seconds=60),
    )
    async with stage.http() as http:

        async def ready() -> httpx.Response | None:
            # The server is given two seconds to answer, its connection included.
            answer = await http.get("/readyz")
            return answer if answer.status_code == 200 else None

        degraded = await wait_until(ready, within=PATIENCE)
        assert degraded is not None
        status.ready = False
        useless = await http.get("/readyz")

    assert (degraded.status_code, useless.status_code) == (200, 503)
    assert degraded.json()["reasons"] == useless.json()["reasons"] == list(status.reasons)
    assert degraded.json()["components"] == [
        {
            "name": "log",
            "state": "COMPONENT_STATE_DOWN",
            "reason": "Redis cannot be reached",
            "since_time": "1970-01-01T00:01:00Z",
        }
    ]


async def test_its_own_metrics_count_what_it_did(stage: Stage) -> None:
    async with stage.live() as socket, stage.http() as http:
        await subscribe(socket, "events:live")
        await frame(socket, "events:snapshot")
        text = (await http.get("/metrics")).text
    assert "pilothouse_bridge_connections 1.0" in text
    assert 'pilothouse_bridge_channel_followers{channel="events:live"} 1.0' in text
    assert 'pilothouse_bridge_channel_upstream_connected{channel="events:live"} 1.0' in text
    assert "pilothouse_bridge_frames_sent_total" in text


async def test_every_refusal_of_the_router_has_a_name_too(stage: Stage) -> None:
    async with stage.http() as http:
        for method, path, status in (
            ("POST", "/healthz", 405),
            ("POST", "/api/v1/monitoring/metrics/realtime", 405),
            ("POST", "/", 405),
            ("GET", "/ws/monitoring", 426),
            ("GET", "/pilothouse.v1.Nothing/Get", 404),
        ):
            answer = await http.request(method, path)
            assert (answer.status_code, answer.json()["reason"]) == (status, "NO_SUCH_METHOD"), path
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"ws://127.0.0.1:{stage.port}/ws/nothing", proxy=None):
            pass
    assert refused.value.response.status_code == 404
    assert b"/ws/monitoring" in refused.value.response.body


async def test_the_description_has_every_path_and_only_schemas_that_are_there(stage: Stage) -> None:
    async with stage.http() as http:
        answer = await http.get("/openapi.json")
    document = answer.json()
    assert document["openapi"] == "3.1.0"
    control = document["paths"]["/api/v1/workflows/{workflow_id}/control"]["post"]
    body = control["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/ControlWorkflowRequest"}
    assert control["summary"] == "Asks the engine to pause, resume, cancel or retry a workflow."
    workflow = document["components"]["schemas"]["Workflow"]
    assert workflow["properties"]["id"] == {"description": "The engine's id.", "type": "string"}
    listed = document["paths"]["/api/v1/workflows"]["get"]["parameters"]
    assert [parameter["name"] for parameter in listed] == [
        "filter",
        "order_by",
        "page_size",
        "page_token",
    ]
    references = set(re.findall(r'"#/components/schemas/(\w+)"', answer.text))
    assert references <= set(document["components"]["schemas"])
    operations = [
        each["operationId"] for path in document["paths"].values() for each in path.values()
    ]
    assert len(operations) == len(set(operations))
