"""From an alert that fires, the event, the workflow, the stage and the span that caused it are four clicks away.

A click is a click: nothing is typed, and no address is used but that of the Alerts page.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from pilothouse.executor import Executor
from pilothouse.reporting import WorkflowRun
from tests.e2e.support import PATIENCE, Pilothouse

pytestmark = [pytest.mark.browser]

RULE = {
    "name": "Stages fail",
    "enabled": True,
    "severity": "SEVERITY_CRITICAL",
    "condition": {
        "threshold": {
            "metric": "ALERT_METRIC_ERROR_RATE",
            "dimension": "METRIC_DIMENSION_STAGE",
            "comparison": "COMPARISON_GREATER_THAN",
            "threshold": 0.05,
            "window": "300s",
        }
    },
}


def release(run: WorkflowRun, *, broken: bool) -> None:
    """A run of two stages, of which the second may break in its second attempt at the upload."""
    with contextlib.suppress(ConnectionError), run:
        with run.stage("build"), run.task("compile", stage="build"):
            pass
        with run.stage("deploy"):
            upload = run.task("upload", stage="deploy")
            upload.started()
            if broken:
                upload.retrying(ConnectionError("no route to host"))
            with upload:
                if broken:
                    raise ConnectionError("the mirror refused the upload")


@pytest_asyncio.fixture(loop_scope="session")
async def fired(server: Pilothouse) -> AsyncIterator[Pilothouse]:
    """A server on which good runs ended and one broke, with a rule that fires for what broke it."""
    answer = await server.post("/api/v1/rules", {"rule": RULE})
    assert answer.status_code == 200, answer.text
    async with Executor(server.grpc, source="tests") as executor:
        for number in range(3):
            run = executor.workflow(f"release-{number}", workflow_type="release")
            release(run, broken=number == 1)
        await executor.flush(PATIENCE)
        yield server


async def open_event(page: Page, server: Pilothouse) -> None:
    """Three clicks: the alert, the errors of its time, and the one that says what broke."""
    await page.goto(f"{server.url}/#/alerts")
    group = page.get_by_test_id("alert-group").filter(has_text="Stages fail")
    row = group.locator('[data-testid="alert-row"][data-state="FIRING"]')
    await expect(row).to_contain_text("deploy")
    await row.click()
    await page.get_by_test_id("alert-sheet").get_by_test_id("alert-errors").click()
    cause = page.locator('[data-testid="event-row"][data-type="TASK_FAILED"]')
    await expect(cause).to_contain_text("the mirror refused the upload")
    await cause.click()
    await expect(page.get_by_test_id("event-sheet")).to_contain_text("ConnectionError")


async def test_from_a_firing_alert_its_cause_is_four_clicks_away(
    fired: Pilothouse, page: Page
) -> None:
    await open_event(page, fired)
    event = page.get_by_test_id("event-sheet")
    span = page.get_by_test_id("span")

    await event.get_by_role("link", name="upload").click()

    await expect(span).to_have_attribute("data-id", "task:upload:2")
    await expect(span).to_contain_text("the mirror refused the upload")
    chosen = page.locator('[data-testid="span-row"][aria-selected="true"]')
    await expect(chosen).to_have_attribute("data-id", "task:upload:2")

    await page.go_back()
    await event.get_by_role("link", name="deploy").click()
    await expect(span).to_have_attribute("data-id", "stage:deploy:1")
    await expect(span).to_have_attribute("data-state", "WORK_STATE_FAILED")

    await page.go_back()
    await event.get_by_role("link", name="release-1").click()
    await expect(page.get_by_test_id("run")).to_have_attribute("data-workflow-id", "release-1")
    await expect(page.get_by_test_id("run")).to_have_attribute("data-state", "FAILED")
