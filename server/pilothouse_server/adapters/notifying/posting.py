"""One POST to a receiver: to allowed addresses only, no redirect followed, little read of the answer, and each outcome
judged as one that may go better later or not.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import certifi
import httpcore

from pilothouse_server.adapters.notifying.guard import (
    GuardedBackend,
    NameUnknown,
    Resolve,
    resolved,
)
from pilothouse_server.adapters.notifying.hosts import AllowedHosts, HostRefused
from pilothouse_server.domain.notifications.receipts import DeliveryFailed, Receipt

CONNECT_TIMEOUT: Final = 5.0
"""Seconds for looking a name up, and again for connecting."""
MOST_READ: Final = 64 << 10
"""Bytes that are read of an answer."""
MOST_TOLD: Final = 200
"""Characters of an answer that a failure repeats."""
MOST_CONNECTIONS: Final = 256
MOST_IDLE: Final = 32
IDLE_SECONDS: Final = 30.0
LONGEST_RETRY_US: Final = 3_600_000_000
RETRYABLE: Final = frozenset({408, 425, 429})
"""Of the statuses that blame the request, those that do not blame what it says."""


def tls_context() -> ssl.SSLContext:
    """What the system trusts, or the file in SSL_CERT_FILE; Mozilla's list where a machine has none."""
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if not (paths.cafile or paths.capath):
        context.load_verify_locations(certifi.where())
    return context


class Poster:
    """Sends; keeps connections."""

    def __init__(
        self,
        allowed: AllowedHosts,
        now_us: Callable[[], int],
        *,
        tls: ssl.SSLContext | None = None,
        resolve: Resolve = resolved,
    ) -> None:
        self._now_us = now_us
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or tls_context(),
            max_connections=MOST_CONNECTIONS,
            max_keepalive_connections=MOST_IDLE,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=GuardedBackend(allowed, resolve),
        )

    async def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        timeout: float,
        scrub: Callable[[str], str] = str,
    ) -> Receipt:
        """Raises DeliveryFailed; its words hold nothing of the URL but the host, and of what was answered what `scrub`
        leaves."""
        place = urlsplit(url).hostname or "?"
        try:
            async with asyncio.timeout(timeout):
                return await self._posted(url, body, headers, timeout, scrub)
        except HostRefused as refused:
            raise DeliveryFailed(str(refused), retryable=False) from refused
        except (TimeoutError, httpcore.TimeoutException) as error:
            raise DeliveryFailed(
                f"{place} did not answer within {timeout:g} s", retryable=True
            ) from error
        except httpcore.NetworkError as error:
            raise DeliveryFailed(f"{place}: {_told(error)}", retryable=True) from error
        except httpcore.RemoteProtocolError as error:
            raise DeliveryFailed(
                f"{place} does not answer in HTTP: {_told(error)}", retryable=True
            ) from error
        except (httpcore.LocalProtocolError, httpcore.UnsupportedProtocol, ValueError) as error:
            raise DeliveryFailed(
                f"a request to {place} cannot be made: {_told(error)}", retryable=False
            ) from error

    async def close(self) -> None:
        """Closes the connections."""
        await self._pool.aclose()

    async def _posted(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        timeout: float,
        scrub: Callable[[str], str],
    ) -> Receipt:
        seconds = {
            "connect": min(CONNECT_TIMEOUT, timeout),
            "read": timeout,
            "write": timeout,
            "pool": timeout,
        }
        # What is not in the request line or a header by itself, such as user and password, is taken out of the URL.
        parts = urlsplit(url)
        target = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
        async with self._pool.stream(
            "POST",
            target,
            headers=list(headers.items()),
            content=body,
            extensions={"timeout": seconds},
        ) as response:
            answer = b""
            async for part in response.aiter_stream():
                answer += part
                if len(answer) >= MOST_READ:
                    break
            if 200 <= response.status < 300:
                return Receipt(response.status)
            raise self._failure(response, scrub(answer[:MOST_READ].decode("utf-8", "replace")))

    def _failure(self, response: httpcore.Response, answer: str) -> DeliveryFailed:
        status = response.status
        if 300 <= status < 400:
            return DeliveryFailed(
                f"the receiver answered {status}: redirects are not followed, so give the address it leads to",
                retryable=False,
                status_code=status,
            )
        text = "".join(each if each.isprintable() else " " for each in answer[: 4 * MOST_TOLD])
        text = " ".join(text.split())[:MOST_TOLD]
        return DeliveryFailed(
            f"the receiver answered {status}" + (f": {text}" if text else ""),
            retryable=status >= 500 or status in RETRYABLE,
            retry_after_us=self._retry_after_us(response),
            status_code=status,
        )

    def _retry_after_us(self, response: httpcore.Response) -> int | None:
        """Of the Retry-After header: seconds, or a date."""
        headers = {bytes(name).lower(): bytes(value) for name, value in response.headers}
        text = headers.get(b"retry-after", b"").decode("latin-1").strip()
        if not text:
            return None
        if text.isascii() and text.isdigit():
            return min(int(text[:12]) * 1_000_000, LONGEST_RETRY_US)
        try:
            at_us = round(parsedate_to_datetime(text).timestamp() * 1_000_000)
        except (ValueError, OverflowError):
            return None
        return max(0, min(at_us - self._now_us(), LONGEST_RETRY_US))


def _told(error: BaseException) -> str:
    """The innermost reason there are words for."""
    told = type(error).__name__
    inner: BaseException | None = error
    while inner is not None:
        # asyncio's own words for these name no reason.
        words = os.strerror(inner.errno or 0) if isinstance(inner, ConnectionError) else str(inner)
        told = words or told
        if isinstance(inner, NameUnknown):
            return told
        inner = inner.__cause__ or inner.__context__
    return told
