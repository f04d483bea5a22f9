"""How a server is, in words: each part says its own state, and one rule makes of them whether the server can serve.

A server without its log or without its database still serves a great deal (metrics stay live, rows can be read), and
to take all replicas out of a load balancer because they share a database would take that away too. So it is ready
unless nothing is left that it could do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Protocol


class ComponentState(IntEnum):
    """How a part is; the greater the worse. The numbers are those of the contract."""

    OK = 1
    DEGRADED = 2
    DOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One part as it is now."""

    name: str
    """One of log, database, board, bell, leases, projector, aggregator, alert-engine, relay, retention and so on."""
    shard: int | None = None
    """Of which shard of the log; None for a part that has none."""
    state: ComponentState = ComponentState.OK
    reason: str = ""
    """What is wrong, for people; "" when nothing is. Never holds a password."""
    since_us: int | None = None
    """Since when it is in this state."""
    cursor: str = ""
    """Where a reader of the log is."""
    lag_us: int | None = None
    """How far a reader is behind; None when that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogShard:
    """One shard of the log; None is what is not known."""

    shard: int
    stream: str
    """Its stream in Redis, or the file of the embedded log."""
    cursor: str = ""
    dead_events: int | None = None
    gaps: int | None = None
    rewinds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Work that only one replica may do, and who does it."""

    name: str
    holder: str
    epoch: int
    acquire_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A server process that is alive."""

    id: str
    version: str = ""
    start_us: int | None = None
    leads: bool = False
    answers: bool = False
    """Whether it is the one that answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Whether a server can serve, and what is wrong, worst first."""

    ready: bool
    state: ComponentState
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """What a server is and how it is."""

    readiness: Readiness
    version: str
    replica_id: str
    start_us: int
    uptime_us: int
    log_address: str
    """Without a password."""
    database_address: str
    """Without a password."""
    components: Sequence[Component] = ()
    log_shards: Sequence[LogShard] = ()
    leases: Sequence[Lease] = ()
    replicas: Sequence[Replica] = ()


class StatusSource(Protocol):
    """Who knows. Both answer at once, and also while nothing else does: what has to be asked elsewhere is asked
    with a short deadline, and is left out or as it was known last when that passes."""

    def readiness(self) -> Readiness:
        """From what this process knows without asking anybody."""
        ...

    async def status(self) -> ServerStatus:
        """All there is to say."""
        ...


WITHOUT_BOTH_NOTHING_WORKS = frozenset({"log", "database"})


def readiness_of(components: Iterable[Component]) -> Readiness:
    """The rule. Components are all those of one server."""
    known = tuple(components)
    down = {each.name for each in known if each.state is ComponentState.DOWN}
    return Readiness(
        ready=not down >= WITHOUT_BOTH_NOTHING_WORKS,
        state=max((each.state for each in known), default=ComponentState.OK),
        reasons=tuple(
            spoken(each)
            for each in sorted(known, key=lambda each: -each.state)
            if each.state is not ComponentState.OK
        ),
    )


NOT_SERVING = Readiness(
    ready=False, state=ComponentState.DOWN, reasons=("the server is starting or ending",)
)


def spoken(component: Component) -> str:
    """What is wrong with a part, in one line."""
    shard = "" if component.shard is None else f" of shard {component.shard}"
    return f"{component.name}{shard}: {component.reason or component.state.name.lower()}"


Look = Callable[[], Component]
"""How a part is at this moment, as the part itself knows; it need not know since when."""


@dataclass(slots=True)
class Watchman:
    """Looks at parts when asked, and remembers since when each is as it is.

    What is looked at often enough by whoever judges health (see `transport.health`) is never older than that.
    """

    now_us: Callable[[], int]
    _looks: dict[str, Look] = field(default_factory=dict[str, Look])
    _seen: dict[str, Component] = field(default_factory=dict[str, Component])

    def watch(self, key: str, look: Look) -> None:
        """Adds a part under a name of its own, or looks at its successor from now on: parts of a tenure come and
        go."""
        self._looks[key] = look

    def leave(self, key: str) -> None:
        """The part is gone, on purpose."""
        self._looks.pop(key, None)
        self._seen.pop(key, None)

    def components(self) -> list[Component]:
        """Every part as it is, in the order in which they were added."""
        return [self._look(key, look) for key, look in self._looks.items()]

    def _look(self, key: str, look: Look) -> Component:
        found, before = look(), self._seen.get(key)
        if found.since_us is None:
            same = before is not None and before.state is found.state
            found = replace(found, since_us=before.since_us if same and before else self.now_us())
        self._seen[key] = found
        return found
