"""Looks at the traces of workflows that ended, and keeps a summary of each, so that many can be put together later.

A duty of one replica. It follows workflows by their revisions; how far it came is stored in the transaction of what it
found, so a kill at any moment loses nothing and counts nothing twice. A workflow that goes on after its end (retried),
or changes (late events), comes again by its greater revision. Changes are looked at when they are `SETTLED` old: by
then spans that were told in batches are there, and what changes often is looked at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from pilothouse_server.domain.errors import NotFound, Unavailable
from pilothouse_server.domain.traces.analysis import analyse
from pilothouse_server.domain.traces.model import Trace
from pilothouse_server.domain.traces.summary import Summary, summary_of
from pilothouse_server.domain.workflows import ENDED
from pilothouse_server.ports import Clock

_log = logging.getLogger(__name__)

LOOK: Final = 1.0
"""Seconds between two looks."""
SETTLED: Final = 10.0
"""Seconds until a change is looked at."""
READ: Final = 1_000
"""Changes in one read."""
AT_ONCE: Final = 20
"""Traces that are looked at for one transaction."""
SHARE: Final = 0.2
"""Of the time that it works at most: with more runs than fit, it falls behind rather than hold up others."""
STORE_EVERY: Final = 1_000_000
"""Revisions in which nothing ended after which the mark is stored all the same."""


class Changed(NamedTuple):
    """A workflow that changed."""

    id: str
    revision: int
    ended: bool
    stored: bool
    """Whether there is a summary of it."""


class SummaryStore(Protocol):
    """Where changes are read and summaries kept."""

    async def mark(self) -> int: ...

    async def newest_revision(self) -> int: ...

    async def changed(self, after: int, until: int, limit: int) -> Sequence[Changed]: ...

    async def store(
        self, found: Mapping[str, tuple[int, Summary]], gone_on: Sequence[str], mark: int
    ) -> None: ...


class Traces(Protocol):
    """Where traces are built."""

    async def trace(self, asked_id: str) -> Trace:
        """Raises NotFound, Unavailable."""
        ...


class TraceAnalyst:
    """The duty. `waiting_for` tells what it retries, "" when all is well."""

    def __init__(self, store: SummaryStore, traces: Traces, clock: Clock) -> None:
        self._store = store
        self._traces = traces
        self._clock = clock
        self._mark: int | None = None
        """Up to where everything that was found is stored, so that what fails on its way is looked at again."""
        self._stored = 0
        self._seen: deque[tuple[float, int]] = deque()
        """How far changes had come at which time, as far back as that matters."""
        self.waiting_for = ""

    async def run(self) -> None:
        """Looks until it is cancelled."""
        while True:
            worked = 0.0
            try:
                begun = self._clock.monotonic()
                await self.look(await self._settled(begun))
                worked = self._clock.monotonic() - begun
                self.waiting_for = ""
            except Unavailable as error:
                self.waiting_for = error.message
            await self._clock.sleep(max(LOOK, worked * (1 - SHARE) / SHARE))

    async def _settled(self, now: float) -> int:
        """Up to where changes are old enough."""
        self._seen.append((now, await self._store.newest_revision()))
        while len(self._seen) > 1 and self._seen[1][0] <= now - SETTLED:
            self._seen.popleft()
        at, revision = self._seen[0]
        return revision if at <= now - SETTLED else 0

    async def look(self, until: int) -> int:
        """Looks at one read of changes up to that revision, from where it was before; returns how many summaries it
        kept."""
        if self._mark is None:
            self._mark = self._stored = await self._store.mark()
        mark = self._mark
        changed = await self._store.changed(mark, until, READ) if until > mark else ()
        if not changed:
            self._mark = max(mark, until)
            if self._mark - self._stored >= STORE_EVERY:
                await self._keep({}, (), self._mark)
            return 0
        kept, found, gone_on = 0, dict[str, tuple[int, Summary]](), list[str]()
        for each in changed:
            if each.ended:
                summary = await self._summary(each.id)
                if summary is not None:
                    found[each.id] = (each.revision, summary)
            elif each.stored:
                gone_on.append(each.id)
            if len(found) + len(gone_on) >= AT_ONCE:
                kept += await self._keep(found, gone_on, each.revision)
                found, gone_on = {}, []
        if found or gone_on:
            kept += await self._keep(found, gone_on, changed[-1].revision)
        self._mark = changed[-1].revision
        return kept

    async def _summary(self, workflow_id: str) -> Summary | None:
        try:
            trace = await self._traces.trace(workflow_id)
        except NotFound:
            # Removed since it was read.
            return None
        except Unavailable:
            raise
        except Exception:  # noqa: BLE001 - the other traces, and the lead's other duties, do not depend on this one
            _log.exception("the trace of %s cannot be built", workflow_id)
            return None
        if trace.workflow_id != workflow_id or trace.state not in ENDED:
            return None
        now_us = self._clock.now_us()
        try:
            return await asyncio.to_thread(
                lambda: summary_of(analyse(trace, now_us, path_only=True))
            )
        except Exception:  # noqa: BLE001 - likewise
            _log.exception("the trace of %s cannot be analysed", workflow_id)
            return None

    async def _keep(
        self, found: Mapping[str, tuple[int, Summary]], gone_on: Sequence[str], mark: int
    ) -> int:
        await self._store.store(found, gone_on, mark)
        self._mark = self._stored = mark
        return len(found)
