"""What can be asked of commands and alerts without changing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from pilothouse_server.domain.alerts.records import Alert, AlertStep
from pilothouse_server.domain.commands import Command
from pilothouse_server.services.views import PageRequest
from pilothouse_server.services.watch import WatchSource

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """The items, and the token of the next page; empty at the end."""

    items: Sequence[T]
    next_token: str


class CommandViews(Protocol):
    """Reads of commands."""

    async def commands(self, asked: PageRequest) -> Page[Command]:
        """One page, newest first. Raises InvalidFilter, InvalidPageToken."""
        ...


class AlertViews(Protocol):
    """Reads of alerts."""

    async def alerts(self, asked: PageRequest) -> Page[Alert]:
        """One page, newest first, history too. Raises InvalidFilter, InvalidPageToken."""
        ...

    async def alert_with_steps(self, alert_id: str) -> tuple[Alert, Sequence[AlertStep]]:
        """One alert and what happened to it, oldest first. Raises NotFound."""
        ...

    def follow(self) -> WatchSource[Alert]:
        """Alerts by revision, for one watch: those that are not over first, then every change."""
        ...
