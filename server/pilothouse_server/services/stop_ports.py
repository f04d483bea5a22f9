"""What emergency stops need of the world."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

from pilothouse_server.domain.audit import Entry
from pilothouse_server.domain.events import Event, EventError
from pilothouse_server.domain.stops import Facts, Key, Kind, Scope, Stop, Target, TargetState
from pilothouse_server.services.asking import CommandTransaction

T = TypeVar("T")
P_co = TypeVar("P_co", covariant=True)

Reading = tuple[int, int, str]
"""Where a reading of all workflows that have not ended has come."""


class Moment(NamedTuple):
    """When it is, and since when an agent has to have been heard to be there."""

    now_us: int
    offline_after_us: int


class Requests(CommandTransaction, Protocol):
    """Commands that are asked for together."""

    def flush(self) -> None:
        """Writes them."""
        ...


class StopTransaction(Protocol):
    """What is read and changed of stops, within one transaction."""

    def get(self, stop_id: str) -> Stop | None: ...

    def open(self) -> Sequence[Stop]:
        """Those that are not over, oldest first."""
        ...

    def requested(self, request_id: str) -> tuple[str, str] | None:
        """The stop of a request that was granted, and what was asked."""
        ...

    def granted(self, request_id: str, stop_id: str, asked: str) -> None:
        """Remembers a request."""
        ...

    def put(self, stop: Stop) -> None:
        """Stores a new or changed stop."""
        ...

    def record(self, entries: Sequence[Entry]) -> None:
        """Puts records into the audit log."""
        ...

    def tell(self, events: Iterable[Event]) -> None:
        """Puts events into the outbox."""
        ...

    def forget_attempts(self, stop_id: str) -> None:
        """As a stop goes further or is let go: what failed before counts no more."""
        ...

    def engines(self, stop: Stop, working: Collection[str]) -> Sequence[Key]: ...

    def working(self, scope: Scope) -> Collection[str]:
        """The engines of what belongs to the scope."""
        ...

    def agents(self, stop: Stop, after: str, limit: int) -> Sequence[Key]:
        """Agents in scope, by id."""
        ...

    def facts(
        self, stop: Stop, keys: Collection[Key], moment: Moment
    ) -> Mapping[Key, tuple[Target | None, Facts]]:
        """The targets that there are, and what is the case with each of the keys."""
        ...

    def by_engine(self, scope: Scope, *, paused: bool) -> Mapping[str, int]:
        """How many workflows in scope have not ended, by engine; paused ones only where they count."""
        ...

    def of_engines(
        self, scope: Scope, sources: Collection[str], limit: int, *, paused: bool
    ) -> Sequence[tuple[str, str]]:
        """(id, engine) of some of these workflows."""
        ...

    def unable(self, stop: Stop, sources: Collection[str]) -> Mapping[str, EventError]:
        """The engines that cannot do to workflows what the stop wants, and why."""
        ...

    def views(self, stops: Sequence[Stop]) -> Sequence[StopView]:
        """The stops as they are shown."""
        ...

    def page(self, size: int, token: str, *, released: bool) -> tuple[Sequence[Stop], str]:
        """Newest first, and the token of the next page. Raises InvalidPageToken."""
        ...

    def target_page(
        self, stop_id: str, states: Collection[TargetState], size: int, token: str
    ) -> tuple[Sequence[Target], str]:
        """By kind and id, and the token of the next page. Raises InvalidPageToken."""
        ...

    def asker(self, workflow_ids: Sequence[str], request_ids: Sequence[str]) -> Requests:
        """For commands on these workflows under these request ids, and some others."""
        ...


class StopStore(Protocol[P_co]):
    """Where stops are; `P_co` is what a transaction offers. Everything raises Unavailable."""

    async def write(self, run: Callable[[P_co], T]) -> T: ...

    async def read(self, run: Callable[[P_co], T]) -> T: ...


class StopView(NamedTuple):
    """A stop as people see it."""

    stop: Stop
    not_obeyed: Sequence[Target]
    """What does not do what it wants, longest first."""


class RunTransaction(StopTransaction, Protocol):
    """What carrying out needs besides."""

    def newest(self) -> int:
        """The revision behind which changes are to be read."""
        ...

    def active(
        self, scope: Scope, place: Reading | None, limit: int
    ) -> tuple[Sequence[str], Reading | None]:
        """The next workflows in scope that have not ended, and where to go on; None: these were the last."""
        ...

    def changed(self, stop: Stop, mark: int, limit: int) -> tuple[Sequence[str], int, bool]:
        """The workflows of the stop that changed since, the revision from which to go on, and whether there is more."""
        ...

    def target_keys(self, stop_id: str, kind: Kind, after: str, limit: int) -> Sequence[Key]:
        """The next targets of a kind, by id."""
        ...

    def due(self, stop_id: str, now_us: int, limit: int) -> Sequence[Key]:
        """Targets that are to be looked at again by now."""
        ...

    def any_waiting(self, stop_id: str) -> bool:
        """Whether some targets are to be looked at again later."""
        ...

    def targets(self, stop_id: str, keys: Collection[Key]) -> Mapping[Key, Target]:
        """Those that there are."""
        ...

    def save(self, stop_id: str, targets: Iterable[Target]) -> None:
        """Stores new and changed ones."""
        ...
