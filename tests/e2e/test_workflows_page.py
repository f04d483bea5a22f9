"""The Workflows page in a real browser, on a real server, with an engine that obeys at once: find, select, act."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from urllib.parse import quote

import pytest
from playwright.async_api import Locator, Page, expect

from pilothouse.executor import Executor
from pilothouse.v1.commands_pb2 import Command
from pilothouse.v1.enums_pb2 import ControlAction
from pilothouse.v1.events_pb2 import Usage
from tests.e2e.keyboard import go
from tests.e2e.support import PATIENCE, Pilothouse

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("workflows page")]

STAGES = ("build", "test")


@pytest.fixture(scope="module")
def names() -> Iterator[int]:
    """Each test has workflows of a type of its own on the shared server."""
    return count(1)


@pytest.fixture
def kind(names: Iterator[int]) -> str:
    """The type of this test's workflows."""
    return f"kind{next(names)}"


@asynccontextmanager
async def engine(
    server: Pilothouse, kind: str, running: int, ended: int = 0
) -> AsyncGenerator[Executor]:
    """Pauses and resumes at once; cancels never, because it cannot."""
    executor = Executor(server.grpc, source=f"engine-of-{kind}")

    @executor.on(ControlAction.CONTROL_ACTION_PAUSE)
    def pause(command: Command) -> None:
        executor.workflow(command.workflow_id).paused(command)

    @executor.on(ControlAction.CONTROL_ACTION_RESUME)
    def resume(command: Command) -> None:
        executor.workflow(command.workflow_id).resumed(command)

    async with executor:
        for number in range(running + ended):
            run = executor.workflow(
                f"{kind}-{number}", workflow_type=kind, name=f"Job {number}", stage_plan=STAGES
            )
            run.created()
            run.started()
            if number >= running:
                run.completed(usage=Usage(input_tokens=900, output_tokens=100, cost_micros=12_345))
        await executor.flush(PATIENCE)
        await server.until_obeyed(executor.source)
        yield executor


async def open_view(page: Page, server: Pilothouse, view: str) -> None:
    """A view by its URL, live."""
    await page.goto(f"{server.url}/#/workflows?{view}")
    await expect(page.get_by_test_id("connection")).to_have_attribute("data-mode", "live")


async def open_kind(page: Page, server: Pilothouse, kind: str, rows: int, more: str = "") -> None:
    """The table of one type, with all its rows."""
    await open_view(page, server, f"filter={quote(f'type = {kind}')}{more}")
    await expect(page.get_by_test_id("workflow-row")).to_have_count(rows)


def outcome(page: Page, name: str) -> Locator:
    """How many workflows of the open batch have an outcome."""
    return page.get_by_test_id("batch-counts").locator(f'[data-outcome="BATCH_OUTCOME_{name}"]')


async def look_and_start(page: Page, size: int) -> None:
    """From the filled form to a batch that was started."""
    await page.get_by_test_id("batch-preview").click()
    await expect(page.get_by_test_id("batch")).to_have_attribute("data-state", "Not started")
    await page.get_by_test_id("batch-size").fill(str(size))
    await page.get_by_test_id("batch-start").click()


async def test_what_is_found_is_selected_and_paused_by_keyboard_alone(
    shared_server: Pilothouse, page: Page, kind: str
) -> None:
    async with engine(shared_server, kind, 5):
        await page.goto(f"{shared_server.url}/")
        await expect(page.get_by_test_id("connection")).to_have_attribute("data-mode", "live")
        await go(page, "w")
        await expect(page.get_by_test_id("page-workflows")).to_be_visible()
        await page.keyboard.press("/")
        await expect(page.get_by_test_id("search")).to_be_focused()
        await page.keyboard.type(f"type = {kind}")
        await page.keyboard.press("Enter")
        # They stay where they are from now on: a row moves when its workflow is heard to have started.
        running = page.locator('[data-testid="workflow-row"][data-state="RUNNING"]')
        await expect(running).to_have_count(5)
        for key in ("j", "x", "j", "j", "Shift+X"):
            await page.keyboard.press(key)
        await expect(page.get_by_test_id("picked")).to_have_attribute("data-count", "3")
        await page.keyboard.press("b")
        await expect(page.get_by_test_id("batch-which")).to_have_text("3 chosen workflows")
        await page.get_by_test_id("batch-reason").press_sequentially("deploy freeze")
        await expect(page.get_by_test_id("batch-cli")).to_contain_text(
            "batches create --action=pause"
        )
        await page.keyboard.press("Enter")
        await expect(page.get_by_test_id("batch-acceptable")).to_have_text("3 would be taken")

        start = page.get_by_test_id("batch-start")
        await page.get_by_test_id("batch-size").press_sequentially("4")
        await expect(start).to_have_attribute("aria-disabled", "true")
        await page.keyboard.press("Backspace")
        await page.keyboard.type("3")
        await page.keyboard.press("Enter")

        await expect(page.get_by_test_id("batch")).to_have_attribute("data-state", "Done")
        await expect(outcome(page, "EFFECTIVE")).to_contain_text("3")
        await page.reload()
        await expect(outcome(page, "EFFECTIVE")).to_contain_text("3")
        await expect(page.get_by_test_id("batch-row").first).to_contain_text("deploy freeze")
        await open_kind(page, shared_server, kind, 3, "&state=paused")


async def test_what_will_be_refused_is_told_before_and_each_refusal_after(
    shared_server: Pilothouse, page: Page, kind: str
) -> None:
    async with engine(shared_server, kind, 2, ended=2):
        await open_kind(page, shared_server, kind, 4)
        await page.get_by_test_id("batch-matching").click()
        await expect(page.get_by_test_id("batch-which")).to_contain_text("All 4 that match")
        await page.get_by_test_id("batch-preview").click()
        await expect(page.get_by_test_id("batch-acceptable")).to_have_text("2 would be taken")
        await expect(page.get_by_test_id("batch-refusal")).to_contain_text("COMPLETED")
        await page.get_by_test_id("batch-size").fill("4")
        await page.get_by_test_id("batch-start").click()

        await expect(page.get_by_test_id("batch")).to_have_attribute("data-state", "Done")
        await expect(page.get_by_test_id("batch-item")).to_have_count(2)
        await page.get_by_test_id("batch-failures").get_by_role("link").first.click()
        await expect(page.get_by_test_id("sheet")).to_have_attribute("data-state", "COMPLETED")


async def test_a_batch_is_stopped_continued_and_given_up(
    shared_server: Pilothouse, page: Page, kind: str
) -> None:
    # One a second: there is time to stop it, to continue it and to give it up while most are still to come.
    many = 40
    async with engine(shared_server, kind, many):
        await open_kind(page, shared_server, kind, many, "&open=:batch")
        await page.get_by_test_id("batch-rate").fill("1")
        await look_and_start(page, many)
        sheet = page.get_by_test_id("batch")
        await sheet.get_by_test_id("batch-stop").click()
        await page.get_by_test_id("confirm-reason").fill("wrong ones")
        await page.get_by_test_id("confirm-do").click()
        await expect(sheet).to_have_attribute("data-state", "Stopped")
        await sheet.get_by_test_id("batch-continue").click()
        await page.get_by_test_id("confirm-do").click()
        await expect(sheet).to_have_attribute("data-state", "Running")

        await sheet.get_by_test_id("batch-abandon").click()
        await expect(page.get_by_test_id("confirm-do")).to_have_attribute("aria-disabled", "true")
        await page.get_by_test_id("confirm-word").fill("give up")
        await page.get_by_test_id("confirm-do").click()

        await expect(sheet).to_have_attribute("data-state", "Done")
        await expect(outcome(page, "ABANDONED")).to_be_visible()
        await expect(sheet.get_by_test_id("batch-item").first).to_contain_text("given up")


async def test_a_workflow_as_a_page_says_why_it_waits_and_what_was_done_to_it(
    shared_server: Pilothouse, page: Page, kind: str
) -> None:
    async with engine(shared_server, kind, 1) as executor:
        run = executor.workflow(f"{kind}-0")
        with run.stage("build"):
            run.task("compile", stage="build").started()
        await executor.flush(PATIENCE)
        await open_view(page, shared_server, f"open={kind}-0")
        await page.get_by_test_id("open-page").click()
        view = page.get_by_test_id("run")
        await expect(view.get_by_test_id("timeline")).to_contain_text("compile")
        await view.get_by_test_id("action-pause").click()
        await page.get_by_test_id("control-reason").fill("deploy freeze")
        await page.get_by_test_id("control-confirm").click()

        await expect(view).to_have_attribute("data-state", "PAUSED")
        await expect(view.get_by_test_id("why")).to_contain_text("deploy freeze")
        command = view.get_by_test_id("command-row")
        await expect(command).to_contain_text("Pause effective")
        await expect(command).to_contain_text("effective after")
        await expect(view.get_by_test_id("audit-row")).to_have_count(2)
        await page.reload()
        await view.get_by_test_id("remedy").click()
        await page.get_by_test_id("control-confirm").click()
        await expect(view).to_have_attribute("data-state", "RUNNING")
        await expect(view.get_by_test_id("why")).to_have_count(0)
        await page.keyboard.press("Escape")
        await expect(page.get_by_test_id("workflow-table")).to_be_visible()


async def test_a_workflow_of_an_engine_that_is_gone_is_closed_by_force_and_marked(
    shared_server: Pilothouse, page: Page, kind: str
) -> None:
    async with engine(shared_server, kind, 1):
        await open_view(page, shared_server, f"tab=run&open={kind}-0")
        await page.get_by_test_id("close-workflow").click()
        await page.get_by_test_id("confirm-word").fill(f"{kind}-0")
        await expect(page.get_by_test_id("confirm-do")).to_have_attribute("title", "Say why first")
        await page.get_by_test_id("confirm-reason").fill("its machine burned")
        await page.get_by_test_id("confirm-do").click()
        await expect(page.get_by_test_id("refused")).to_contain_text("connected")

    await shared_server.until_alone(f"engine-of-{kind}")
    await page.get_by_test_id("confirm-do").click()

    view = page.get_by_test_id("run")
    await expect(view).to_have_attribute("data-state", "FAILED")
    await expect(view.get_by_test_id("forced")).to_be_visible()
    await expect(view.get_by_test_id("audit-row").first).to_contain_text("workflow.close")


async def test_what_an_engine_cannot_do_is_shown_with_why(
    shared_server: Pilothouse, page: Page, kind: str
) -> None:
    async with engine(shared_server, kind, 1):
        await open_kind(page, shared_server, kind, 1)
        cancel = page.get_by_test_id("action-cancel")
        await expect(cancel).to_have_attribute("aria-disabled", "true")
        await expect(cancel).to_have_attribute(
            "title", re.compile("did not declare that it can CANCEL")
        )


async def test_the_filter_completes_types_that_are_known(
    shared_server: Pilothouse, page: Page, kind: str
) -> None:
    async with engine(shared_server, kind, 1):
        await open_kind(page, shared_server, kind, 1)
        await page.get_by_test_id("search").fill("type = ")
        words = page.locator("#filter-words option")
        await expect(words.and_(page.locator(f'[value="type = {kind}"]'))).to_have_count(1)


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1024, 768), (390, 844)])
async def test_no_view_scrolls_sideways(
    shared_server: Pilothouse, page: Page, kind: str, width: int, height: int
) -> None:
    async with engine(shared_server, kind, 2, ended=1) as executor:
        run = executor.workflow(f"{kind}-0", name="A workflow with a name as long as it gets" * 4)
        run.stage("build").started()
        await executor.flush(PATIENCE)
        await page.set_viewport_size({"width": width, "height": height})
        await open_kind(page, shared_server, kind, 3, "&open=:batch")
        await page.get_by_test_id("batch-preview").click()
        await expect(page.get_by_test_id("batch-acceptable")).to_be_visible()
        views = (page.url.partition("?")[2], f"tab=run&open={kind}-0", f"open={kind}-0")
        for view in views:
            await open_view(page, shared_server, view)
            await expect(page.locator(".part").first).to_be_visible()
            sideways = await page.evaluate(
                "Math.max(...document.querySelectorAll('html, .main, .sheet > .body, .run > .panel')"
                ".values().map(each => each.scrollWidth - each.clientWidth))"
            )
            assert sideways <= 0, view
