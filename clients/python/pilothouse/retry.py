"""When a call is made again, and after how long: the part of both clients that does no I/O.

A call is repeated only if a repeat cannot do more than the first did, and the error says that another try may go
better. Every change in the contract has a `request_id` or is idempotent by itself, and an event has its own id; so
`prepare` gives those ids before the first try.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, cast

from google.protobuf.message import Message

from pilothouse._ids import uuid4, uuid7
from pilothouse.errors import (
    Aborted,
    CallError,
    Cancelled,
    DeadlineExceeded,
    EtagMismatch,
    ExecutorReplaced,
    NoSnapshot,
    RateLimited,
    ResourceExhausted,
    ServerFault,
    Unavailable,
)
from pilothouse.v1.events_pb2 import Event

M = TypeVar("M", bound=Message)

REPEATABLE_VERBS = (
    "Get", "List", "Query", "Diff", "Preview", "Export", "Import", "Enable", "Disable", "Accept", "Fail", "Acknowledge",
    "Beat",
)  # fmt: skip
"""First words of methods that change nothing, or nothing more when they are repeated, by the contract."""


@dataclass(frozen=True)
class RetryPolicy:
    """How a call that may be repeated is repeated."""

    attempts: int = 4
    """Tries in all; 1 is no retry."""
    initial_delay: float = 0.1
    """Seconds before the second try, before jitter."""
    max_delay: float = 2.0
    """Seconds that no delay exceeds, before jitter."""

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.initial_delay <= 0 or self.max_delay < self.initial_delay:
            raise ValueError(f"not a retry policy: {self}")


NO_RETRY = RetryPolicy(attempts=1)
"""One try."""


@dataclass
class Backoff:
    """Delays that double up to a limit, each with jitter, so that clients that lost one server do not return as one."""

    initial: float = 0.1
    """Seconds of the first delay."""
    limit: float = 5.0
    """Seconds that no delay exceeds."""
    chance: Callable[[], float] = random.random
    """Gives a number in [0, 1)."""
    failures: int = field(default=0, init=False)
    """How many delays were given since the last success."""

    def next(self, at_least: float | None = None) -> float:
        """The next delay: half of it certain, half by chance; not less than the server asked for, up to a minute."""
        full = min(self.initial * 2.0 ** min(self.failures, 30), self.limit)
        self.failures += 1
        return max(full * (0.5 + self.chance() / 2), min(at_least or 0.0, 60.0))

    def reset(self) -> None:
        """It went well: begin small again."""
        self.failures = 0


def may_go_better(error: CallError) -> bool:
    """Whether the same call may succeed a little later. NO_SNAPSHOT is an answer, not a failure to get one."""
    return isinstance(error, Unavailable | RateLimited) and not isinstance(error, NoSnapshot)


def stream_may_resume(error: CallError) -> bool:
    """Whether a broken stream is worth opening again: everything but a refusal of what it asks for."""
    match error:
        case EtagMismatch() | ExecutorReplaced():
            return False
        case (
            Unavailable()
            | Cancelled()
            | DeadlineExceeded()
            | Aborted()
            | ResourceExhausted()
            | ServerFault()
        ):
            return True
        case _:
            return False


class Attempts:
    """One call from its first try to its last. Times are in seconds of one monotonic clock."""

    def __init__(self, policy: RetryPolicy, *, repeatable: bool, deadline: float | None) -> None:
        self._left = policy.attempts if repeatable else 1
        self._backoff = Backoff(policy.initial_delay, policy.max_delay)
        self._deadline = deadline

    def timeout(self, now: float) -> float | None:
        """Seconds that the next try may take; None is no limit."""
        return None if self._deadline is None else max(self._deadline - now, 0.0)

    def after(self, error: CallError, now: float) -> float | None:
        """Seconds to wait before the next try; None when `error` stands."""
        self._left -= 1
        if self._left < 1 or not may_go_better(error):
            return None
        delay = self._backoff.next(error.retry_after)
        if self._deadline is not None and now + delay >= self._deadline:
            return None
        return delay


class _HasRequestId(Protocol):
    request_id: str


def prepare(method: str, request: M) -> tuple[M, bool]:
    """`request` with the ids that make a repeat harmless, and whether `method` may then be repeated.

    `method` is the path of the RPC. The caller's message is not changed: one that lacks an id is copied.
    """
    name = method.rpartition("/")[2]
    fields = request.DESCRIPTOR.fields_by_name
    if "request_id" in fields:
        with_id = cast("_HasRequestId", request)
        if not with_id.request_id:
            request = _copy(request)
            cast("_HasRequestId", request).request_id = uuid4()
        return request, True
    if name in {"PublishEvent", "PublishEvents"}:
        if any(not event.id for event in _events(request)):
            request = _copy(request)
            for event in _events(request):
                event.id = event.id or uuid7()
        return request, True
    return request, name.startswith(REPEATABLE_VERBS)


class _HasEvent(Protocol):
    event: Event


class _HasEvents(Protocol):
    events: Iterable[Event]


def _events(request: Message) -> Iterable[Event]:
    if "event" in request.DESCRIPTOR.fields_by_name:
        return (cast("_HasEvent", request).event,)
    return cast("_HasEvents", request).events


def _copy(request: M) -> M:
    copy = type(request)()
    copy.CopyFrom(request)
    return copy
