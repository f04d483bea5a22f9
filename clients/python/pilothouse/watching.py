"""How a watch goes on after a break: the part of both clients that does no I/O.

A watch is a server stream that is opened again, from the token of the last message, whenever it breaks, so that nothing
is lost and nothing comes twice. Its reader sees items, and two marks: CaughtUp once all that was there at the start has
come, and Reset when what comes next does not join what came before: forget what you know, all of it comes again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar, cast

from google.protobuf.message import Message

from pilothouse.errors import CallError
from pilothouse.retry import Backoff, stream_may_resume
from pilothouse.v1.events_pb2 import EventBatch

T = TypeVar("T")

DEFAULT_SILENCE = 45.0
"""Seconds without any message after which a stream counts as broken; a server sends heartbeats more often."""


@dataclass(frozen=True)
class Item(Generic[T]):
    """Something new."""

    value: T
    """What."""
    resume_token: str
    """Where to go on in another watch once this item is handled. Inside a batch it is the place before the batch: to go
    on there repeats a part of it and loses nothing."""


@dataclass(frozen=True)
class CaughtUp:
    """All that was there when the watch began has come; what follows is new. Comes once in a watch and after each
    Reset."""


@dataclass(frozen=True)
class Reset:
    """What comes next does not join what came before: it starts anew."""

    reason: str
    """Why, for people."""


Update: TypeAlias = Item[T] | CaughtUp | Reset
"""What a watch yields."""


@dataclass(frozen=True)
class Interruption:
    """A watch broke, and will be opened again."""

    error: CallError | None
    """Why; None when the server ended the stream, or fell silent, without an error."""
    reason: str
    """Why, for people."""
    retry_in: float
    """Seconds until it is opened again."""


@dataclass(frozen=True)
class WatchOptions:
    """How a watch behaves."""

    silence: float = DEFAULT_SILENCE
    """Seconds without any message after which the stream counts as broken: a half-open connection looks like a quiet
    one."""
    patience: float | None = None
    """Seconds after which a watch that has never had a message raises the error; None: it tries for ever."""
    max_delay: float = 5.0
    """Seconds between tries at most, before jitter."""
    on_interruption: Callable[[Interruption], None] | None = None
    """Called at each break, in the thread or loop of the watch."""


def items_of(message: Message) -> Iterable[Message]:
    """What a message of any watch carries: one thing, or the events of a batch."""
    if "update" in message.DESCRIPTOR.oneofs_by_name:
        value: Message = getattr(message, message.WhichOneof("update") or "")
    else:
        value = next(value for _, value in message.ListFields() if isinstance(value, Message))
    return value.events if isinstance(value, EventBatch) else (value,)


class _Tokened(Protocol):
    resume_token: str


class WatchCore(Generic[T]):
    """The state of one watch: what to ask for, what a message means, and what to do about an error."""

    def __init__(
        self, request: Message, items: Callable[[Message], Iterable[T]], options: WatchOptions
    ) -> None:
        self._request = type(request)()
        self._request.CopyFrom(request)
        self._items = items
        self.options = options
        self._resumable = "resume_token" in request.DESCRIPTOR.fields_by_name
        self.token = cast("_Tokened", request).resume_token if self._resumable else ""
        """Where it would go on."""
        self._own_token = False
        self._caught_up = False
        self._heard = False
        self._began: float | None = None
        self._backoff = Backoff(limit=options.max_delay)

    def request(self, now: float) -> Message:
        """What to open the stream with."""
        if self._began is None:
            self._began = now
        if self._resumable:
            cast("_Tokened", self._request).resume_token = self.token
        return self._request

    def received(self, message: Message) -> Sequence[Update[T]]:
        """What `message` means to the reader. Any message is a sign of life."""
        self._heard = True
        self._backoff.reset()
        before = self.token
        if self._resumable:
            self.token = cast("_Tokened", message).resume_token or self.token
            self._own_token = True
        match self._kind(message):
            case "heartbeat" | None:
                return ()
            case "caught_up":
                first, self._caught_up = not self._caught_up, True
                return (CaughtUp(),) if first else ()
            case "reset":
                self._caught_up = False
                return (Reset(str(getattr(getattr(message, "reset"), "reason"))),)  # noqa: B009
            case _:
                values = list(self._items(message))
                last = len(values) - 1
                return [
                    Item(value, self.token if at == last else before)
                    for at, value in enumerate(values)
                ]

    def _kind(self, message: Message) -> str | None:
        """Which of `update` it is; a stream without that choice has items only."""
        if "update" in message.DESCRIPTOR.oneofs_by_name:
            chosen: str | None = message.WhichOneof("update")
            return chosen
        return "item"

    def broke(
        self, error: CallError | None, reason: str, now: float
    ) -> tuple[float, Sequence[Update[T]]]:
        """After how many seconds to open the stream again, and what to tell the reader first. Raises `error` when it
        stands."""
        told: Sequence[Update[T]] = ()
        if error is not None:
            if error.reason == "INVALID_RESUME_TOKEN" and self._own_token:
                # The server gave this token and does not know it any more: its history was replaced.
                self.token, self._own_token, self._caught_up = "", False, False
                told = (Reset(error.message),)
            elif not stream_may_resume(error):
                raise error
            if not self._heard and self._out_of_patience(now):
                raise error
        delay = self._backoff.next(error.retry_after if error else None)
        if self.options.on_interruption is not None:
            self.options.on_interruption(Interruption(error, reason, delay))
        return delay, told

    def _out_of_patience(self, now: float) -> bool:
        patience = self.options.patience
        return patience is not None and self._began is not None and now - self._began >= patience
