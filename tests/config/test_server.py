"""The configuration of a running server: changed by command line, REST and gRPC, and in force without a restart."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

import pilothouse.aio
from pilothouse import errors
from pilothouse.v1 import (
    agents_pb2,
    audit_pb2,
    batches_pb2,
    commands_pb2,
    events_pb2,
    metrics_pb2,
    workflows_pb2,
)
from pilothouse.v1 import config_pb2 as pb
from pilothouse.v1.enums_pb2 import AgentState, ControlAction
from tests.client.cli import Done, type_command
from tests.e2e.support import Pilothouse
from tests.support import wait_until

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("configuration of a server")]

LONG = 40.0
"""Seconds that something may take which takes five where nothing else runs."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pilothouse]:
    """`pilothouse-server up`, for all tests of the file."""
    async with Pilothouse(tmp_path_factory.mktemp("config") / "data") as running:
        yield running


@pytest.fixture
async def client(server: Pilothouse) -> AsyncIterator[pilothouse.aio.Client]:
    """What a test configures is not what the next one finds, however it ends."""
    async with pilothouse.aio.Client(server.grpc) as connected:
        yield connected
        await configure(connected, "agents", "commands", "metrics", "retention")


async def typed(server: Pilothouse, *arguments: str) -> Done:
    return await asyncio.to_thread(type_command, "--server", server.grpc, *arguments)


async def configure(client: pilothouse.aio.Client, *paths: str, **groups: Any) -> None:
    request = pb.UpdateConfigRequest(
        config=pb.PlatformConfig(**groups), update_mask=FieldMask(paths=paths)
    )
    await client.config.UpdateConfig(request)


async def report(client: pilothouse.aio.Client, *events: events_pb2.Event) -> None:
    await client.events.PublishEvents(events_pb2.PublishEventsRequest(events=events))


def started(workflow_id: str, source: str) -> events_pb2.Event:
    kind = events_pb2.EVENT_TYPE_WORKFLOW_STARTED
    return events_pb2.Event(workflow_id=workflow_id, type=kind, source=source)


async def connected(client: pilothouse.aio.Client, source: str) -> Any:
    """An engine that can pause, and does not."""
    pauses = commands_pb2.Capability(
        action=ControlAction.CONTROL_ACTION_PAUSE, scope=commands_pb2.COMMAND_SCOPE_RUN
    )
    stream = client.commands.WatchCommands(
        commands_pb2.WatchCommandsRequest(source=source, capabilities=[pauses])
    )
    first = await stream.read()
    assert isinstance(first, commands_pb2.WatchCommandsResponse)
    return stream


async def run(client: pilothouse.aio.Client, *workflow_ids: str, source: str) -> None:
    await report(client, *(started(each, source) for each in workflow_ids))

    async def there() -> bool:
        listed = client.list_workflows(filter=f"source = {source}")
        return len([each async for each in listed]) == len(workflow_ids)

    await wait_until(there, within=LONG, what="the workflows")


async def paused(client: pilothouse.aio.Client, workflow_id: str) -> commands_pb2.Command:
    request = workflows_pb2.PauseWorkflowRequest(workflow_id=workflow_id)
    return (await client.workflows.PauseWorkflow(request)).command


async def test_agents_are_given_as_much_time_as_is_configured(
    client: pilothouse.aio.Client,
) -> None:
    """In lists and in metrics; and who watches is told, though nothing happened."""
    await configure(client, agents=pb.AgentConfig(offline_after=Duration(seconds=600)))
    beat = events_pb2.EVENT_TYPE_AGENT_HEARTBEAT
    await report(client, events_pb2.Event(agent_id="a1", type=beat, source="e", agent_type="coder"))

    async def stands(state: AgentState.ValueType) -> bool:
        listed = [each async for each in client.list_agents()]
        snapshot = (await client.metrics.GetMetrics(metrics_pb2.GetMetricsRequest())).snapshot
        online = snapshot.agents.online == (state == AgentState.AGENT_STATE_ONLINE)
        return [each.state for each in listed] == [state] and online

    async def becomes(state: AgentState.ValueType, what: str) -> None:
        await wait_until(lambda: stands(state), within=LONG, what=what)

    await becomes(AgentState.AGENT_STATE_ONLINE, "the agent")
    watch = client.agents.WatchAgents(agents_pb2.WatchAgentsRequest())

    async def seen(state: AgentState.ValueType) -> None:
        async with asyncio.timeout(LONG):
            async for each in watch:
                if each.WhichOneof("update") == "agent" and each.agent.state == state:
                    return

    await seen(AgentState.AGENT_STATE_ONLINE)
    await configure(client, agents=pb.AgentConfig(offline_after=Duration(seconds=5)))
    await seen(AgentState.AGENT_STATE_OFFLINE)
    await becomes(AgentState.AGENT_STATE_OFFLINE, "its silence")
    await configure(client, agents=pb.AgentConfig(offline_after=Duration(seconds=600)))
    await seen(AgentState.AGENT_STATE_ONLINE)
    await becomes(AgentState.AGENT_STATE_ONLINE, "its return")
    watch.cancel()


async def test_commands_have_as_much_time_as_is_configured(client: pilothouse.aio.Client) -> None:
    await run(client, "d1", "d2", source="slow")
    stream = await connected(client, "slow")
    long = await paused(client, "d1")
    commands = pb.CommandConfig(
        accept_deadline=Duration(seconds=1), effect_deadline=Duration(seconds=2)
    )
    await configure(client, commands=commands)
    short = await paused(client, "d2")
    given = short.expire_time.ToMicroseconds() - short.request_time.ToMicroseconds()
    assert given == 1_000_000
    assert (long.expire_time.seconds - long.request_time.seconds) == 60
    accepted = await client.commands.AcceptCommand(
        commands_pb2.AcceptCommandRequest(command_id=long.id, source="slow")
    )
    command = accepted.command
    assert command.expire_time.ToMicroseconds() - command.accept_time.ToMicroseconds() == 2_000_000

    async def expired() -> bool:
        request = commands_pb2.GetCommandRequest(command_id=short.id)
        found = (await client.commands.GetCommand(request)).command
        return found.state == commands_pb2.COMMAND_STATE_EXPIRED

    await wait_until(expired, within=LONG, what="the end of its time")
    stream.cancel()


async def test_an_engine_is_given_no_more_commands_than_configured(
    client: pilothouse.aio.Client,
) -> None:
    await run(client, "e1", "e2", source="small")
    await configure(client, commands=pb.CommandConfig(dispatch_limit=1))
    stream = await connected(client, "small")
    first, second = await paused(client, "e1"), await paused(client, "e2")
    assert await _offered(stream) == first.id
    request = commands_pb2.FailCommandRequest(command_id=first.id, source="small")
    request.error.code = "NO"
    quiet = asyncio.ensure_future(_offered(stream))
    done, _ = await asyncio.wait({quiet}, timeout=0.3)
    assert not done
    await client.commands.FailCommand(request)
    assert await asyncio.wait_for(quiet, LONG) == second.id
    stream.cancel()


async def _offered(stream: Any) -> str:
    while True:
        update = await stream.read()
        if update.WhichOneof("update") == "command":
            return str(update.command.id)


async def test_batches_are_as_large_and_as_fast_as_configured(
    client: pilothouse.aio.Client,
) -> None:
    await run(client, "b1", "b2", source="batched")
    stream = await connected(client, "batched")
    await configure(client, commands=pb.CommandConfig(batch_limit=1, batch_rate=2.5))
    request = batches_pb2.CreateBatchRequest(
        action=ControlAction.CONTROL_ACTION_PAUSE, filter="source = batched"
    )
    with pytest.raises(errors.CallError) as refused:
        await client.batches.CreateBatch(request)
    assert refused.value.reason == "LIMIT_EXCEEDED"
    request.filter = "id = b1"
    assert (await client.batches.CreateBatch(request)).batch.rate == 2.5
    stream.cancel()


async def test_snapshots_come_as_often_as_configured(client: pilothouse.aio.Client) -> None:
    metrics = pb.MetricsConfig(
        subscribe_interval=Duration(nanos=250_000_000), idle_tick=Duration(nanos=200_000_000)
    )
    await configure(client, metrics=metrics)

    async def quick() -> bool:
        found = await client.metrics.GetMetrics(metrics_pb2.GetMetricsRequest())
        return found.snapshot.tick_interval.ToMilliseconds() <= 200

    await wait_until(quick, within=LONG, what="quick ticks while nothing happens")
    stream = client.metrics.SubscribeMetrics(metrics_pb2.SubscribeMetricsRequest())
    came = list[float]()
    for _ in range(4):
        await stream.read()
        came.append(asyncio.get_running_loop().time())
    # By default there are five seconds between any two. One may be late here, where others want the processor too.
    assert min(after - before for before, after in itertools.pairwise(came[1:])) < 4
    stream.cancel()


async def test_what_is_typed_is_shown_with_what_is_in_force_and_what_was(
    server: Pilothouse, client: pilothouse.aio.Client
) -> None:
    before = (await client.config.GetConfig(pb.GetConfigRequest())).current.version
    done = await typed(
        server, "config", "update", "--retention-events", "48h", "--reason", "less disk",
        "--etag", str(before),
    )  # fmt: skip
    assert done.code == 0, done.err
    assert re.search(r"retention\.events +172800s", done.out)
    shown = (await typed(server, "config", "get")).out
    assert shown.startswith(f"version {before + 1}, by anonymous, ")
    assert re.search(r"retention\.events +2d +2d +7d\n", shown)
    assert re.search(r"agents\.offline_after +30 s +– +30 s\n", shown)
    stale = await typed(
        server, "config", "update", "--retention-events", "1h", "--etag", str(before)
    )
    assert (stale.code, "somebody changed it meanwhile" in stale.err) == (20, True)
    wrong = await typed(server, "config", "update", "--retention-events", "59m")
    assert (wrong.code, "at least an hour" in wrong.err) == (13, True)
    back = await typed(server, "config", "restore", "--version", str(before))
    assert re.search(r"retention\.events +172800s", back.out), back.err
    missing = await typed(server, "config", "restore", "--version", "9999")
    assert (missing.code, "`pilothouse config list-versions`" in missing.err) == (15, True)
    listed = await typed(server, "config", "list-versions")
    assert re.search(rf" {before + 1} +anonymous +less disk", listed.out)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        ("agents.colour", "allowed are agents.offline_after, agents.engine_silent_after"),
        ("colour", "'colour' is no field; allowed are agents.offline_after"),
        ("agents.offlineAfter.seconds", "try 'agents.offline_after'"),
    ],
)
async def test_a_mask_that_names_no_field_is_refused(
    server: Pilothouse, mask: str, said: str
) -> None:
    body: dict[str, object] = {"config": {}, "updateMask": mask}
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
        answer = await http.patch("/api/v1/config", json=body)
    assert answer.status_code == 400
    assert said in answer.json()["message"]


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"agents": {"offline_after": "4s"}}, "config.agents.offline_after"),
        ({"commands": {"batch_rate": "NaN"}}, "config.commands.batch_rate"),
        ({"commands": {"batch_limit": 100_001}}, "config.commands.batch_limit"),
        ({"retention": {"event_count": str(2**63)}}, "config.retention.event_count"),
        ({"retention": {"alerts": "60s"}}, "config.retention.alerts"),
    ],
)
async def test_what_is_out_of_range_is_refused_by_name(
    server: Pilothouse, config: Any, field: str
) -> None:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
        answer = await http.patch("/api/v1/config", json={"config": config})
    assert answer.status_code == 400, answer.text
    assert field in json.dumps(answer.json())


async def test_who_watches_is_told_of_each_version(client: pilothouse.aio.Client) -> None:
    watch = client.config.WatchConfig(pb.WatchConfigRequest())
    first = await watch.read()
    assert isinstance(first, pb.WatchConfigResponse)
    await configure(client, agents=pb.AgentConfig(engine_silent_after=Duration(seconds=77)))
    second = await watch.read()
    assert isinstance(second, pb.WatchConfigResponse)
    assert second.current.version == first.current.version + 1
    assert second.effective.agents.engine_silent_after.seconds == 77
    watch.cancel()


async def test_the_audit_log_is_proved_and_exported_from_the_command_line(
    server: Pilothouse, client: pilothouse.aio.Client
) -> None:
    await run(client, "v1", source="nobody")
    with pytest.raises(errors.CallError):
        await paused(client, "v1")
    listed = await typed(server, "audit", "list-entries", "--filter", "target_id = v1")
    assert re.search(r"workflow\.pause +workflow +v1 .*REFUSED", listed.out), listed.out
    proved = await typed(server, "audit", "verify")
    assert proved.code == 0, proved.err
    assert proved.out.startswith("whole: ")
    again = re.search(r"pilothouse audit verify (.+)", proved.out)
    assert again is not None
    assert (await typed(server, "audit", "verify", *again[1].split())).code == 0
    wrong = await typed(
        server, "audit", "verify", "--expected-sequence", "1", "--expected-hash", "ab"
    )
    assert (wrong.code, wrong.out.startswith("NOT WHOLE: record 1 does not have the hash")) == (
        1,
        True,
    )
    verdict = await typed(server, "audit", "verify", "--output", "json")
    assert json.loads(verdict.out)["intact"]
    lines = (await typed(server, "audit", "export", "--filter", "target_id = v1")).out.splitlines()
    (record,) = map(json.loads, lines)
    assert (record["outcome"], record["error"]["code"]) == ("REFUSED", "NO_EXECUTOR")
    document = (await typed(server, "audit", "export", "--format", "csv")).out
    assert document.startswith("sequence,record_time,actor,verb,")
    found = await server.get("/api/v1/audit?filter=target_id%20%3D%20v1&ascending=true")
    assert found["entries"][0]["error"]["code"] == "NO_EXECUTOR"
    total = (await client.audit.ListAuditEntries(audit_pb2.ListAuditEntriesRequest())).entries
    assert total[0].sequence == len(document.splitlines()) - 1
