"""A real server for each test that asks for one, and a real browser for all of them.

All tests of this folder run in one event loop, so that they can share a browser, which takes longer to start than most
of them take.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

import pilothouse.aio
from tests import browsers
from tests.e2e.support import PATIENCE, Pilothouse

LONGEST = 180
"""Seconds for a test that says nothing else: it may start a server, a browser and some commands."""
expect.set_options(timeout=PATIENCE * 1000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The loop of this folder's tests; fixtures that they use belong to it too."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(LONGEST))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """A running Chromium."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=list(browsers.ARGUMENTS)
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A page in a profile of its own, whose own uncaught errors fail the test."""
    page = await browser.new_page(viewport={"width": 1440, "height": 900})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_default_timeout(PATIENCE * 1000)
    yield page
    await page.close()
    assert not errors, f"the page threw: {errors}"


@pytest_asyncio.fixture(loop_scope="session")
async def server(tmp_path: Path) -> AsyncIterator[Pilothouse]:
    """`pilothouse-server up`, ready."""
    async with Pilothouse(tmp_path / "data") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pilothouse]:
    """One server for all tests of a file that only ask, and are known by ids of their own."""
    async with Pilothouse(tmp_path_factory.mktemp("shared") / "data") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def shared_client(shared_server: Pilothouse) -> AsyncIterator[pilothouse.aio.Client]:
    """A client of the shared server."""
    async with pilothouse.aio.Client(shared_server.grpc) as connected:
        yield connected


@pytest_asyncio.fixture(loop_scope="session")
async def client(server: Pilothouse) -> AsyncIterator[pilothouse.aio.Client]:
    """A client of that server."""
    async with pilothouse.aio.Client(server.grpc) as connected:
        yield connected
