"""A watch in threads: the shell of `watching.WatchCore` that reads the stream, waits and tells time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from pilothouse.errors import CallError
from pilothouse.watching import Item, Update, WatchCore

if TYPE_CHECKING:
    import grpc
    from google.protobuf.message import Message

T = TypeVar("T")


class Watch(Generic[T]):
    """A stream that is opened again whenever it breaks. Iterate it for every Update, or `items()` for the values alone.

    It ends only by an error that trying again cannot mend, or when its reader stops; use `contextlib.closing` on the
    iterator to end the call at that moment.
    """

    def __init__(self, method: Callable[[Any], Iterable[Any]], core: WatchCore[T]) -> None:
        self._method = method
        self._core = core

    @property
    def resume_token(self) -> str:
        """Where another watch would go on after the newest message of this one. Each Item has its own."""
        return self._core.token

    def items(self) -> Generator[T]:
        """The values alone, for readers to whom a value that comes again does no harm."""
        with closing(self.__iter__()) as updates:
            for update in updates:
                if isinstance(update, Item):
                    yield update.value

    def __iter__(self) -> Generator[Update[T]]:
        while True:
            error: CallError | None = None
            reason = "the server ended the stream"
            try:
                with closing(self._messages()) as messages:
                    for message in messages:
                        yield from self._core.received(message)
            except CallError as raised:
                error, reason = raised, str(raised)
            except _SilenceError:
                reason = f"nothing came for {self._core.options.silence:g} s"
            delay, told = self._core.broke(error, reason, time.monotonic())
            yield from told
            time.sleep(delay)

    def _messages(self) -> Generator[Message]:
        """The messages of one stream. Raises _SilenceError when none comes for too long."""
        call = self._method(self._core.request(time.monotonic()))
        cancel = cast("grpc.Call", call).cancel
        stream = iter(call)
        try:
            with _Watchdog(self._core.options.silence, cancel) as watchdog:
                while True:
                    watchdog.arm()
                    try:
                        message = next(stream)
                    except StopIteration:
                        return
                    except CallError:
                        if watchdog.barked:
                            raise _SilenceError from None
                        raise
                    # However long the reader takes over a message, it is not the server that is silent.
                    watchdog.disarm()
                    yield message
        finally:
            cancel()


class _Watchdog:
    """A thread that cancels a call which blocks for too long: a synchronous read has no deadline of its own."""

    def __init__(self, limit: float, cancel: Callable[[], object]) -> None:
        self._limit = limit
        self._cancel = cancel
        self._armed_at: float | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pilothouse-watchdog", daemon=True)
        self.barked = False
        """Whether it cancelled the call."""

    def arm(self) -> None:
        """From now on the call has `limit` seconds."""
        self._armed_at = time.monotonic()

    def disarm(self) -> None:
        """It has answered."""
        self._armed_at = None

    def _run(self) -> None:
        wait = self._limit
        while not self._closed.wait(wait):
            armed_at = self._armed_at
            wait = self._limit if armed_at is None else armed_at + self._limit - time.monotonic()
            if wait <= 0:
                self.barked = True
                self._cancel()
                return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()
        self._thread.join()


class _SilenceError(Exception):
    """A stream said nothing for too long."""
