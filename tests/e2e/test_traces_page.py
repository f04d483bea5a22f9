"""The Traces pages in a real browser, on a real server, with runs whose times are known."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from playwright.async_api import Locator, Page, expect

from tests.e2e.support import PATIENCE, Pilothouse
from tests.support import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("traces page")]

Told: TypeAlias = tuple[float, str, Mapping[str, Any]]
"""When, in seconds since the run began; the type of the event; its other fields."""


def task(queued: float, started: float, ended: float, name: str, stage: str) -> Iterable[Told]:
    """One that ends well."""
    fields = {"task_id": name, "stage": stage, "agent_id": f"{stage}-agent", "attempt": 1}
    yield queued, "TASK_QUEUED", fields
    yield started, "TASK_STARTED", fields
    yield ended, "TASK_COMPLETED", fields


def story(slower: float = 0) -> Sequence[Told]:
    """Plan, then code, of which one task fails and is tried again, held by Ana for five seconds: a minute in all."""
    code = {"task_id": "code-2", "stage": "code", "agent_id": "coder-2"}
    broke = {"error": {"code": "RATE_LIMITED", "message": "too many requests"}}
    done = 60 + slower
    return [
        (0, "WORKFLOW_CREATED", {"stage_plan": ["plan", "code"]}),
        (2, "WORKFLOW_STARTED", {}),
        (2, "STAGE_STARTED", {"stage": "plan"}),
        *task(2, 4, 12, "plan-1", "plan"),
        (12, "STAGE_COMPLETED", {"stage": "plan"}),
        (12, "WORKFLOW_PAUSED", {"message": "too hot"}),
        (17, "WORKFLOW_RESUMED", {}),
        (17, "STAGE_STARTED", {"stage": "code"}),
        *task(17, 18, 30, "code-1", "code"),
        (17, "TASK_QUEUED", {**code, "attempt": 1}),
        (18, "TASK_STARTED", {**code, "attempt": 1}),
        (28, "TASK_RETRYING", {**code, "attempt": 2, **broke}),
        (33, "TASK_STARTED", {**code, "attempt": 2}),
        (done, "TASK_COMPLETED", {**code, "attempt": 2}),
        (done, "STAGE_COMPLETED", {"stage": "code"}),
        (done, "WORKFLOW_COMPLETED", {}),
    ]


async def tell(
    server: Pilothouse,
    run: str,
    told: Iterable[Told],
    *,
    ago: float = 120,
    name: str = "Login page",
) -> None:
    """Reports a run that began so long ago."""
    began = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=ago)
    about = {"source": "tests", "workflow_id": run, "workflow_type": "feature"}
    events = [
        {
            **about,
            "workflow_name": name,
            "type": f"EVENT_TYPE_{kind}",
            "occur_time": (began + dt.timedelta(seconds=at)).isoformat(),
            "attempt": 1,
            **fields,
        }
        for at, kind, fields in told
    ]
    answer = await server.post("/api/v1/events:batch", {"events": events})
    assert answer.status_code == 200, answer.text


async def traced(server: Pilothouse, run: str, spans: int) -> None:
    """Waits until a run has so many spans."""

    async def there() -> bool:
        answer = await server.post("/pilothouse.v1.TraceService/GetTrace", {"id": run})
        return answer.status_code == 200 and len(answer.json()["spans"]) == spans

    await wait_until(there, within=PATIENCE, what=f"{spans} spans of {run}")


async def open_view(page: Page, server: Pilothouse, query: str = "") -> None:
    """A view by its URL, live."""
    await page.goto(f"{server.url}/#/traces?{query}")
    await expect(page.get_by_test_id("connection")).to_have_attribute("data-mode", "live")


def row(page: Page, span: str) -> Locator:
    """A row of the Gantt."""
    return page.locator(f'[data-testid="span-row"][data-id="{span}"]')


STORY_SPANS = 7
"""The workflow, two stages, four attempts of tasks."""


async def test_a_run_is_explained_by_its_rows_its_path_and_what_held_it_up(
    shared_server: Pilothouse, page: Page
) -> None:
    await tell(shared_server, "told", story())
    await traced(shared_server, "told", STORY_SPANS)
    await open_view(page, shared_server, "open=told")

    await expect(page.get_by_test_id("trace-duration")).to_have_text("1 min")
    rows = page.get_by_test_id("span-row")
    await expect(rows).to_have_count(STORY_SPANS)
    await expect(rows.first).to_have_attribute("aria-level", "1")
    again = page.locator('[data-testid="span-row"][aria-level="3"]').filter(has_text="×2")
    await expect(again).to_contain_text("on the critical path")
    await expect(again).to_contain_text("retry")
    split = page.get_by_test_id("time-split")
    for kind in ("work", "retry", "pause", "queue"):
        await expect(split).to_contain_text(kind)
    await expect(page.get_by_test_id("recovery")).to_contain_text(
        "1 failure in 2 attempts, recovered"
    )
    await expect(page.get_by_test_id("gantt")).to_have_attribute("data-steps", re.compile("[4-9]"))

    first = page.get_by_test_id("bottleneck").first
    await first.click()
    await expect(first).to_have_attribute("aria-pressed", "true")
    await expect(page.locator(".span-row.marked").first).to_be_visible()


async def test_a_span_is_opened_by_keyboard_and_by_link_and_leads_to_its_event(
    shared_server: Pilothouse, page: Page
) -> None:
    await tell(shared_server, "keys", story())
    await traced(shared_server, "keys", STORY_SPANS)
    await open_view(page, shared_server, "open=keys")
    await expect(page.get_by_test_id("span-row")).to_have_count(STORY_SPANS)

    await page.keyboard.press("j")
    await expect(page.get_by_test_id("span-tree")).to_be_focused()
    await page.keyboard.press("j")
    await page.keyboard.press("ArrowLeft")
    await expect(page.get_by_test_id("span-row")).to_have_count(STORY_SPANS - 1)
    await expect(row(page, "stage:plan:1")).to_have_attribute("aria-expanded", "false")
    await page.keyboard.press("ArrowRight")
    gantt = page.get_by_test_id("gantt")
    whole = await gantt.get_attribute("data-to")
    await page.keyboard.press("+")
    await expect(gantt).not_to_have_attribute("data-to", whole or "")
    await page.keyboard.press("0")
    await expect(gantt).to_have_attribute("data-to", whole or "")
    await page.keyboard.press("e")
    await page.keyboard.press("Enter")

    span = page.get_by_test_id("span")
    await expect(span).to_contain_text("too many requests")
    await expect(span).to_contain_text("RATE_LIMITED")
    link = page.url
    assert "span=task" in link
    await page.keyboard.press("Escape")
    await expect(span).to_have_count(0)
    await page.goto("about:blank")
    await page.goto(link)
    await expect(span).to_contain_text("too many requests")
    await expect(page.locator('[data-testid="span-row"][aria-selected="true"]')).to_contain_text(
        "code-2"
    )
    await span.get_by_test_id("span-event").click()
    await expect(page.get_by_test_id("page-events")).to_be_visible()
    await page.go_back()
    await page.keyboard.press("Escape")
    await page.keyboard.press("Escape")
    await expect(page.get_by_test_id("page-traces")).to_have_attribute("data-tab", "all")


async def test_a_running_trace_grows_while_it_is_looked_at(
    shared_server: Pilothouse, page: Page
) -> None:
    told = story()
    await tell(shared_server, "grows", told[:6], ago=20)
    await traced(shared_server, "grows", 3)
    await open_view(page, shared_server, "open=grows")
    await expect(page.get_by_test_id("trace")).to_have_attribute("data-state", "RUNNING")
    await expect(page.get_by_test_id("span-row")).to_have_count(3)
    await expect(page.get_by_test_id("estimate")).to_contain_text("needed")

    await tell(shared_server, "grows", told[6:], ago=60)

    await expect(page.get_by_test_id("trace")).to_have_attribute("data-state", "COMPLETED")
    await expect(page.get_by_test_id("span-row")).to_have_count(STORY_SPANS)
    await expect(page.get_by_test_id("analysis")).to_have_attribute("data-complete", "true")


async def test_traces_are_found_drawn_as_points_and_compared(
    shared_server: Pilothouse, page: Page
) -> None:
    await tell(shared_server, "quick", story(), ago=300, name="Quick one")
    await tell(shared_server, "slow", story(slower=40), ago=280, name="Slow one")
    await traced(shared_server, "slow", STORY_SPANS)
    await open_view(page, shared_server, "filter=one")
    rows = page.get_by_test_id("trace-row")
    await expect(rows).to_have_count(2)
    await expect(page.get_by_test_id("scatter")).to_have_attribute("data-points", "2")
    await page.get_by_test_id("trace-order").select_option("duration desc")
    await expect(rows.first).to_contain_text("Slow one")
    await expect(rows.first).to_contain_text("1 min 40 s")
    await page.reload()
    await expect(page.get_by_test_id("trace-order")).to_have_value("duration desc")
    await expect(rows.first).to_contain_text("Slow one")

    await page.keyboard.press("j")
    await page.keyboard.press("j")
    await page.keyboard.press("x")
    await page.keyboard.press("k")
    await page.keyboard.press("x")
    await page.keyboard.press("b")

    await expect(page.get_by_test_id("compared")).to_have_count(2)
    await expect(page.get_by_test_id("compared").last).to_contain_text("+40 s")
    differences = page.get_by_test_id("difference")
    await expect(differences.first).to_contain_text("code")
    await expect(differences.first).to_contain_text("40 s longer")
    await differences.first.get_by_role("link").last.click()
    await expect(page.get_by_test_id("span")).to_be_visible()
    await expect(page.get_by_test_id("trace")).to_have_attribute("data-id", "slow")


async def test_a_range_is_chosen_on_the_points_and_a_piece_of_time_on_the_rows(
    shared_server: Pilothouse, page: Page
) -> None:
    await tell(shared_server, "dragged", story(), ago=200, name="Dragged")
    await traced(shared_server, "dragged", STORY_SPANS)
    await open_view(page, shared_server, "filter=Dragged")
    await expect(page.get_by_test_id("trace-row")).to_have_count(1)
    await drag(page, page.get_by_test_id("scatter"), 0.6, 0.98, 0.5)
    await expect(page).to_have_url(re.compile(r"from=\d+&to=\d+"))
    await page.get_by_test_id("trace-row").get_by_role("link").click()

    gantt = page.get_by_test_id("gantt")
    await expect(page.get_by_test_id("span-row")).to_have_count(STORY_SPANS)
    # What comes after the rows, above them, moves them no more.
    await expect(page.get_by_test_id("analysis")).to_have_attribute("data-complete", "true")
    await drag(page, gantt, 0.25, 0.5, 0.2)
    from_ms = float(await gantt.get_attribute("data-from") or "0")
    assert 13_000 < from_ms < 18_000
    await expect(page).to_have_url(re.compile(r"zoom=\d"))
    await page.reload()
    await expect(gantt).to_have_attribute("data-from", re.compile(rf"^{int(from_ms)}\b"))
    await gantt.dblclick(position={"x": 300, "y": 10})
    await expect(gantt).to_have_attribute("data-from", "0")
    await gantt.hover(position={"x": 200, "y": 36})
    await expect(page.locator(".tip")).to_contain_text("pause 5 s: too hot")


async def drag(page: Page, what: Locator, start: float, end: float, high: float) -> None:
    """From one share of its width to another."""
    box = await what.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] * high
    await page.mouse.move(box["x"] + box["width"] * start, y)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] * (start + end) / 2, y)
    await page.mouse.move(box["x"] + box["width"] * end, y)
    await page.mouse.up()


async def test_the_runs_of_a_type_say_what_holds_them_up(
    shared_server: Pilothouse, page: Page
) -> None:
    await tell(shared_server, "typed", story(), ago=400)

    async def looked_at() -> bool:
        about = await shared_server.get("/api/v1/traces:aggregate?workflow_type=feature")
        return bool(about.get("current", {}).get("stages"))

    # A run is looked at when nothing more came of it for ten seconds; an open page asks again every half a minute.
    await wait_until(looked_at, within=90)
    await open_view(page, shared_server, "tab=types&open=feature")
    runs = page.get_by_test_id("aggregate")
    await expect(page.get_by_test_id("stage-row").first).to_contain_text("code")
    await expect(runs).to_have_attribute("data-runs", re.compile("[1-9]"))


async def test_a_trace_is_saved_for_other_programs_and_as_a_picture(
    shared_server: Pilothouse, page: Page, tmp_path: Path
) -> None:
    await tell(shared_server, "saved", story())
    await traced(shared_server, "saved", STORY_SPANS)
    await open_view(page, shared_server, "open=saved")
    await expect(page.get_by_test_id("span-row")).to_have_count(STORY_SPANS)

    saved: dict[str, bytes] = {}
    for choice in ("otlp", "jaeger", "png"):
        async with page.expect_download() as coming:
            await page.get_by_test_id("trace-export").select_option(choice)
        download = await coming.value
        await download.save_as(tmp_path / choice)
        saved[download.suggested_filename] = (tmp_path / choice).read_bytes()

    assert "code-2" in json.dumps(json.loads(saved["saved.otlp.json"]))
    assert "code-2" in json.dumps(json.loads(saved["saved.jaeger.json"]))
    assert saved["Login-page.png"].startswith(b"\x89PNG")


async def test_what_is_not_there_is_told_by_name(shared_server: Pilothouse, page: Page) -> None:
    await open_view(page, shared_server, "open=nobody")
    await expect(page.get_by_test_id("page-traces")).to_contain_text("nobody")
    await open_view(page, shared_server, "filter=duration%20%3E%3E%203")
    await expect(page.get_by_test_id("trace-rows")).to_contain_text(
        re.compile("filter", re.IGNORECASE)
    )
    await open_view(page, shared_server, "tab=compare&open=nobody")
    await expect(page.get_by_test_id("comparison")).to_contain_text("Choose two to five")
