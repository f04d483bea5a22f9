"""Exports over plain HTTP as files: the document itself, under a name, and without an end when it broke off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from pilothouse.v1 import events_pb2 as pb
from tests.bridge.support import PATIENCE, Context, TestServer, staged
from tests.support import wait_until

PATH = "/api/v1/events:export"
TEXT = "id\r\n“é”\r\n"


def exporting(
    *, complete: bool, stuck: bool = False
) -> tuple[TestServer, list[Any], asyncio.Event]:
    """A server that writes a text in two parts, with an end, without, or stuck before it."""
    requests: list[Any] = []
    left = asyncio.Event()

    async def answer(
        request: pb.ExportEventsRequest, context: Context
    ) -> AsyncIterator[pb.ExportEventsResponse]:
        requests.append(request)
        try:
            yield pb.ExportEventsResponse(text=TEXT[:5], exported=1, progress=0.5)
            yield pb.ExportEventsResponse(text=TEXT[5:], exported=2, progress=0.9)
            if stuck:
                await asyncio.Event().wait()
            if complete:
                yield pb.ExportEventsResponse(exported=2, progress=1, complete=True)
        finally:
            left.set()

    server = TestServer()
    server.export = answer
    return server, requests, left


@pytest.mark.parametrize(
    ("written", "name", "kind"),
    [
        ("CSV", "events.csv", "text/csv; charset=utf-8"),
        ("json_lines", "events.jsonl", "application/x-ndjson"),
        ("", "events.jsonl", "application/x-ndjson"),
    ],
)
async def test_a_document_is_saved_under_a_name(written: str, name: str, kind: str) -> None:
    server, requests, _left = exporting(complete=True)
    async with staged(server) as stage, stage.http() as http:
        query = {"filter": "type = LOG", "alt": "file"} | ({"format": written} if written else {})
        answer = await http.get(PATH, params=query)
    assert (answer.status_code, answer.content) == (200, TEXT.encode())
    assert answer.headers["content-type"] == kind
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert [each.filter for each in requests] == ["type = LOG"]


async def test_a_document_that_broke_off_has_no_end() -> None:
    server, _requests, _left = exporting(complete=False)
    async with staged(server) as stage, stage.http() as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get(PATH, params={"alt": "file"})


async def test_a_client_that_goes_away_ends_the_export() -> None:
    server, _requests, left = exporting(complete=False, stuck=True)
    async with staged(server, max_streams=1) as stage, stage.http() as http:
        async with http.stream("GET", PATH, params={"alt": "file"}) as answer:
            await anext(answer.aiter_bytes())
            assert not left.is_set()
        await wait_until(left.is_set, within=PATIENCE, what="the end of the call")


@pytest.mark.parametrize(
    ("path", "alt"), [(PATH, "json"), (PATH, ""), ("/api/v1/workflows", "file")]
)
async def test_only_an_export_can_be_had_as_a_file(path: str, alt: str) -> None:
    async with staged() as stage, stage.http() as http:
        answer = await http.get(path, params={"alt": alt})
    assert answer.status_code == 400
    assert "alt=file" in answer.text
