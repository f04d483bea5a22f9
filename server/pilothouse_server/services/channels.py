"""Channels: made, changed, tried out. Secrets come in once, are sealed at once, and never come out again.

What is secret stays when it is not said anew, but only for the place it was said for: with another host in the URL it
has to be given again, or whoever may change a channel could have its secrets sent to himself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlsplit

from pilothouse_server.domain.addresses import HIDDEN
from pilothouse_server.domain.audit import Author
from pilothouse_server.domain.errors import EtagMismatch, InvalidArgument, NotFound
from pilothouse_server.domain.notifications.channels import (
    SECOND_US,
    Apprise,
    Channel,
    CloudEvents,
    Secrets,
    Target,
    Webhook,
)
from pilothouse_server.domain.notifications.documents import channel_to_document
from pilothouse_server.domain.notifications.endpoints import hides, shown_url
from pilothouse_server.domain.notifications.notification import (
    FIRING,
    RESOLVED,
    DeliveryKind,
    Notification,
    NotifiedAlert,
)
from pilothouse_server.domain.notifications.receipts import DeliveryFailed, Receipt
from pilothouse_server.domain.notifications.validation import check_channel, check_headers
from pilothouse_server.ports import Clock
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.naming import digest_of, id_of

TEST_TIMEOUT: Final = 10.0
"""Seconds that a test may take."""
TRIES: Final = 5
"""Of a change, while others change the same."""


class SealBroken(Exception):
    """Secrets cannot be decrypted; the text says what to do."""


class Sealing(Protocol):
    """Encrypts what is secret."""

    def seal(self, channel_id: str, hidden: Secrets) -> str:
        """Raises NoSecretKey."""
        ...

    def open(self, channel_id: str, sealed: str) -> Secrets:
        """Raises SealBroken."""
        ...


class Ways(Protocol):
    """The ways out of the house."""

    def check_url(self, url: str, at: str) -> None:
        """Whether something may be sent there, as far as the URL tells. Raises InvalidArgument."""
        ...

    async def services(self, urls: Sequence[str], at: str) -> tuple[str, ...]:
        """The services that URLs of Apprise name. Raises InvalidArgument."""
        ...

    async def send_opened(
        self, channel: Channel, hidden: Secrets, notification: Notification, timeout: float
    ) -> Receipt:
        """Sends at once. Raises DeliveryFailed."""
        ...


class ChannelStore(Protocol):
    """Channels in the database."""

    async def every(self) -> Sequence[Channel]: ...
    async def find(self, channel_id: str) -> Channel: ...
    async def create(self, channel: Channel, request_id: str, digest: str) -> Channel: ...
    async def replace(self, channel: Channel, seen: int) -> Channel | None: ...
    async def delete(self, channel_id: str, etag: str, author: Author) -> None: ...


@dataclass(frozen=True, slots=True)
class ChannelHealth:
    """How a channel does."""

    open: bool = False
    retry_us: int | None = None
    failures: int = 0
    error: str = ""
    last_success_us: int | None = None
    waiting: int = 0
    dead: int = 0


Healths = Callable[[], Awaitable[Mapping[str, ChannelHealth]]]
"""How those do of which something is known, by id."""


class Draft(NamedTuple):
    """A channel as somebody wants it; its target's URL may be the shown one, where the stored one is meant."""

    channel: Channel
    hidden: Secrets


class ChannelView(NamedTuple):
    """A channel as it is shown."""

    channel: Channel
    health: ChannelHealth


@dataclass(frozen=True, slots=True)
class Tested:
    """What became of a test."""

    delivered: bool
    error: str = ""
    duration_us: int = 0
    status_code: int | None = None


@dataclass(frozen=True, slots=True)
class Channels:
    """The verbs. Lives as long as the process, on every replica."""

    store: ChannelStore
    sealing: Sealing
    ways: Ways
    clock: Clock
    changes: Changes
    new_id: Callable[[], str]
    healths: Healths
    test_timeout: float = field(default=TEST_TIMEOUT)

    async def load(self) -> Sequence[Channel]:
        """All of them, by name, their secrets sealed."""
        return await self.store.every()

    async def every(self) -> Sequence[ChannelView]:
        """All of them as they are shown, by name."""
        healths = await self.healths()
        return [self._view(each, healths) for each in await self.store.every()]

    async def get(self, channel_id: str) -> ChannelView:
        """One of them. Raises NotFound."""
        return self._view(await self.store.find(channel_id), await self.healths())

    async def create(self, draft: Draft, *, actor: str, request_id: str) -> ChannelView:
        """A new one; a repeat of the request gets the same. Raises InvalidArgument, AlreadyThere, LimitExceeded,
        RequestIdReused, NoSecretKey."""
        taken = {each.id for each in await self.store.every()} if not draft.channel.id else ()
        now_us = self.clock.now_us()
        channel = replace(
            draft.channel,
            id=draft.channel.id or id_of(draft.channel.name, taken, "channel"),
            version=1,
            create_us=now_us,
            update_us=now_us,
            updated_by=actor,
        )
        sealed = await self._sealed(Draft(channel, draft.hidden), None)
        digest = digest_of(channel.name, channel_to_document(sealed))
        stored = await self.store.create(sealed, request_id, digest)
        self.changes.notify()
        return self._view(stored, await self.healths())

    async def update(
        self, channel_id: str, change: Callable[[Channel], Draft], *, etag: str, actor: str
    ) -> ChannelView:
        """Changes what `change` makes of the stored one. Raises NotFound, EtagMismatch, InvalidArgument, AlreadyThere,
        NoSecretKey."""
        for _ in range(TRIES):
            stored = await self.store.find(channel_id)
            if etag and etag != str(stored.version):
                raise EtagMismatch("channel", channel_id, str(stored.version))
            draft = change(stored)
            wanted = replace(
                draft.channel,
                id=stored.id,
                version=stored.version + 1,
                create_us=stored.create_us,
                update_us=self.clock.now_us(),
                updated_by=actor,
            )
            sealed = await self._sealed(Draft(wanted, draft.hidden), stored)
            changed = await self.store.replace(sealed, stored.version)
            if changed is not None:
                self.changes.notify()
                return self._view(changed, await self.healths())
        current = await self.store.find(channel_id)
        raise EtagMismatch("channel", channel_id, str(current.version))

    async def delete(self, channel_id: str, *, etag: str, actor: str) -> None:
        """Raises NotFound, EtagMismatch, StillNamed."""
        await self.store.delete(channel_id, etag, Author(actor, self.clock.now_us()))
        self.changes.notify()

    async def test(self, channel_id: str, draft: Draft | None) -> Tested:
        """Sends a test to a stored channel, to one that is not stored, or to a stored one as it would be after a
        change. Raises NotFound, InvalidArgument."""
        stored = await self.store.find(channel_id) if channel_id else None
        if stored is None and draft is not None and draft.channel.id:
            with contextlib.suppress(NotFound):
                stored = await self.store.find(draft.channel.id)
        try:
            if draft is None:
                if stored is None:
                    raise InvalidArgument("channel_id", "say which channel, or give one")
                channel, hidden = stored, self.sealing.open(stored.id, stored.sealed)
            else:
                channel, hidden = await self._checked(draft, stored)
        except SealBroken as error:
            return Tested(delivered=False, error=str(error))
        return await self._tried(channel, hidden)

    async def _tried(self, channel: Channel, hidden: Secrets) -> Tested:
        """An alert and, once it arrived, its end: whatever opens an incident for the one closes it with the other."""
        began, trial = self.clock.monotonic(), self._trial(channel)
        told, prefix = [trial], ""
        if not channel.skip_resolved:
            told.append(self._ended(trial))
        status_code: int | None = None
        for each in told:
            try:
                receipt = await self.ways.send_opened(channel, hidden, each, self.test_timeout)
                status_code = receipt.status_code
            except DeliveryFailed as failure:
                return Tested(
                    delivered=False,
                    error=prefix + failure.description,
                    duration_us=round((self.clock.monotonic() - began) * SECOND_US),
                    status_code=failure.status_code,
                )
            prefix = "the test arrived, its end did not: "
        took_us = round((self.clock.monotonic() - began) * SECOND_US)
        return Tested(delivered=True, duration_us=took_us, status_code=status_code)

    def _ended(self, trial: Notification) -> Notification:
        now_us = self.clock.now_us()
        return replace(
            trial,
            id=self.new_id(),
            status=RESOLVED,
            alerts=tuple(replace(each, status=RESOLVED, ends_us=now_us) for each in trial.alerts),
            reason="The test is over",
            create_us=now_us,
            firing_count=0,
            resolved_count=1,
        )

    async def _sealed(self, draft: Draft, stored: Channel | None) -> Channel:
        channel, hidden = await self._checked(draft, stored)
        secret = hidden.secret or hidden.headers or hidden.urls or hides(hidden.url)
        return replace(channel, sealed=self.sealing.seal(channel.id, hidden) if secret else "")

    async def _checked(self, draft: Draft, stored: Channel | None) -> Draft:
        """The channel as it is to be shown, and all that is secret of it."""
        channel, hidden = draft
        check_channel(channel)
        target = channel.target
        if isinstance(target, Apprise):
            return await self._apprise(channel, hidden, stored)
        at = "channel.webhook" if isinstance(target, Webhook) else "channel.cloud_events"
        hidden = self._kept(hidden, target, stored, at)
        if HIDDEN in hidden.url:
            raise InvalidArgument(
                f"{at}.url", f"has {HIDDEN} where something is not shown: give all of it anew"
            )
        self.ways.check_url(hidden.url, f"{at}.url")
        check_headers(hidden.headers, f"{at}.headers")
        shown = replace(
            target,
            url=shown_url(hidden.url),
            headers=tuple(sorted(hidden.headers)),
            signed=bool(hidden.secret),
        )
        return Draft(replace(channel, target=shown), hidden)

    async def _apprise(self, channel: Channel, hidden: Secrets, stored: Channel | None) -> Draft:
        at = "channel.apprise.urls"
        if not hidden.urls:
            if stored is None or not isinstance(stored.target, Apprise):
                raise InvalidArgument(at, "needs at least one URL, as slack://tokenA/tokenB/tokenC")
            return Draft(replace(channel, target=stored.target), self._opened(stored, at))
        services = await self.ways.services(hidden.urls, at)
        return Draft(replace(channel, target=Apprise(services)), Secrets(urls=hidden.urls))

    def _kept(self, hidden: Secrets, target: Target, stored: Channel | None, at: str) -> Secrets:
        """With the stored secrets where none are given anew."""
        kept = None if stored is None or type(stored.target) is not type(target) else stored
        old = kept.target if kept is not None else None
        if kept is None or not isinstance(old, Webhook | CloudEvents):
            return hidden
        same_url = hidden.url == old.url
        empty = [
            name for name, value in hidden.headers.items() if not value and name in old.headers
        ]
        if not (same_url and kept.sealed) and not (not hidden.secret and old.signed) and not empty:
            return hidden
        before = self._opened(kept, at)
        was = before.url or old.url
        url = was if same_url else hidden.url
        keeps_secret = not hidden.secret and bool(before.secret)
        if _place(url) != _place(was) and (keeps_secret or empty):
            raise InvalidArgument(
                f"{at}.url",
                "leads to another host than before: give the secret and the values of headers anew with it",
            )
        headers = {
            name: value or before.headers.get(name, "") for name, value in hidden.headers.items()
        }
        return Secrets(url, hidden.secret or before.secret, headers)

    def _opened(self, channel: Channel, at: str) -> Secrets:
        try:
            return self.sealing.open(channel.id, channel.sealed)
        except SealBroken as error:
            raise InvalidArgument(at, str(error)) from error

    def _view(self, channel: Channel, healths: Mapping[str, ChannelHealth]) -> ChannelView:
        health = healths.get(channel.id, ChannelHealth())
        try:
            self.sealing.open(channel.id, channel.sealed)
        except SealBroken as error:
            health = replace(health, error=str(error))
        return ChannelView(channel, health)

    def _trial(self, channel: Channel) -> Notification:
        now_us = self.clock.now_us()
        labels = {"alertname": "PilothouseTest", "severity": "info", "channel": channel.id or "new"}
        summary = f"A test of the channel {channel.name}: nothing is wrong"
        alert = NotifiedAlert(
            alert_id="test",
            fingerprint="",
            status=FIRING,
            labels=labels,
            annotations={"summary": summary},
            starts_us=now_us,
        )
        return Notification(
            id=self.new_id(),
            kind=DeliveryKind.CHANGE,
            channel_id=channel.id,
            group_key='{}:{alertname="PilothouseTest"}',
            group_labels={"alertname": "PilothouseTest"},
            status=FIRING,
            alerts=(alert,),
            reason="Somebody asked for a test",
            create_us=now_us,
            firing_count=1,
        )


def _place(url: str) -> tuple[str, str | None, int | None]:
    """Whom a URL leads to."""
    try:
        parts = urlsplit(url)
        return (
            parts.scheme,
            parts.hostname,
            parts.port or {"http": 80, "https": 443}.get(parts.scheme),
        )
    except ValueError:
        return url, None, None
