"""Every page for everybody: what axe-core finds wrong, the keyboard alone, narrow screens, and URLs that restore.

One server, one engine and one browser serve the whole file.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, ViewportSize, expect

from tests.e2e.fleet import SHORT, ask, demo_engine, furnish
from tests.e2e.keyboard import go
from tests.e2e.support import PATIENCE, Pilothouse
from tests.support import wait_until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("accessibility"),
    pytest.mark.timeout(300),
]

AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
DESKTOP: ViewportSize = {"width": 1440, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}

VIEWS = (
    "monitoring",
    "monitoring?open={workflow}",
    "workflows",
    "workflows?open={workflow}",
    "workflows?tab=run&open={workflow}",
    "workflows?open=:batch",
    "workflows?tab=batches",
    "workflows?tab=batches&open={batch}",
    "agents",
    "agents?open={agent}",
    "agents?tab=queues",
    "alerts",
    "alerts?open={alert}",
    "alerts?tab=history",
    "alerts?tab=rules",
    "alerts?tab=rules&open=:new",
    "alerts?tab=rules&open={rule}",
    "alerts?tab=silences",
    "alerts?tab=silences&open=:new",
    "alerts?tab=channels",
    "alerts?tab=channels&open=channel:",
    "alerts?tab=channels&open=escalation:{escalation}",
    "alerts?tab=channels&open=heartbeat:nightly",
    "events",
    "events?open={event}",
    "traces",
    "traces?tab=trace&open={workflow}",
    "traces?tab=compare&open={workflow},{other}",
    "traces?tab=types",
    "platform",
    "platform?tab=emergency",
    "platform?tab=budgets",
    "platform?tab=budgets&open={budget}",
    "platform?tab=connectors",
    "platform?tab=audit",
    "platform?tab=server",
)


NEEDED = {"asking": "agent-row", "alert-dialog": "alert-summary"}
"""What has to be there before keys lead to a dialog."""

PAGES = {
    "m": "monitoring",
    "w": "workflows",
    "g": "agents",
    "a": "alerts",
    "e": "events",
    "t": "traces",
    "p": "platform",
}

SIDEWAYS = """Math.max(...['html', '.main', '.sheet > .body'].map(each => document.querySelector(each))
  .filter(each => each).map(each => each.scrollWidth - each.clientWidth))"""

FOCUSED = """() => {
  const at = document.activeElement;
  if (at === document.body) return null;
  const style = getComputedStyle(at), box = at.getBoundingClientRect();
  return {
    what: at.outerHTML.slice(0, 120),
    shown: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0,
    inside: box.width > 0 && box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth,
    order: at.tabIndex,
  };
}"""


@dataclass(frozen=True)
class House:
    """A server that has something of everything, and a page of a browser."""

    server: Pilothouse
    page: Page
    ids: dict[str, str]

    def url(self, view: str) -> str:
        """Of a view of this server."""
        return f"{self.server.url}/#/{view.format(**self.ids)}"

    async def show(self, view: str) -> None:
        """A view by its URL, read and at rest."""
        await self.page.goto(self.url(view))
        await expect(self.page.get_by_test_id("connection")).to_have_attribute("data-mode", "live")
        await expect(self.page.get_by_test_id(f"page-{view.partition('?')[0]}")).to_be_visible()
        waiting = re.compile(r"^(Loading|Reading|Waiting for|Trying it)")
        await expect(self.page.locator(".note", has_text=waiting)).to_have_count(0)

    async def at_rest(self) -> None:
        """Waits until the engine has nothing more to do, so that no row moves while somebody goes along them."""

        async def ended() -> bool:
            found = await ask(self.server, "WorkflowService/ListWorkflows", {"pageSize": 100})
            rows = [each for each in found["workflows"] if each["id"] != "waits"]
            return len(rows) == SHORT and all(each.get("endTime") for each in rows)

        await wait_until(ended, within=150, what="the end of every workflow")

    async def violations(self, only: str = "") -> list[str]:
        """What axe finds in what is shown, a line for each element."""
        if not await self.page.evaluate("'axe' in window"):
            await self.page.evaluate(AXE.read_text("utf-8"))
        rules = {"type": "rule", "values": [only]} if only else {"type": "tag", "values": TAGS}
        options = {"runOnly": rules, "resultTypes": ["violations"]}
        found = await self.page.evaluate("options => axe.run(document, options)", options)
        return [
            f"{each['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
            for each in found["violations"]
            for node in each["nodes"]
        ]

    async def in_both_themes(self) -> list[str]:
        """The same, in dark, and in light what a theme can change."""
        await self.page.emulate_media(color_scheme="dark")
        found = await self.violations()
        await self.page.emulate_media(color_scheme="light")
        return found + [f"in light: {each}" for each in await self.violations("color-contrast")]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def furnished(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    folder = tmp_path_factory.mktemp("house")
    async with (
        Pilothouse(folder / "data", PILOTHOUSE_WEBHOOK_HOSTS="127.0.0.1") as server,
        demo_engine(server, folder / "engine"),
    ):
        ids = await furnish(server)
        page = await browser.new_page(reduced_motion="reduce")
        page.set_default_timeout(PATIENCE * 1000)
        yield House(server, page, ids)
        await page.close()


@pytest_asyncio.fixture(loop_scope="session")
async def house(furnished: House) -> AsyncIterator[House]:
    """The same with an empty page of a desktop, whose own uncaught errors fail the test."""
    errors: list[str] = []
    page = furnished.page

    def thrown(error: Exception) -> None:
        errors.append(str(error))

    page.on("pageerror", thrown)
    await page.set_viewport_size(DESKTOP)
    await page.goto("about:blank")
    yield furnished
    page.remove_listener("pageerror", thrown)
    assert not errors, f"the page threw: {errors}"


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
async def test_axe_finds_nothing_on_any_view(house: House, size: ViewportSize) -> None:
    await house.page.set_viewport_size(size)
    wrong: list[str] = []
    for view in VIEWS:
        await house.show(view)
        # A theme has the same colours on either screen.
        found = house.in_both_themes() if size is DESKTOP else house.violations()
        wrong += [f"{view}: {each}" for each in await found]
    assert not wrong, "\n".join(wrong)


async def test_axe_finds_nothing_in_what_opens_over_a_page(house: House) -> None:
    keyboard = house.page.keyboard
    wrong: list[str] = []
    for view, keys, dialog in (
        ("monitoring", "?", "help-dialog"),
        ("monitoring", "Control+k", "palette"),
        ("agents", "j . Enter", "asking"),
        ("alerts?open={alert}", ". Enter", "alert-dialog"),
    ):
        await house.show(view)
        await expect(
            house.page.get_by_test_id(NEEDED.get(dialog, "connection")).first
        ).to_be_visible()
        for key in keys.split():
            await keyboard.press(key)
        await expect(house.page.get_by_test_id(dialog)).to_be_visible()
        wrong += [f"{dialog}: {each}" for each in await house.in_both_themes()]
        await keyboard.press("Escape")
        await expect(house.page.get_by_test_id(dialog)).to_have_count(0)
    assert not wrong, "\n".join(wrong)


async def test_nothing_scrolls_sideways_on_a_phone(house: House) -> None:
    await house.page.set_viewport_size(PHONE)
    for view in VIEWS:
        await house.show(view)
        assert await house.page.evaluate(SIDEWAYS) <= 0, view


async def test_every_page_is_two_keys_away(house: House) -> None:
    await house.show("platform?tab=audit")
    for key, page in PAGES.items():
        await go(house.page, key)
        await expect(house.page.get_by_test_id(f"page-{page}")).to_be_visible()
        await expect(house.page.get_by_test_id(f"nav-{page}")).to_have_attribute(
            "aria-current", "page"
        )


async def test_a_workflow_is_found_chosen_opened_and_left_by_keyboard(house: House) -> None:
    page, keyboard = house.page, house.page.keyboard
    await house.at_rest()
    await house.show("workflows")
    rows = page.get_by_test_id("workflow-row")
    await expect(rows.first).to_be_visible()
    await keyboard.press("j")
    await expect(rows.nth(0)).to_be_focused()
    await keyboard.press("j")
    await keyboard.press("k")
    await expect(rows.nth(0)).to_be_focused()
    await keyboard.press("x")
    await expect(page.get_by_test_id("picked")).to_have_attribute("data-count", "1")
    await keyboard.press("x")
    await keyboard.press("Enter")
    sheet = page.get_by_test_id("sheet")
    await expect(sheet).to_be_focused()
    await expect(sheet.locator("[data-acts]").first).to_be_visible()
    await keyboard.press(".")
    await expect(sheet.locator("[data-acts] :focus")).to_have_count(1)
    await keyboard.press("Escape")
    await expect(sheet).to_have_count(0)
    await expect(rows.nth(0)).to_be_focused()
    await keyboard.press("/")
    await expect(page.get_by_test_id("search")).to_be_focused()
    await keyboard.press("Escape")
    await keyboard.press("?")
    await expect(page.get_by_test_id("help-dialog")).to_be_visible()
    await keyboard.press("Escape")
    await expect(page.get_by_test_id("help-dialog")).to_have_count(0)


@pytest.mark.parametrize("view", [*PAGES.values(), "alerts?tab=rules&open=:new"])
async def test_tab_goes_through_a_page_and_out_with_its_place_in_sight(
    house: House, view: str
) -> None:
    await house.at_rest()
    await house.show(view)
    seen: list[str] = []
    for _ in range(250):
        await house.page.keyboard.press("Tab")
        at = await house.page.evaluate(FOCUSED)
        if at is None:
            break
        assert at["shown"], f"no focus to be seen on {at['what']}"
        assert at["inside"], f"out of sight: {at['what']}"
        assert at["order"] == 0, f"out of order: {at['what']}"
        seen.append(at["what"])
    else:
        pytest.fail(f"Tab does not leave: {seen[-5:]}")
    assert len(seen) >= 15, seen


async def test_views_of_every_page_are_restored_by_their_urls(house: House) -> None:
    # Not all: what each page keeps in its URL is for its own tests to say.
    for view in VIEWS[::3]:
        await house.page.goto("about:blank")
        await house.show(view)
        wanted, shown = (
            urlsplit(each).fragment.split("?") for each in (house.url(view), house.page.url)
        )
        assert wanted[0] == shown[0]
        assert parse_qs("".join(wanted[1:])).items() <= parse_qs("".join(shown[1:])).items(), view
