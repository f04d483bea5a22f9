"""Bad input, on every surface: a named error with its reason, nothing lost, nothing crashed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import grpc
import httpx
import pytest
import websockets

import pilothouse.aio
from pilothouse import errors
from pilothouse.v1 import events_pb2, live_pb2, workflows_pb2
from tests.e2e.support import PATIENCE, Pilothouse
from tests.e2e.terminal import cli
from tests.support import wait_until

HOSTILE = "<script>alert(1)</script>\x1b[31m'; DROP TABLE workflows; --\u202e\U0001f600"
"""Markup, a terminal's escape, SQL, right-to-left override, and something beyond the first plane."""


def started(workflow_id: str = "wf-1", **fields: Any) -> events_pb2.Event:
    """A good event, but for `fields`."""
    return events_pb2.Event(
        type=events_pb2.EVENT_TYPE_WORKFLOW_STARTED, workflow_id=workflow_id, source="t", **fields
    )


REST_CASES: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/api/v1/workflows/nobody", None, 404, "WORKFLOW_NOT_FOUND"),
    ("GET", "/api/v1/agents/nobody", None, 404, "AGENT_NOT_FOUND"),
    ("GET", "/api/v1/commands/nobody", None, 404, "COMMAND_NOT_FOUND"),
    ("GET", "/api/v1/alerts/nobody", None, 404, "ALERT_NOT_FOUND"),
    ("GET", "/api/v1/rules/nobody", None, 404, "RULE_NOT_FOUND"),
    ("GET", "/api/v1/nothing", None, 404, "NO_SUCH_METHOD"),
    ("GET", "/api/v1/workflows?page_size=100000", None, 400, "INVALID_ARGUMENT"),
    ("GET", "/api/v1/workflows?page_token=garbage", None, 400, "INVALID_PAGE_TOKEN"),
    ("GET", "/api/v1/workflows?filter=state%20%3D", None, 400, "INVALID_FILTER"),
    ("GET", "/api/v1/workflows?filter=moon%20%3D%201", None, 400, "INVALID_FILTER"),
    ("GET", "/api/v1/workflows?order_by=moon", None, 400, "INVALID_ARGUMENT"),
    ("GET", "/api/v1/workflows?colour=red", None, 400, "MALFORMED_REQUEST"),
    ("POST", "/api/v1/workflows/nobody/control", {"action": "pause"}, 404, "WORKFLOW_NOT_FOUND"),
    ("POST", "/api/v1/workflows/x/control", {"action": "explode"}, 400, "MALFORMED_REQUEST"),
    ("POST", "/api/v1/workflows/x/control", {}, 400, "INVALID_ARGUMENT"),
    ("POST", "/api/v1/workflows/x/control", {"verb": "pause"}, 400, "MALFORMED_REQUEST"),
    ("POST", "/api/v1/workflows/x/control", "{not json", 400, "MALFORMED_REQUEST"),
    ("POST", "/api/v1/workflows/x/control", "[]", 400, "MALFORMED_REQUEST"),
    (
        *("POST", "/api/v1/workflows/x/control"),
        {"action": "pause", "request_id": "seven"},
        *(400, "INVALID_ARGUMENT"),
    ),
    ("POST", "/api/v1/alerts/nobody:acknowledge", {}, 404, "ALERT_NOT_FOUND"),
    ("POST", "/api/v1/events", {"type": "moon_landing"}, 400, "MALFORMED_REQUEST"),
    ("POST", "/api/v1/events", {"type": "workflow_started"}, 400, "INVALID_ARGUMENT"),
    ("POST", "/pilothouse.v1.WorkflowService/Explode", {}, 404, "NO_SUCH_METHOD"),
    ("POST", "/pilothouse.v1.NoService/Explode", {}, 404, "NO_SUCH_METHOD"),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "reason"), REST_CASES, ids=lambda value: str(value)[:48]
)
async def test_rest_names_what_is_wrong(
    shared_server: Pilothouse, method: str, path: str, body: Any, status: int, reason: str
) -> None:
    content = body if isinstance(body, str) or body is None else json.dumps(body)
    headers = {} if body is None else {"content-type": "application/json"}
    async with httpx.AsyncClient(
        base_url=shared_server.url, trust_env=False, timeout=PATIENCE
    ) as http:
        answer = await http.request(method, path, content=content, headers=headers)

    assert (answer.status_code, answer.json()["reason"]) == (status, reason), answer.text
    assert answer.json()["message"]
    assert "Traceback" not in answer.text


GRPC_CASES: list[tuple[Callable[[pilothouse.aio.Client], Any], type[errors.CallError], str]] = [
    (lambda c: c.workflow("nobody").get(), errors.NotFound, "WORKFLOW_NOT_FOUND"),
    (lambda c: c.workflow("nobody").pause(), errors.NotFound, "WORKFLOW_NOT_FOUND"),
    (lambda c: c.command("nobody").get(), errors.NotFound, "COMMAND_NOT_FOUND"),
    (
        lambda c: c.workflows.ControlWorkflow(
            workflows_pb2.ControlWorkflowRequest(workflow_id="x", action=77)  # type: ignore[arg-type]
        ),
        *(errors.InvalidArgument, "INVALID_ARGUMENT"),
    ),
    (
        lambda c: c.workflows.ListWorkflows(workflows_pb2.ListWorkflowsRequest(filter="a" * 3000)),
        *(errors.InvalidArgument, "INVALID_ARGUMENT"),
    ),
    (
        lambda c: c.workflows.ListWorkflows(workflows_pb2.ListWorkflowsRequest(filter="(" * 1000)),
        *(errors.InvalidArgument, "INVALID_FILTER"),
    ),
    (
        lambda c: c.events.PublishEvent(
            events_pb2.PublishEventRequest(event=started(message="x" * 5000))
        ),
        *(errors.InvalidArgument, "INVALID_ARGUMENT"),
    ),
    (
        lambda c: c.events.PublishEvent(events_pb2.PublishEventRequest()),
        *(errors.InvalidArgument, "INVALID_ARGUMENT"),
    ),
    (
        lambda c: c.events.PublishEvents(
            events_pb2.PublishEventsRequest(events=[started(str(n)) for n in range(1001)])
        ),
        *(errors.LimitExceeded, "LIMIT_EXCEEDED"),
    ),
]


@pytest.mark.parametrize(("call", "kind", "reason"), GRPC_CASES)
async def test_grpc_names_what_is_wrong(
    shared_client: pilothouse.aio.Client,
    call: Callable[[pilothouse.aio.Client], Any],
    kind: type[errors.CallError],
    reason: str,
) -> None:
    with pytest.raises(kind) as caught:
        await call(shared_client)

    assert caught.value.reason == reason
    assert str(caught.value)


async def test_what_is_bad_in_a_batch_is_named_and_the_rest_is_kept(
    shared_client: pilothouse.aio.Client,
) -> None:
    batch = [
        started("good-1"),
        events_pb2.Event(type=events_pb2.EVENT_TYPE_WORKFLOW_STARTED, id="no-workflow"),
        events_pb2.Event(type=99, workflow_id="x"),  # type: ignore[arg-type]
        started("bad\nid"),
        events_pb2.Event(type=events_pb2.EVENT_TYPE_COMMAND_EFFECTIVE, workflow_id="x"),
        started("good-2"),
    ]

    answer = await shared_client.events.PublishEvents(events_pb2.PublishEventsRequest(events=batch))

    assert answer.accepted_count == 2
    assert [rejected.index for rejected in answer.rejected] == [1, 2, 3, 4]
    assert answer.rejected[0].id == "no-workflow"
    assert "workflow_id" in answer.rejected[0].reason
    assert all(rejected.reason for rejected in answer.rejected)

    async def kept() -> bool:
        listed = shared_client.list_workflows(filter="good-")
        return {workflow.id async for workflow in listed} == {"good-1", "good-2"}

    await wait_until(kept, within=PATIENCE, what="the good ones")


async def test_a_message_over_the_limit_is_refused_and_the_server_goes_on(
    shared_server: Pilothouse, shared_client: pilothouse.aio.Client
) -> None:
    huge = events_pb2.PublishEventsRequest(
        events=[started(str(n), message="x" * 4096) for n in range(2000)]
    )

    with pytest.raises(errors.ResourceExhausted):
        await shared_client.events.PublishEvents(huge)

    await shared_client.events.PublishEvent(events_pb2.PublishEventRequest(event=started()))
    assert (await shared_server.get("/healthz")) is not None


async def test_hostile_text_is_kept_as_it_is_and_found_again(
    shared_server: Pilothouse, shared_client: pilothouse.aio.Client
) -> None:
    message = HOSTILE
    await shared_client.events.PublishEvent(
        events_pb2.PublishEventRequest(
            event=started("wf'--%_", message=message, workflow_name="<b>name</b>'; --")
        )
    )

    async def listed() -> list[workflows_pb2.Workflow]:
        return [w async for w in shared_client.list_workflows(filter='id = "wf\'--%_"')]

    found = await wait_until(listed, within=PATIENCE, what="the workflow")
    rest = await shared_server.get("/api/v1/workflows/wf%27--%25_")
    code, shown, _ = await cli(shared_server, "workflows", "get", "wf'--%_", "-o", "table")

    assert found[0].workflow_name == "<b>name</b>'; --"
    assert rest["events"][0]["message"] == message
    assert code == 0
    assert "\x1b[31m" not in shown


async def test_the_terminal_says_what_is_wrong_and_ends_with_a_code(
    shared_server: Pilothouse,
) -> None:
    missing = await cli(shared_server, "workflows", "get", "nobody")
    usage = await cli(shared_server, "workflows", "explode")
    away = await cli(
        shared_server, "--server", "127.0.0.1:1", "--timeout", "1s", "workflows", "list"
    )

    assert missing[0] not in (0, 2)
    assert "nobody" in missing[2]
    assert usage[0] == 2
    assert away[0] not in (0, 2)
    assert "127.0.0.1:1" in away[2]
    assert all("Traceback" not in said for _, _, said in (missing, usage, away))


SOCKET_CASES: list[tuple[str | bytes, str]] = [
    ('{"type":"subscribe","channels":["moon"]}', "UNKNOWN_CHANNEL"),
    ("{not json", "MALFORMED_REQUEST"),
    ("[]", "MALFORMED_REQUEST"),
    ('{"type":"explode"}', "MALFORMED_REQUEST"),
    ('{"type":"subscribe","channels":"metrics:realtime"}', "MALFORMED_REQUEST"),
    (b"\xff\xff\xff\xff", "MALFORMED_REQUEST"),
]


@pytest.mark.parametrize(("message", "reason"), SOCKET_CASES, ids=lambda value: str(value)[:40])
async def test_a_socket_is_told_what_is_wrong_and_stays(
    shared_server: Pilothouse, message: str | bytes, reason: str
) -> None:
    url = f"ws://127.0.0.1:{shared_server.http_port}/ws/monitoring"
    async with websockets.connect(url) as socket, asyncio.timeout(PATIENCE):
        await socket.send(message)
        answer = await socket.recv()
        if isinstance(answer, bytes):
            frame = live_pb2.LiveFrame.FromString(answer)
            said = (frame.error.reason, frame.error.message)
        else:
            body = json.loads(answer)
            assert body["type"] == "error"
            said = (body["data"]["reason"], body["data"]["message"])
        await socket.send('{"type":"ping","nonce":7}')
        pong = json.loads(await socket.recv())

    assert said[0] == reason
    assert said[1]
    assert pong["type"] == "pong"


async def test_a_page_of_another_origin_may_not_steer(shared_server: Pilothouse) -> None:
    headers = {"Origin": "https://evil.example"}
    async with httpx.AsyncClient(
        base_url=shared_server.url, trust_env=False, timeout=PATIENCE, headers=headers
    ) as http:
        answer = await http.post("/api/v1/workflows/x/control", json={"action": "cancel"})
    url = f"ws://127.0.0.1:{shared_server.http_port}/ws/monitoring"
    with pytest.raises(websockets.InvalidStatus) as caught:
        await websockets.connect(url, additional_headers=headers)

    assert answer.status_code == 403
    assert answer.json()["reason"] == "ORIGIN_NOT_ALLOWED"
    assert caught.value.response.status_code == 403


async def test_a_connection_that_says_nothing_or_garbage_hurts_nobody(
    shared_server: Pilothouse, shared_client: pilothouse.aio.Client
) -> None:
    silent = [
        await asyncio.open_connection("127.0.0.1", shared_server.http_port) for _ in range(20)
    ]
    for port in (shared_server.http_port, shared_server.grpc_port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x00\xff garbage \r\n\r\n" * 100)
        await writer.drain()
        writer.close()

    nobody = shared_client.list_workflows(filter="nobody-at-all")
    assert [workflow async for workflow in nobody] == []
    assert await shared_server.get("/api/v1/workflows") is not None
    for _, writer in silent:
        writer.close()


async def test_an_unknown_method_is_named(shared_server: Pilothouse) -> None:
    async with grpc.aio.insecure_channel(shared_server.grpc) as channel:
        raw: Any = channel
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await raw.unary_unary("/pilothouse.v1.WorkflowService/Explode")(b"")

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "Explode" in (caught.value.details() or "")
