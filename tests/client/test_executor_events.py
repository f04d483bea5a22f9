"""An executor's events: each in the log once, in order, whatever happens on the way; and what is lost is said."""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid

import grpc
import pytest
from google.protobuf.message import Message

from pilothouse._ids import uuid7
from pilothouse.errors import BufferFull, NotDelivered
from pilothouse.executor import Executor, ExecutorOptions
from pilothouse.v1.events_pb2 import Event, EventType, PublishEventsRequest
from tests.client.support import Failure, Server
from tests.support import wait_until

QUICK = ExecutorOptions(max_delay=0.05, close_timeout=30, call_timeout=30)
"""Quick to try again, and patient: what a test counts must not depend on how busy the machine is."""
LOG = EventType.EVENT_TYPE_LOG


def batches(server: Server) -> list[PublishEventsRequest]:
    return [
        each for each in server.requests("PublishEvents") if isinstance(each, PublishEventsRequest)
    ]


def messages(server: Server) -> list[str]:
    return [event.message for event in server.events.values()]


async def test_events_arrive_in_the_order_in_which_they_were_reported(server: Server) -> None:
    async with Executor(server.target, source="engine", options=QUICK) as executor:
        for number in range(2_500):
            executor.report(type=LOG, message=str(number))
        await executor.flush(30)
    assert messages(server) == [str(number) for number in range(2_500)]
    assert max(len(batch.events) for batch in batches(server)) == 1_000


async def test_an_event_is_stamped_when_it_is_reported(server: Server) -> None:
    async with Executor(server.target, source="engine", options=QUICK) as executor:
        event_id = executor.report(type=LOG)
        await executor.flush(30)
    event = server.events[event_id or ""]
    assert event.source == "engine"
    assert event.occur_time.seconds > 0
    assert event.id[14] == "7"


async def test_events_reported_before_the_start_are_kept(server: Server) -> None:
    executor = Executor(server.target, source="engine", options=QUICK)
    executor.report(type=LOG, message="early")
    async with executor:
        await executor.flush(30)
    assert messages(server) == ["early"]


async def test_a_batch_is_repeated_with_the_same_ids_until_it_is_durable(server: Server) -> None:
    unavailable = Failure(grpc.StatusCode.UNAVAILABLE)
    unknown_fate = Failure(grpc.StatusCode.DEADLINE_EXCEEDED, when="after")
    server.fail("PublishEvents", unavailable, unknown_fate, unavailable)
    async with Executor(server.target, source="engine", options=QUICK) as executor:
        for number in range(10):
            executor.report(type=LOG, message=str(number))
        await executor.flush(30)
        assert executor.stats.retries == 3
        assert executor.stats.delivered == 10
    tried = [[event.id for event in batch.events] for batch in batches(server)]
    assert len(tried) == 4
    assert all(ids == tried[0] for ids in tried)
    assert messages(server) == [str(number) for number in range(10)]


async def test_a_server_that_is_away_gets_everything_when_it_is_back(server: Server) -> None:
    async with Executor(server.target, source="engine", options=QUICK) as executor:
        executor.report(type=LOG, message="before")
        await executor.flush(30)
        await server.stop()
        executor.report(type=LOG, message="meanwhile")
        with pytest.raises(NotDelivered) as caught:
            await executor.flush(0.3)
        assert [event.message for event in caught.value.events] == ["meanwhile"]
        await server.start()
        await executor.flush(30)
    assert messages(server) == ["before", "meanwhile"]


async def test_a_rejected_event_is_named_and_the_rest_are_kept(server: Server) -> None:
    server.judge = lambda event: "message: is bad" if event.message == "bad" else ""
    rejected: list[tuple[str, str]] = []
    executor = Executor(
        server.target,
        source="engine",
        options=QUICK,
        on_rejected=lambda event, why: rejected.append((event.message, why)),
    )
    async with executor:
        for message in ("good", "bad", "better"):
            executor.report(type=LOG, message=message)
        await executor.flush(30)
        assert executor.stats.rejected == 1
        assert executor.stats.delivered == 2
    assert rejected == [("bad", "message: is bad")]
    assert messages(server) == ["good", "better"]


async def test_one_event_that_makes_the_server_refuse_its_batch_is_found(server: Server) -> None:
    def gate(request: Message) -> Failure | None:
        poison = isinstance(request, PublishEventsRequest) and any(
            event.message == "poison" for event in request.events
        )
        return Failure(grpc.StatusCode.INVALID_ARGUMENT, "poison") if poison else None

    server.gate = gate
    async with Executor(server.target, source="engine", options=QUICK) as executor:
        for number in range(50):
            executor.report(type=LOG, message="poison" if number == 17 else str(number))
        await executor.flush(30)
        assert executor.stats.rejected == 1
    assert messages(server) == [str(number) for number in range(50) if number != 17]


async def test_a_full_buffer_drops_counts_and_says_so_once(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    await server.stop()
    small = ExecutorOptions(max_events=3, close_timeout=0.1)
    with caplog.at_level(logging.ERROR, "pilothouse.executor"):
        async with Executor(server.target, source="engine", options=small) as executor:
            ids = [executor.report(type=LOG, message=str(number)) for number in range(10)]
            assert [bool(each) for each in ids] == [True] * 3 + [False] * 7
            assert executor.stats.dropped == 7
            assert executor.stats.buffered == 3
    assert caplog.text.count("the buffer is full") == 1
    assert [event.message for event in executor.undelivered] == ["0", "1", "2"]


async def test_the_buffer_is_bounded_in_bytes_too(server: Server) -> None:
    small = ExecutorOptions(max_bytes=10_000)
    executor = Executor(server.target, source="engine", options=small, on_full="raise")

    def fill() -> None:
        for _ in range(100):
            executor.report(type=LOG, message="x" * 1_000)

    with pytest.raises(BufferFull) as caught:
        fill()
    assert caught.value.size <= 10_000
    assert executor.stats.buffered == caught.value.events < 10


async def test_an_event_over_the_limit_of_the_contract_is_rejected_at_once(server: Server) -> None:
    rejected: list[str] = []
    executor = Executor(
        server.target, source="engine", on_rejected=lambda _, why: rejected.append(why)
    )
    huge = {f"key-{number}": "x" * 4_000 for number in range(20)}
    assert executor.report(Event(type=LOG, attributes=huge)) is None
    assert rejected == ["the event is larger than 65536 bytes"]


async def test_an_event_without_a_type_is_an_error_of_the_caller(server: Server) -> None:
    with pytest.raises(ValueError, match="needs a type"):
        Executor(server.target, source="engine").report(message="what?")


async def test_closing_says_what_was_not_delivered(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    await server.stop()
    executor = Executor(server.target, source="engine", options=ExecutorOptions(close_timeout=0.1))
    async with executor:
        event_id = executor.report(type=LOG, message="lost")
    assert [event.id for event in executor.undelivered] == [event_id]
    assert "1 events were not delivered" in caplog.text
    assert event_id is not None
    assert event_id in caplog.text


async def test_what_is_reported_after_closing_is_counted_as_dropped(server: Server) -> None:
    async with Executor(server.target, source="engine", options=QUICK) as executor:
        pass
    assert executor.report(type=LOG) is None
    assert executor.stats.dropped == 1
    assert executor.undelivered == []


async def test_a_callback_of_the_engine_that_fails_stops_no_delivery(server: Server) -> None:
    server.judge = lambda event: "bad" if event.message == "bad" else ""

    def fails(event: Event, why: str) -> None:
        raise RuntimeError(why)

    executor = Executor(server.target, source="engine", options=QUICK, on_rejected=fails)
    async with executor:
        executor.report(type=LOG, message="bad")
        await executor.flush(30)
        executor.report(type=LOG, message="good")
        await executor.flush(30)
    assert messages(server) == ["good"]


async def test_threads_of_the_engine_may_report(server: Server) -> None:
    async with Executor(server.target, source="engine", options=QUICK) as executor:

        def work(name: str) -> None:
            for number in range(200):
                executor.report(type=LOG, message=f"{name}-{number}")

        threads = [threading.Thread(target=work, args=(str(each),)) for each in range(4)]
        for thread in threads:
            thread.start()
        await wait_until(lambda: len(server.events) == 800, what="800 events")
        for thread in threads:
            thread.join()
    for name in range(4):
        mine = [message for message in messages(server) if message.startswith(f"{name}-")]
        assert mine == [f"{name}-{number}" for number in range(200)]


async def test_reporting_costs_the_engine_no_wait(server: Server) -> None:
    server.faults.stall = True
    async with Executor(server.target, source="engine", options=QUICK) as executor:
        # No await between these: the loop never runs, so nothing that waits could finish.
        for number in range(1_000):
            assert executor.report(type=LOG, message=str(number))
        assert executor.stats.buffered == 1_000
        assert batches(server) == []


async def test_an_engine_that_is_cancelled_still_delivers(server: Server) -> None:
    started = asyncio.Event()

    async def engine() -> None:
        async with Executor(server.target, source="engine", options=QUICK) as executor:
            executor.report(type=LOG, message="last words")
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(engine())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert messages(server) == ["last words"]


def test_ids_are_uuids_of_version_7_in_the_order_of_time() -> None:
    ids = [uuid7(1_769_860_800_000_000_000 + step * 1_000) for step in range(1_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 1_000
    assert {(uuid.UUID(each).version, uuid.UUID(each).variant) for each in ids} == {
        (7, uuid.RFC_4122)
    }
