"""What batches need of rows: which workflows match, and all that one transaction reads and changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from pilothouse_server.domain.audit import Entry
from pilothouse_server.domain.batches import (
    Batch,
    BatchItem,
    BatchView,
    Candidate,
    ItemOutcome,
    Preview,
)
from pilothouse_server.domain.commands import CommandState
from pilothouse_server.domain.events import EventError
from pilothouse_server.domain.workflows import Action
from pilothouse_server.services.control import CommandTransaction
from pilothouse_server.services.control_views import Page
from pilothouse_server.services.views import PageRequest

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which workflows: those that match, or these."""

    action: Action
    filter: str = ""
    workflow_ids: tuple[str, ...] = ()


class Gathered(CommandTransaction, Protocol):
    """Requests that are written together."""

    def flush(self) -> None:
        """Writes what was asked."""
        ...


class Matched(NamedTuple):
    """What a selection is of."""

    candidates: Sequence[Candidate]
    """In the order of their turns."""
    preview: Preview


class Turn(NamedTuple):
    """What came of the turn of one workflow."""

    position: int
    command_id: str
    error: EventError | None


class BatchTransaction(Protocol):
    """What batches read and change, within one transaction."""

    def requested(self, request_id: str) -> tuple[str, str] | None:
        """The batch and what was asked of it under this request id."""
        ...

    def note(self, request_id: str, batch_id: str, asked: str) -> None:
        """Notes what was asked under a request id."""
        ...

    def get(self, batch_id: str) -> Batch | None: ...

    def open(self) -> Sequence[Batch]:
        """Those that are not over, in the order in which they were made; at most MOST_OPEN."""
        ...

    def add(self, batch: Batch, candidates: Sequence[Candidate]) -> None: ...

    def put(self, batch: Batch) -> None: ...

    def commands(self, batch_id: str) -> Mapping[CommandState, int]:
        """How many of its commands stand where."""
        ...

    def pending(self, batch_id: str) -> bool:
        """Whether one of its commands has not ended."""
        ...

    def next_items(self, batch: Batch, limit: int) -> Sequence[BatchItem]:
        """The workflows whose turn is next."""
        ...

    def load_of(self, source: str, limit: int) -> int:
        """How many commands for an engine have not ended, counted up to a limit."""
        ...

    def gathered(self, workflow_ids: Sequence[str], request_ids: Sequence[str]) -> Gathered:
        """Where many requests are made at once."""
        ...

    def took(self, batch_id: str, turns: Sequence[Turn]) -> None:
        """Notes what came of turns."""
        ...

    def record(self, entries: Sequence[Entry]) -> None:
        """Puts records into the audit log."""
        ...


class BatchStore(Protocol):
    """Transactions over batches."""

    async def write(self, run: Callable[[BatchTransaction], T]) -> T: ...

    async def read(self, run: Callable[[BatchTransaction], T]) -> T: ...

    async def match(self, selection: Selection, limit: int) -> Matched:
        """The workflows that the selection is of, at most so many, and what asking for the action would meet. Raises
        InvalidFilter."""
        ...

    async def page(self, asked: PageRequest) -> Page[BatchView]:
        """Newest first. Raises InvalidFilter, InvalidPageToken."""
        ...

    async def items(
        self, batch_id: str, outcomes: Sequence[ItemOutcome], asked: PageRequest
    ) -> Page[BatchItem]:
        """In the order of turns. Raises NotFound, InvalidPageToken."""
        ...
