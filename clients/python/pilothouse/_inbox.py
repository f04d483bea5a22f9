"""Commands on their way from the server to an engine: each accepted before the engine sees it, and seen once in a
process.

The stream is a watch, so a break loses nothing; what the server sends again, for a break or a new history, is known by
its id.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import TypeVar

from pilothouse._parts import MAX_NAME_BYTES, clip
from pilothouse.aio import Client
from pilothouse.errors import CallError, CommandEnded, ExecutorReplaced
from pilothouse.retry import Backoff, stream_may_resume
from pilothouse.v1.commands_pb2 import (
    AcceptCommandRequest,
    Capability,
    Command,
    CommandState,
    FailCommandRequest,
    WatchCommandsRequest,
)
from pilothouse.v1.events_pb2 import EventError
from pilothouse.watching import Item, WatchOptions

log = logging.getLogger("pilothouse.executor")

T = TypeVar("T")

RECENT = 10_000
"""Ids of commands that are remembered."""

PERSISTENCE = 300.0
"""Seconds for which an answer to a command without an expire_time is tried again."""


class Inbox:
    """The commands of one executor."""

    def __init__(
        self,
        client: Client,
        source: str,
        capabilities: Iterable[Capability],
        watch: WatchOptions,
    ) -> None:
        self._client = client
        self._source = source
        self._capabilities = capabilities
        self._watch = watch
        self._recent: OrderedDict[str, None] = OrderedDict()

    async def run(self, offer: Callable[[Command], Awaitable[None]]) -> ExecutorReplaced:
        """Give each command that is not known yet to `offer`, until cancelled or another executor takes over.

        A refusal of the stream itself (a wrong role, an old server) is logged and tried again later: it must not end
        the engine.
        """
        backoff = Backoff(1.0, 30.0)
        while True:
            request = WatchCommandsRequest(source=self._source, capabilities=self._capabilities)
            watch = self._client.watch(
                self._client.commands.WatchCommands, request, Command, self._watch
            )
            try:
                async with aclosing(aiter(watch)) as updates:
                    async for update in updates:
                        backoff.reset()
                        if isinstance(update, Item) and self._is_new(update.value.id):
                            await offer(update.value)
            except ExecutorReplaced as error:
                log.error("no more commands are taken: %s", error)  # noqa: TRY400 - the words say it all
                return error
            except CallError as error:
                log.error("commands cannot be taken, trying again: %s", error)  # noqa: TRY400 - the words say it all
                await asyncio.sleep(backoff.next(error.retry_after))

    def _is_new(self, command_id: str) -> bool:
        if command_id in self._recent:
            return False
        self._recent[command_id] = None
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)
        return True

    async def accept(self, command: Command) -> Command | None:
        """Take `command`; None when it is not to be done: it ended meanwhile, or is not ours."""
        request = AcceptCommandRequest(command_id=command.id, source=self._source)
        try:
            accepted = (
                await self._insist(lambda: self._client.commands.AcceptCommand(request), command)
            ).command
        except CommandEnded:
            log.info("command %s ended before it was taken", command.id)
            return None
        except CallError as error:
            log.warning("command %s was not taken: %s", command.id, error)
            # It was never given to the engine, so if the server offers it again it is new.
            self._recent.pop(command.id, None)
            return None
        return accepted if accepted.state == CommandState.COMMAND_STATE_ACCEPTED else None

    async def fail(
        self, command: Command, code: str, message: str, *, retryable: bool = False
    ) -> None:
        """Say that `command` cannot be done. One that has ended meanwhile stays as it ended."""
        error = EventError(
            code=clip(code, MAX_NAME_BYTES), message=clip(message), retryable=retryable
        )
        request = FailCommandRequest(command_id=command.id, source=self._source, error=error)
        try:
            await self._insist(lambda: self._client.commands.FailCommand(request), command)
        except CommandEnded:
            log.info("command %s ended before it was failed", command.id)
        except CallError as refusal:
            log.warning("command %s could not be failed: %s", command.id, refusal)

    async def _insist(self, call: Callable[[], Awaitable[T]], command: Command) -> T:
        """Repeat an answer, which is idempotent, until it gets through or `command` has expired."""
        clock = asyncio.get_running_loop().time
        left = (
            command.expire_time.ToNanoseconds() / 1e9 - time.time()
            if command.HasField("expire_time")
            else PERSISTENCE
        )
        deadline = clock() + min(left, PERSISTENCE)
        backoff = Backoff()
        while True:
            try:
                return await call()
            except CallError as error:
                delay = backoff.next(error.retry_after)
                if not stream_may_resume(error) or clock() + delay > deadline:
                    raise
            await asyncio.sleep(delay)
