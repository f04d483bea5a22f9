"""The Events page in a real browser, on a real server: live, searched, scrolled far back, read in detail and saved."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.async_api import Page, Route, expect

import pilothouse.aio
from pilothouse.errors import NotFound
from pilothouse.v1 import enums_pb2, events_pb2
from tests.e2e.support import PATIENCE, Pilothouse
from tests.support import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("events page")]

_T = events_pb2.EventType
OPENED = timedelta(minutes=10)


def said(
    count: int,
    message: str,
    *,
    before: timedelta = OPENED,
    severity: enums_pb2.Severity.ValueType = enums_pb2.SEVERITY_INFO,
) -> list[events_pb2.Event]:
    """Log events, a millisecond apart, the first that long ago."""
    events: list[events_pb2.Event] = []
    for number in range(count):
        event = events_pb2.Event(
            type=_T.EVENT_TYPE_LOG, source="books", message=f"{message} {number}", severity=severity
        )
        event.occur_time.FromDatetime(datetime.now(UTC) - before + timedelta(milliseconds=number))
        events.append(event)
    return events


async def publish(client: pilothouse.aio.Client, events: Sequence[events_pb2.Event]) -> None:
    """In batches; returns when all of them can be read: what is durable is not yet in any list."""
    for event in events:
        event.id = event.id or str(uuid4())
    for at in range(0, len(events), 1000):
        request = events_pb2.PublishEventsRequest(events=events[at : at + 1000])
        answer = await client.events.PublishEvents(request)
        assert not answer.rejected
    last = events_pb2.GetEventRequest(event_id=events[-1].id)

    async def read() -> bool:
        with contextlib.suppress(NotFound):  # not yet
            await client.events.GetEvent(last)
            return True
        return False

    await wait_until(read, within=PATIENCE, what="the last of the events")


READ_GAP = """async (list) => {
  for (let top = 0; top <= list.scrollHeight; top += 300) {
    list.scrollTop = top;
    await new Promise((run) => requestAnimationFrame(() => requestAnimationFrame(run)));
    const gap = list.querySelector('[data-testid=event-gap]');
    if (gap) {
      gap.querySelector('button').click();
      return gap.textContent;
    }
  }
  return '';
}"""
"""Scrolls through the list until a gap is in sight, at once asks for what is missing, and returns what the gap says."""

Shared = tuple[Pilothouse, pilothouse.aio.Client]


@pytest.fixture
def shared(shared_server: Pilothouse, shared_client: pilothouse.aio.Client) -> Shared:
    """The server of the file and a client of it."""
    return shared_server, shared_client


async def open_events(page: Page, server: Pilothouse, query: str = "") -> None:
    """The page, live."""
    await page.goto(f"{server.url}/#/events{query}")
    await expect(page.get_by_test_id("connection")).to_have_attribute("data-mode", "live")


async def test_new_events_appear_at_the_end_and_a_reader_further_up_is_told_how_many(
    page: Page, shared: Shared
) -> None:
    server, client = shared
    await publish(client, said(300, "before"))
    await open_events(page, server, "?filter=source%20%3D%20books")
    listed = page.get_by_test_id("event-list")
    await expect(page.get_by_text("before 299", exact=False)).to_be_visible()
    await publish(client, said(1, "freshly"))
    await expect(page.get_by_text("freshly 0")).to_be_visible()
    await listed.evaluate("(list) => { list.scrollTop = list.scrollHeight / 2; }")
    await expect(listed).to_have_attribute("data-following", "false")
    top = await listed.evaluate("(list) => list.scrollTop")
    await publish(client, said(12, "later"))
    pill = page.get_by_test_id("events-new")
    await expect(pill).to_have_text("12 new")
    assert await listed.evaluate("(list) => list.scrollTop") == top
    await pill.click()
    await expect(page.get_by_text("later 11")).to_be_visible()
    await expect(pill).to_have_count(0)


async def test_words_are_searched_and_marked_and_chips_count_what_choosing_them_would_give(
    page: Page, shared: Shared
) -> None:
    server, client = shared
    error, warning = enums_pb2.SEVERITY_ERROR, enums_pb2.SEVERITY_WARNING
    await publish(client, said(7, "Disk overflow on shelf", severity=error))
    await publish(client, said(5, "disk overflow is near", severity=warning))
    await publish(client, said(3, "an undisked overflows"))
    await open_events(page, server, "?filter=disk%20overflow")
    await expect(page.get_by_test_id("chip-all")).to_contain_text("12")
    await expect(page.get_by_test_id("chip-error")).to_contain_text("7")
    await expect(page.get_by_test_id("chip-log")).to_contain_text("12")
    await expect(page.locator("mark").first).to_have_text(re.compile("disk", re.IGNORECASE))
    await page.get_by_test_id("chip-warning").click()
    await expect(page.get_by_test_id("event-list")).to_have_attribute("data-rows", "5")
    # What the other choice would give is still said.
    await expect(page.get_by_test_id("chip-error")).to_contain_text("7")
    await expect(page).to_have_url(re.compile("state=warning"))
    await page.reload()
    await expect(page.get_by_test_id("event-list")).to_have_attribute("data-rows", "5")


async def test_older_ones_come_when_somebody_scrolls_up_and_none_is_missing_or_twice(
    page: Page, shared: Shared
) -> None:
    server, client = shared
    await publish(client, said(1800, "volume", before=timedelta(hours=2)))
    await open_events(page, server, "?filter=volume&range=6h")
    listed = page.get_by_test_id("event-list")
    await expect(listed).to_have_attribute("data-rows", "500")
    await expect(page.get_by_text("volume 1799")).to_be_visible()
    for rows in ("1000", "1500", "1800"):
        await listed.evaluate("(list) => { list.scrollTop = 0; }")
        await expect(listed).to_have_attribute("data-rows", rows)
    await listed.evaluate("(list) => { list.scrollTop = 0; }")
    await expect(page.get_by_text("volume 0", exact=False).first).to_be_visible()
    seen = await listed.evaluate(
        """async (list) => {
          const seen = [];
          for (let top = 0; top < list.scrollHeight; top += 300) {
            list.scrollTop = top;
            await new Promise((run) => requestAnimationFrame(() => requestAnimationFrame(run)));
            const rows = list.querySelectorAll('[data-testid=event-row]');
            seen.push(...[...rows].map((each) => each.textContent.match(/volume (\\d+)/)?.[1]));
          }
          return [...new Set(seen)].filter(Boolean).map(Number);
        }"""
    )
    assert sorted(seen) == list(range(1800))


async def test_an_event_is_read_in_detail_with_ways_to_what_it_is_about(
    page: Page, shared: Shared
) -> None:
    server, client = shared
    started = events_pb2.Event(
        id="sale-1",
        type=_T.EVENT_TYPE_WORKFLOW_STARTED,
        source="books",
        workflow_id="sale",
        workflow_type="sale",
    )
    failed = events_pb2.Event(
        id="sale-2",
        type=_T.EVENT_TYPE_TASK_FAILED,
        source="books",
        workflow_id="sale",
        stage="payment",
        task_id="charge",
        agent_id="till-1",
        message="card refused \u202egnitirw\u202c",
        error=events_pb2.EventError(code="REFUSED", message="no funds", retryable=True),
        attributes={"=cmd()": "<img src=x onerror=alert(1)>", "http_status": "402"},
    )
    await publish(client, [started, failed])
    await open_events(page, server, "?open=sale-2&filter=workflow_id%20%3D%20sale")
    sheet = page.get_by_test_id("event-sheet")
    await expect(sheet).to_contain_text("REFUSED: no funds")
    await expect(sheet).to_contain_text("<img src=x onerror=alert(1)>")
    await expect(sheet).to_contain_text("http_status")
    await expect(sheet.get_by_role("link", name="sale")).to_have_attribute(
        "href", re.compile("workflows.*open=sale")
    )
    await expect(sheet.get_by_role("link", name="of the workflow")).to_have_attribute(
        "href", re.compile("#/traces")
    )
    await expect(page.get_by_test_id("event-list")).to_have_attribute("data-rows", "2")
    await page.keyboard.press("k")
    await expect(page.get_by_test_id("event-sheet")).to_have_attribute("data-id", "sale-1")
    await page.keyboard.press("Escape")
    await expect(page.get_by_test_id("event-sheet")).to_have_count(0)


async def test_what_is_filtered_is_saved_as_a_file(
    page: Page, shared: Shared, tmp_path: Path
) -> None:
    server, client = shared
    await publish(client, said(1200, "=cmd ledger"))
    await open_events(page, server, "?filter=ledger")
    await expect(page.get_by_test_id("chip-all")).to_contain_text("1,200")
    for form, ending, lines in (("CSV", "csv", 1201), ("JSON lines", "jsonl", 1200)):
        await page.get_by_test_id("events-export").click()
        await page.get_by_test_id("export-format").select_option(form)
        async with page.expect_download() as download:
            await page.get_by_test_id("export-do").click()
        saved = await download.value
        assert saved.suggested_filename == f"events.{ending}"
        path = tmp_path / ending
        await saved.save_as(path)
        text = await asyncio.to_thread(path.read_text)
        assert len(text.strip().splitlines()) == lines
        if ending == "csv":
            assert "'=cmd ledger 0" in text
        else:
            assert json.loads(text.splitlines()[0])["message"] == "=cmd ledger 0"


async def test_more_than_can_be_shown_is_a_gap_that_can_be_read(page: Page, shared: Shared) -> None:
    server, client = shared

    async def slower(route: Route) -> None:
        await route.continue_(
            url=re.sub(r"(?<=max_events_per_second=)\d+", "20", route.request.url)
        )

    # Twenty a second, and what five seconds left unused: of a thousand at once a hundred or a few more are shown.
    await page.route("**/events:watch*", slower)
    await open_events(page, server, "?filter=flood")
    await expect(page.get_by_test_id("events")).to_contain_text("No event matches")
    await publish(client, said(1000, "flood", before=timedelta(0)))
    listed = page.get_by_test_id("event-list")
    # The page is told in looks: how many gaps there are, and where, is a matter of how the flood came in.
    gaps: set[str] = set()
    while (gap := await listed.evaluate(READ_GAP)) or (
        await listed.get_attribute("data-rows") != "1000"
    ):
        gaps.add(gap)
    assert any("left out" in gap for gap in gaps)
    await listed.evaluate("(list) => { list.scrollTop = 0; }")
    await expect(page.get_by_text("flood 0", exact=True)).to_be_visible()


async def test_a_filter_that_is_wrong_is_named_and_nothing_else_happens(
    page: Page, shared: Shared
) -> None:
    server, _ = shared
    await open_events(page, server, "?filter=severity%20%3D%3D")
    await expect(page.get_by_test_id("events")).to_contain_text("The filter is not understood")


async def test_anything_is_found_by_a_few_letters(page: Page, shared: Shared) -> None:
    server, _ = shared
    await open_events(page, server)
    await page.keyboard.press("Control+k")
    await page.get_by_test_id("palette-input").fill("silen")
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("page-alerts")).to_have_attribute("data-tab", "silences")
    await page.keyboard.press("Control+k")
    await page.get_by_test_id("palette-input").fill("over due")
    await expect(page.get_by_test_id("palette-entry").last).to_contain_text("Search traces")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("page-events")).to_be_visible()
    await expect(page.get_by_test_id("search")).to_have_value("over due")
