"""Streams over plain HTTP: a JSON object on each line, and an end that says what it is."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import grpc
import httpx
import pytest
from google.rpc import status_pb2

from pilothouse.v1 import rules_pb2 as pb
from tests.bridge.support import PATIENCE, Context, TestServer, refusal, staged
from tests.support import wait_until

PATH = "/api/v1/rules:backtest"
BODY = {"document": "name: x", "start_time": "2026-01-31T12:00:00Z"}


def progress(share: float) -> pb.BacktestRuleResponse:
    return pb.BacktestRuleResponse(progress=pb.BacktestProgress(share=share))


class Refusal(NamedTuple):
    """An error as the contract has it."""

    code: grpc.StatusCode
    status: status_pb2.Status


def refused(code: grpc.StatusCode, reason: str, message: str) -> Refusal:
    return Refusal(*refusal(code, reason, message))


def backtesting(*steps: Any) -> tuple[TestServer, asyncio.Event]:
    """A server that answers so, waits where an event is, and refuses where a refusal is; and whether it was left."""
    left = asyncio.Event()

    async def answer(request: pb.BacktestRuleRequest, context: Context) -> AsyncIterator[Any]:
        assert request.document == "name: x"
        try:
            for each in steps:
                if isinstance(each, asyncio.Event):
                    await each.wait()
                elif isinstance(each, Refusal):
                    code, status = each.code, each.status
                    details = (("grpc-status-details-bin", status.SerializeToString()),)
                    await context.abort(code, status.message, details)
                else:
                    yield each
        finally:
            left.set()

    server = TestServer()
    server.backtest = answer
    return server, left


@asynccontextmanager
async def answering(
    server: TestServer, **settings: Any
) -> AsyncGenerator[tuple[httpx.AsyncClient, httpx.Response]]:
    """A client of a bridge before the server, and a stream that it began."""
    async with staged(server, **settings) as stage, stage.http() as http:
        streaming = http.stream("POST", PATH, json=BODY)
        async with streaming as answer:
            yield http, answer


async def test_each_answer_is_a_line_as_soon_as_it_is_there() -> None:
    go_on = asyncio.Event()
    server, _left = backtesting(progress(0.25), go_on, progress(1.0))
    async with answering(server) as (_http, answer):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        lines = answer.aiter_lines()
        assert json.loads(await anext(lines)) == {"progress": {"share": 0.25}}
        go_on.set()
        assert json.loads(await anext(lines)) == {"progress": {"share": 1.0}}
        assert [line async for line in lines] == []


async def test_a_refusal_before_the_first_line_is_an_ordinary_error() -> None:
    no = refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", "rule: no")
    server, _ = backtesting(no)
    async with staged(server) as stage, stage.http() as http:
        answer = await http.post(PATH, json=BODY)
        assert (answer.status_code, answer.json()["reason"]) == (400, "INVALID_ARGUMENT")


async def test_what_breaks_off_later_ends_with_a_line_that_says_why() -> None:
    no = refused(grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE", "database: away")
    server, _ = backtesting(progress(0.5), no)
    async with staged(server) as stage, stage.http() as http:
        answer = await http.post(PATH, json=BODY)
        first, last = answer.text.splitlines()
        assert json.loads(first) == {"progress": {"share": 0.5}}
        assert json.loads(last)["error"]["reason"] == "DATABASE_UNAVAILABLE"


async def test_a_server_that_falls_silent_ends_the_stream_by_name() -> None:
    server, left = backtesting(progress(0.5), asyncio.Event())
    async with staged(server, call_timeout=2.0) as stage, stage.http() as http:
        # The connection is there, so that the first answer is not what comes too late.
        await wait_until(lambda: is_ready(http), within=PATIENCE)
        answer = await http.post(PATH, json=BODY)
        assert json.loads(answer.text.splitlines()[-1])["error"]["reason"] == "DEADLINE_EXCEEDED"
        await wait_until(left.is_set, within=PATIENCE, what="the end of the call")


async def test_a_client_that_goes_away_ends_the_call() -> None:
    server, left = backtesting(progress(0.5), asyncio.Event())
    async with staged(server, max_streams=1) as stage, stage.http() as http:
        async with http.stream("POST", PATH, json=BODY) as answer:
            await anext(answer.aiter_lines())
        await wait_until(left.is_set, within=PATIENCE, what="the end of the call")


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    server, left = backtesting(*[_bulky()] * 400)
    async with staged(server, stall_limit=0.2) as stage:
        body = json.dumps(BODY).encode()
        head = f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", stage.port)) as client:
            client.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            await wait_until(left.is_set, within=PATIENCE, what="the end of the call")


async def is_ready(http: httpx.AsyncClient) -> bool:
    return (await http.get("/readyz")).status_code == 200


def _bulky() -> pb.BacktestRuleResponse:
    return pb.BacktestRuleResponse(series=pb.BacktestSeries(values=[float(n) for n in range(8000)]))


async def test_too_many_streams_are_429() -> None:
    server, _ = backtesting(progress(0.5), asyncio.Event())
    async with answering(server, max_streams=1) as (http, answer):
        await anext(answer.aiter_lines())
        second = await http.post(PATH, json=BODY)
        assert (second.status_code, second.json()["reason"]) == (429, "RATE_LIMITED")


@pytest.mark.parametrize("path", ["/pilothouse.v1.RuleService/BacktestRule"])
async def test_a_stream_without_a_path_of_its_own_is_refused_by_name(path: str) -> None:
    async with staged() as stage, stage.http() as http:
        answer = await http.post(path, json=BODY)
        assert (answer.status_code, answer.json()["reason"]) == (501, "NO_SUCH_METHOD")


async def test_the_description_has_the_stream_with_the_schema_of_a_line() -> None:
    async with staged() as stage, stage.http() as http:
        described = (await http.get("/openapi.json")).json()
    content = described["paths"][PATH]["post"]["responses"]["200"]["content"]
    reference = {"$ref": "#/components/schemas/BacktestRuleResponse"}
    assert content == {"application/x-ndjson": {"schema": reference}}
