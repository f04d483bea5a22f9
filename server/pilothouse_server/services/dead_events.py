"""Entries of the log that could not be read, and what may be done with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from pilothouse_server.domain.errors import NotFound


class DeadEvent(NamedTuple):
    """One of them."""

    id: str
    reason: str
    stream: str
    receive_us: int
    fields: Sequence[tuple[bytes, bytes]]
    """What it is."""
    truncated: bool
    """Whether it is not whole."""


class DeadPage(NamedTuple):
    """Some of them."""

    events: Sequence[DeadEvent]
    next_token: str
    """To go on; "" at the end."""


class DeadEvents(Protocol):
    """Where they are kept. Every call may raise Unavailable."""

    async def page(self, size: int, token: str) -> DeadPage:
        """Shard by shard, the newest first. Raises InvalidPageToken."""
        ...

    async def retry(self, dead_id: str, request_id: str) -> str:
        """Puts one back into the log and returns its new place. Raises NotFound, DeadEventTruncated,
        RequestIdReused."""
        ...

    async def drop(self, dead_id: str, request_id: str) -> None:
        """Deletes one. Raises NotFound, RequestIdReused."""
        ...


class NoDeadEvents:
    """Those of a log that only the server writes."""

    async def page(self, size: int, token: str) -> DeadPage:  # noqa: ARG002 - the port's names
        """An empty one."""
        return DeadPage((), "")

    async def retry(self, dead_id: str, request_id: str) -> str:  # noqa: ARG002
        """Raises NotFound."""
        raise NotFound("dead_event", dead_id)

    async def drop(self, dead_id: str, request_id: str) -> None:  # noqa: ARG002
        """Raises NotFound."""
        raise NotFound("dead_event", dead_id)
