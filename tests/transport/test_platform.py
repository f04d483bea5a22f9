"""How a server says how it is: by RPC, to health checks, and over HTTP where there is no bridge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import grpc
import httpx
import pytest
from prometheus_client import CollectorRegistry

from pilothouse.v1 import platform_pb2, platform_pb2_grpc
from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.services.status import (
    Component,
    ComponentState,
    Lease,
    LogShard,
    Readiness,
    Replica,
    ServerStatus,
    Watchman,
    readiness_of,
)
from pilothouse_server.transport.health import HealthKeeper
from pilothouse_server.transport.interceptor import CallMeters
from pilothouse_server.transport.platform import PlatformServicer
from pilothouse_server.transport.probes import probes
from pilothouse_server.transport.server import PortTaken, RpcServer, Service

LOG = Component(name="log")
DATABASE = Component(name="database")
READER = Component(name="aggregator", shard=0, cursor="5-0", lag_us=1_500_000)
NO_LOG = replace(LOG, state=ComponentState.DOWN, reason="Redis cannot be reached")
NO_DATABASE = replace(DATABASE, state=ComponentState.DOWN, reason="PostgreSQL cannot be reached")
LATE = replace(READER, state=ComponentState.DEGRADED, reason="1.5 s behind")


@dataclass
class Parts:
    """A server whose parts are as the test says."""

    components: list[Component] = field(default_factory=lambda: [LOG, DATABASE, READER])

    def readiness(self) -> Readiness:
        return readiness_of(self.components)

    async def status(self) -> ServerStatus:
        return ServerStatus(
            readiness=self.readiness(),
            version="1.2.3",
            replica_id="r-1",
            start_us=1_000_000,
            uptime_us=2_500_000,
            log_address="redis://:***@cache",
            database_address="postgresql://ann:***@db/ops",
            components=self.components,
            log_shards=[LogShard(shard=0, stream="workflow:events", cursor="7-0", dead_events=0)],
            leases=[Lease(name="shard-0", holder="r-1", epoch=4, acquire_us=1_000_000)],
            replicas=[Replica(id="r-1", leads=True, answers=True)],
        )


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
async def stub(parts: Parts) -> AsyncIterator[platform_pb2_grpc.PlatformServiceAsyncStub]:
    servicer = PlatformServicer(parts)
    service = Service(
        platform_pb2.DESCRIPTOR.services_by_name["PlatformService"],
        lambda server: platform_pb2_grpc.add_PlatformServiceServicer_to_server(servicer, server),
    )
    server = RpcServer([service], CallMeters(CollectorRegistry()))
    port = await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield platform_pb2_grpc.PlatformServiceStub(channel)
    await server.drain(0)


async def test_all_that_is_known_of_a_server_is_told(
    parts: Parts, stub: platform_pb2_grpc.PlatformServiceAsyncStub
) -> None:
    parts.components = [NO_LOG, DATABASE, LATE]

    status = (await stub.GetServerStatus(platform_pb2.GetServerStatusRequest())).status

    assert (status.ready, status.state) == (True, platform_pb2.COMPONENT_STATE_DOWN)
    assert list(status.reasons) == [
        "log: Redis cannot be reached",
        "aggregator of shard 0: 1.5 s behind",
    ]
    assert (status.components[2].shard, status.components[2].lag.nanos) == (0, 500_000_000)
    assert not status.components[0].HasField("shard")
    assert not status.log_shards[0].HasField("gaps")
    assert status.log_shards[0].HasField("dead_events")
    assert (status.leases[0].holder, status.leases[0].epoch) == ("r-1", 4)
    assert status.replicas[0].leads


@pytest.mark.parametrize(
    ("components", "ready", "state"),
    [
        ([], True, ComponentState.OK),
        ([LOG, DATABASE, READER], True, ComponentState.OK),
        ([LOG, DATABASE, LATE], True, ComponentState.DEGRADED),
        ([NO_LOG, DATABASE, READER], True, ComponentState.DOWN),
        ([LOG, NO_DATABASE], True, ComponentState.DOWN),
        ([NO_LOG, NO_DATABASE], False, ComponentState.DOWN),
    ],
)
def test_a_server_is_ready_while_there_is_anything_that_it_can_do(
    components: list[Component], ready: bool, state: ComponentState
) -> None:
    found = readiness_of(components)

    assert (found.ready, found.state) == (ready, state)


async def test_health_checks_are_told_when_it_changes_and_only_then(parts: Parts) -> None:
    told: list[bool] = []

    async def tell(serving: bool) -> None:
        told.append(serving)

    keeper = HealthKeeper(parts, tell, SystemClock())
    for components in ([LOG], [LOG], [NO_LOG], [NO_LOG, NO_DATABASE], [NO_LOG], [LOG]):
        parts.components = components
        await keeper.look()

    assert told == [True, False, True]


async def test_a_server_without_a_bridge_answers_over_http(parts: Parts) -> None:
    async with (
        probes("127.0.0.1", 0, parts, lambda: b"pilothouse_events 7\n") as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http,
    ):
        alive, ready = await http.get("/healthz"), await http.get("/readyz")
        parts.components = [NO_LOG, NO_DATABASE]
        useless, meters = await http.get("/readyz"), await http.get("/metrics")
        with pytest.raises(PortTaken):
            async with probes("127.0.0.1", port, parts, bytes):
                pass

    assert (alive.status_code, ready.status_code, useless.status_code) == (200, 200, 503)
    assert ready.json()["reasons"] == []
    assert ready.json()["components"][2]["lag"] == "1.500s"
    assert useless.json()["reasons"][0] == "log: Redis cannot be reached"
    assert meters.text == "pilothouse_events 7\n"


def test_a_part_is_in_its_state_since_it_came_into_it() -> None:
    now, found = 10, LOG
    watchman = Watchman(lambda: now)
    watchman.watch("log", lambda: found)
    watchman.watch("database", lambda: replace(DATABASE, since_us=3))

    def since() -> list[int | None]:
        return [each.since_us for each in watchman.components()]

    assert since() == [10, 3]
    now, found = 20, LOG
    assert since() == [10, 3]
    now, found = 30, NO_LOG
    assert since() == [30, 3]
    now, found = 40, replace(NO_LOG, reason="Redis refuses the password")
    assert since() == [30, 3]
    watchman.leave("database")
    now, found = 50, LOG
    assert since() == [50]
