"""The ways out of the house: opens what is sealed, chooses the way, and says what became of it."""

from __future__ import annotations

import hashlib
import re
import ssl
from collections import OrderedDict
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Final
from urllib.parse import unquote

from pilothouse_server.adapters.notifying.apprise_pool import AppriseWorkers
from pilothouse_server.adapters.notifying.guard import Resolve, resolved
from pilothouse_server.adapters.notifying.hosts import AllowedHosts, HostRefused
from pilothouse_server.adapters.notifying.posting import Poster
from pilothouse_server.adapters.notifying.webhook import request_of
from pilothouse_server.domain.addresses import HIDDEN
from pilothouse_server.domain.errors import InvalidArgument
from pilothouse_server.domain.notifications import payloads
from pilothouse_server.domain.notifications.channels import Apprise, Channel, Secrets
from pilothouse_server.domain.notifications.endpoints import SHORTEST_SECRET, secrets_of
from pilothouse_server.domain.notifications.notification import RESOLVED, Notification
from pilothouse_server.domain.notifications.receipts import DeliveryFailed, Receipt
from pilothouse_server.services.channels import SealBroken, Sealing

CHECK_TIMEOUT: Final = 10.0
"""Seconds for judging a URL of Apprise."""
MOST_REMEMBERED: Final = 1_000
"""Services that took a notification which others of the same channel did not take yet."""
MOST_TOLD: Final = 500
"""Characters of what a service said."""


class Sender:
    """Sends notifications. Lives as long as the process."""

    def __init__(
        self,
        sealing: Sealing,
        now_us: Callable[[], int],
        *,
        hosts: Sequence[str] = (),
        external_url: str = "",
        tls: ssl.SSLContext | None = None,
        resolve: Resolve = resolved,
    ) -> None:
        self.sealing = sealing
        self._now_us = now_us
        self._external_url = external_url.rstrip("/")
        self._user_agent = f"Pilothouse/{version('pilothouse-server')}"
        self._allowed = AllowedHosts.parsed(hosts)
        self._poster = Poster(self._allowed, now_us, tls=tls, resolve=resolve)
        self.workers = AppriseWorkers(hosts)
        self._taken: OrderedDict[str, None] = OrderedDict()

    def check_url(self, url: str, at: str) -> None:
        """Whether a webhook may lead there, as far as the URL tells. Raises InvalidArgument."""
        try:
            self._allowed.check_url(url)
        except HostRefused as refused:
            raise InvalidArgument(at, str(refused)) from refused

    async def services(self, urls: Sequence[str], at: str) -> tuple[str, ...]:
        """The services that URLs of Apprise name. Raises InvalidArgument."""
        found: list[str] = []
        for position, each in enumerate(urls):
            field = f"{at}[{position}]"
            try:
                answer = await self.workers.ask({"do": "check", "url": each}, CHECK_TIMEOUT)
            except DeliveryFailed as failure:
                raise InvalidArgument(
                    field, f"cannot be judged: {failure.description}"
                ) from failure
            if "service" not in answer:
                said = answer.get("invalid") or answer.get("refused") or answer.get("error", "")
                raise InvalidArgument(field, _scrubbed(str(said), each))
            found.append(str(answer["service"]))
        return tuple(found)

    async def send(self, channel: Channel, notification: Notification, timeout: float) -> Receipt:
        """Sends to a stored channel. Raises DeliveryFailed."""
        try:
            hidden = self.sealing.open(channel.id, channel.sealed)
        except SealBroken as error:
            # A key can be put back, and then what waits is sent.
            raise DeliveryFailed(str(error), retryable=True) from error
        return await self.send_opened(channel, hidden, notification, timeout)

    async def send_opened(
        self, channel: Channel, hidden: Secrets, notification: Notification, timeout: float
    ) -> Receipt:
        """Sends with these secrets. Raises DeliveryFailed, whose words hold none of them."""
        target = channel.target
        if isinstance(target, Apprise):
            return await self._through_apprise(target, hidden, notification, timeout)
        request = request_of(
            channel,
            target,
            hidden,
            notification,
            external_url=self._external_url,
            user_agent=self._user_agent,
            now_us=self._now_us(),
        )
        secrets = {
            hidden.secret,
            *hidden.headers.values(),
            request.headers.get("Authorization", ""),
        }
        secrets |= secrets_of(request.url)

        def scrub(said: str) -> str:
            for secret in sorted(secrets, key=len, reverse=True):
                said = said.replace(secret, HIDDEN) if secret else said
            return said

        try:
            return await self._poster.post(
                request.url, request.body, request.headers, timeout, scrub
            )
        except DeliveryFailed as failure:
            raise DeliveryFailed(
                scrub(failure.description),
                retryable=failure.retryable,
                retry_after_us=failure.retry_after_us,
                status_code=failure.status_code,
            ) from None

    async def close(self) -> None:
        """Closes connections and ends processes."""
        await self._poster.close()
        await self.workers.close()

    async def _through_apprise(
        self, target: Apprise, hidden: Secrets, notification: Notification, timeout: float
    ) -> Receipt:
        """To each service that did not take this notification in an earlier try."""
        failures: list[tuple[str, bool]] = []
        for service, url in zip(target.services, hidden.urls, strict=True):
            mark = hashlib.sha256(notification.id.encode() + b"\n" + url.encode()).hexdigest()
            if mark in self._taken:
                continue
            failed = await self._one(url, notification, timeout)
            if failed is None:
                self._taken[mark] = None
                while len(self._taken) > MOST_REMEMBERED:
                    self._taken.popitem(last=False)
            else:
                failures.append((f"{service}: {failed[0]}", failed[1]))
        if failures:
            told = "; ".join(words for words, _ in failures)[:MOST_TOLD]
            raise DeliveryFailed(told, retryable=any(again for _, again in failures))
        return Receipt()

    async def _one(
        self, url: str, notification: Notification, timeout: float
    ) -> tuple[str, bool] | None:
        """None when it was taken, else why not and whether another try may go better."""
        asked = {
            "do": "send",
            "url": url,
            "title": payloads.title(notification),
            "body": payloads.body(notification, self._external_url),
            "type": _kind(notification),
            "incident": hashlib.sha256(notification.group_key.encode()).hexdigest()[:32],
        }
        try:
            answer = await self.workers.ask(asked, timeout)
        except DeliveryFailed as failure:
            return failure.description, failure.retryable
        if answer.get("sent"):
            return None
        refused = str(answer.get("refused") or answer.get("invalid") or "")
        if refused:
            return _scrubbed(refused, url), False
        said = _scrubbed(str(answer.get("error") or "was not taken"), url)
        return said or "was not taken", True


def _kind(notification: Notification) -> str:
    """As Apprise colours it."""
    if notification.status == RESOLVED:
        return "success"
    severities = {alert.labels.get("severity", "") for alert in notification.alerts}
    if severities & {"critical", "error"}:
        return "failure"
    return "warning" if "warning" in severities else "info"


def _scrubbed(text: str, url: str) -> str:
    """What a service said, without anything that its URL says: every part of such a URL may be a token."""
    rest = url.partition("://")[2]
    text = text.replace(url, HIDDEN) if rest else text
    parts = {
        form
        for part in re.split(r"[/@:?&=#,+\s]+", rest)
        for form in (part, unquote(part))
        if len(form) >= SHORTEST_SECRET
    }
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, HIDDEN)
    return " ".join(text.split())[:MOST_TOLD]
