"""The audit log for those who read it: searched, proved, and written down. Nothing here can change it.

A chain proves that no record was edited, removed or put in between; that it was not made anew as a whole only a hash
proves which somebody noted elsewhere. So the verdict ends with one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final, NamedTuple, Protocol

from pilothouse_server.domain.audit import WHOLE, Entry, Link, Verdict, ends
from pilothouse_server.domain.errors import InvalidArgument
from pilothouse_server.ports import Clock
from pilothouse_server.services.control_views import Page
from pilothouse_server.services.views import PageRequest

SLICE: Final = 500
"""Records that are looked at in one transaction; others then have as long a turn."""


WRITTEN: Final = 200
"""Records that are written down at once, so that they are a message of a bearable size however much each says."""


class Looked(NamedTuple):
    """What one slice of the chain showed."""

    link: Link
    """The last record that follows."""
    checked: int
    verdict: Verdict


class Ends(NamedTuple):
    """Where a chain begins and ends."""

    head: Link | None
    """What was written last, by what is kept beside the records; None where that is gone."""
    first: int
    last: int
    """The least and the greatest sequence of any record; 0 where there is none."""

    @property
    def before(self) -> Verdict:
        """Whether there is an end to be reached, and nothing before the beginning."""
        if self.head is None:
            told = "the head of the chain is gone, so nobody can tell where it ends"
            return Verdict(told, self.last)
        if self.first < 0 or (self.last and not self.first):
            return Verdict("there are records before the first", self.first)
        return WHOLE

    @property
    def beyond(self) -> Verdict:
        """Whether there is nothing behind the end."""
        end = self.head.sequence if self.head else 0
        if self.last <= end:
            return WHOLE
        told = f"there are records behind {end}, where the chain ended: they were put there by hand"
        return Verdict(told, end + 1)


class AuditStore(Protocol):
    """The records. Everything raises Unavailable."""

    async def page(self, asked: PageRequest, *, ascending: bool) -> Page[Entry]:
        """One page. Raises InvalidFilter, InvalidPageToken."""
        ...

    async def ends(self) -> Ends:
        """Where the chain begins and ends."""
        ...

    async def link(self, sequence: int) -> Link | None:
        """The record with that sequence, as the next has to follow it."""
        ...

    async def look(self, link: Link, until: int, limit: int) -> Looked:
        """Up to `limit` records behind `link`, up to the sequence `until`, each held against the one before."""
        ...


class Noted(NamedTuple):
    """What somebody noted of the chain before; no hash is nothing."""

    sequence: int = 0
    hash: str = ""


class Progress(NamedTuple):
    """How far the proof is."""

    checked: int
    link: Link
    complete: bool = False
    verdict: Verdict = WHOLE


class Audit:
    """Reads of the audit log."""

    def __init__(self, store: AuditStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def page(self, asked: PageRequest, *, ascending: bool) -> Page[Entry]:
        """One page, newest first unless `ascending`. Raises InvalidFilter, InvalidPageToken."""
        return await self._store.page(asked, ascending=ascending)

    async def verify(self, first: int, noted: Noted) -> AsyncGenerator[Progress]:
        """How far it is, again and again, and at last the verdict on the records from `first` on that there were when
        it began. Raises InvalidArgument."""
        extent = await self._store.ends()
        head = extent.head or Link()
        if first > head.sequence + 1 and extent.head:
            told = f"the newest record is {head.sequence}: begin there or before"
            raise InvalidArgument("from_sequence", told)
        checked, link = 0, Link()
        verdict = await self._noted(noted)
        if verdict == WHOLE:
            verdict = extent.before
        if verdict == WHOLE and first > 1:
            before = await self._store.link(first - 1)
            link, verdict = before or link, _begins(before, first)
        while verdict == WHOLE and link.sequence < head.sequence:
            begun = self._clock.monotonic()
            looked = await self._store.look(link, head.sequence, SLICE)
            link, verdict = looked.link, looked.verdict
            checked += looked.checked
            if not looked.checked:
                break
            yield Progress(checked, link)
            # Hashes hold the interpreter: others have it for as long.
            await self._clock.sleep(self._clock.monotonic() - begun)
        if verdict == WHOLE:
            verdict = ends(link, head)
        if verdict == WHOLE:
            verdict = extent.beyond
        yield Progress(checked, link, complete=True, verdict=verdict)

    async def export(self, filter_text: str) -> AsyncGenerator[Sequence[Entry]]:
        """The records that fulfil the filter, oldest first, a slice at a time. Raises InvalidFilter."""
        token = ""
        while True:
            page = await self._store.page(PageRequest(WRITTEN, token, filter_text), ascending=True)
            yield page.items
            token = page.next_token
            if not token:
                return
            await asyncio.sleep(0)

    async def _noted(self, noted: Noted) -> Verdict:
        """Whether a record still has the hash that somebody noted."""
        if not noted.hash and not noted.sequence:
            return WHOLE
        if not noted.hash:
            raise InvalidArgument("expected_hash", "is missing: of which hash is it the sequence?")
        if not noted.sequence:
            raise InvalidArgument("expected_sequence", "is missing: which record has that hash?")
        found = await self._store.link(noted.sequence)
        if found is None:
            return Verdict(
                f"record {noted.sequence}, whose hash was noted, is missing", noted.sequence
            )
        if found.hash != noted.hash.lower():
            told = f"record {noted.sequence} does not have the hash that was noted: the chain was made anew"
            return Verdict(told, noted.sequence)
        return WHOLE


def _begins(before: Link | None, first: int) -> Verdict:
    if before is not None:
        return WHOLE
    return Verdict(f"record {first - 1} is missing, which record {first} has to follow", first - 1)
