"""One server for the tests of a file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.e2e.support import Pilothouse
from tests.support import name_of, wait_until

PATIENCE = 60.0
"""Seconds in which what has to happen happens, the start of a process included."""


@dataclass
class Station:
    """A running server, and what it knows of a service."""

    server: Pilothouse
    service: str
    """The source of a test's own."""

    @property
    def trace(self) -> bytes:
        """The id of a trace of the test's own: spans of one id are one span."""
        return sha256(self.service.encode()).digest()[:16]

    async def events(self, count: int = 1) -> list[dict[str, Any]]:
        """The events of the service, oldest first, once there are so many."""

        async def known() -> list[dict[str, Any]]:
            path = f'/api/v1/events?filter=source="{self.service}"&ascending=true&page_size=1000'
            found: list[dict[str, Any]] = (await self.server.get(path))["events"]
            return found if len(found) >= count else []

        return await wait_until(known, within=PATIENCE, what=f"{count} events of {self.service}")

    async def types(self, count: int = 1) -> set[str]:
        """Their types."""
        return {event["type"].removeprefix("EVENT_TYPE_") for event in await self.events(count)}

    async def workflow(self, state: str) -> dict[str, Any]:
        """The workflow of the service, once it stands so."""

        async def stands() -> dict[str, Any]:
            path = f'/api/v1/workflows?filter=source="{self.service}"'
            found: list[dict[str, Any]] = (await self.server.get(path))["workflows"]
            right = [each for each in found if each["state"] == f"WORKFLOW_STATE_{state}"]
            return right[0] if right else {}

        return await wait_until(stands, within=PATIENCE, what=f"a workflow that is {state}")

    async def post(self, body: bytes, kind: str, **headers: str) -> httpx.Response:
        """A request of an exporter."""
        sent = {"content-type": kind} | {
            key.replace("_", "-"): value for key, value in headers.items()
        }
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            return await client.post(f"{self.server.url}/v1/traces", content=body, headers=sent)


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pilothouse]:
    """`pilothouse-server up`, ready."""
    async with Pilothouse(tmp_path_factory.mktemp("otlp") / "data") as server:
        yield server


@pytest.fixture
def station(running: Pilothouse, request: pytest.FixtureRequest) -> Station:
    """The server, under a service of the test's own."""
    return Station(running, name_of(request))
