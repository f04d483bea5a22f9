"""REST and unary calls: paths and bodies from descriptors, and every refusal with a name."""

from __future__ import annotations

from typing import Any

import grpc
import httpx
import pytest

from pilothouse.v1.enums_pb2 import ControlAction, WorkflowState
from pilothouse.v1.metrics_pb2 import MetricDimension, MetricsSnapshot
from pilothouse.v1.rules_pb2 import UpdateRuleRequest
from pilothouse.v1.workflows_pb2 import GetWorkflowRequest, GetWorkflowResponse, Workflow
from pilothouse_server.bridge import fields
from tests.bridge.support import PATIENCE, Stage, refusal, staged
from tests.support import wait_until

CONTROL = "/api/v1/workflows/w-1/control"


async def send(stage: Stage, method: str, path: str, **options: Any) -> httpx.Response:
    async with stage.http() as http:
        return await http.request(method, path, **options)


def named(answer: httpx.Response, status: int, reason: str) -> dict[str, Any]:
    """The error that was expected, complete."""
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body.get("reason")) == (status, reason), answer.text
    assert set(body) == {"code", "message", "reason", "metadata", "violations"}
    assert "Traceback" not in answer.text
    return body


async def test_a_list_comes_with_the_field_names_of_the_contract() -> None:
    async with staged() as stage:
        state = WorkflowState.WORKFLOW_STATE_RUNNING
        await stage.server.workflows.add(Workflow(id="w-1", state=state, workflow_type="feature"))
        answer = await send(
            stage, "GET", "/api/v1/workflows?page_size=5&filter=state%20%3D%20RUNNING"
        )
        assert answer.status_code == 200
        listed = answer.json()["workflows"][0]
        assert (listed["id"], listed["workflow_type"]) == ("w-1", "feature")
        assert listed["state"] == "WORKFLOW_STATE_RUNNING"
        assert listed["attempt"] == 0, "zeros are written"
        assert "start_time" not in listed, "what is not known is absent"
        asked = stage.server.requests[-1]
        assert (asked.page_size, asked.filter) == (5, "state = RUNNING")


@pytest.mark.parametrize(
    ("sent", "workflow_id"),
    [
        ("w-1", "w-1"),
        ("a%2Fb", "a/b"),
        ("a:b", "a:b"),
        ("a%3Apause", "a:pause"),
        ("%C3%A4%20%25", "ä %"),
    ],
)
async def test_an_id_in_a_path_may_hold_anything(sent: str, workflow_id: str) -> None:
    async with staged() as stage:
        answer = await send(stage, "GET", f"/api/v1/workflows/{sent}")
        assert answer.json()["workflow"]["id"] == workflow_id


@pytest.mark.parametrize(
    "action", ["pause", "PAUSE", "CONTROL_ACTION_PAUSE", "control_action_pause", 1, "1"]
)
async def test_an_action_may_be_short_and_in_any_case(action: str | int) -> None:
    async with staged() as stage:
        answer = await send(stage, "POST", CONTROL, json={"action": action, "reason": "to look"})
        command = answer.json()["command"]
        assert (command["workflow_id"], command["reason"]) == ("w-1", "to look")
        assert command["action"] == "CONTROL_ACTION_PAUSE"


async def test_query_parameters_reach_every_kind_of_field() -> None:
    async with staged() as stage:
        query = "dimension=stage&name=tests&step=10s&start_time=2026-01-02T03:04:05Z"
        assert (
            await send(stage, "GET", f"/api/v1/monitoring/metrics/history?{query}")
        ).status_code == 200
        asked = stage.server.requests[-1]
        assert asked.dimension == MetricDimension.METRIC_DIMENSION_STAGE
        assert (asked.name, asked.step.seconds, asked.start_time.seconds) == (
            "tests",
            10,
            1767323045,
        )


async def test_a_body_that_is_one_field_leaves_the_others_to_the_query() -> None:
    async with staged() as stage:
        event = {
            "id": "e-1",
            "type": "workflow_started",
            "workflowId": "w-1",
            "attributes": {"a": "b"},
        }
        assert (await send(stage, "POST", "/api/v1/events", json=event)).json()["id"] == "e-1"
        assert stage.server.requests[-1].event.workflow_id == "w-1"
        assert dict(stage.server.requests[-1].event.attributes) == {"a": "b"}


@pytest.mark.parametrize("mask", ["for_duration,labels", "forDuration,labels"])
def test_a_mask_names_fields_as_the_contract_does_or_as_json_does(mask: str) -> None:
    request = UpdateRuleRequest()
    fields.fill(request, {"rule": {"id": "r"}, "update_mask": mask})
    assert list(request.update_mask.paths) == ["for_duration", "labels"]


async def test_an_illegal_transition_is_409_with_its_reason() -> None:
    async with staged() as stage:
        stage.server.refusal = refusal(
            grpc.StatusCode.FAILED_PRECONDITION,
            "ILLEGAL_TRANSITION",
            "it is COMPLETED",
            state="COMPLETED",
        )
        answer = await send(stage, "POST", CONTROL, json={"action": "pause"})
        body = named(answer, 409, "ILLEGAL_TRANSITION")
        assert (body["code"], body["message"]) == ("FAILED_PRECONDITION", "it is COMPLETED")
        assert body["metadata"] == {"state": "COMPLETED"}


@pytest.mark.parametrize(
    ("code", "reason", "status"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FILTER", 400),
        (grpc.StatusCode.NOT_FOUND, "WORKFLOW_NOT_FOUND", 404),
        (grpc.StatusCode.ABORTED, "ETAG_MISMATCH", 409),
        (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED", 409),
        (grpc.StatusCode.PERMISSION_DENIED, "NOT_COMMAND_OWNER", 403),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED", 413),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", 429),
        (grpc.StatusCode.UNAVAILABLE, "LOG_UNAVAILABLE", 503),
        (grpc.StatusCode.INTERNAL, "INTERNAL", 500),
    ],
)
async def test_each_refusal_of_the_server_keeps_its_name(
    code: grpc.StatusCode, reason: str, status: int
) -> None:
    async with staged() as stage:
        stage.server.refusal = refusal(code, reason, "no")
        answer = await send(stage, "GET", "/api/v1/workflows")
        named(answer, status, reason)
        assert ("retry-after" in answer.headers) == (status in {429, 503})


async def test_a_fault_without_details_tells_no_internals() -> None:
    async with staged() as stage:
        stage.server.refusal = (grpc.StatusCode.UNKNOWN, None)
        answer = await send(stage, "GET", "/api/v1/workflows")
        named(answer, 500, "INTERNAL")
        assert "secret.py" not in answer.text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"action":"pause","raeson":"x"}', "raeson"),
        (b'{"action":"explode"}', "action"),
        (b'{"action":true}', "action"),
        (b'{"action":"pause","reason":7}', "reason"),
        (b'{"action":"pause","reason":{"a":1}}', "reason"),
        (b'{"action":"pause","workflow_id":"another"}', "workflow_id"),
        (b'{"action":"pause","workflow_id":"w-1","workflowId":"w-1"}', "workflowId"),
        (b"[]", "(body)"),
    ],
)
async def test_a_body_that_breaks_the_contract_is_told_which_field(body: bytes, field: str) -> None:
    async with staged() as stage:
        answer = await send(
            stage, "POST", CONTROL, content=body, headers={"content-type": "application/json"}
        )
        violations = named(answer, 400, "MALFORMED_REQUEST")["violations"]
        assert [violation["field"] for violation in violations] == [field]
        assert stage.server.requests == []


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff\xfe",
        b'{"reason":"\\ud800","action":"pause"}',
        b"[" * 100_000,
        b'{"attempt":' + b"9" * 5_000 + b"}",
        b"nul",
    ],
)
async def test_what_is_not_json_is_refused_by_name(body: bytes) -> None:
    async with staged() as stage:
        answer = await send(
            stage, "POST", CONTROL, content=body, headers={"content-type": "application/json"}
        )
        named(answer, 400, "MALFORMED_REQUEST")


async def test_a_body_that_does_not_say_that_it_is_json_is_415() -> None:
    async with staged() as stage:
        answer = await send(stage, "POST", CONTROL, content=b'{"action":"pause"}')
        named(answer, 415, "MALFORMED_REQUEST")


@pytest.mark.parametrize(
    "query", ["pagesize=5", "page_size=many", "page_size=5&page_size=6", "filter.x=1"]
)
async def test_a_wrong_query_parameter_is_named(query: str) -> None:
    async with staged() as stage:
        body = named(
            await send(stage, "GET", f"/api/v1/workflows?{query}"), 400, "MALFORMED_REQUEST"
        )
        assert body["violations"][0]["field"] == query.split("=", maxsplit=1)[0]


async def test_a_body_over_the_limit_is_413_however_it_comes() -> None:
    async def parts() -> Any:
        for _ in range(5):
            yield b" " * 1_000

    async with staged(max_body=2_000) as stage:
        headers = {"content-type": "application/json"}
        declared = await send(stage, "POST", CONTROL, content=b" " * 5_000, headers=headers)
        assert named(declared, 413, "LIMIT_EXCEEDED")["metadata"] == {
            "limit": "2000",
            "value": "5000",
        }
        chunked = await send(stage, "POST", CONTROL, content=parts(), headers=headers)
        named(chunked, 413, "LIMIT_EXCEEDED")


async def test_a_path_or_method_that_is_not_there_is_named() -> None:
    async with staged() as stage:
        named(await send(stage, "GET", "/api/v1/nothing"), 404, "NO_SUCH_METHOD")
        answer = await send(stage, "DELETE", "/api/v1/workflows")
        named(answer, 405, "NO_SUCH_METHOD")
        assert answer.headers["allow"] == "GET"
        named(
            await send(stage, "POST", "/pilothouse.v1.WorkflowService/Nothing"),
            404,
            "NO_SUCH_METHOD",
        )
        named(
            await send(stage, "POST", "/pilothouse.v1.WorkflowService/WatchWorkflows"),
            501,
            "NO_SUCH_METHOD",
        )
        named(
            await send(stage, "GET", "/pilothouse.v1.WorkflowService/GetWorkflow"),
            405,
            "NO_SUCH_METHOD",
        )


async def test_a_unary_call_speaks_canonical_json() -> None:
    async with staged() as stage:
        path = "/pilothouse.v1.WorkflowService/ControlWorkflow"
        answer = await send(stage, "POST", path, json={"workflowId": "w-1", "action": "pause"})
        assert answer.json() == {"command": {"workflowId": "w-1", "action": "CONTROL_ACTION_PAUSE"}}
        assert stage.server.requests[-1].action == ControlAction.CONTROL_ACTION_PAUSE


async def test_a_unary_call_writes_what_holds_its_default_when_asked_to() -> None:
    async with staged() as stage:
        path = "/pilothouse.v1.WorkflowService/ControlWorkflow"
        asked = {"workflowId": "w-1", "action": "pause"}
        answer = await send(stage, "POST", f"{path}?defaults=true", json=asked)
        command = answer.json()["command"]
        assert (command["workflowId"], command["reason"]) == ("w-1", "")
        assert command["state"] == "COMMAND_STATE_UNSPECIFIED"
        assert "requestTime" not in command
        named(await send(stage, "POST", f"{path}?defaults=1", json=asked), 400, "MALFORMED_REQUEST")


async def test_a_unary_call_speaks_protobuf() -> None:
    async with staged() as stage:
        path = "/pilothouse.v1.WorkflowService/GetWorkflow"
        headers = {"content-type": "application/proto"}
        body = GetWorkflowRequest(workflow_id="w-1").SerializeToString()
        answer = await send(stage, "POST", path, content=body, headers=headers)
        assert answer.headers["content-type"] == "application/proto"
        assert GetWorkflowResponse.FromString(answer.content).workflow.id == "w-1"
        wrong = await send(stage, "POST", path, content=b"\x08", headers=headers)
        named(wrong, 400, "MALFORMED_REQUEST")


async def test_a_server_that_is_away_is_503_and_comes_back() -> None:
    async with staged() as stage:
        await stage.server.stop()
        answer = await send(stage, "GET", "/api/v1/workflows")
        named(answer, 503, "SERVER_UNREACHABLE")
        assert answer.headers["retry-after"] == "1"
        await stage.server.start()

        async def again() -> bool:
            return (await send(stage, "GET", "/api/v1/workflows")).status_code == 200

        await wait_until(again, within=PATIENCE)


async def test_a_server_that_does_not_answer_in_time_is_504() -> None:
    async with staged(call_timeout=0.1) as stage:
        stage.server.may_answer.clear()
        named(await send(stage, "GET", "/api/v1/workflows"), 504, "DEADLINE_EXCEEDED")


async def test_too_many_calls_are_429() -> None:
    async with staged(call_burst=1, calls_per_second=0.001) as stage:
        assert (await send(stage, "GET", "/api/v1/workflows")).status_code == 200
        named(await send(stage, "GET", "/api/v1/workflows"), 429, "RATE_LIMITED")


async def test_the_realtime_fallback_has_the_newest_snapshot_with_its_age() -> None:
    async with staged() as stage:
        path = "/api/v1/monitoring/metrics/realtime"
        named(await send(stage, "GET", path), 503, "NO_SNAPSHOT")
        snapshot = MetricsSnapshot(sequence=3)
        snapshot.as_of_time.GetCurrentTime()
        series = snapshot.series.add(dimension=MetricDimension.METRIC_DIMENSION_FLEET)
        series.windows.add(throughput=0.5).window.FromSeconds(60)
        series.windows.add().window.FromSeconds(300)
        await stage.server.snapshots.add(snapshot)

        async def there() -> httpx.Response | None:
            answer = await send(stage, "GET", path)
            return answer if answer.status_code == 200 else None

        answer = await wait_until(there, within=PATIENCE)
        assert answer is not None
        body = answer.json()
        assert answer.headers["cache-control"] == "no-cache"
        assert body["snapshot"]["sequence"] == "3"
        assert 0 <= body["age_seconds"] < 10
        assert body["ttl_seconds"] == 300
        assert body["throughput_per_minute"] == {"60": 30.0, "300": None}


async def test_a_snapshot_over_its_ttl_is_not_served() -> None:
    async with staged() as stage:
        snapshot = MetricsSnapshot(sequence=3)
        snapshot.as_of_time.FromJsonString("2026-01-01T00:00:00Z")
        await stage.server.snapshots.add(snapshot)

        async def told() -> bool:
            answer = await send(stage, "GET", "/api/v1/monitoring/metrics/realtime")
            return "s old" in named(answer, 503, "NO_SNAPSHOT")["message"]

        await wait_until(told, within=PATIENCE)
