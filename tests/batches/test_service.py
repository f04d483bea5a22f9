"""Batches over gRPC: what people see, and by which words they are refused."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
from prometheus_client import CollectorRegistry

import pilothouse.aio
from pilothouse.errors import InvalidArgument, LimitExceeded, NotConfirmed, NotFound, WrongState
from pilothouse.v1 import batches_pb2 as pb
from pilothouse.v1 import batches_pb2_grpc, enums_pb2
from pilothouse_server.transport.batches import BatchServicer
from pilothouse_server.transport.interceptor import CallMeters
from pilothouse_server.transport.server import RpcServer, Service
from tests.batches.conftest import Yard

PAUSE = enums_pb2.CONTROL_ACTION_PAUSE


@pytest.fixture
def kind() -> str:
    """What stores do is held on both databases; what is said is the same."""
    return "sqlite"


@pytest.fixture
async def client(yard: Yard) -> AsyncIterator[pilothouse.aio.Client]:
    servicer = BatchServicer(yard.batches, yard.clock)

    def add(server: grpc.aio.Server) -> None:
        batches_pb2_grpc.add_BatchServiceServicer_to_server(servicer, server)

    served = Service(pb.DESCRIPTOR.services_by_name["BatchService"], add)
    server = RpcServer([served], CallMeters(CollectorRegistry()))
    port = await server.start("127.0.0.1", 0)
    async with pilothouse.aio.Client(f"127.0.0.1:{port}") as client:
        yield client
    await server.drain(0)


async def create(client: pilothouse.aio.Client) -> pb.Batch:
    request = pb.CreateBatchRequest(action=PAUSE, filter="state = RUNNING", reason="freeze")
    return (await client.batches.CreateBatch(request)).batch


async def test_from_the_preview_to_the_report(yard: Yard, client: pilothouse.aio.Client) -> None:
    await yard.run_many(2)
    await yard.run_many(1, source="stranger", prefix="x")
    batch = await create(client)
    assert (batch.state, batch.size, batch.actor) == (pb.BATCH_STATE_READY, 3, "anonymous")
    assert [(each.reason, each.count) for each in batch.preview.refusals] == [("NO_EXECUTOR", 1)]
    started = pb.StartBatchRequest(batch_id=batch.id, confirm_size=3)
    running = (await client.batches.StartBatch(started)).batch
    assert (running.state, running.etag != batch.etag) == (pb.BATCH_STATE_RUNNING, True)
    for _ in range(2):
        await yard.runner.look()
        yard.step(1)
    await yard.obey(await yard.commands())
    await yard.runner.look()

    watched = [
        update.batch
        async for update in client.batches.WatchBatch(pb.WatchBatchRequest(batch_id=batch.id))
    ]
    assert [each.state for each in watched] == [pb.BATCH_STATE_DONE]
    assert [(each.outcome, each.count) for each in watched[0].counts] == [
        (pb.BATCH_OUTCOME_EFFECTIVE, 2),
        (pb.BATCH_OUTCOME_REFUSED, 1),
    ]
    asked = pb.ListBatchItemsRequest(batch_id=batch.id, outcomes=[pb.BATCH_OUTCOME_REFUSED])
    (item,) = (await client.batches.ListBatchItems(asked)).items
    assert (item.workflow_id, item.error.code) == ("x00000", "NO_EXECUTOR")
    listed = await client.batches.ListBatches(pb.ListBatchesRequest(filter="state = DONE"))
    assert [each.id for each in listed.batches] == [batch.id]


async def test_refusals_have_names_and_say_what_to_do(
    yard: Yard, client: pilothouse.aio.Client
) -> None:
    await yard.run_many(3)
    batch = await create(client)
    with pytest.raises(NotConfirmed) as unconfirmed:
        await client.batches.StartBatch(pb.StartBatchRequest(batch_id=batch.id, confirm_size=2))
    assert unconfirmed.value.expected == "3"
    with pytest.raises(WrongState, match="it is READY; it has not been started"):
        await client.batches.StopBatch(pb.StopBatchRequest(batch_id=batch.id))
    with pytest.raises(WrongState, match="start it"):
        await client.batches.ContinueBatch(pb.ContinueBatchRequest(batch_id=batch.id))
    with pytest.raises(NotFound, match="no batch"):
        await client.batches.AbandonBatch(pb.AbandonBatchRequest(batch_id="b"))
    with pytest.raises(InvalidArgument, match="say which workflows"):
        await client.batches.CreateBatch(pb.CreateBatchRequest(action=PAUSE))
    yard.configure(batch_limit=2)
    with pytest.raises(LimitExceeded) as large:
        await create(client)
    assert large.value.metadata == {"limit": "workflows in a batch", "maximum": "2", "value": "3"}


@pytest.mark.parametrize("action", [0, enums_pb2.CONTROL_ACTION_DRAIN, 99])
async def test_only_what_workflows_can_be_asked_for_makes_a_batch(
    client: pilothouse.aio.Client, action: enums_pb2.ControlAction.ValueType
) -> None:
    with pytest.raises(InvalidArgument):
        await client.batches.CreateBatch(pb.CreateBatchRequest(action=action, filter="id = w"))
