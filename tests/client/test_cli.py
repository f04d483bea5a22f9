"""The command line against the small server: what is typed becomes a request, an answer becomes what is shown."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from google.protobuf.duration_pb2 import Duration

from pilothouse.v1.agents_pb2 import Agent
from pilothouse.v1.commands_pb2 import COMMAND_STATE_EFFECTIVE, COMMAND_STATE_FAILED
from pilothouse.v1.enums_pb2 import (
    AGENT_STATE_BUSY,
    AGENT_STATE_OFFLINE,
    CONTROL_ACTION_RETRY,
    SEVERITY_WARNING,
    WORKFLOW_STATE_FAILED,
    WORKFLOW_STATE_RUNNING,
)
from pilothouse.v1.events_pb2 import EVENT_TYPE_LOG, AgentLoad, Event, EventError
from pilothouse.v1.metrics_pb2 import (
    HEALTH_STATE_DEGRADED,
    METRIC_DIMENSION_FLEET,
    METRIC_DIMENSION_STAGE,
    AgentCounts,
    FleetHealth,
    LatencySummary,
    MetricsSnapshot,
    QueryMetricsRequest,
    StateCounts,
)
from pilothouse.v1.workflows_pb2 import ControlWorkflowRequest, ListWorkflowsRequest, Workflow
from tests.client.cli import type_at, type_command
from tests.client.support import Failure, Server
from tests.support import wait_until


@pytest.fixture(autouse=True)
def no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine's user has configured is not for tests."""
    monkeypatch.setenv("PILOTHOUSE_CONFIG", str(tmp_path / "config.yaml"))
    monkeypatch.delenv("PILOTHOUSE_SERVER", raising=False)


def workflow(number: int) -> Workflow:
    found = Workflow(
        id=f"wf-{number}",
        workflow_type="feature",
        workflow_name=f"Number {number}",
        state=WORKFLOW_STATE_RUNNING,
        attempt=1,
        source="engine",
        etag="not for people",
    )
    found.create_time.FromJsonString("2026-01-31T12:00:00Z")
    return found


def seconds(value: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(int(value * 1e9))
    return duration


async def test_a_list_is_a_table_of_what_is_there(server: Server) -> None:
    server.workflows = {each.id: each for each in (workflow(1), workflow(2))}
    server.workflows["wf-2"].state = WORKFLOW_STATE_FAILED
    server.workflows["wf-2"].error.CopyFrom(EventError(code="TESTS", message="2 failed"))
    done = await type_at(server, "workflows", "list")
    assert done.code == 0
    assert done.out == (
        "ID    STATE    TYPE     NAME      ATTEMPT  SOURCE  CREATED                   ERROR\n"
        "wf-1  RUNNING  feature  Number 1        1  engine  2026-01-31T12:00:00.000Z\n"
        "wf-2  FAILED   feature  Number 2        1  engine  2026-01-31T12:00:00.000Z  TESTS: 2 failed\n"
    )


async def test_an_empty_list_says_so(server: Server) -> None:
    assert (await type_at(server, "workflows", "list")).out == "no workflows\n"


async def test_columns_are_chosen_by_name(server: Server) -> None:
    server.workflows["wf-1"] = workflow(1)
    done = await type_at(server, "workflows", "list", "--columns", "name,id,etag")
    assert done.out == "NAME      ID    ETAG\nNumber 1  wf-1  not for people\n"
    unknown = await type_at(server, "workflows", "list", "--columns", "colour")
    assert unknown.code == 2
    assert "'colour' is not a column of Workflow; there are: id, workflow_type," in unknown.err


async def test_one_thing_is_shown_with_what_belongs_to_it(server: Server) -> None:
    server.workflows["wf-1"] = workflow(1)
    server.workflows["wf-1"].stages.add(name="build", state=3, duration=seconds(83))
    done = await type_at(server, "workflows", "get", "wf-1")
    assert done.out == (
        "id       wf-1\n"
        "type     feature\n"
        "name     Number 1\n"
        "state    RUNNING\n"
        "attempt  1\n"
        "source   engine\n"
        "created  2026-01-31T12:00:00.000Z\n"
        "etag     not for people\n"
        "\n"
        "STAGES\n"
        "NAME   STATE    DURATION\n"
        "build  RUNNING    1m 23s\n"
    )


async def test_json_is_the_canonical_form(server: Server) -> None:
    server.workflows["wf-1"] = workflow(1)
    done = await type_at(server, "workflows", "list", "-o", "json")
    found = json.loads(done.out)["workflows"][0]
    assert found["state"] == "WORKFLOW_STATE_RUNNING"
    assert found["workflowType"] == "feature"
    assert found["createTime"] == "2026-01-31T12:00:00Z"


async def test_yaml_is_the_same_data(server: Server) -> None:
    server.workflows["wf-1"] = workflow(1)
    as_json = await type_at(server, "workflows", "get", "wf-1", "-o", "json")
    as_yaml = await type_at(server, "workflows", "get", "wf-1", "-o", "yaml")
    assert yaml.load(as_yaml.out, Loader=yaml.BaseLoader) == {
        "workflow": {key: str(value) for key, value in json.loads(as_json.out)["workflow"].items()}
    }


async def test_every_page_or_so_many_rows(server: Server) -> None:
    server.workflows = {each.id: each for each in map(workflow, range(120))}
    first = await type_at(server, "workflows", "list")
    assert len(first.out.splitlines()) == 51
    assert first.err == "there is more: --all, or --page-token 50\n"
    every = await type_at(server, "workflows", "list", "--all", "-o", "json")
    assert len(json.loads(every.out)["workflows"]) == 120
    some = await type_at(server, "workflows", "list", "--limit", "70")
    assert len(some.out.splitlines()) == 71
    assert some.err == ""


async def test_options_are_the_fields_of_the_request(server: Server) -> None:
    await type_at(
        server, "workflows", "list", "--filter", "state = RUNNING", "--order-by", "name desc"
    )
    assert server.requests("ListWorkflows") == [
        ListWorkflowsRequest(filter="state = RUNNING", order_by="name desc")
    ]


async def test_times_and_durations_are_typed_as_people_say_them(server: Server) -> None:
    typed = ("--start-time", "2026-01-31T12:00:00Z", "--end-time", "-1h", "--step", "1m30s")
    done = await type_at(
        server, "metrics", "query", "--dimension", "stage", "--name", "build", *typed
    )
    assert done.code == 0
    (request,) = server.requests("QueryMetrics")
    assert isinstance(request, QueryMetricsRequest)
    assert request.dimension == METRIC_DIMENSION_STAGE
    assert request.start_time.seconds == 1769860800
    assert request.end_time.seconds > 0
    assert request.step.seconds == 90


@pytest.mark.parametrize(
    "typed", ["retry", "RETRY", "Retry", "CONTROL_ACTION_RETRY", "control-action-retry"]
)
async def test_a_value_of_an_enum_is_typed_short_and_in_any_case(
    server: Server, typed: str
) -> None:
    server.workflows["wf-1"] = workflow(1)
    done = await type_at(server, "workflows", "control", "wf-1", "--action", typed)
    assert done.code == 0, done.err
    (request,) = server.requests("ControlWorkflow")
    assert isinstance(request, ControlWorkflowRequest)
    assert request.action == CONTROL_ACTION_RETRY
    assert len(request.request_id) == 36


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["workflows", "control", "wf-1", "--action", "explode"],
            "is not one of pause, resume, cancel, retry",
        ),
        (["workflows", "control", "wf-1"], "Missing option '--action'"),
        (["workflows", "get"], "Missing argument 'WORKFLOW_ID'"),
        (["workflows", "explode"], "No such command 'explode'"),
        (["workflows", "list", "--page-size", "-1"], "is not in the range"),
        (["metrics", "query", "--step", "soon"], "'soon' is not a duration"),
        (["metrics", "query", "--start-time", "yesterday"], "'yesterday' is not a time"),
        (["events", "publish", "--event", "{nonsense"], "not JSON"),
        (["events", "publish", "--event", '{"colour":"red"}'], "not a Event"),
        (["events", "publish", "--event", '{"type":"explosion"}'], "'explosion' is not one of"),
        (["events", "publish", "--event", "@/does/not/exist"], "No such file"),
        (
            ["events", "publish", "--event", '[{"type":"log"},{"type":"log"}]'],
            "one Event is wanted, not 2",
        ),
    ],
)
def test_what_is_not_understood_is_said_and_ends_with_2(
    arguments: list[str], complaint: str
) -> None:
    done = type_command(*arguments)
    assert done.code == 2
    assert complaint in done.err


async def test_messages_are_json_from_the_line_a_file_or_many(
    server: Server, tmp_path: Path
) -> None:
    event = '{"type":"log","message":"from the line","severity":"warning"}'
    await type_at(server, "events", "publish", "--event", event)
    lines = tmp_path / "events.jsonl"
    lines.write_text(
        '{"type":"LOG","message":"1"}\n{"type":"EVENT_TYPE_LOG","message":"2"}\n', "utf-8"
    )
    done = await type_at(server, "events", "publish-events", "--events", f"@{lines}")
    assert done.out == "accepted  2\n"
    found = list(server.events.values())
    assert [each.message for each in found] == ["from the line", "1", "2"]
    assert {each.type for each in found} == {EVENT_TYPE_LOG}
    assert found[0].severity == SEVERITY_WARNING


async def test_a_stream_of_requests_is_read_line_by_line(server: Server, tmp_path: Path) -> None:
    requests = tmp_path / "batches"
    batch = '{"events":[{"id":"%d","type":"log"}],"batchSequence":%d}'
    requests.write_text("\n".join(batch % (number, number) for number in (1, 2)), "utf-8")
    done = await type_at(server, "events", "publish-stream", "--input", str(requests), "-o", "json")
    assert [json.loads(line)["batchSequence"] for line in done.out.splitlines()] == ["1", "2"]
    assert list(server.events) == ["1", "2"]


async def test_waiting_for_a_control_tells_its_end(server: Server) -> None:
    server.workflows["wf-1"] = workflow(1)
    waiting = asyncio.create_task(type_at(server, "workflows", "pause", "wf-1", "--wait"))
    await wait_until(lambda: len(server.requests("GetCommand")) > 1)
    (command,) = server.commands.values()
    command.state = COMMAND_STATE_EFFECTIVE
    done = await waiting
    assert done.code == 0
    assert "EFFECTIVE" in done.out


async def test_a_control_that_fails_while_waited_for_ends_with_3(server: Server) -> None:
    server.workflows["wf-1"] = workflow(1)
    waiting = asyncio.create_task(type_at(server, "workflows", "pause", "wf-1", "--wait"))
    await wait_until(lambda: server.requests("GetCommand"))
    (command,) = server.commands.values()
    command.error.message = "no brakes"
    command.state = COMMAND_STATE_FAILED
    done = await waiting
    assert done.code == 3
    assert done.err.splitlines()[-2] == "error: the command is FAILED: no brakes"


async def test_waiting_has_an_end(server: Server) -> None:
    server.workflows["wf-1"] = workflow(1)
    done = await type_at(server, "workflows", "pause", "wf-1", "--wait", "--wait-timeout", "200ms")
    assert done.code == 14
    assert "may still take effect" in done.err


EXITS = [
    (grpc.StatusCode.INVALID_ARGUMENT, 13),
    (grpc.StatusCode.NOT_FOUND, 15),
    (grpc.StatusCode.ALREADY_EXISTS, 16),
    (grpc.StatusCode.PERMISSION_DENIED, 17),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, 18),
    (grpc.StatusCode.FAILED_PRECONDITION, 19),
    (grpc.StatusCode.ABORTED, 20),
    (grpc.StatusCode.UNIMPLEMENTED, 22),
    (grpc.StatusCode.INTERNAL, 23),
    (grpc.StatusCode.UNAVAILABLE, 24),
    (grpc.StatusCode.UNAUTHENTICATED, 26),
]


@pytest.mark.parametrize(("code", "exit_code"), EXITS, ids=lambda each: getattr(each, "name", ""))
async def test_the_exit_code_tells_the_refusal(
    server: Server, code: grpc.StatusCode, exit_code: int
) -> None:
    server.fail("ListAgents", *[Failure(code)] * 4)
    done = await type_at(server, "agents", "list")
    assert (done.code, done.out) == (exit_code, "")
    assert done.err.startswith("error: on purpose\n")


async def test_a_refusal_says_the_reason_the_facts_and_what_to_do(server: Server) -> None:
    server.workflows["wf-1"] = workflow(1)
    facts = {"state": "COMPLETED", "action": "PAUSE", "legal_actions": ""}
    server.fail(
        "PauseWorkflow",
        Failure(
            grpc.StatusCode.FAILED_PRECONDITION,
            "it has ended",
            "COMMAND_PENDING",
            {"command_id": "c-9"},
        ),
        Failure(
            grpc.StatusCode.INVALID_ARGUMENT,
            "the request is not valid",
            "INVALID_ARGUMENT",
            violations=[("reason", "is too long")],
        ),
        Failure(grpc.StatusCode.FAILED_PRECONDITION, "it has ended", "ILLEGAL_TRANSITION", facts),
    )
    pending = await type_at(server, "workflows", "pause", "wf-1")
    assert pending.err == (
        "error: it has ended\n"
        "  reason: COMMAND_PENDING\n"
        "  command_id: c-9\n"
        "  try: wait for it with `pilothouse commands get c-9`, or cancel the workflow\n"
    )
    invalid = await type_at(server, "workflows", "pause", "wf-1")
    assert "  reason: is too long\n" in invalid.err
    illegal = await type_at(server, "workflows", "pause", "wf-1")
    assert "  state: COMPLETED\n" in illegal.err
    assert "try:" not in illegal.err, "nothing can be tried"


def test_a_server_that_is_not_there_is_said_with_what_to_do() -> None:
    for command in (["agents", "list"], ["agents", "watch"]):
        done = type_command("--server", "127.0.0.1:1", *command)
        assert done.code == 24
        assert "is the server running at 127.0.0.1:1?" in done.err


HOSTILE = "a\x1b[2J\x1b]0;owned\x07\r\nb\u202ec\x9bd\u200be\ttab"


def as_listed(answer: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = answer["workflow"] if "workflow" in answer else answer["workflows"][0]
    return found


async def test_hostile_text_is_shown_and_not_obeyed(server: Server) -> None:
    server.workflows["wf-1"] = workflow(1)
    server.workflows["wf-1"].workflow_name = HOSTILE
    forms = [("table",), ("json",), ("yaml",)]
    for (form,) in forms:
        for command in (["workflows", "list"], ["workflows", "get", "wf-1"]):
            done = await type_at(server, *command, "-o", form)
            assert done.code == 0
            unsafe = [each for each in done.out if each != "\n" and not each.isprintable()]
            assert unsafe == [], (form, command)
            if form == "json":
                assert as_listed(json.loads(done.out))["workflowName"] == HOSTILE
    table = (await type_at(server, "workflows", "list")).out
    assert len(table.splitlines()) == 2
    assert "a␛[2J␛]0;owned␇␍⏎b\\u202ec\\u009bd\\u200be→tab" in table


async def test_hostile_errors_are_shown_and_not_obeyed(server: Server) -> None:
    hostile = Failure(
        grpc.StatusCode.NOT_FOUND, "no\x1b[2J", "X\x1b", {"k\x07": "v\x1b"}, [("f\x1b", "d\n")]
    )
    server.fail("ListAgents", hostile)
    done = await type_at(server, "agents", "list")
    assert [each for each in done.err if each != "\n" and not each.isprintable()] == []


async def test_a_watch_prints_rows_as_they_come_and_goes_on_after_a_break(server: Server) -> None:
    server.agents.add(
        Agent(id="one", agent_type="builder", state=AGENT_STATE_BUSY, load=AgentLoad(active=1))
    )
    watching = asyncio.create_task(type_at(server, "agents", "watch", "--limit", "2"))
    await wait_until(lambda: server.requests("WatchAgents"))
    server.break_streams()
    await wait_until(lambda: len(server.requests("WatchAgents")) == 2)
    server.agents.add(Agent(id="two", state=AGENT_STATE_OFFLINE))
    done = await watching
    assert done.code == 0
    head, one, two = done.out.splitlines()
    assert head.split()[:3] == ["ID", "STATE", "TYPE"]
    assert one.split()[:4] == ["one", "BUSY", "builder", "1/?"]
    assert two.split()[:2] == ["two", "OFFLINE"]
    assert "the stream broke (UNAVAILABLE: the stream is broken on purpose)" in done.err


async def test_a_watch_of_events_prints_one_json_on_each_line(server: Server) -> None:
    for number in range(3):
        server.log.add(Event(id=str(number), type=EVENT_TYPE_LOG))
    done = await type_at(server, "events", "watch", "--limit", "3", "-o", "json")
    assert [json.loads(line)["id"] for line in done.out.splitlines()] == ["0", "1", "2"]


def snapshot() -> MetricsSnapshot:
    found = MetricsSnapshot(
        sequence=4,
        health=FleetHealth(state=HEALTH_STATE_DEGRADED, reasons=["agent a-2 is offline"]),
        agents=AgentCounts(online=3, known=4),
    )
    found.as_of_time.FromJsonString("2026-01-31T12:00:00Z")
    states = StateCounts(running=3, paused=1, queue_depth=7)
    fleet = found.series.add(dimension=METRIC_DIMENSION_FLEET, states=states)
    latency = LatencySummary(count=9, p50=seconds(0.8), p95=seconds(2.4), p99=seconds(140))
    fleet.windows.add(
        window=seconds(60),
        started=10,
        completed=8,
        failed=1,
        throughput=0.14,
        error_rate=1 / 9,
        latency=latency,
    )
    fleet.windows.add(window=seconds(300))
    return found


async def test_metrics_are_shown_as_a_summary_and_nothing_known_is_not_zero(server: Server) -> None:
    server.snapshot = snapshot()
    done = await type_at(server, "metrics", "get")
    assert done.out == (
        "▲ DEGRADED  agents 3/4  events/s –  as of 2026-01-31T12:00:00.000Z  #4\n"
        "  agent a-2 is offline\n"
        "running 3  waiting 0  paused 1  queued 0  queue depth 7  ever 0\n"
        "\n"
        "WINDOW  STARTED  DONE  FAILED  CANCELLED  PER MIN  ERRORS     P50    P95     P99\n"
        "1m           10     8       1          0      8.4   11.1%  800 ms  2.4 s  2m 20s\n"
        "5m            0     0       0          0        –       –       –      –       –\n"
    )


async def test_metrics_are_watched_one_line_at_a_time(server: Server) -> None:
    server.snapshot = snapshot()
    done = await type_at(server, "metrics", "watch", "--limit", "2", "--interval", "1s")
    line = (
        "2026-01-31T12:00:00.000Z DEGRADED running=3 queue_depth=7 throughput_per_min=8.4 "
        "error_rate=11.1% p50=800ms p95=2.4s p99=2m20s agents=3/4\n"
    )
    assert done.out == line * 2
