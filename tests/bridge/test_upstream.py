"""What clients see when the server goes away, comes back, forgets, or stops for good."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pilothouse.v1.events_pb2 import Event, EventBatch
from pilothouse.v1.metrics_pb2 import MetricsSnapshot
from pilothouse.v1.workflows_pb2 import ControlWorkflowRequest, Workflow
from pilothouse_server.bridge.serve import serve_bridge
from tests.bridge.support import (
    PATIENCE,
    Stage,
    TestServer,
    frame,
    read_on,
    replica_of,
    seeded,
    staged,
    subscribe,
)
from tests.support import free_port, wait_until


def batch(number: int) -> EventBatch:
    return EventBatch(events=[Event(id=f"e-{number}")])


async def test_a_server_that_comes_back_is_resumed_where_it_left_with_nothing_lost() -> None:
    async with staged(seeded(events=[batch(1)])) as stage, stage.live() as socket:
        await subscribe(socket, "events:live")
        first = await frame(socket, "events:snapshot")
        await stage.server.stop()
        while (await frame(socket, "progress"))["data"]["upstream_connected"]:
            pass
        stage.server.events.items.extend([batch(2), batch(3)])
        await stage.server.start()
        seen: list[str] = []
        while len(seen) < 2:
            got = await frame(socket)
            assert got["epoch"] == first["epoch"]
            if got["type"] == "events:append":
                seen += [event["id"] for event in got["data"]["events"]]
        assert seen == ["e-2", "e-3"]
        assert stage.server.events.tokens_seen[-1] == "1"


async def test_a_server_that_forgot_begins_a_new_epoch_with_a_snapshot() -> None:
    async with staged(seeded(workflows=[Workflow(id="w-1")])) as stage, stage.live() as socket:
        await subscribe(socket, "workflows:changes")
        first = await frame(socket, "workflows:snapshot")
        await stage.server.stop()
        stage.server.workflows.items[:] = [Workflow(id="w-9")]
        stage.server.workflows.history_is_gone = True
        await stage.server.start()
        gap = await frame(socket, "gap")
        assert gap["data"]["reason"] == "UPSTREAM_RESET"
        snapshot = await frame(socket)
        assert snapshot["type"] == "workflows:snapshot"
        assert [workflow["id"] for workflow in snapshot["data"]["workflows"]] == ["w-9"]
        assert snapshot["epoch"] == gap["epoch"] != first["epoch"]


async def test_before_the_server_is_there_a_client_waits_and_is_told_so() -> None:
    server = seeded(workflows=[Workflow(id="w-1")])
    server.port = free_port()
    async with staged(server, listening=False) as stage, stage.live() as socket:
        await subscribe(socket, "workflows:changes")
        told = await frame(socket)
        assert (told["type"], told["data"]) == ("progress", {"upstream_connected": False})
        await server.start()
        got = await frame(socket, "workflows:snapshot")
        assert [workflow["id"] for workflow in got["data"]["workflows"]] == ["w-1"]


async def test_a_stream_that_says_nothing_for_too_long_is_opened_again() -> None:
    async with staged(seeded(workflows=[Workflow(id="w-1")]), upstream_silence=0.2) as stage:
        tokens = stage.server.workflows.tokens_seen
        # On a machine that is busy the first may be given up too, before it said anything to go on from.
        await wait_until(lambda: tokens.count("1") >= 2, within=30)
        assert set(tokens[tokens.index("1") :]) == {"1"}


@contextlib.asynccontextmanager
async def two_replicas(**feeds: list[Any]) -> AsyncGenerator[tuple[Stage, TestServer]]:
    """A bridge of two servers that know the same, and the second of them."""
    first = seeded(**feeds)
    second = await replica_of(first)
    try:
        async with staged(first, second) as stage:
            yield stage, second
    finally:
        await second.stop()


async def test_when_a_replica_dies_sockets_stay_and_miss_nothing() -> None:
    async with two_replicas(events=[batch(1)]) as (stage, _), stage.live() as socket:
        await subscribe(socket, "events:live")
        first = await frame(socket, "events:snapshot")
        await stage.server.stop()
        await stage.server.events.add(batch(2), batch(3))
        seen: list[str] = []
        while len(seen) < 2:
            got = await frame(socket)
            assert got["epoch"] == first["epoch"]
            if got["type"] == "events:append":
                seen += [event["id"] for event in got["data"]["events"]]
        assert seen == ["e-2", "e-3"]
        assert stage.server.events.tokens_seen == ["", "1"]


async def test_the_metrics_of_a_new_leader_reach_sockets_that_stayed() -> None:
    before = MetricsSnapshot(epoch="of-the-first", sequence=900)
    async with two_replicas(snapshots=[before]) as (stage, _), stage.live() as socket:
        await subscribe(socket, "metrics:realtime")
        first = await frame(socket, "metrics:snapshot", "metrics:update")
        assert first["data"]["epoch"] == "of-the-first"
        await stage.server.stop()
        await stage.server.snapshots.add(MetricsSnapshot(epoch="of-the-second", sequence=1))
        while (got := await frame(socket, "metrics:update"))["data"]["epoch"] != "of-the-second":
            pass
        assert got["data"]["sequence"] == "1"


async def test_what_may_be_repeated_is_asked_of_the_next_replica_at_once() -> None:
    async with (
        two_replicas(workflows=[Workflow(id="w-1")]) as (stage, second),
        stage.http() as http,
    ):
        await http.get("/api/v1/workflows")
        await stage.server.stop()
        asked = await http.get("/api/v1/workflows")
        action = {"action": "pause", "reason": "deploy"}
        controlled = await http.post("/api/v1/workflows/w-1/control", json=action)
        ready = await http.get("/readyz")
    assert [asked.status_code, controlled.status_code, ready.status_code] == [200, 200, 200]
    request = second.requests[1]
    assert isinstance(request, ControlWorkflowRequest)
    assert request.request_id, "what is repeated is known by its id"


async def test_a_stopping_bridge_tells_each_client_when_to_come_back() -> None:
    async with staged() as stage, stage.live() as socket:
        await subscribe(socket, "events:live")
        await frame(socket, "events:snapshot")
        stage.stop.set()
        got = await frame(socket, "draining")
        assert 0 <= float(got["data"]["reconnect_after"].rstrip("s")) <= 5
        with pytest.raises(ConnectionClosed) as closed:
            await read_on(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012


async def test_a_cancelled_bridge_leaves_no_socket_open() -> None:
    async with staged() as stage:
        started: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        bridge = asyncio.create_task(
            serve_bridge(stage.settings, started=started.set_result, stop=asyncio.Event())
        )
        other = replace(stage, port=await started)
        reader, writer = await asyncio.open_connection("127.0.0.1", other.port)
        async with other.live() as socket:
            await subscribe(socket, "events:live")
            bridge.cancel()
            with pytest.raises(asyncio.CancelledError):
                await bridge
            async with asyncio.timeout(PATIENCE):
                await socket.wait_closed()
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
        with pytest.raises(OSError):  # noqa: PT011 - refused, however the system says it
            await asyncio.open_connection("127.0.0.1", other.port)
        writer.close()


async def test_more_connections_than_allowed_are_refused_by_name() -> None:
    async with staged(max_connections=1) as stage, stage.live():
        with pytest.raises(InvalidStatus) as refused:
            async with asyncio.timeout(PATIENCE), stage.live():
                pass
        assert refused.value.response.status_code == 503
        assert b"LIMIT_EXCEEDED" in refused.value.response.body
