"""The Alerts page in a real browser, on a real server, with a receiver that is really sent to."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from pilothouse.executor import Executor
from tests.channels.receiver import Receiver, listening
from tests.e2e.keyboard import go
from tests.e2e.support import PATIENCE, Pilothouse
from tests.support import wait_until

pytestmark = [pytest.mark.browser]

WAITING = {
    "metric": "ALERT_METRIC_QUEUE_DEPTH",
    "comparison": "COMPARISON_GREATER_THAN",
    "threshold": 0,
}
"""What holds as long as a workflow waits."""


@pytest_asyncio.fixture(loop_scope="session")
async def server(tmp_path: Path) -> AsyncIterator[Pilothouse]:
    """One that may notify this machine, and in which a workflow waits."""
    async with Pilothouse(tmp_path / "data", PILOTHOUSE_WEBHOOK_HOSTS="127.0.0.1") as running:
        async with Executor(running.grpc, source="tests") as executor:
            executor.workflow("wf-1", workflow_type="feature").created()
            await executor.flush(PATIENCE)
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def receiver() -> AsyncIterator[Receiver]:
    """One that takes everything."""
    async with listening() as running:
        yield running


async def make_rule(server: Pilothouse, name: str, **fields: object) -> None:
    """A rule that fires at once."""
    rule: Mapping[str, Any] = {"name": name, "enabled": True, "severity": "SEVERITY_CRITICAL"}
    condition = {"threshold": WAITING}
    answer = await server.post(
        "/api/v1/rules", {"rule": {**rule, "condition": condition, **fields}}
    )
    assert answer.status_code == 200, answer.text


async def open_tab(page: Page, server: Pilothouse, tab: str = "", opens: str = "") -> None:
    """A tab by its URL."""
    query = "&".join(f"{name}={value}" for name, value in (("tab", tab), ("open", opens)) if value)
    await page.goto(f"{server.url}/#/alerts?{query}")
    await expect(page.get_by_test_id("connection")).to_have_attribute("data-mode", "live")
    await expect(page.get_by_test_id("page-alerts")).to_have_attribute("data-tab", tab or "active")


def firing(page: Page, rule: str) -> Locator:
    """The firing alert of a rule."""
    group = page.get_by_test_id("alert-group").filter(has_text=rule)
    return group.locator('[data-testid="alert-row"][data-state="FIRING"]')


async def test_an_alert_is_acknowledged_for_an_hour_assigned_and_resolved_and_its_timeline_says_so(
    server: Pilothouse, page: Page
) -> None:
    await make_rule(server, "Work waits")
    await open_tab(page, server)
    row = firing(page, "Work waits")
    await expect(row).to_contain_text("Queue depth 1")

    await row.get_by_test_id("alert-acknowledge").click()
    dialog = page.get_by_test_id("alert-dialog")
    await dialog.get_by_test_id("alert-expiry").select_option("3600000")
    await dialog.get_by_test_id("alert-said").fill("on it")
    await expect(dialog.get_by_test_id("alert-cli")).to_contain_text("--expire-after=60m")
    await dialog.get_by_test_id("alert-confirm").click()
    await expect(row.get_by_test_id("chip-acknowledged")).to_contain_text("until")

    await row.click()
    sheet = page.get_by_test_id("alert-sheet")
    await sheet.get_by_test_id("alert-assign").click()
    await page.get_by_test_id("alert-assignee").fill("ana")
    await page.get_by_test_id("alert-confirm").click()
    await expect(sheet.get_by_test_id("chip-assignee")).to_have_text("ana has it")
    await sheet.get_by_test_id("alert-resolve").click()
    await page.get_by_test_id("alert-said").fill("known")
    await page.get_by_test_id("alert-confirm").click()

    await expect(sheet.get_by_test_id("alert-summary")).to_have_attribute("data-state", "RESOLVED")
    timeline = sheet.get_by_test_id("alert-timeline")
    for said in ("Fired", "Acknowledged", "on it", "Resolved by hand", "known"):
        await expect(timeline).to_contain_text(said)
    await expect(sheet.get_by_test_id("rule-plot")).to_be_visible()


async def test_a_refused_act_says_why_and_changes_nothing(server: Pilothouse, page: Page) -> None:
    await make_rule(server, "Work waits")
    await open_tab(page, server)
    row = firing(page, "Work waits")
    await row.get_by_test_id("alert-resolve").click()
    alert = await row.get_attribute("data-alert-id")
    first = await server.post(f"/api/v1/alerts/{alert}:resolve", {"reason": "faster"})
    assert first.status_code == 200
    await expect(row).to_have_count(0)

    await page.get_by_test_id("alert-confirm").click()

    # Resolving twice changes nothing; what is over cannot be acknowledged.
    await page.goto(f"{server.url}/#/alerts?open={alert}")
    sheet = page.get_by_test_id("alert-sheet")
    await expect(sheet.get_by_test_id("alert-acknowledge")).to_have_attribute(
        "aria-disabled", "true"
    )
    await expect(sheet.get_by_test_id("alert-timeline")).to_contain_text("faster")


async def test_a_silence_shows_beforehand_what_it_hides(server: Pilothouse, page: Page) -> None:
    await make_rule(server, "Work waits")
    await make_rule(server, "Other work waits")
    await open_tab(page, server)
    row = firing(page, "Other work waits")

    await row.get_by_test_id("alert-silence").click()
    form = page.get_by_test_id("silence-form")
    preview = form.get_by_test_id("silence-preview")
    await expect(preview).to_have_attribute("data-count", "1")
    await form.get_by_test_id("matcher-value").first.fill("nothing of that name")
    await expect(preview).to_have_attribute("data-count", "0")
    await form.get_by_test_id("matcher-value").first.fill("Other work waits")
    await expect(preview).to_have_attribute("data-count", "1")
    await form.get_by_test_id("silence-comment").fill("maintenance")
    await form.get_by_test_id("silence-save").click()

    silence = page.get_by_test_id("silence-row")
    await expect(silence).to_have_attribute("data-state", "SILENCE_STATE_ACTIVE")
    await expect(silence).to_contain_text('alertname="Other work waits"')
    await page.get_by_test_id("alerts-tab-active").click()
    await expect(row.get_by_test_id("chip-silenced")).to_contain_text("silenced until")
    await expect(firing(page, "Work waits").first).to_be_visible()

    await page.get_by_test_id("alerts-tab-silences").click()
    await silence.get_by_test_id("silence-expire").click()
    await page.get_by_test_id("confirm-do").click()
    await expect(silence).to_have_count(0)


async def test_a_rule_is_tried_on_history_made_and_fires(server: Pilothouse, page: Page) -> None:
    await open_tab(page, server, "rules")
    await page.get_by_test_id("rule-new").click()
    form = page.get_by_test_id("rule-form")
    await form.get_by_test_id("rule-name").fill("Anything waits")
    await form.get_by_test_id("rule-severity").select_option("SEVERITY_CRITICAL")
    await form.get_by_test_id("threshold-metric").select_option("ALERT_METRIC_QUEUE_DEPTH")
    await form.get_by_test_id("threshold-value").fill("0")
    await form.get_by_test_id("rule-for").fill("soon")
    await expect(form).to_contain_text("Write it as 30s, 5m or 1h30m")
    await form.get_by_test_id("rule-for").fill("0")

    await expect(form).to_have_attribute("data-checked", "right")
    # A server that has only begun has no history yet; the page asks again.
    preview = page.get_by_test_id("backtest")
    await expect(preview).to_have_attribute("data-phase", "done", timeout=60_000)
    await expect(page.get_by_test_id("backtest-headline")).to_contain_text("Would")
    await form.get_by_test_id("rule-save").click()
    await expect(page.get_by_test_id("rule-row").filter(has_text="Anything waits")).to_be_visible()

    await page.get_by_test_id("alerts-tab-active").click()
    await expect(firing(page, "Anything waits")).to_be_visible()


async def test_what_the_server_says_of_a_draft_stands_at_its_field(
    server: Pilothouse, page: Page
) -> None:
    await open_tab(page, server, "rules", ":new")
    form = page.get_by_test_id("rule-form")
    await form.get_by_test_id("rule-name").fill("Never")
    await form.get_by_test_id("threshold-value").fill("150")

    wrong = form.get_by_test_id("wrong")
    await expect(wrong).to_have_attribute("data-field", "condition.threshold.threshold")
    await expect(form).to_have_attribute("data-checked", "wrong")
    await form.get_by_test_id("threshold-value").fill("5")
    await expect(wrong).to_have_count(0)


async def test_a_changed_rule_has_versions_and_goes_back_to_one(
    server: Pilothouse, page: Page
) -> None:
    await make_rule(server, "Work waits")
    await open_tab(page, server, "rules", "work-waits")
    form = page.get_by_test_id("rule-form")
    await form.get_by_test_id("threshold-value").fill("7")
    await form.get_by_test_id("rule-reason").fill("too loud")
    await form.get_by_test_id("rule-save").click()
    row = page.get_by_test_id("rule-row").filter(has_text="Work waits")
    await expect(row).to_contain_text("Queue depth > 7")

    await row.click()
    versions = page.get_by_test_id("rule-version")
    await expect(versions).to_have_count(2)
    await expect(versions.first).to_contain_text("too loud")
    await expect(versions.first).to_contain_text("condition.threshold")
    await versions.last.get_by_test_id("rule-restore").click()
    await page.get_by_test_id("confirm-do").click()
    await expect(row).to_contain_text("Queue depth > 0")

    await row.click()
    await page.get_by_test_id("rule-delete").click()
    await expect(page.get_by_test_id("confirm-do")).to_have_attribute("aria-disabled", "true")
    await page.get_by_test_id("confirm-word").fill("Work waits")
    await page.get_by_test_id("confirm-do").click()
    await expect(row).to_have_count(0)


async def test_rules_are_written_down_and_taken_again(server: Pilothouse, page: Page) -> None:
    await open_tab(page, server, "rules")
    await page.get_by_test_id("rules-export").click()
    document = page.get_by_test_id("rules-document")
    await expect(document).to_have_value(re.compile("Queue depth"))
    text = await document.input_value()
    await page.keyboard.press("Escape")

    await page.get_by_test_id("rules-import").click()
    await document.fill(text.replace("Queue depth", "Depth of the queue"))
    await page.get_by_test_id("rules-import-do").click()
    dialog = page.get_by_test_id("rules-import-dialog")
    await expect(dialog).to_contain_text("1 rule changed")
    await page.get_by_test_id("rules-import-do").click()
    await expect(
        page.get_by_test_id("rule-row").filter(has_text="Depth of the queue")
    ).to_be_visible()


async def test_a_channel_is_tested_against_a_real_receiver_and_its_secret_is_never_shown(
    server: Pilothouse, page: Page, receiver: Receiver
) -> None:
    await open_tab(page, server, "channels")
    await page.get_by_test_id("channel-new").click()
    form = page.get_by_test_id("channel-form")
    await form.get_by_test_id("channel-name").fill("Pager")
    await form.get_by_test_id("channel-url").fill(receiver.url())
    await form.get_by_test_id("channel-secret").fill("open sesame")
    await form.get_by_test_id("channel-save").click()

    row = page.get_by_test_id("channel-row")
    await row.get_by_test_id("channel-test").click()
    result = row.get_by_test_id("channel-test-result")
    await expect(result).to_have_attribute("data-delivered", "true")
    assert "x-pilothouse-signature" in receiver.received[0].headers
    receiver.answer.status = 500
    await row.get_by_test_id("channel-test").click()
    await expect(result).to_have_attribute("data-delivered", "false")
    await expect(result).to_contain_text("500")

    await row.click()
    await expect(form.get_by_test_id("channel-name")).to_have_value("Pager")
    await expect(form.get_by_test_id("channel-secret")).to_have_value("")
    assert "open sesame" not in await page.content()


async def test_an_alert_shows_whom_it_was_told(
    server: Pilothouse, page: Page, receiver: Receiver
) -> None:
    channel = {
        "name": "Pager",
        "enabled": True,
        "is_default": True,
        "webhook": {"url": receiver.url()},
    }
    assert (await server.post("/api/v1/channels", {"channel": channel})).status_code == 200
    await make_rule(server, "Work waits")
    await open_tab(page, server)
    await firing(page, "Work waits").click()

    delivery = page.get_by_test_id("alert-deliveries").get_by_test_id("delivery-row")
    await expect(delivery.first).to_contain_text("Delivered to Pager", timeout=60_000)
    assert receiver.received


async def test_a_heartbeat_is_expected_heard_and_shown(server: Pilothouse, page: Page) -> None:
    await open_tab(page, server, "channels", "heartbeat:")
    form = page.get_by_test_id("heartbeat-form")
    await form.get_by_test_id("heartbeat-id").fill("nightly-backup")
    await form.get_by_test_id("heartbeat-interval").fill("1d")
    await form.get_by_test_id("heartbeat-save").click()
    row = page.get_by_test_id("heartbeat-row")
    await expect(row).to_contain_text("not heard yet")

    beat = await server.post("/api/v1/heartbeats/nightly-backup:beat", {})

    assert beat.status_code == 200
    # Lists are read again every few seconds.
    await expect(row).to_contain_text("in time", timeout=60_000)


async def test_the_history_is_searched_with_the_filter_of_the_api(
    server: Pilothouse, page: Page
) -> None:
    await make_rule(server, "Work waits")
    await make_rule(server, "Other work waits", severity="SEVERITY_WARNING")
    await open_tab(page, server, "history")
    rows = page.get_by_test_id("history-row")
    await expect(rows).to_have_count(2)

    await page.get_by_test_id("search").fill("severity = WARNING")
    await expect(rows).to_have_count(1)
    await page.get_by_test_id("search").fill("severity = ")
    await expect(page.get_by_test_id("alerts-history")).to_contain_text("not understood")
    await page.get_by_test_id("search").fill("severity = WARNING")
    await page.reload()
    await expect(rows).to_have_count(1)


async def test_all_of_it_by_keyboard(server: Pilothouse, page: Page) -> None:
    await make_rule(server, "Work waits")
    await page.goto(f"{server.url}/")
    await expect(page.get_by_test_id("connection")).to_have_attribute("data-mode", "live")
    await go(page, "a")
    await expect(firing(page, "Work waits")).to_be_visible()
    await page.keyboard.press("j")
    await expect(firing(page, "Work waits")).to_be_focused()
    await page.keyboard.press("Enter")
    sheet = page.get_by_test_id("alert-sheet")
    await expect(sheet).to_be_visible()
    await page.keyboard.press(".")
    await expect(sheet.get_by_test_id("alert-acknowledge")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("alert-said")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.get_by_test_id("alert-dialog")).to_have_count(0)
    await expect(sheet.get_by_test_id("alert-acknowledge")).to_be_focused()

    await page.keyboard.press("Escape")

    await expect(sheet).to_have_count(0)
    await expect(firing(page, "Work waits")).to_be_focused()


async def test_acts_lock_when_the_server_is_gone(server: Pilothouse, page: Page) -> None:
    await make_rule(server, "Work waits")
    await open_tab(page, server)
    act = firing(page, "Work waits").get_by_test_id("alert-acknowledge")
    await expect(act).to_have_attribute("aria-disabled", "false")

    await server.kill()

    await expect(act).to_have_attribute("aria-disabled", "true")
    await expect(act).to_have_attribute("title", "Locked: there is no connection to the server")


VIEWS = (
    ("", ""),
    ("history", ""),
    ("rules", ""),
    ("rules", ":new"),
    ("silences", ""),
    ("silences", ":new"),
    ("channels", ""),
    ("channels", "channel:"),
    ("channels", "escalation:"),
    ("channels", "heartbeat:"),
)


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1024, 768), (390, 844)])
async def test_no_tab_scrolls_sideways(
    server: Pilothouse, page: Page, width: int, height: int
) -> None:
    name = "A rule with a name as long as names are where many teams share one place"
    await make_rule(server, name, labels={"team": "t" * 100})
    await page.set_viewport_size({"width": width, "height": height})
    for tab, opens in VIEWS:
        await open_tab(page, server, tab, opens)
        await wait_until(lambda: page.evaluate("document.fonts.status === 'loaded'"))
        sideways = await page.evaluate(
            "Math.max(...['html', '.main', '.sheet > .body'].map(each => document.querySelector(each))"
            ".filter(each => each).map(each => each.scrollWidth - each.clientWidth))"
        )
        assert sideways <= 0, (tab, opens)
