"""Silences as people make, see and end them, on any replica; and what the one that leads does about them.

Of two that are made at once the second sees the first, so that there are never more than may be. What a silence is was
decided when it was made: it is ended, and never changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Protocol, TypeVar

from pilothouse_server.domain.alerts.matchers import all_match
from pilothouse_server.domain.alerts.records import Alert
from pilothouse_server.domain.alerts.silences import (
    MOST_BOUND,
    MOST_OPEN,
    MOST_RECURRING,
    Draft,
    Silence,
    SilenceState,
    Span,
    check_draft,
    first_spans,
    standing,
)
from pilothouse_server.domain.errors import (
    InvalidArgument,
    LimitExceeded,
    NotFound,
    RequestIdReused,
    Unavailable,
)
from pilothouse_server.ports import Clock
from pilothouse_server.services.fanout import Changes

T = TypeVar("T")

PREVIEWED: Final = 100
"""Alerts that a preview shows."""
RECENT_US: Final = 7 * 24 * 3_600_000_000
"""How far back a preview counts."""
LOOK: Final = 3.0
"""Seconds between two looks of the lead when nobody rings."""
RETRY: Final = 0.5
"""Seconds after which it tries again when the database did not answer."""


class Labelled(NamedTuple):
    """Some alerts with the same labels: how many, and the id of one."""

    alert_id: str
    labels: Mapping[str, str]
    many: int = 1


class Requested(NamedTuple):
    """A silence, and what the request that made it was."""

    silence: Silence
    asked: str


class SilenceTransaction(Protocol):
    """What is read and changed, within one transaction."""

    def get(self, silence_id: str) -> Silence | None: ...

    def requested(self, request_id: str) -> Requested | None: ...

    def open_count(self, now_us: int) -> int:
        """Silences that are not expired, or nearly so many."""
        ...

    def open(self, now_us: int) -> Sequence[Silence]:
        """Those."""
        ...

    def add(self, silence: Silence, request_id: str, asked: str) -> None: ...

    def expire(self, silence: Silence, actor: str, reason: str) -> None:
        """Stores that it was ended."""
        ...

    def live(self) -> Iterable[Labelled]:
        """Every alert that is not over, with what matchers look at."""
        ...

    def recent(self, since_us: int) -> Iterable[Labelled]:
        """The alerts that began since then, by their labels."""
        ...

    def alerts(self, ids: Sequence[str]) -> Sequence[Alert]:
        """These, newest first."""
        ...

    def any_live(self, ids: Sequence[str]) -> bool:
        """Whether any of these alerts is not over."""
        ...

    def silenced(self) -> Mapping[str, int]:
        """How many alerts each silence keeps quiet now."""
        ...

    def page(self, now_us: int | None, size: int, token: str) -> tuple[Sequence[Silence], str]:
        """Silences, newest first, and the token of the next page; with a time those that are not expired by then.

        Raises InvalidPageToken."""
        ...


class SilenceStore(Protocol):
    """Where silences are. Everything raises Unavailable."""

    async def change(self, run: Callable[[SilenceTransaction], T]) -> T: ...

    async def look(self, run: Callable[[SilenceTransaction], T]) -> T: ...


@dataclass(frozen=True, slots=True)
class SilenceView:
    """A silence as people see it."""

    silence: Silence
    state: SilenceState
    next_start_us: int | None
    silenced: int


class Preview(NamedTuple):
    """What a silence would hide."""

    alerts: Sequence[Alert]
    live: int
    recent: int
    spans: Sequence[Span]


class Silences:
    """The verbs of `SilenceService`."""

    def __init__(
        self, store: SilenceStore, clock: Clock, changes: Changes, new_id: Callable[[], str]
    ) -> None:
        self._store = store
        self._clock = clock
        self._changes = changes
        self._new_id = new_id

    async def create(self, draft: Draft, *, actor: str, request_id: str) -> SilenceView:
        """A new silence; a repeat of the request gets the same one.

        Raises InvalidArgument, LimitExceeded, RequestIdReused.
        """
        now_us = self._clock.now_us()
        asked = hashlib.sha256(repr(draft).encode()).hexdigest()[:32]
        silence = _made(self._new_id(), draft, actor, now_us)

        def run(transaction: SilenceTransaction) -> Silence:
            known = transaction.requested(request_id) if request_id else None
            if known is not None:
                if known.asked != asked:
                    raise RequestIdReused(request_id)
                return known.silence
            check_draft(draft, now_us)
            count = transaction.open_count(now_us)
            if count >= MOST_OPEN:
                raise LimitExceeded("silences that are not expired", MOST_OPEN, count + 1)
            if draft.recurrence is not None:
                recurring = sum(each.recurrence is not None for each in transaction.open(now_us))
                if recurring >= MOST_RECURRING:
                    raise LimitExceeded("silences that recur", MOST_RECURRING, recurring + 1)
            made = _bound(silence, transaction.live()) if draft.until_resolved else silence
            transaction.add(made, request_id, asked)
            return made

        made = await self._store.change(run)
        self._changes.notify()
        return await self._viewed(made)

    async def get(self, silence_id: str) -> SilenceView:
        """One silence. Raises NotFound."""
        return await self._viewed(await self._store.look(lambda t: _there(t, silence_id)))

    async def page(
        self, size: int, token: str, *, expired: bool
    ) -> tuple[Sequence[SilenceView], str]:
        """Silences, newest first, and the token of the next page. Raises InvalidPageToken."""
        now_us = self._clock.now_us()

        def run(transaction: SilenceTransaction) -> tuple[Sequence[SilenceView], str]:
            silences, following = transaction.page(None if expired else now_us, size, token)
            counts = transaction.silenced()
            views = [_view(each, now_us, counts) for each in silences]
            if not expired:
                # One that recurs may have no time left before its end.
                views = [each for each in views if each.state != SilenceState.EXPIRED]
            return views, following

        return await self._store.look(run)

    async def expire(self, silence_id: str, *, actor: str, reason: str) -> SilenceView:
        """Ends it; one that is over stays as it is. Raises NotFound."""
        now_us = self._clock.now_us()

        def run(transaction: SilenceTransaction) -> Silence:
            silence = _there(transaction, silence_id)
            if standing(silence, now_us).state == SilenceState.EXPIRED:
                return silence
            ended = replace(silence, expire_us=now_us, update_us=now_us)
            transaction.expire(ended, actor, reason)
            return ended

        ended = await self._store.change(run)
        self._changes.notify()
        return await self._viewed(ended)

    async def preview(self, draft: Draft) -> Preview:
        """What such a silence would hide. Raises InvalidArgument."""
        now_us = self._clock.now_us()
        check_draft(draft, now_us)
        silence = _made("", draft, "", now_us)

        def run(transaction: SilenceTransaction) -> Preview:
            live = [each.alert_id for each in _matching(silence, transaction.live())]
            recent = sum(
                each.many
                for each in _matching(silence, transaction.recent(now_us - RECENT_US))
            )  # fmt: skip
            newest = sorted(live, reverse=True)[:PREVIEWED]
            return Preview(
                transaction.alerts(newest), len(live), recent, first_spans(silence, now_us)
            )

        return await self._store.look(run)

    async def _viewed(self, silence: Silence) -> SilenceView:
        counts = await self._store.look(lambda transaction: transaction.silenced())
        return _view(silence, self._clock.now_us(), counts)


class Quiet(Protocol):
    """What goes by the silences."""

    def load(self, silences: Iterable[Silence]) -> None:
        """From now on these are the silences."""
        ...


class SilenceKeeper:
    """On the replica that leads: gives the silences to the one who keeps alerts quiet, and ends those that lasted until
    their alerts were resolved."""

    def __init__(
        self, store: SilenceStore, quiet: Quiet, clock: Clock, changes: Changes, alerts: Changes
    ) -> None:
        self._store = store
        self._quiet = quiet
        self._clock = clock
        self._changes = changes
        self._alerts = alerts
        self._bound: Sequence[Silence] = ()

    async def run(self) -> None:
        """Follows until it is cancelled. Raises LeaseLost when another replica leads."""
        while True:
            seen = self._changes.version
            try:
                await self.look()
                await self._wait(seen)
            except Unavailable:
                await self._clock.sleep(RETRY)

    async def look(self) -> None:
        """Takes up the silences as they are. Raises Unavailable."""
        now_us = self._clock.now_us()
        silences = await self._store.look(lambda transaction: transaction.open(now_us))
        self._bound = [each for each in silences if each.until_resolved]
        self._quiet.load(silences)

    async def end_done(self) -> int:
        """Ends the silences of which all alerts are resolved; returns how many. Raises Unavailable, LeaseLost."""
        bound = self._bound
        now_us = self._clock.now_us()
        done = await self._store.look(
            lambda t: [each for each in bound if not t.any_live(sorted(each.bound))]
        )
        if not done:
            return 0

        def run(transaction: SilenceTransaction) -> None:
            for silence in done:
                ended = replace(silence, expire_us=now_us, update_us=now_us)
                transaction.expire(ended, "", "every alert that it was about is resolved")

        await self._store.change(run)
        self._changes.notify()
        return len(done)

    async def _wait(self, seen: int) -> None:
        """Until silences changed, or it is time to look again."""
        if not self._bound:
            await self._changes.wait(seen, LOOK)
            return
        alerts = self._alerts.version
        await self.end_done()
        if self._changes.version == seen:
            await self._alerts.wait(alerts, LOOK / 3)


def _made(silence_id: str, draft: Draft, actor: str, now_us: int) -> Silence:
    return Silence(
        id=silence_id,
        matchers=draft.matchers,
        start_us=now_us if draft.start_us is None else draft.start_us,
        end_us=draft.end_us,
        comment=draft.comment,
        created_by=actor,
        create_us=now_us,
        update_us=now_us,
        recurrence=draft.recurrence,
        until_resolved=draft.until_resolved,
    )


def _bound(silence: Silence, live: Iterable[Labelled]) -> Silence:
    bound = frozenset(each.alert_id for each in _matching(silence, live))
    if not bound:
        raise InvalidArgument(
            "silence.until_resolved",
            "no alert that is not over matches, so it would be over at once; give it an end instead",
        )
    if len(bound) > MOST_BOUND:
        raise LimitExceeded("alerts that one silence lasts for", MOST_BOUND, len(bound))
    return replace(silence, bound=bound)


def _matching(silence: Silence, some: Iterable[Labelled]) -> Iterable[Labelled]:
    return (each for each in some if all_match(silence.matchers, each.labels))


def _there(transaction: SilenceTransaction, silence_id: str) -> Silence:
    silence = transaction.get(silence_id)
    if silence is None:
        raise NotFound(kind="silence", id=silence_id)
    return silence


def _view(silence: Silence, now_us: int, counts: Mapping[str, int]) -> SilenceView:
    stands = standing(silence, now_us)
    silenced = counts.get(silence.id, 0) if stands.state == SilenceState.ACTIVE else 0
    return SilenceView(silence, stands.state, stands.next_start_us, silenced)
