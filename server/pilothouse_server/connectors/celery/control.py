"""Commands, carried out by Celery's own remote control.

A command is taken as done only when the workers show it: their queues, their pool, or the end of their tasks. Until
then what they lack is said to them again, for as long as the command lives. What is asked for stays asked for: see
`workers`.

- A queue is paused by every worker leaving it; what a worker took out of it before is still done.
- A workflow is cancelled by revoking all of its tasks that are known, and each that comes after. A task that has not
  started is over when every worker knows that it is revoked; one that runs is terminated, and over when its worker
  says so.
- One workflow cannot be paused: Celery has no such thing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from itertools import chain, repeat
from typing import Any, cast

from pilothouse.executor import CommandRefused
from pilothouse.v1.commands_pb2 import Command
from pilothouse.v1.events_pb2 import Event
from pilothouse_server.connectors.celery.broker import Broker, BrokerAway, refusal
from pilothouse_server.connectors.celery.canvas import Canvases
from pilothouse_server.connectors.celery.records import RootSeen
from pilothouse_server.connectors.celery.workers import Worker, Workers, capacity_of

log = logging.getLogger("pilothouse.celery")

LIFE = 60.0
"""Seconds that a command without an end is worked on."""
WAITS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds between two looks at what is not so yet."""
CANCEL_WAITS = (0.2, 0.5, 1.0, 2.0)
"""The same for tasks that are to end: a worker that was told needs no reminder for a while."""
POOL_SETTLES = 6.0
"""Seconds in which a pool becomes as large as it was told: it looks after itself every 5 s."""
MAX_REVOKED = 5_000
"""Tasks that are revoked in one message."""

Report = Callable[[Event], object]


def now_us() -> int:
    """The clock."""
    return time.time_ns() // 1000


class Control:
    """Carries out commands; each method is a handler of the executor's."""

    def __init__(
        self, broker: Broker, canvases: Canvases, workers: Workers, report: Report
    ) -> None:
        self._broker, self._canvases, self._workers = broker, canvases, workers
        self._report = report
        self._gathered: set[str] = set()
        self._revoking = asyncio.Lock()
        self._cannot: dict[str, str] = {}
        """Workers that could not do what they were last told to, and why."""

    # -- workflows

    async def cancel(self, command: Command) -> None:
        """CANCEL of one workflow."""
        root_id = command.workflow_id
        if self._canvases.cancel(root_id, command.id) is None:
            raise CommandRefused("UNKNOWN_RUN", "no task of it is known to be open")
        async with self._lasting(command):
            for wait in chain(CANCEL_WAITS, repeat(CANCEL_WAITS[-1])):
                root = self._canvases.roots.get(root_id)
                if root is None or root.ended or not root.open:
                    return
                with suppress(BrokerAway):
                    await self.revoke(root.open)
                    self._give_up(root)
                await asyncio.sleep(wait)

    async def revoke(self, uuids: Iterable[str]) -> None:
        """Revokes tasks, and notes those that will not start. What is asked for while workers are told is told to them
        together next, so that a thousand cost little more than one."""
        self._gathered.update(uuids)
        async with self._revoking:
            if self._gathered:
                ids, self._gathered = sorted(self._gathered), set()
                for first in range(0, len(ids), MAX_REVOKED):
                    await self._revoke(ids[first : first + MAX_REVOKED])

    async def revoke_again(self, host: str, uuids: Sequence[str]) -> None:
        """Says to a worker that comes what was revoked before it did, and may be in its queues."""
        for first in range(0, len(uuids), MAX_REVOKED):
            arguments = {"task_id": list(uuids[first : first + MAX_REVOKED]), "terminate": False}
            await self._broker.ask("revoke", arguments, of=[host])

    async def _revoke(self, ids: list[str]) -> None:
        running = {uuid for uuid in ids if self._is_running(uuid)}
        online = self._workers.online
        arguments = {"task_id": ids, "terminate": bool(running), "signal": "SIGTERM"}
        replies = await self._broker.ask("revoke", arguments, expect=len(online))
        self._cannot = {host: why for host, reply in replies.items() if (why := refusal(reply))}
        if set(online) <= set(replies):
            told = self._canvases.revoked(set(ids) - running, now_us(), now_us())
            self._tell(told)

    def _give_up(self, root: RootSeen) -> None:
        """Fails the command when a worker that runs one of its tasks said that it cannot end it."""
        running = {self._host_of(uuid) for uuid in root.open if self._is_running(uuid)}
        for host in sorted(running & set(self._cannot)):
            self._canvases.cancel_given_up(root.id)
            raise CommandRefused(
                "CANNOT_TERMINATE",
                f"{host} cannot end a task that runs: {self._cannot[host]}. "
                "What had not started is revoked.",
            )

    def _is_running(self, uuid: str) -> bool:
        task = self._canvases.tasks.get(uuid)
        newest = task.newest if task else None
        return newest is not None and newest.started

    def _host_of(self, uuid: str) -> str:
        newest = self._canvases.tasks[uuid].newest
        return newest.host if newest else ""

    # -- queues

    async def pause_queue(self, command: Command) -> None:
        """PAUSE of a queue."""
        name, desired = command.queue, self._workers.desired
        self._known_queue(name)
        desired.paused.add(name)

        async def undo() -> None:
            desired.paused.discard(name)
            await self.enforce(adding={name})

        async with self._lasting(command, undo):
            online = self._workers.online
            await self._until(lambda: not any(name in each.queues for each in online.values()))
            self._report(
                self._workers.queue(name, paused=True, time_us=now_us(), command_id=command.id)
            )

    async def resume_queue(self, command: Command) -> None:
        """RESUME of a queue."""
        name = command.queue
        self._known_queue(name)
        if self._workers.desired.hold:
            raise CommandRefused("HELD", "the engine takes no work at all: resume the engine first")
        self._workers.desired.paused.discard(name)
        self._know_home()
        takers = [each for each in self._workers.online.values() if name in each.home]
        async with self._lasting(command):
            await self._until(
                lambda: all(
                    name in w.queues or w.host in self._workers.desired.draining for w in takers
                ),
                adding={name},
            )
            event = self._workers.queue(name, paused=False, time_us=now_us(), command_id=command.id)
            self._report(event)

    async def pause_all(self, command: Command) -> None:
        """PAUSE of everything."""
        _whole(command)
        self._workers.desired.hold = True

        async def undo() -> None:
            self._workers.desired.hold = False
            await self.enforce(adding=None)

        async with self._lasting(command, undo):
            await self._until(lambda: self._workers.held)
            event = self._workers.queue("", paused=True, time_us=now_us(), command_id=command.id)
            self._report(event)

    async def resume_all(self, command: Command) -> None:
        """RESUME of everything."""
        _whole(command)
        self._know_home()
        self._workers.desired.hold = False
        async with self._lasting(command):
            await self._until(self._all_take, adding=None)
            event = self._workers.queue("", paused=False, time_us=now_us(), command_id=command.id)
            self._report(event)
            self._tell(self._workers.queue_states(now_us()))

    def _known_queue(self, name: str) -> None:
        homes = {name for each in self._workers.all.values() for name in each.home}
        if name not in homes:
            said = ", ".join(sorted(homes)[:20]) or "none"
            raise CommandRefused("UNKNOWN_QUEUE", f"no worker took work from {name}; known: {said}")

    def _know_home(self) -> None:
        for worker in self._workers.online.values():
            if not worker.home and not worker.queues:
                raise CommandRefused(
                    "HOME_UNKNOWN",
                    f"it is not known any more what {worker.host} took work from: start it again",
                )

    def _all_take(self) -> bool:
        return all(
            self._workers.should_take(worker) <= worker.queues
            for worker in self._workers.online.values()
        )

    # -- workers

    async def drain(self, command: Command) -> None:
        """DRAIN of a worker."""
        worker = self._online(command)
        draining = self._workers.desired.draining
        draining.add(worker.host)

        async def undo() -> None:
            draining.discard(worker.host)
            await self.enforce([worker.host], adding=None)

        async with self._lasting(command, undo):
            await self._until(lambda: not worker.queues, [worker.host])
            self._report(self._workers.drained(worker, now_us(), command.id))
            self._tell(self._workers.queue_states(now_us()))

    async def activate(self, command: Command) -> None:
        """ACTIVATE of a worker."""
        worker = self._online(command)
        self._know_home()
        self._workers.desired.draining.discard(worker.host)
        async with self._lasting(command):
            await self._until(
                lambda: self._workers.should_take(worker) <= worker.queues,
                [worker.host],
                adding=None,
            )
            self._report(self._workers.registered(worker, now_us(), now_us(), command.id))
            self._tell(self._workers.queue_states(now_us()))

    async def resize(self, command: Command) -> None:
        """RESIZE of a worker's pool. It shrinks by processes that do nothing, so it may have to wait for them."""
        worker, size = self._online(command), int(command.pool_size)
        async with self._lasting(command):
            while (capacity := capacity_of(await self._pool(worker.host))) != size:
                if not capacity:
                    said = f"the pool of {worker.host} does not say how large it is"
                    raise CommandRefused("NO_SIZE", said)
                if capacity < size:
                    await self._order(worker.host, "pool_grow", {"n": size - capacity})
                else:
                    shrink = {"n": capacity - size}
                    await self._order(worker.host, "pool_shrink", shrink, may_fail="busy")
                await self._settled(worker.host, size)
            worker.capacity = size
            self._report(self._workers.resized(worker, now_us(), command.id))

    async def _settled(self, host: str, size: int) -> None:
        """Waits for the size, but no longer than a pool takes to become what it was told: asking more of it before
        would be added to that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(POOL_SETTLES):
                for wait in _waits():
                    if capacity_of(await self._pool(host)) == size:
                        return
                    await asyncio.sleep(wait)

    async def restart(self, command: Command) -> None:
        """RESTART of a worker's pool, where `worker_pool_restarts` is set. Celery begins one process anew at once,
        which shows that it was understood, and each other after its next task."""
        worker = self._online(command)
        if not worker.restartable:
            raise CommandRefused(
                "NOT_ENABLED",
                f"{worker.host} runs without worker_pool_restarts, so its pool cannot be",
            )
        async with self._lasting(command):
            before = _processes(await self._pool(worker.host))
            await self._order(worker.host, "pool_restart", {"reload": False})
            for wait in _waits():
                processes = _processes(await self._pool(worker.host))
                if processes - before:
                    break
                await asyncio.sleep(wait)
            self._report(self._workers.registered(worker, now_us(), now_us(), command.id))

    def _online(self, command: Command) -> Worker:
        worker = self._workers.online.get(command.agent_id)
        if worker is None:
            raise CommandRefused(
                "WORKER_OFFLINE", f"{command.agent_id} is not there", retryable=True
            )
        return worker

    async def _pool(self, host: str) -> Mapping[str, Any]:
        replies = await self._broker.ask("stats", of=[host])
        stats: Any = replies.get(host)
        return pool_of(stats)

    async def _order(
        self, host: str, verb: str, arguments: Mapping[str, Any], *, may_fail: str = ""
    ) -> None:
        reply = (await self._broker.ask(verb, arguments, of=[host])).get(host)
        why = refusal(reply)
        if why and not (may_fail and may_fail in why):
            raise CommandRefused("REFUSED", f"{host}: {why}")

    # -- what workers take

    async def enforce(
        self, hosts: Iterable[str] | None = None, *, adding: Collection[str] | None = ()
    ) -> None:
        """Says to workers what they are to leave, and of `adding` (None: of all) what they are to take; then looks."""
        online = self._workers.online
        concerned = [online[host] for host in (hosts or online) if host in online]
        leave: defaultdict[str, list[str]] = defaultdict(list)
        take: defaultdict[str, list[str]] = defaultdict(list)
        for worker in concerned:
            should = self._workers.should_take(worker)
            for name in worker.queues - should:
                leave[name].append(worker.host)
            for name in should - worker.queues:
                if adding is None or name in adding:
                    take[name].append(worker.host)
        for verb, told in (("cancel_consumer", leave), ("add_consumer", take)):
            for name, whom in told.items():
                await self._broker.ask(verb, {"queue": name}, of=whom)
        await self.look([worker.host for worker in concerned])

    async def look(self, hosts: Iterable[str]) -> None:
        """What they take work from now."""
        replies = await self._broker.ask("active_queues", of=list(hosts))
        for host, reply in replies.items():
            if isinstance(reply, list):
                self._workers.answered(host, now_us(), queues=names_of(cast("list[object]", reply)))

    async def _until(
        self,
        done: Callable[[], bool],
        hosts: Iterable[str] | None = None,
        *,
        adding: Collection[str] | None = (),
    ) -> None:
        for wait in _waits():
            # Without the broker it is tried again, for as long as the command lives.
            with suppress(BrokerAway):
                await self.enforce(hosts, adding=adding)
                if done():
                    return
            await asyncio.sleep(wait)

    # -- time

    @asynccontextmanager
    async def _lasting(
        self, command: Command, undo: Callable[[], Awaitable[None]] | None = None
    ) -> AsyncGenerator[None]:
        """For as long as the command lives. When it does not come about in time, or a worker refuses, it is undone."""
        left = LIFE
        if command.HasField("expire_time"):
            left = max(0.0, command.expire_time.ToMicroseconds() / 1e6 - time.time())
        try:
            async with asyncio.timeout(left):
                yield
        except TimeoutError:
            log.warning("command %s had no effect in time", command.id)
            if undo is not None:
                with suppress(BrokerAway):
                    await undo()
        except BrokerAway as away:
            raise CommandRefused(
                "BROKER_AWAY", f"the broker cannot be reached: {away}", retryable=True
            ) from away

    def _tell(self, events: Iterable[Event]) -> None:
        for event in events:
            self._report(event)


def _waits() -> Iterable[float]:
    yield from WAITS
    while True:
        yield WAITS[-1]


def _whole(command: Command) -> None:
    if command.workflow_type or command.agent_type:
        raise CommandRefused(
            "NOT_SELECTIVE", "Celery can hold queues, not one type of workflow or worker"
        )


def names_of(queues: Iterable[object]) -> set[str]:
    """The names in a worker's `active_queues`."""
    found: set[str] = set()
    for each in queues:
        name: object = (
            cast("dict[str, object]", each).get("name") if isinstance(each, dict) else None
        )
        if isinstance(name, str):
            found.add(name)
    return found


def pool_of(stats: object) -> Mapping[str, Any]:
    """The pool in a worker's `stats`."""
    pool: object = cast("dict[str, object]", stats).get("pool") if isinstance(stats, dict) else None
    return cast("dict[str, Any]", pool) if isinstance(pool, dict) else {}


def _processes(pool: Mapping[str, Any]) -> set[int]:
    listed = pool.get("processes")
    named = cast("list[object]", listed) if isinstance(listed, list) else []
    return {pid for pid in named if isinstance(pid, int)}
