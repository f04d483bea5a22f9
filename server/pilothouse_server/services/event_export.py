"""Stored events from the oldest on, a page at a time, up to the newest that there was when it began."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Final, NamedTuple

from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.ports import StoredEvent
from pilothouse_server.services.views import EventViews, PageRequest

AT_ONCE: Final = 250
"""Events of one page: what encoding them takes is what others wait for."""

_REMOVED: Final = (
    "events became too old to be kept while they were being saved, and are missing;"
    " save again, from a later time on"
)


class Slice(NamedTuple):
    """Some of them."""

    events: Sequence[StoredEvent]
    """There may be none although there are more: what one page looks at is bounded."""
    progress: float
    """Which share of the places is looked through, 0 to 1."""


async def export(views: EventViews, filter_text: str) -> AsyncGenerator[Slice]:
    """The events that fulfil the filter. Raises InvalidFilter, Unavailable; that too when some were removed before they
    were reached, so that what is saved never lacks them without a word."""
    begun = await views.follow(filter_text).start(0)
    last, token, reached = begun.newest, "", begun.oldest
    first: int | None = None
    while True:
        request = PageRequest(AT_ONCE, token, filter_text)
        page = await views.page(request, ascending=True, last_position=last)
        if page.floor > reached:
            raise Unavailable("database", _REMOVED)
        reached = page.looked_position
        if first is None:
            # A range of time begins in the midst of them.
            first = page.events[0].position - 1 if page.events else begun.oldest
        token = page.next_token
        if not token:
            yield Slice(page.events, 1.0)
            return
        done = (page.looked_position - first) / max(1, last - first)
        yield Slice(page.events, min(1.0, max(0.0, done)))
