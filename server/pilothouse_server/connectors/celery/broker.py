"""The only file that knows Celery's library. It has no types and all of its calls block, so what it returns is read
as `Any` here, once, and each call is made in a thread.

A call that waits for replies says how many workers it waits for, so that it returns with the last of them and not
after the whole timeout.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Self, TypeVar, cast

log = logging.getLogger("pilothouse.celery")

REPLY_TIMEOUT = 2.0
"""Seconds that workers have to answer."""
MAX_BATCHES = 2_000
"""Messages of events that are received and not yet read; then the broker keeps them."""
FIRST_CONNECTION = 15.0
"""Seconds that the broker has for the first connection."""
SUBSCRIBING = 0.1
"""Seconds in which a subscription reaches the broker."""
RETRY_DELAYS = (0.2, 0.5, 1.0, 2.0, 5.0)

T = TypeVar("T")
Replies = dict[str, Any]
"""By worker: what it answered."""


class NoCelery(ImportError):
    """Celery is not installed."""

    def __init__(self) -> None:
        super().__init__("Celery is not installed here: pip install 'pilothouse-server[celery]'")


class NoApp(ValueError):
    """The app that was named cannot be loaded."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path} is no Celery app that can be loaded here: {why}")


class BrokerAway(ConnectionError):
    """The broker cannot be reached."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task, as the result backend has it."""

    state: str
    error: str = ""

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.state in {"SUCCESS", "FAILURE", "REVOKED"}


Batch = list[Mapping[str, Any]]
"""The events of one message, in order."""


class Broker:
    """One Celery app's broker. `async with` opens it."""

    def __init__(self, url: str, *, app: str = "", result_backend: str = "") -> None:
        try:
            celery: Any = import_module("celery")
        except ImportError as missing:
            raise NoCelery from missing
        self._app: Any = _app_of(app) if app else celery.Celery("pilothouse", set_as_current=False)
        if url:
            self._app.conf.broker_url = url
        if result_backend:
            self._app.conf.result_backend = result_backend
        self._app.conf.broker_connection_timeout = 4.0
        self._has_backend = bool(self._app.conf.result_backend)
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="celery")
        self._received: queue.Queue[Batch] = queue.Queue(MAX_BATCHES)
        self._wake: Callable[[], None] = lambda: None
        self._stop = threading.Event()
        self._receiver: threading.Thread | None = None
        self.connections = 0
        """How often the stream of events was begun: each time but the first, events were missed."""
        self.connected = False
        """Whether it runs now."""
        self._trouble = ""

    @property
    def place(self) -> str:
        """Where it is, without its password."""
        return str(self._app.connection_for_read().as_uri())

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(self._arrived.set)
            except RuntimeError:
                self._stop.set()  # the loop is closed: nobody listens any more

        self._wake = wake
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        if self._receiver is not None:
            await asyncio.to_thread(self._receiver.join, 5.0)
        self._threads.shutdown(wait=False, cancel_futures=True)

    # -- events

    async def listen(self) -> None:
        """Begin to receive events; `batches` has them. Returns once none is missed any more."""
        self._receiver = threading.Thread(target=self._receive, name="celery-events", daemon=True)
        self._receiver.start()
        try:
            async with asyncio.timeout(FIRST_CONNECTION):
                while not self.connections:
                    self._arrived.clear()
                    if not self.connections:
                        await self._arrived.wait()
                    if self._trouble and not self.connections:
                        raise BrokerAway(self._trouble)
        except TimeoutError:
            raise BrokerAway(f"no answer within {FIRST_CONNECTION:g} s") from None

    async def batches(self, within: float) -> list[Batch]:
        """What has come, at once when there is something; empty after `within` seconds."""
        if self._received.empty():
            self._arrived.clear()
            if self._received.empty():
                try:
                    async with asyncio.timeout(within):
                        await self._arrived.wait()
                except TimeoutError:
                    return []
        taken: list[Batch] = []
        while len(taken) < 100:
            try:
                taken.append(self._received.get_nowait())
            except queue.Empty:
                break
        return taken

    def _receive(self) -> None:
        tries = 0
        while not self._stop.is_set():
            before = self.connections
            try:
                self._receive_once()
            except Exception as error:  # noqa: BLE001 - a transport has errors of its own, and each ends a connection
                self._trouble = str(error) or type(error).__name__
                self.connected = False
                tries = 0 if self.connections > before else tries + 1
                wait = RETRY_DELAYS[min(tries, len(RETRY_DELAYS) - 1)]
                if not self._stop.is_set():
                    log.warning("no events from the broker: %s; tried again in %g s", error, wait)
                self._wake()
                self._stop.wait(wait)

    def _receive_once(self) -> None:
        with self._app.connection_for_read() as connection:
            connection.ensure_connection(max_retries=1, timeout=4.0)
            receiver = self._app.events.Receiver(connection, handlers={})
            channel = connection.channel()
            # Its own callback moves times into the zone of whoever reads them; ours takes the events as they are.
            queues = [receiver.queue]
            with connection.Consumer(
                queues, channel=channel, callbacks=[self._take], no_ack=True, accept=receiver.accept
            ):
                # A Redis is subscribed to only when events are waited for.
                with suppress(TimeoutError):
                    connection.drain_events(timeout=SUBSCRIBING)
                self.connections += 1
                self.connected = True
                self._wake()
                while not self._stop.is_set():
                    try:
                        connection.drain_events(timeout=0.5)
                    except TimeoutError:
                        connection.heartbeat_check()

    def _take(self, body: object, message: object) -> None:  # noqa: ARG002 - as kombu calls it
        several = cast("list[object]", body) if isinstance(body, list) else [body]
        batch = [cast("Mapping[str, Any]", each) for each in several if isinstance(each, dict)]
        while not self._stop.is_set():
            try:
                self._received.put(batch, timeout=0.5)
            except queue.Full:
                continue
            self._wake()
            return

    # -- control

    async def ask(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        of: Sequence[str] | None = None,
        expect: int | None = None,
        within: float = REPLY_TIMEOUT,
    ) -> Replies:
        """What each worker answers; an answer is None when it was an error, which `refusals` has. `of`: only these;
        otherwise all, and `expect` is how many there are."""
        limit = len(of) if of is not None else expect

        def call() -> list[dict[str, Any]]:
            answers: Any = self._app.control.broadcast(
                command,
                arguments=dict(arguments or {}),
                destination=list(of) if of is not None else None,
                reply=True,
                timeout=within,
                limit=limit or None,
            )
            return cast("list[dict[str, Any]]", answers or [])

        if of is not None and not of:
            return {}
        replies: Replies = {}
        for answer in await self._in_thread(call):
            replies.update(answer)
        return replies

    async def tell(self, command: str, arguments: Mapping[str, Any] | None = None) -> None:
        """Says something to all workers and waits for nobody."""

        def call() -> None:
            self._app.control.broadcast(command, arguments=dict(arguments or {}), reply=False)

        await self._in_thread(call)

    async def outcomes(self, uuids: Iterable[str]) -> dict[str, Outcome]:
        """What the result backend has of tasks; nothing where there is no backend."""
        if not self._has_backend:
            return {}

        def call() -> dict[str, Outcome]:
            found: dict[str, Outcome] = {}
            for uuid in uuids:
                try:
                    meta: Any = self._app.backend.get_task_meta(uuid, cache=False)
                except Exception as error:  # noqa: BLE001 - backends and decoders have errors of their own
                    # One result that cannot be read must not hide the others.
                    log.warning("the result of %s cannot be read: %s", uuid, error)
                    continue
                failed = meta.get("status") == "FAILURE"
                found[uuid] = Outcome(
                    str(meta.get("status")), repr(meta.get("result")) if failed else ""
                )
            return found

        return await self._in_thread(call)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except Exception as error:
            raise BrokerAway(str(error) or type(error).__name__) from error


def refusal(reply: object) -> str:
    """Why a worker did not do what it was told; empty when it did."""
    if isinstance(reply, dict) and "error" in reply:
        return str(cast("dict[str, object]", reply)["error"])
    return ""


def _app_of(path: str) -> Any:
    """The app that `module:attribute` names, as `celery -A` finds it."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    find: Any = import_module("celery.app.utils").find_app
    try:
        return find(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise NoApp(path, str(error)) from error
