"""The README's REST examples, as they stand there, against a real server."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import httpx

import pilothouse.aio
from pilothouse.errors import NotFound
from tests.e2e.support import PATIENCE, Pilothouse
from tests.support import wait_until

README = Path(__file__).resolve().parents[2] / "README.md"
WRITTEN_AT = "http://127.0.0.1:8080"


def examples() -> list[list[str]]:
    """The words after `curl`, for each example in order."""
    text = README.read_text("utf-8").replace("\\\n", " ")
    return [shlex.split(line) for line in re.findall(r"^    curl (.*)$", text, re.MULTILINE)]


async def answer(server: Pilothouse, words: list[str]) -> httpx.Response:
    """What curl would get: without -H it says that a body is a form."""
    url, *options = words
    given = dict(zip(options[::2], options[1::2], strict=True))
    name, _, value = given.get("-H", "content-type: application/x-www-form-urlencoded").partition(
        ": "
    )
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        return await http.request(
            "POST" if "-d" in given else "GET",
            url.replace(WRITTEN_AT, server.url),
            content=given.get("-d"),
            headers={name: value} if "-d" in given else {},
        )


async def test_the_examples_work_as_they_are_written(
    server: Pilothouse, client: pilothouse.aio.Client
) -> None:
    async def shown() -> bool:
        try:
            return (await client.workflow("wf-1").get()).id == "wf-1"
        except NotFound:
            return False

    async def measured() -> bool:
        return (await answer(server, examples()[0])).status_code == 200

    await wait_until(measured, within=PATIENCE, what="the first snapshot")
    got: list[tuple[str, int]] = []
    for words in examples():
        if "wf-1" in words[0]:
            await wait_until(shown, within=PATIENCE, what="the workflow of the example")
        got.append((words[0].removeprefix(WRITTEN_AT), (await answer(server, words)).status_code))

    assert got == [
        ("/api/v1/monitoring/metrics/realtime", 200),
        ("/api/v1/workflows?filter=state%3DRUNNING", 200),
        ("/api/v1/events", 200),
        ("/api/v1/workflows/wf-1", 200),
        ("/api/v1/workflows/wf-1/control", 409),
        ("/openapi.json", 200),
    ]
