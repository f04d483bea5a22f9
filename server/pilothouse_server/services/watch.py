"""Following rows as they change, resumable from any token and without a queue for each watcher.

A watch reads what has a greater mark than the last one it sent, and waits to be told that
something changed. So a slow
watcher misses intermediate states, never the newest; and a token is only a mark, and the database
that it belongs to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from pilothouse_server.domain.errors import InvalidResumeToken
from pilothouse_server.services.fanout import Changes

T = TypeVar("T")

HEARTBEAT: Final = 5.0
"""Seconds after which a watcher is told that nothing changed."""
PACE: Final = 0.05
"""Seconds between two looks of one watcher; what changes in between comes as one."""
AT_ONCE: Final = 256
"""Rows in one look."""
ROW_PAUSE: Final = 0.001
"""Seconds that a live watch of rows waits longer for each row that it was sent: several times what
a row costs to send, so that
in a flood of changes more of them come as one, and no watcher takes the time of those who make them."""


class Read(NamedTuple, Generic[T]):
    """One look: rows with their marks, in order."""

    items: Sequence[tuple[int, T]]
    mark: int
    """Where the next look begins."""
    more: bool
    """Whether there is more than fitted into this one."""
    skipped: int = 0
    """Rows before these that are left out on purpose."""


class Start(NamedTuple):
    """Where a watch can begin."""

    database_id: str
    newest: int
    """The greatest mark there is."""
    first: int
    """The mark from which the wanted backlog begins."""
    oldest: int = 0
    """The least mark from which nothing that a watcher was sent is gone without a trace."""


class WatchSource(Protocol[T]):
    """Rows that have marks which only grow."""

    async def start(self, backlog: int) -> Start: ...

    async def after(self, mark: int, limit: int) -> Read[T]: ...


@dataclass(frozen=True, slots=True)
class Items(Generic[T]):
    """Rows that changed, each with the token behind it."""

    items: Sequence[tuple[str, T]]
    skipped: int = 0
    """Rows before these that are left out on purpose."""


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """All that was there at the start has been sent."""

    token: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing new."""

    token: str


@dataclass(frozen=True, slots=True)
class Reset:
    """What was sent before does not join what follows."""

    token: str
    reason: str


Update = Items[T] | CaughtUp | Heartbeat | Reset


async def watch(
    source: WatchSource[T],
    changes: Changes,
    token: str,
    *,
    backlog: int,
    heartbeat: float = HEARTBEAT,
    row_pause: float = 0.0,
) -> AsyncIterator[Update[T]]:
    """The updates after `token`; without one, `backlog` rows first. Raises InvalidResumeToken.

    `row_pause` is for sources in which a row that waits is replaced by its newer self.
    """
    resumed = read_token(token) if token else None
    start = await source.start(backlog)
    mark = start.first
    if resumed is not None:
        if resumed[0] == start.database_id and start.oldest <= resumed[1] <= start.newest:
            mark = resumed[1]
        else:
            reason = "the token is too old or of another history; what follows starts anew"
            yield Reset(token_of(start.database_id, mark), reason)
    loop = asyncio.get_running_loop()
    caught_up, sent_at = False, loop.time()
    while True:
        seen, looked_at = changes.version, loop.time()
        read = await source.after(mark, AT_ONCE)
        mark = read.mark
        here = token_of(start.database_id, mark)
        if read.items or read.skipped:
            items = [(token_of(start.database_id, at), item) for at, item in read.items]
            yield Items(items, read.skipped)
            sent_at = loop.time()
        if read.more:
            if caught_up:
                await asyncio.sleep(row_pause * len(read.items))
            continue
        if not caught_up:
            yield CaughtUp(here)
            caught_up, sent_at = True, loop.time()
        await changes.wait(seen, max(0.0, sent_at + heartbeat - loop.time()))
        if loop.time() - sent_at >= heartbeat:
            yield Heartbeat(here)
            sent_at = loop.time()
        pause = PACE + row_pause * len(read.items)
        await asyncio.sleep(max(0.0, looked_at + pause - loop.time()))


def token_of(database_id: str, mark: int) -> str:
    """The token of a mark."""
    return f"{database_id}.{mark}"


def read_token(token: str) -> tuple[str, int]:
    """The database and the mark that a token names. Raises InvalidResumeToken."""
    database_id, _, mark = token.partition(".")
    if not database_id or not (mark.isascii() and mark.isdigit() and len(mark) < 19):
        raise InvalidResumeToken
    return database_id, int(mark)
