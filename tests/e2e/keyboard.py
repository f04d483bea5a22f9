"""The keys that lead from page to page."""

from __future__ import annotations

import asyncio

from playwright.async_api import Page


async def go(page: Page, key: str) -> None:
    """Presses g and then the key of a page. Both are on their way before either is answered, since the second counts
    only within a second and a half."""
    await asyncio.gather(page.keyboard.press("g"), page.keyboard.press(key))
