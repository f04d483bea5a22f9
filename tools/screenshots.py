"""Renews the screenshots of the documentation from a running demo, so that they show what there is.

`python -m tools.screenshots http://127.0.0.1:8080`, best when the demo has run for a quarter of an
hour: its charts are full then.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests import browsers

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"


@dataclass(frozen=True)
class Shot:
    """One picture: of which view, how large, in which theme."""

    name: str
    view: str = "monitoring"
    theme: Literal["dark", "light"] = "dark"
    width: int = 1440
    height: int = 900
    scale: int = 1
    opens: str = ""
    """The state of the workflow whose sheet is open; empty when none is."""
    clicks: str = ""
    """What is clicked first, once it is there; empty for nothing."""
    waits: str = ""
    """What has to be there before the picture is taken; empty for what the view has anyway."""


SHOTS = (
    Shot("monitoring-dark"),
    Shot("monitoring-light", theme="light"),
    Shot("monitoring-phone", width=390, height=844, scale=2),
    Shot("workflows-dark", view="workflows"),
    Shot(
        "workflow-sheet-dark",
        view="workflows?filter=state%20%3D%20FAILED",
        opens="FAILED",
    ),
    Shot("agents-dark", view="agents", waits="agent-row"),
    Shot("events-dark", view="events", waits="event-row"),
    Shot("events-phone", view="events", width=390, height=844, scale=2, waits="event-row"),
    Shot("traces-dark", view="traces", waits="trace-row"),
    Shot(
        "trace-dark",
        view="traces?filter=state%20%3D%20COMPLETED",
        clicks="trace-row",
        waits="bottleneck",
    ),
    Shot(
        "trace-light",
        view="traces?filter=state%20%3D%20FAILED",
        theme="light",
        clicks="trace-row",
        waits="recovery",
    ),
    Shot("alerts-dark", view="alerts", waits="page-alerts"),
    Shot("alerts-light", view="alerts", theme="light", waits="page-alerts"),
    Shot("alerts-phone", view="alerts", width=390, height=844, scale=2, waits="page-alerts"),
    Shot("alerts-history-dark", view="alerts?tab=history", waits="alerts-history"),
    Shot("alerts-rules-light", view="alerts?tab=rules", theme="light", waits="rule-row"),
    Shot("alerts-rule-dark", view="alerts?tab=rules&open=error-rate", waits="rule-plot"),
    Shot("alerts-silences-dark", view="alerts?tab=silences&open=:new", waits="silence-form"),
    Shot("alerts-channels-dark", view="alerts?tab=channels", waits="channels"),
)


def take(browser: Browser, url: str, shot: Shot) -> Path:
    """Opens the view, waits until all of it has its data, and writes the picture."""
    context = browser.new_context(
        viewport={"width": shot.width, "height": shot.height},
        color_scheme=shot.theme,
        device_scale_factor=shot.scale,
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(f"{url.rstrip('/')}/#/{shot.view}")
    _wait_for_data(page, shot.view)
    if shot.clicks:
        page.get_by_test_id(shot.clicks).first.click()
    if shot.waits:
        expect(page.get_by_test_id(shot.waits).first).to_be_visible(timeout=30_000)
        expect(page.get_by_text("Reading", exact=False)).to_have_count(0)
    if shot.opens:
        row = page.locator(f'[data-testid="workflow-row"][data-state="{shot.opens}"]').first
        workflow = row.get_attribute("data-workflow-id")
        joined = "&" if "?" in shot.view else "?"
        page.evaluate("tail => { location.hash += tail }", f"{joined}open={workflow}")
        expect(page.get_by_test_id("sheet")).to_contain_text("Events")
    path = IMAGES / f"{shot.name}.png"
    page.screenshot(path=path)
    context.close()
    return path


def _wait_for_data(page: Page, view: str) -> None:
    expect(page.get_by_test_id("connection")).to_have_attribute("data-mode", "live")
    if view.startswith(("monitoring", "workflows")):
        expect(page.get_by_test_id("workflow-row").first).to_be_attached()
    # The first measured delay is that of a page that is still being built.
    expect(page.get_by_test_id("connection-delay")).to_have_text(
        re.compile(r"^\d{1,2} ms$"), timeout=30_000
    )
    if view == "monitoring":
        expect(page.get_by_test_id("card-throughput-trend")).to_contain_text(
            "vs 5 min before", timeout=30_000
        )
        for chart in ("throughput", "latency", "error-rate"):
            expect(page.get_by_test_id(f"chart-{chart}").locator("canvas")).to_be_attached()
        expect(page.get_by_test_id("agent-cell").first).to_be_attached()
        expect(page.get_by_test_id("event-row").first).to_be_attached()


def main() -> None:
    """Take all screenshots of the documentation from the dashboard at a URL."""
    parser = argparse.ArgumentParser(prog="python -m tools.screenshots", description=main.__doc__)
    parser.add_argument("url", help="where the demo runs, such as http://127.0.0.1:8080")
    url: str = parser.parse_args().url
    executable = browsers.found()
    if executable is None:
        raise SystemExit(browsers.MISSING)
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=list(browsers.ARGUMENTS)
        )
        for shot in SHOTS:
            print(take(browser, url, shot))
        browser.close()


if __name__ == "__main__":
    main()
