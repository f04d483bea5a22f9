"""Silences over gRPC, on each database, with an engine that goes by them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from prometheus_client import CollectorRegistry

from pilothouse.v1 import matchers_pb2, silences_pb2_grpc
from pilothouse.v1 import silences_pb2 as pb
from pilothouse_server.adapters.sql.silence_store import SqlSilences
from pilothouse_server.domain.alerts.records import Act
from pilothouse_server.domain.alerts.silences import MOST_OPEN, MOST_RECURRING
from pilothouse_server.domain.alerts.suppression import LOUD
from pilothouse_server.services.alerts.silencing import SilenceKeeper, Silences
from pilothouse_server.services.alerts.suppressor import Silenced
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.ids import uuid7
from pilothouse_server.transport.interceptor import CallMeters
from pilothouse_server.transport.server import RpcServer, Service
from pilothouse_server.transport.silences import SilenceServicer
from tests.alerts.build import SECOND, T0, rule
from tests.alerts.conftest import Watchtower
from tests.support import wait_until


@dataclass
class Quietened:
    """A watchtower whose alerts silences keep quiet."""

    tower: Watchtower
    quiet: Silenced
    keeper: SilenceKeeper
    changes: Changes
    stub: silences_pb2_grpc.SilenceServiceAsyncStub


@pytest.fixture
async def quietened(towers: Callable[..., Watchtower]) -> AsyncIterator[Quietened]:
    tower, quiet, changes = towers(rule(labels={"team": "core"})), Silenced(), Changes()
    tower.suppressor = quiet
    await tower.open()
    store = SqlSilences(tower.database)
    keeper = SilenceKeeper(store, quiet, tower.clock, changes, tower.changes)
    servicer = SilenceServicer(Silences(store, tower.clock, changes, uuid7))
    service = Service(
        pb.DESCRIPTOR.services_by_name["SilenceService"],
        lambda server: silences_pb2_grpc.add_SilenceServiceServicer_to_server(servicer, server),
    )
    server = RpcServer([service], CallMeters(CollectorRegistry()))
    port = await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = silences_pb2_grpc.SilenceServiceStub(channel)
        yield Quietened(tower, quiet, keeper, changes, stub)
    await server.drain(0)


def time_of(us: int) -> Timestamp:
    return Timestamp(seconds=us // SECOND)


def asked(seconds: int | None = 3600, **fields: object) -> pb.Silence:
    """Of the team core, for an hour."""
    matcher = matchers_pb2.Matcher(name="team", value="core")
    silence = pb.Silence(matchers=[matcher], comment="works on it", **fields)  # type: ignore[arg-type]
    if seconds is not None:
        silence.end_time.CopyFrom(time_of(T0 + seconds * SECOND))
    return silence


async def made(
    stub: silences_pb2_grpc.SilenceServiceAsyncStub, silence: pb.Silence, request_id: str = ""
) -> pb.Silence:
    request = pb.CreateSilenceRequest(silence=silence, request_id=request_id)
    return (await stub.CreateSilence(request)).silence


async def test_an_alert_is_quiet_while_a_silence_holds_and_fires_all_the_same(
    quietened: Quietened,
) -> None:
    tower, stub = quietened.tower, quietened.stub
    silence = await made(stub, asked())
    assert (silence.state, silence.created_by) == (pb.SILENCE_STATE_ACTIVE, "anonymous")
    await quietened.keeper.look()
    await tower.tick(50)
    (alert,) = await tower.alerts("silenced = true")
    assert alert.suppression.silenced_by == (silence.id,)
    assert await tower.alerts("silenced = false") == []
    got = (await stub.GetSilence(pb.GetSilenceRequest(silence_id=silence.id))).silence
    assert got.silenced_count == 1
    ended = await stub.ExpireSilence(pb.ExpireSilenceRequest(silence_id=silence.id, reason="done"))
    assert (ended.silence.state, ended.silence.silenced_count) == (pb.SILENCE_STATE_EXPIRED, 0)
    again = await stub.ExpireSilence(pb.ExpireSilenceRequest(silence_id=silence.id))
    assert again.silence == ended.silence, "a repeat changes nothing"
    await quietened.keeper.look()
    await tower.tick(50)
    (alert,) = await tower.alerts()
    assert alert.suppression == LOUD
    _, steps = await tower.queries.alert_with_steps(alert.id)
    acts = [step.act for step in steps]
    assert acts == [Act.CONDITION, Act.SUPPRESSION, Act.SUPPRESSION]
    assert silence.id in steps[1].comment


async def test_a_repeat_of_a_request_makes_no_second_silence(quietened: Quietened) -> None:
    stub, request_id = quietened.stub, str(uuid.uuid4())
    first = await made(stub, asked(), request_id)
    quietened.tower.clock.us += SECOND
    assert await made(stub, asked(), request_id.upper()) == first
    with pytest.raises(grpc.aio.AioRpcError, match="other content") as error:
        await made(stub, asked(7200), request_id)
    assert error.value.code() == grpc.StatusCode.ALREADY_EXISTS
    assert len((await stub.ListSilences(pb.ListSilencesRequest())).silences) == 1


async def test_silences_are_listed_newest_first_in_pages(quietened: Quietened) -> None:
    stub, clock = quietened.stub, quietened.tower.clock
    ids: list[str] = []
    for seconds in (1, 3600, 3600, 3600):
        ids.append((await made(stub, asked(seconds))).id)
        clock.us += SECOND // 10
    clock.us += SECOND
    first = await stub.ListSilences(pb.ListSilencesRequest(page_size=2))
    rest = await stub.ListSilences(
        pb.ListSilencesRequest(page_size=2, page_token=first.next_page_token)
    )
    assert [each.id for each in (*first.silences, *rest.silences)] == ids[:0:-1]
    assert not rest.next_page_token
    every = await stub.ListSilences(pb.ListSilencesRequest(include_expired=True))
    assert [each.id for each in every.silences] == ids[::-1]
    assert every.silences[-1].state == pb.SILENCE_STATE_EXPIRED
    with pytest.raises(grpc.aio.AioRpcError, match="page_token"):
        await stub.ListSilences(
            pb.ListSilencesRequest(page_token=first.next_page_token, include_expired=True)
        )


async def test_one_until_resolved_is_about_the_alerts_of_now_and_ends_with_them(
    quietened: Quietened,
) -> None:
    tower, stub, keeper = quietened.tower, quietened.stub, quietened.keeper
    with pytest.raises(grpc.aio.AioRpcError, match="no alert that is not over matches"):
        await made(stub, asked(None, until_resolved=True))
    await tower.tick(50)
    silence = await made(stub, asked(None, until_resolved=True))
    await keeper.look()
    await tower.tick(50)
    (alert,) = await tower.alerts()
    assert alert.suppression.silenced_by == (silence.id,)
    assert await keeper.end_done() == 0
    await tower.tick(0)
    assert await keeper.end_done() == 1
    await keeper.look()
    got = (await stub.GetSilence(pb.GetSilenceRequest(silence_id=silence.id))).silence
    assert got.state == pb.SILENCE_STATE_EXPIRED
    await tower.tick(50)
    newest = (await tower.alerts())[0]
    assert (newest.id != alert.id, newest.suppression) == (True, LOUD)


async def test_the_lead_follows_what_is_made_and_what_ends(quietened: Quietened) -> None:
    tower = quietened.tower
    running = asyncio.create_task(quietened.keeper.run())
    await tower.tick(50)
    silence = await made(quietened.stub, asked(None, until_resolved=True))

    async def quiet() -> bool:
        await tower.tick(50)
        return (await tower.alerts())[0].suppression.silenced_by == (silence.id,)

    await wait_until(quiet, what="the silence to be followed")
    await tower.tick(0)

    async def over() -> bool:
        got = await quietened.stub.GetSilence(pb.GetSilenceRequest(silence_id=silence.id))
        return got.silence.state == pb.SILENCE_STATE_EXPIRED

    await wait_until(over, what="the silence to end with its alert")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_preview_says_what_would_be_hidden_and_changes_nothing(
    quietened: Quietened,
) -> None:
    tower, stub = quietened.tower, quietened.stub
    for waiting in (50, 0, 50, 0, 50):
        await tower.tick(waiting)
    preview = await stub.PreviewSilence(pb.PreviewSilenceRequest(silence=asked()))
    assert (preview.alert_count, preview.recent_count, len(preview.spans)) == (1, 3, 1)
    assert [each.id for each in preview.alerts] == [(await tower.alerts())[0].id]
    recurrence = pb.Recurrence(
        cron=" 0  22 * * *", time_zone="Europe/Berlin", duration=Duration(seconds=3600)
    )
    nightly = asked(None, recurrence=recurrence)
    nightly.matchers[0].value = "other"
    preview = await stub.PreviewSilence(pb.PreviewSilenceRequest(silence=nightly))
    assert (preview.alert_count, preview.recent_count, len(preview.spans)) == (0, 0, 5)
    assert preview.spans[1].start_time.seconds - preview.spans[0].start_time.seconds == 86_400
    assert not (await stub.ListSilences(pb.ListSilencesRequest(include_expired=True))).silences


async def test_one_that_recurs_says_when_it_begins_next(quietened: Quietened) -> None:
    recurrence = pb.Recurrence(cron="0 22 * * *", duration=Duration(seconds=3600))
    silence = await made(quietened.stub, asked(None, recurrence=recurrence))
    assert silence.state == pb.SILENCE_STATE_PENDING
    assert silence.next_start_time.ToDatetime().hour == 22
    assert not silence.HasField("end_time")
    assert silence.recurrence.cron == "0 22 * * *"


async def test_there_are_only_so_many_that_are_not_expired(quietened: Quietened) -> None:
    servicer = Silences(
        SqlSilences(quietened.tower.database), quietened.tower.clock, Changes(), uuid7
    )
    from pilothouse_server.wire.silences import draft_from_proto

    draft = draft_from_proto(asked())
    for _ in range(MOST_OPEN // 50):
        await asyncio.gather(
            *(servicer.create(draft, actor="ada", request_id="") for _ in range(50))
        )
    with pytest.raises(grpc.aio.AioRpcError, match="at most 1,000") as error:
        await made(quietened.stub, asked())
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_only_so_many_of_them_recur(quietened: Quietened) -> None:
    recurrence = pb.Recurrence(cron="0 22 * * *", duration=Duration(seconds=3600))
    for _ in range(MOST_RECURRING):
        await made(quietened.stub, asked(None, recurrence=recurrence))
    with pytest.raises(grpc.aio.AioRpcError, match="that recur: at most 100") as error:
        await made(quietened.stub, asked(None, recurrence=recurrence))
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await made(quietened.stub, asked())).id


@pytest.mark.parametrize("name", ["GetSilence", "ExpireSilence"])
async def test_an_unknown_silence_is_not_found(quietened: Quietened, name: str) -> None:
    request = getattr(pb, f"{name}Request")(silence_id="no")
    with pytest.raises(grpc.aio.AioRpcError, match="no silence 'no'") as error:
        await getattr(quietened.stub, name)(request)
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


async def test_a_regular_expression_that_is_none_is_refused_where_it_stands(
    quietened: Quietened,
) -> None:
    silence = asked()
    silence.matchers.add(name="a", type=matchers_pb2.MATCH_TYPE_REGEX, value="(")
    with pytest.raises(grpc.aio.AioRpcError, match=r"silence.matchers\[1\].*no regular expression"):
        await made(quietened.stub, silence)
