"""Following rows as they change, resumable from any token and without a queue for each watcher.

A watch reads what has a greater mark than the last one it sent, and waits to be told that
something changed. So a slow
watcher misses intermediate states, never the newest; and a token is only a mark, the one from which
everything was sent, and the database that they belong to.

Rows may be removed when they are old. Whoever may have been sent one of them is told to start again,
which happens to a watch about once in the time that rows are kept: what it is sent then is newer.
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

_REMOVED: Final = "what was sent before was removed; what follows starts anew"
_WENT_BACK: Final = "the database does not have all that was sent before, as after a failover; what follows starts anew"


class Removal(NamedTuple):
    """Rows that are gone."""

    at: int
    """The mark of the removal itself: who has come by here was told."""
    greatest: int
    """The greatest mark among the rows."""


class Read(NamedTuple, Generic[T]):
    """One look: rows with their marks, in order."""

    items: Sequence[tuple[int, T]]
    mark: int
    """Where the next look begins. Less than where this one began: the database is at an earlier place than it was."""
    more: bool
    """Whether there is more than fitted into this one."""
    skipped: int = 0
    """Rows before these that are left out on purpose."""
    oldest: int = 0
    """As in `Start`, when it may have become greater since."""
    removals: Sequence[Removal] = ()
    """Those that came after the mark from which this look began."""


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
    reset_backlog: int | None = None,
    heartbeat: float = HEARTBEAT,
    row_pause: float = 0.0,
) -> AsyncIterator[Update[T]]:
    """The updates after `token`; without one, `backlog` rows first. When rows that it was sent are removed while it
    lasts, it begins anew with `reset_backlog` rows, or `backlog` when that is not given. Raises InvalidResumeToken.

    `row_pause` is for sources in which a row that waits is replaced by its newer self.
    """
    resumed = _Place(*read_numbers(token)) if token else None
    start = await source.start(backlog)
    place, told = _begun(start)
    if resumed is not None:
        if (
            resumed.database_id == start.database_id
            and start.oldest <= resumed.mark <= start.newest
        ):
            place, told = resumed, resumed.mark
        else:
            reason = "the token is too old or of another history; what follows starts anew"
            yield Reset(place.token, reason)
    loop = asyncio.get_running_loop()
    caught_up, sent_at = False, loop.time()
    while True:
        seen, looked_at = changes.version, loop.time()
        read = await source.after(place.mark, AT_ONCE)
        gone = place.mark < read.oldest or _lost(read.removals, told, place.first)
        if gone or read.mark < place.mark:
            place, told = _begun(
                await source.start(backlog if reset_backlog is None else reset_backlog)
            )
            caught_up, sent_at = False, loop.time()
            yield Reset(place.token, _REMOVED if gone else _WENT_BACK)
            continue
        place = place._replace(mark=read.mark)
        here = place.token
        if read.items or read.skipped:
            items = [(place._replace(mark=at).token, item) for at, item in read.items]
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


class _Place(NamedTuple):
    """How far a watch has come."""

    database_id: str
    mark: int
    first: int
    """The mark from which it was sent everything."""

    @property
    def token(self) -> str:
        return f"{self.database_id}.{self.mark}.{self.first}"


def _lost(removals: Sequence[Removal], told: int, first: int) -> bool:
    """Whether somebody who was told of what was removed up to one mark, and was sent everything from another, may have
    rows that are gone."""
    return any(removal.at > told and removal.greatest > first for removal in removals)


def _begun(start: Start) -> tuple[_Place, int]:
    """Where a watch is at its start, and up to where it knows of removals."""
    return _Place(start.database_id, start.first, start.first), start.newest


def token_of(database_id: str, mark: int) -> str:
    """The token of a mark."""
    return f"{database_id}.{mark}"


def read_token(token: str) -> tuple[str, int]:
    """The database and the mark that a token names. Raises InvalidResumeToken."""
    database_id, mark, _ = read_numbers(token)
    return database_id, mark


def read_numbers(token: str) -> tuple[str, int, int]:
    """The database and both numbers of a token. Raises InvalidResumeToken."""
    database_id, *numbers = token.split(".")
    fits = database_id and 1 <= len(numbers) <= 2
    if not fits or not all(
        each.isascii() and each.isdigit() and len(each) < 19 for each in numbers
    ):
        raise InvalidResumeToken
    # Without a second number it may have been sent anything.
    return database_id, int(numbers[0]), int(numbers[1]) if len(numbers) == 2 else 0
