"""Acts that leave no row of their own by which a repeat of the request could be known.

What was answered is kept for a day beside a digest of what was asked, in the transaction of the act: so a repeat
changes nothing more and gets the same answer, and the same request id with other content is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

from pilothouse_server.domain.errors import RequestIdReused

KEPT_US: Final = 24 * 3600 * 1_000_000
"""How long a request is known."""


class Done(NamedTuple):
    """A request that was done before."""

    digest: str
    answer: Mapping[str, Any]


class DoneRequests(Protocol):
    """What was done, within one transaction."""

    def done(self, request_id: str) -> Done | None: ...

    def note_done(self, request_id: str, done: Done, now_us: int) -> None:
        """Keeps it, and forgets what was done longer ago than a day."""
        ...


def digest_of(*content: object) -> str:
    """What tells one request from another."""
    return hashlib.sha256(json.dumps(content, default=str, sort_keys=True).encode()).hexdigest()


def repeated(requests: DoneRequests, request_id: str, digest: str) -> Done | RequestIdReused | None:
    """What the same request was answered before; None when it is new."""
    before = requests.done(request_id) if request_id else None
    if before is not None and before.digest != digest:
        return RequestIdReused(request_id)
    return before
