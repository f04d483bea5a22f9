"""The page in a real browser, on a real server, with an engine that obeys."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from pilothouse.executor import Executor
from tests.e2e.engine import StepEngine, stepping
from tests.e2e.support import PATIENCE, Pilothouse
from tests.support import wait_until

pytestmark = [pytest.mark.browser]


@pytest_asyncio.fixture(loop_scope="session")
async def engine(server: Pilothouse) -> AsyncIterator[StepEngine]:
    """An engine that has begun the first stage of its workflow."""
    async with stepping(server, "wf-1") as engine:
        yield engine


def row(page: Page) -> Locator:
    """The workflow's row in the table."""
    return page.locator('[data-testid="workflow-row"][data-workflow-id="wf-1"]')


async def ask(page: Page, verb: str) -> None:
    """Clicks an action of the row and confirms it."""
    await row(page).get_by_test_id(f"action-{verb}").click()
    dialog = page.get_by_test_id("control-dialog")
    await expect(dialog.get_by_test_id("control-cli")).to_contain_text(f"workflows {verb} wf-1")
    if await dialog.get_by_test_id("control-word").count():
        await dialog.get_by_test_id("control-word").fill("cancel")
    await dialog.get_by_test_id("control-reason").fill("from the page")
    await dialog.get_by_test_id("control-confirm").click()


async def test_pausing_on_the_page_stops_the_next_stage_and_the_row_says_so_only_then(
    server: Pilothouse, engine: StepEngine, page: Page
) -> None:
    await page.goto(f"{server.url}/")
    await expect(row(page)).to_have_attribute("data-state", "RUNNING")

    await ask(page, "pause")
    await expect(row(page).get_by_test_id("act-note")).to_have_attribute("data-phase", "accepted")
    await expect(row(page)).to_have_attribute("data-state", "RUNNING")

    engine.let_end("build")
    await expect(row(page)).to_have_attribute("data-state", "PAUSED")
    assert engine.started == ["build"]

    await ask(page, "resume")
    await expect(row(page)).to_have_attribute("data-state", "RUNNING")
    engine.let_end("test")
    engine.let_end("deploy")
    await wait_until(lambda: engine.started == ["build", "test", "deploy"], within=PATIENCE)


async def test_a_failed_workflow_is_retried_from_its_own_sheet(
    server: Pilothouse, engine: StepEngine, page: Page
) -> None:
    await page.goto(f"{server.url}/")
    engine.let_end("build", failing=True)
    await expect(page.get_by_test_id("card-success-value")).not_to_have_text("no data")

    await page.goto(f"{server.url}/#/workflows")
    await expect(row(page)).to_have_attribute("data-state", "FAILED")
    await row(page).click()
    sheet = page.get_by_test_id("sheet")
    await expect(sheet).to_contain_text("build broke")
    await sheet.get_by_test_id("action-retry").click()
    await page.get_by_test_id("control-confirm").click()

    await expect(row(page)).to_have_attribute("data-state", "RUNNING")
    await expect(sheet).to_have_attribute("data-state", "RUNNING")


async def test_a_cancel_needs_its_word_and_ends_the_workflow(
    server: Pilothouse, engine: StepEngine, page: Page
) -> None:
    await page.goto(f"{server.url}/#/workflows")
    await expect(row(page)).to_have_attribute("data-state", "RUNNING")

    await row(page).get_by_test_id("action-cancel").click()
    confirm = page.get_by_test_id("control-confirm")
    await expect(confirm).to_have_attribute("aria-disabled", "true")
    await page.get_by_test_id("control-word").fill("cancel")
    await confirm.click()

    await expect(row(page)).to_have_attribute("data-state", "CANCELLED")


async def test_figures_are_live_and_nothing_known_is_shown_as_no_data(
    server: Pilothouse, page: Page
) -> None:
    await page.goto(f"{server.url}/")
    await expect(page.get_by_test_id("connection")).to_have_attribute("data-mode", "live")
    await expect(page.get_by_test_id("card-success-value")).to_have_text("no data")

    async with Executor(server.grpc, source="tests") as executor:
        executor.agent("builder-1", agent_type="builder", capacity=2).heartbeat(active=1)
        with executor.workflow("wf-1", workflow_type="feature"):
            pass
        await executor.flush(PATIENCE)

    await expect(page.get_by_test_id("card-success-value")).to_contain_text("100")
    await expect(page.get_by_test_id("agent-cell")).to_have_count(1)
    await expect(page.get_by_test_id("event-row").last).to_be_visible()


async def test_the_page_reconnects_by_itself_and_says_what_it_is_meanwhile(
    server: Pilothouse, page: Page
) -> None:
    await page.goto(f"{server.url}/")
    mode = page.get_by_test_id("connection")
    await expect(mode).to_have_attribute("data-mode", "live")

    await server.kill()
    await expect(mode).not_to_have_attribute("data-mode", "live")
    await server.start()

    await expect(mode).to_have_attribute("data-mode", "live", timeout=60_000)
    await expect(page.get_by_test_id("card-running")).to_have_attribute("data-stale", "false")


async def test_hostile_names_are_text(server: Pilothouse, page: Page) -> None:
    name = "<img src=x onerror=alert(1)>\u202e"
    async with Executor(server.grpc, source="tests") as executor:
        executor.workflow("<b>id</b>", workflow_type="<i>", name=name).started(message=name)
        await executor.flush(PATIENCE)

    await page.goto(f"{server.url}/#/workflows")

    await expect(page.get_by_test_id("workflow-row")).to_contain_text("<img src=x")
    assert await page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("path", ["/", "/#/workflows", "/#/alerts"])
@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
async def test_no_page_scrolls_sideways(
    server: Pilothouse, engine: StepEngine, page: Page, path: str, width: int, height: int
) -> None:
    await page.set_viewport_size({"width": width, "height": height})
    await page.goto(f"{server.url}{path}")
    await expect(page.get_by_test_id("connection")).to_have_attribute("data-mode", "live")

    sideways = await page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )

    assert sideways <= 0


async def test_a_theme_that_was_chosen_is_kept(server: Pilothouse, page: Page) -> None:
    await page.goto(f"{server.url}/")
    theme = page.get_by_test_id("theme")
    first = await theme.get_attribute("data-theme")
    await theme.click()
    await expect(theme).not_to_have_attribute("data-theme", first or "")
    chosen = await theme.get_attribute("data-theme")

    await page.reload()

    assert chosen != first
    await expect(theme).to_have_attribute("data-theme", chosen or "")
