"""Events written down: as lines that can be read back, frozen at the beginning, with an end that is known as one."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from prometheus_client import CollectorRegistry

from pilothouse.v1 import enums_pb2, events_pb2_grpc
from pilothouse.v1 import events_pb2 as pb
from pilothouse_server.adapters.intake import SingleIntake
from pilothouse_server.adapters.sql.retention_store import remove_events
from pilothouse_server.adapters.sqlite_log import SqliteLog
from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.domain.events import AgentLoad, EventError, EventType, Usage
from pilothouse_server.services.event_export import AT_ONCE, export
from pilothouse_server.services.ingest import Ingest
from pilothouse_server.services.retention import Cut
from pilothouse_server.transport.event_watch import EventWatch
from pilothouse_server.transport.events import SERVICE, EventServicer
from pilothouse_server.transport.interceptor import CallMeters
from pilothouse_server.transport.server import RpcServer, Service
from pilothouse_server.transport.watching import Watching
from pilothouse_server.wire.event_text import COLUMNS, csv_heading, csv_line, json_line
from pilothouse_server.wire.events import stored_to_proto
from tests.events_live.conftest import Feed, running
from tests.projection.build import NOON, event

E = EventType
FULL = event(
    E.TASK_FAILED,
    id="full",
    workflow_type="import",
    workflow_name="Nightly, “imports”",
    stage="load",
    task_id="t1",
    agent_id="a1",
    agent_type="loader",
    trace_id="ab" * 16,
    span_id="cd" * 8,
    parent_span_id="ef" * 8,
    severity=5,
    message='said "no",\r\nthen \u202e\u05d0\u05d1\x07 left\u2028\U0001f6d1',
    duration_us=1_500_000,
    attempt=3,
    error=EventError("E_IO", "=cmd|calc", True),
    usage=Usage((1 << 64) - 1, 2, 3),
    attributes={"=formula": "=1+1", "clé": "ü"},
    command_id="c1",
    load=AgentLoad(1, 2),
    stage_plan=("load", "check"),
    queue="+q",
)


@pytest.fixture
async def stub(feed: Feed, tmp_path: Any) -> AsyncIterator[Any]:
    """A client of a server on the feed."""
    log = SqliteLog(tmp_path / "log.db")
    async with running(feed.tail()) as tail:
        watching = EventWatch(tail, Watching(feed.changes, feed.clock))
        servicer = EventServicer(Ingest(SingleIntake(log), feed.clock), feed.views, watching)
        server = RpcServer([Service(SERVICE, servicer.add_to)], CallMeters(CollectorRegistry()))
        port = await server.start("127.0.0.1", 0)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield events_pb2_grpc.EventServiceStub(channel)
        await server.drain(0)
    await log.close()


async def parts(stub: Any, **request: Any) -> list[pb.ExportEventsResponse]:
    return [each async for each in stub.ExportEvents(pb.ExportEventsRequest(**request))]


async def stored(feed: Feed, event_id: str) -> pb.Event:
    return stored_to_proto(await feed.views.get(event_id))


async def test_a_line_of_json_is_the_event_as_the_api_has_it(feed: Feed, stub: Any) -> None:
    await feed.report(FULL, event(E.LOG, id="bare"))
    text = "".join(each.text for each in await parts(stub))
    for line, name in zip(text.split("\n")[:2], ("full", "bare"), strict=True):
        found = await stored(feed, name)
        assert json_format.Parse(line, pb.Event()) == found
        assert json.loads(line) == json_format.MessageToDict(
            found, preserving_proto_field_name=True
        )
    assert text.endswith("}\n")


async def test_csv_is_read_back_and_holds_no_formula(feed: Feed, stub: Any) -> None:
    await feed.report(FULL, event(E.LOG, id="bare", message="@SUM(A1)"))
    found = await parts(stub, format=pb.EVENT_FORMAT_CSV)
    text = "".join(each.text for each in found)
    heading, full, bare = csv.reader(io.StringIO(text, newline=""))
    assert tuple(heading) == COLUMNS
    row = dict(zip(heading, full, strict=True))
    assert row["message"] == FULL.message
    assert (row["type"], row["attempt"], row["duration"]) == (
        "EVENT_TYPE_TASK_FAILED",
        "3",
        "1.500s",
    )
    assert row["queue"] == "'+q"
    assert json.loads(row["attributes"]) == FULL.attributes
    assert json.loads(row["usage"])["input_tokens"] == str((1 << 64) - 1)
    assert dict(zip(heading, bare, strict=True))["message"] == "'@SUM(A1)"
    assert not [each for each in (*full, *bare) if each[:1] in set("=+-@\t\r\n") and each]
    assert text.count("\r\n") == 4  # one is in a message


@pytest.mark.parametrize("begin", [*"=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"])
def test_nothing_that_a_spreadsheet_could_run_begins_a_cell(begin: str) -> None:
    line = csv_line(pb.Event(message=f"{begin}cmd|' /C calc'!A0", workflow_id=f"{begin}1"))
    (cells,) = csv.reader(io.StringIO(line, newline=""))
    row = dict(zip(COLUMNS, cells, strict=True))
    assert row["message"] == f"'{begin}cmd|' /C calc'!A0"
    assert row["workflow_id"] == f"'{begin}1"


def test_every_field_of_an_event_has_a_column() -> None:
    fields = {field.name for field in pb.Event.DESCRIPTOR.fields}
    assert set(COLUMNS) == fields
    assert csv_heading().rstrip() == ",".join(COLUMNS)


def test_a_type_that_this_program_does_not_know_is_its_number() -> None:
    strange = pb.Event(id="x", severity=enums_pb2.SEVERITY_INFO)
    strange.MergeFromString(pb.Event(id="x").SerializeToString() + b"\x10\xe7\x07")
    assert json.loads(json_line(strange))["type"] == 999
    assert csv_line(strange).split(",")[2] == "999"


async def test_it_is_frozen_at_its_beginning_and_says_how_far_it_is(feed: Feed, stub: Any) -> None:
    await feed.report(*(event(E.LOG, id=f"{n}", message="x" * 2_000) for n in range(900)))
    call = stub.ExportEvents(pb.ExportEventsRequest())
    found = [await call.read()]
    await feed.report(*(event(E.LOG, id=f"late {n}") for n in range(300)))
    while (part := await call.read()) is not grpc.aio.EOF:
        found.append(part)
    ids = [json.loads(line)["id"] for part in found for line in part.text.splitlines()]
    assert ids == [str(n) for n in range(900)]
    progress = [each.progress for each in found]
    assert progress == sorted(progress)
    assert 0 < progress[-3] < 1
    assert [each.complete for each in found] == [False] * (len(found) - 1) + [True]
    assert (found[-1].exported, found[-1].progress, found[-1].text) == (900, 1.0, "")
    assert max(len(each.text) for each in found) < 300_000


@pytest.mark.parametrize(("text", "count"), [("severity >= ERROR", 10), ("id = nobody", 0)])
async def test_a_filter_is_that_of_a_list(feed: Feed, stub: Any, text: str, count: int) -> None:
    await feed.report(
        *(event(E.LOG, id=f"{n}", severity=5 if n % 9 == 0 else 2) for n in range(90))
    )
    found = await parts(stub, filter=text)
    ids = [json.loads(line)["id"] for part in found for line in part.text.splitlines()]
    assert ids == await feed.listed(text)
    assert (len(ids), found[-1].complete, found[-1].exported) == (count, True, count)


async def test_a_filter_that_does_not_parse_is_refused_before_anything_is_written(
    stub: Any,
) -> None:
    for written in (pb.EVENT_FORMAT_CSV, pb.EVENT_FORMAT_JSON_LINES):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await parts(stub, filter="severity >=", format=written)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_watch_over_the_network_is_sent_what_was_encoded_once(
    feed: Feed, stub: Any
) -> None:
    await feed.report(FULL, event(E.LOG, id="two"))
    call = stub.WatchEvents(pb.WatchEventsRequest(backlog=10))
    first = await call.read()
    assert [each.id for each in first.batch.events] == ["full", "two"]
    assert first.batch.events[0] == await stored(feed, "full")
    assert (await call.read()).WhichOneof("update") == "caught_up"
    await feed.report(event(E.LOG, id="three"))
    live = await call.read()
    assert [each.id for each in live.batch.events] == ["three"]
    assert live.resume_token > first.resume_token
    call.cancel()


async def test_events_that_are_removed_before_they_are_reached_are_not_left_out_without_a_word(
    feed: Feed,
) -> None:
    await feed.report(*(event(E.LOG, id=f"{n}") for n in range(3 * AT_ONCE)))
    async with aclosing(export(feed.views, "")) as slices:
        assert len((await anext(slices)).events) == AT_ONCE
        # What was saved already may go.
        await remove_up_to(feed, AT_ONCE)
        assert len((await anext(slices)).events) == AT_ONCE
        await remove_up_to(feed, 2 * AT_ONCE + 1)
        with pytest.raises(Unavailable, match="too old to be kept"):
            await anext(slices)


async def remove_up_to(feed: Feed, last: int) -> None:
    """As retention does it."""

    cut = Cut(now_us=NOON + 1, before_us=NOON + 1)
    while (await feed.views.follow("").start(0)).oldest < last:
        await feed.database.write(lambda c: remove_events(c, cut, 1))
