"""Events in: judged one by one, named when refused, durable when answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from pilothouse.v1 import events_pb2 as pb
from pilothouse.v1 import events_pb2_grpc
from pilothouse_server.adapters.intake import SingleIntake
from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.domain.shards import shard_of
from pilothouse_server.services import ingest
from pilothouse_server.services.ids import uuid7
from pilothouse_server.transport.interceptor import CallMeters
from pilothouse_server.transport.server import RpcServer
from pilothouse_server.wire.events import decode_events
from pilothouse_server.wire.publishing import (
    NAMES,
    PublishedBatch,
    is_plainly_valid,
    reason_against,
)
from pilothouse_server.wire.rules import violations_of
from pilothouse_server.wire.times import timestamp
from tests.projection.build import NOON, SECOND
from tests.services.conftest import Station
from tests.support import wait_until


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> events_pb2_grpc.EventServiceAsyncStub:
    return events_pb2_grpc.EventServiceStub(channel)


def started(**fields: Any) -> pb.Event:
    stated: dict[str, Any] = {
        "type": pb.EVENT_TYPE_WORKFLOW_STARTED,
        "workflow_id": "w",
        "id": "good",
    }
    return pb.Event(**(stated | fields))


async def reason_of(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    metadata = dict(refused.value.trailing_metadata() or ())
    details = metadata["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    status = status_pb2.Status.FromString(details)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return refused.value.code(), info.reason


BAD = {
    "type: ": started(type=0),
    "type:": started(type=999),
    "workflow_id: needed on WORKFLOW_STARTED": started(workflow_id=""),
    "stage: needed on STAGE_STARTED": started(type=pb.EVENT_TYPE_STAGE_STARTED),
    "task_id: needed on TASK_QUEUED": started(type=pb.EVENT_TYPE_TASK_QUEUED),
    "agent_id: needed on AGENT_HEARTBEAT": started(type=pb.EVENT_TYPE_AGENT_HEARTBEAT),
    "command_id: needed on COMMAND_FAILED": started(type=pb.EVENT_TYPE_COMMAND_FAILED),
    "type: COMMAND_EFFECTIVE is said by the server": started(type=pb.EVENT_TYPE_COMMAND_EFFECTIVE),
    "type: COMMAND_REQUESTED is said by the server": started(type=pb.EVENT_TYPE_COMMAND_REQUESTED),
    "type: COMMAND_EXPIRED is said by the server": started(type=pb.EVENT_TYPE_COMMAND_EXPIRED),
    "type: ALERT_FIRING is said by the server": started(type=pb.EVENT_TYPE_ALERT_FIRING),
    "type: ALERT_RESOLVED is said by the server": started(type=pb.EVENT_TYPE_ALERT_RESOLVED),
    "workflow_id: control characters": started(workflow_id="a\nb"),
    "workflow_name: control characters": started(workflow_name="a\x9bb"),
    "stage_plan[1]: control characters": started(stage_plan=["a", "b\0"]),
    "workflow_id: ": started(workflow_id="é" * 129),
    "message: ": started(message="m" * 5000),
    'attributes["k"]: ': started(attributes={"k": "v" * 5000}),
    "attempt: ": started(attempt=100_001),
    "severity: ": started(severity=77),
    "event: at most 65,536 bytes": started(attributes={str(n): "v" * 4000 for n in range(20)}),
    "occur_time: ": started(occur_time=Timestamp(seconds=-5)),
    "occur_time: not": started(occur_time=Timestamp(seconds=1 << 40)),
    "duration: ": started(duration=Duration(seconds=1, nanos=-5)),
}


async def test_each_event_that_is_refused_is_named_and_the_rest_is_kept(
    stub: events_pb2_grpc.EventServiceAsyncStub, station: Station
) -> None:
    def mixed() -> Iterator[pb.Event]:
        for number, bad in enumerate(BAD.values()):
            bad.id = f"bad-{number}"
            yield bad
            yield started(id=f"good-{number}")

    answer = await stub.PublishEvents(pb.PublishEventsRequest(events=mixed()))
    assert answer.accepted_count == len(BAD)
    assert [(each.index, each.id) for each in answer.rejected] == [
        (2 * number, f"bad-{number}") for number in range(len(BAD))
    ]
    for expected, rejected in zip(BAD, answer.rejected, strict=True):
        assert rejected.reason.startswith(expected), rejected.reason
    (entry,) = await station.log.read("", limit=10)
    assert entry.cursor == answer.cursor
    assert [event.id for event in decode_events(entry.payload)] == [
        f"good-{number}" for number in range(len(BAD))
    ]


async def test_the_server_stamps_what_only_it_knows(
    stub: events_pb2_grpc.EventServiceAsyncStub, station: Station
) -> None:
    forged = started(
        id="", receive_time=timestamp(5), cursor="forged", occur_time=timestamp(NOON - 7)
    )
    bare = started(id="", type=pb.EVENT_TYPE_WORKFLOW_FAILED)
    answer = await stub.PublishEvents(pb.PublishEventsRequest(events=[forged, bare]))
    listed: list[pb.Event] = []

    async def both() -> bool:
        response = await stub.ListEvents(pb.ListEventsRequest(ascending=True))
        listed[:] = response.events
        return len(listed) == 2

    await wait_until(both)
    assert [event.cursor for event in listed] == [answer.cursor, answer.cursor]
    assert [event.receive_time for event in listed] == [timestamp(NOON), timestamp(NOON)]
    assert [event.occur_time for event in listed] == [timestamp(NOON - 7), timestamp(NOON)]
    assert [event.severity for event in listed] == [2, 4]
    assert len({event.id for event in listed} - {""}) == 2


async def test_a_time_far_ahead_is_taken_as_the_time_of_receipt(
    stub: events_pb2_grpc.EventServiceAsyncStub, station: Station
) -> None:
    near, far = NOON + 60 * SECOND, NOON + 60 * SECOND + 1
    await stub.PublishEvents(
        pb.PublishEventsRequest(
            events=[
                started(id="near", occur_time=timestamp(near)),
                started(id="far", occur_time=timestamp(far)),
            ]
        )
    )
    (entry,) = await station.log.read("", limit=10)
    assert [(event.occur_us, event.future) for event in decode_events(entry.payload)] == [
        (near, False),
        (NOON, True),
    ]

    async def both() -> list[pb.Event]:
        found = (await stub.ListEvents(pb.ListEventsRequest(ascending=True))).events
        return list(found) if len(found) == 2 else []

    listed = await wait_until(both)
    assert [event.occur_time for event in listed] == [timestamp(near), timestamp(NOON)]


async def test_receipts_never_go_backwards(
    stub: events_pb2_grpc.EventServiceAsyncStub, station: Station
) -> None:
    await stub.PublishEvents(pb.PublishEventsRequest(events=[started()]))
    station.clock.us -= SECOND
    await stub.PublishEvents(pb.PublishEventsRequest(events=[started(id="later")]))
    received = [
        decode_events(entry.payload)[0].receive_us for entry in await station.log.read("", limit=9)
    ]
    assert received == [NOON, NOON]


async def test_a_batch_that_is_too_large_is_refused_whole(
    stub: events_pb2_grpc.EventServiceAsyncStub, station: Station
) -> None:
    many = pb.PublishEventsRequest(events=[started() for _ in range(1001)])
    assert await reason_of(stub.PublishEvents(many)) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "LIMIT_EXCEEDED",
    )
    heavy = pb.PublishEventsRequest(events=[started(message="m" * 4100) for _ in range(1000)])
    heavy.events.add(message="m" * 100_000)
    del heavy.events[0]
    assert heavy.ByteSize() > 4 << 20
    code, _reason = await reason_of(stub.PublishEvents(heavy))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await station.log.tail() == ""


async def test_a_single_event_is_refused_with_the_field(
    stub: events_pb2_grpc.EventServiceAsyncStub, station: Station
) -> None:
    answer = await stub.PublishEvent(pb.PublishEventRequest(event=started()))
    assert (answer.id, answer.cursor) == ("good", await station.log.tail())
    for bad in (started(workflow_id=""), started(type=0)):
        code, reason = await reason_of(stub.PublishEvent(pb.PublishEventRequest(event=bad)))
        assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")


async def test_a_stream_is_answered_in_order_and_ends_with_what_cannot_be_taken(
    stub: events_pb2_grpc.EventServiceAsyncStub, station: Station
) -> None:
    async def batches() -> AsyncIterator[pb.PublishEventStreamRequest]:
        for number in range(40):
            events = [started(id=f"{number}"), started(type=0)]
            yield pb.PublishEventStreamRequest(events=events, batch_sequence=number)
        yield pb.PublishEventStreamRequest(events=[started() for _ in range(1001)])

    call = stub.PublishEventStream(batches())
    answers: list[pb.PublishEventStreamResponse] = []

    async def read() -> None:
        async for answer in call:
            answers.append(answer)  # noqa: PERF401 - those before the error count

    with pytest.raises(grpc.aio.AioRpcError, match="events: at most 1,000"):
        await read()
    assert [answer.batch_sequence for answer in answers] == list(range(40))
    assert {(answer.accepted_count, len(answer.rejected)) for answer in answers} == {(1, 1)}
    entries = await station.log.read("", limit=100)
    assert [decode_events(entry.payload)[0].id for entry in entries] == [str(n) for n in range(40)]
    assert [entry.cursor for entry in entries] == [answer.cursor for answer in answers]


async def test_a_stream_that_is_given_up_leaves_nothing_running(
    stub: events_pb2_grpc.EventServiceAsyncStub, station: Station
) -> None:
    before = len(asyncio.all_tasks())
    call = stub.PublishEventStream()
    await call.write(pb.PublishEventStreamRequest(events=[started()]))
    answer = await call.read()
    assert isinstance(answer, pb.PublishEventStreamResponse)
    assert answer.accepted_count == 1
    call.cancel()
    await wait_until(lambda: len(asyncio.all_tasks()) <= before)


async def test_more_than_can_be_taken_at_once_is_refused_before_it_is_judged(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "MAX_BYTES_UNDER_WAY", 1000)
    taker = ingest.Ingest(SingleIntake(station.log), station.clock)

    def publish() -> asyncio.Task[ingest.Receipt]:
        request = pb.PublishEventsRequest(events=[started(message="m" * 600)])
        return asyncio.create_task(taker.publish(PublishedBatch(request, uuid7)))

    first, second = publish(), publish()
    with pytest.raises(Unavailable, match="more events are coming in"):
        await second
    assert (await first).ids
    assert (await publish()).ids


def refusal_of(event: pb.Event) -> str:
    batch = PublishedBatch(pb.PublishEventsRequest(events=[event]), uuid7)
    batch.judge(0, 1, 1_700_000_000_000_000)
    return "; ".join(rejection.reason for rejection in batch.seal(1).rejected)


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (started(message="a\0b"), "message: the character NUL"),
        (started(error=pb.EventError(code="\0")), "error.code: the character NUL"),
        (started(error=pb.EventError(message="\0")), "error.message: the character NUL"),
        (started(attributes={"k": "\0"}), 'attributes["k"]: the character NUL'),
        (started(usage=pb.Usage(cost_micros=1 << 53)), "usage.cost_micros: at most"),
        (started(usage=pb.Usage(input_tokens=(1 << 64) - 1)), "usage.input_tokens: at most"),
    ],
)
def test_what_some_database_cannot_keep_is_refused(event: pb.Event, reason: str) -> None:
    assert refusal_of(event).startswith(reason)


def test_the_greatest_usage_is_taken() -> None:
    assert refusal_of(started(usage=pb.Usage(output_tokens=(1 << 53) - 1))) == ""


def test_a_batch_is_cut_by_the_shards_of_its_workflows() -> None:
    events = [started(workflow_id=f"workflow-{number}") for number in range(50)]
    events.append(pb.Event(type=pb.EVENT_TYPE_AGENT_HEARTBEAT, agent_id="agent-1"))
    events.insert(7, pb.Event(type=pb.EVENT_TYPE_WORKFLOW_STARTED))  # is refused
    batch = PublishedBatch(pb.PublishEventsRequest(events=events), uuid7)
    batch.judge(0, len(events), 1_700_000_000_000_000)
    sealed = batch.seal(4)
    assert len(sealed.ids) == 51
    assert [rejection.index for rejection in sealed.rejected] == [7]
    found = {shard: pb.EventBatch.FromString(part).events for shard, part in sealed.parts.items()}
    for shard, part in found.items():
        assert {shard_of(event.workflow_id, event.agent_id, 4) for event in part} == {shard}
    assert sorted(event.id for part in found.values() for event in part) == sorted(sealed.ids)


async def test_a_drain_ends_an_idle_stream_and_an_idle_connection_at_once(station: Station) -> None:
    server = RpcServer(station.services(), CallMeters(CollectorRegistry()))
    port = await server.start("127.0.0.1", 0)
    _, mute = await asyncio.open_connection("127.0.0.1", port)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = events_pb2_grpc.EventServiceStub(channel).PublishEventStream()
        await call.write(pb.PublishEventStreamRequest(events=[started()]))
        assert isinstance(await call.read(), pb.PublishEventStreamResponse)
        async with asyncio.timeout(30):
            await server.drain(60)
        with pytest.raises(grpc.aio.AioRpcError, match="going away"):
            await call.read()
    mute.close()


async def test_concurrent_publishers_lose_and_repeat_nothing(
    stub: events_pb2_grpc.EventServiceAsyncStub, station: Station
) -> None:
    async def publish(name: int) -> None:
        for number in range(5):
            events = [started(id=f"{name}-{number}-{n}") for n in range(300)]
            await stub.PublishEvents(pb.PublishEventsRequest(events=events))

    await asyncio.gather(*(publish(name) for name in range(4)))
    ids = [
        event.id
        for entry in await station.log.read("", limit=100)
        for event in decode_events(entry.payload)
    ]
    assert len(ids) == len(set(ids)) == 4 * 5 * 300


_texts = st.sampled_from(
    [
        "",
        "a",
        "a" * 64,
        "a" * 65,
        "a" * 256,
        "a" * 257,
        "é" * 128,
        "é" * 129,
        "\x00",
        "\x7f",
        "\u200b",
    ]
)
_fields: dict[str, st.SearchStrategy[Any]] = dict.fromkeys(NAMES, _texts) | {
    "type": st.sampled_from([0, 1, 9, 10, 14, 21, 27, 32, 33, 999]),
    "severity": st.sampled_from([0, 1, 5, 6]),
    "message": st.sampled_from(["", "m", "m" * 1024, "é" * 2048, "é" * 2049, "m" * 4097]),
    "attempt": st.sampled_from([0, 1, 100_000, 100_001]),
    "error": st.sampled_from([None, pb.EventError(), pb.EventError(code="c" * 257)]),
    "stage_plan": st.sampled_from([(), ("a",), ("a",) * 65, ("a" * 257,)]),
    "attributes": st.sampled_from([{}, {"k": "v"}, {"": "v"}, {"k": "v" * 4097}]),
    "occur_time": st.sampled_from(
        [None, Timestamp(), Timestamp(seconds=-1), Timestamp(nanos=1_000_000_000)]
    ),
    "duration": st.sampled_from(
        [None, Duration(seconds=1), Duration(seconds=-1), Duration(nanos=2_000_000_000)]
    ),
}
_events = st.fixed_dictionaries({}, optional=_fields).map(lambda fields: pb.Event(**fields))


@given(_events)
def test_no_event_is_waved_through_that_the_contract_refuses(event: pb.Event) -> None:
    if is_plainly_valid(event):
        assert violations_of(event) == []
    if not reason_against(event):
        assert violations_of(event) == []
