"""Runs a connector: listens to the workers, asks them from time to time, reports, and obeys.

What is told while nobody listens is gone, so a connector that begins, or has its broker back, asks the server what was
running and the workers what is, and so finds what ended. From then on it looks again every `look_every` seconds for
tasks that a worker has no more and whose end nobody told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from pilothouse.aio import Client
from pilothouse.errors import CallError
from pilothouse.executor import Executor
from pilothouse.retry import Backoff
from pilothouse.v1.commands_pb2 import CommandBoundary, CommandScope
from pilothouse.v1.enums_pb2 import ControlAction
from pilothouse.v1.events_pb2 import Event
from pilothouse_server.connectors.celery import asking
from pilothouse_server.connectors.celery.broker import Broker, BrokerAway
from pilothouse_server.connectors.celery.canvas import Canvases
from pilothouse_server.connectors.celery.control import Control, now_us
from pilothouse_server.connectors.celery.options import CeleryOptions
from pilothouse_server.connectors.celery.recall import recall
from pilothouse_server.connectors.celery.signals import TaskKind, WorkerSignal, read
from pilothouse_server.connectors.celery.workers import Workers

log = logging.getLogger("pilothouse.celery")

TICK = 0.1
"""Seconds between two looks at what is due."""
LINGER_ANNOUNCED_US = 250_000
"""What a workflow of which nothing is open waits for when its workers tell what they send: events under way."""
UNKNOWN_AFTER = 0.5
"""Seconds between two questions about tasks that nobody introduced."""
UNHEARD = 500
"""Tasks that waited when events were missed whose results are asked for in one round."""
WELCOMES = 40
"""How often a worker that comes is asked what it is, before it is left to the next round."""


class CeleryConnector:
    """One app's connector; `run` it."""

    def __init__(self, options: CeleryOptions) -> None:
        self._options = options
        self._broker = Broker(
            options.broker, app=options.app, result_backend=options.result_backend
        )
        self._canvases = Canvases(options.source)
        self._workers = Workers(options.source)
        self._executor = Executor(options.server, source=options.source)
        self._control = Control(self._broker, self._canvases, self._workers, self._report)
        self._round_now = asyncio.Event()
        self._welcoming: set[str] = set()
        self._said = dict(self.counts)
        self._gap_us = 0
        """Until when events were missed last."""

    @property
    def counts(self) -> Mapping[str, int]:
        """What could not be told so far."""
        counts = self._canvases.counts
        return {
            "forgotten_workflows": counts.forgotten,
            "unmatched_signals": counts.unmatched,
            "reopened_workflows": counts.reopened,
        }

    @property
    def place(self) -> str:
        """The broker, without its password."""
        return self._broker.place

    async def run(self, stop: asyncio.Event, ready: asyncio.Event | None = None) -> None:
        """Until `stop` is set, or another connector of this source took over: two would tell workers to take and to
        leave the same queues, each by what it was asked. `ready` is set once commands are taken. Raises BrokerAway when
        the broker is not there at the start; one that goes later is waited for."""
        async with self._broker, Client(self._options.server) as client:
            await self._broker.listen()
            working = asyncio.create_task(self._work(client, ready))
            stopping = asyncio.create_task(stop.wait())
            replaced = asyncio.create_task(self._replaced())
            try:
                ends = {working, stopping, replaced}
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopping.cancel()
                replaced.cancel()
                working.cancel()
                with suppress(asyncio.CancelledError):
                    await working

    async def _work(self, client: Client, ready: asyncio.Event | None) -> None:
        await self._recall(client)
        self._offer()
        await self._round()
        self._offer_restart()
        async with self._executor, asyncio.TaskGroup() as group:
            if ready is not None:
                ready.set()
            for each in (self._follow(group), self._ticks(), self._unknowns(), self._rounds()):
                group.create_task(each)

    async def _replaced(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            if self._executor.replaced:
                source = self._options.source
                log.error("another connector of %s took over, so this one ends", source)
                return

    # -- what is there at the start

    async def _recall(self, client: Client) -> None:
        backoff = Backoff(0.5, 10.0)
        while True:
            try:
                recalled = await recall(client, self._options.source)
            except CallError as error:
                delay = backoff.next(error.retry_after)
                log.warning("the server cannot be asked: %s; tried again in %.1f s", error, delay)
                await asyncio.sleep(delay)
                continue
            self._workers.desired = recalled.desired
            self._workers.know_homes(recalled.homes)
            for root in recalled.roots:
                self._canvases.seed(root, now_us())
            self._gap_us = now_us()
            return

    def _offer(self) -> None:
        """What Celery can do. One workflow cannot be paused, so that is not offered."""
        action, scope, when = ControlAction, CommandScope, CommandBoundary
        run, queue = scope.COMMAND_SCOPE_RUN, scope.COMMAND_SCOPE_QUEUE
        pool, fleet = scope.COMMAND_SCOPE_POOL, scope.COMMAND_SCOPE_FLEET
        now, step = when.COMMAND_BOUNDARY_IMMEDIATE, when.COMMAND_BOUNDARY_STEP
        control, on = self._control, self._executor.on
        on(action.CONTROL_ACTION_CANCEL, scope=run, boundary=now)(control.cancel)
        on(action.CONTROL_ACTION_PAUSE, scope=queue, boundary=step)(control.pause_queue)
        on(action.CONTROL_ACTION_RESUME, scope=queue, boundary=now)(control.resume_queue)
        on(action.CONTROL_ACTION_PAUSE, scope=fleet, boundary=step)(control.pause_all)
        on(action.CONTROL_ACTION_RESUME, scope=fleet, boundary=now)(control.resume_all)
        on(action.CONTROL_ACTION_DRAIN, scope=pool, boundary=step)(control.drain)
        on(action.CONTROL_ACTION_ACTIVATE, scope=pool, boundary=now)(control.activate)
        on(action.CONTROL_ACTION_RESIZE, scope=pool, boundary=step)(control.resize)

    def _offer_restart(self) -> None:
        """Only where a worker that is there at the start allows it."""
        if any(worker.restartable for worker in self._workers.all.values()):
            self._executor.on(
                ControlAction.CONTROL_ACTION_RESTART,
                scope=CommandScope.COMMAND_SCOPE_POOL,
                boundary=CommandBoundary.COMMAND_BOUNDARY_STEP,
            )(self._control.restart)

    # -- what happens

    async def _follow(self, group: asyncio.TaskGroup) -> None:
        begun = self._broker.connections
        while True:
            batches = await self._broker.batches(within=1.0)
            if self._broker.connections != begun:
                begun = self._broker.connections
                log.warning("the broker is back; what was told meanwhile was missed")
                self._gap_us = now_us()
                self._workers.heard_all(self._gap_us)
                self._round_now.set()
            for batch in batches:
                for body in batch:
                    self._apply(body, group)
                await asyncio.sleep(0)

    def _apply(self, body: Mapping[str, Any], group: asyncio.TaskGroup) -> None:
        signal, now = read(body), now_us()
        if isinstance(signal, WorkerSignal):
            told, is_new = self._workers.apply(signal, now)
            self._tell(told)
            if is_new:
                self._spawn(group, signal.host)
        elif signal is not None:
            self._tell(self._canvases.apply(signal, now))
            worker = self._workers.all.get(signal.host)
            if worker is not None and signal.kind is TaskKind.STARTED:
                task = self._canvases.tasks.get(signal.uuid)
                worker.busy_with = (task.root, task.uuid) if task else ("", "")

    def _spawn(self, group: asyncio.TaskGroup, host: str) -> None:
        if host not in self._welcoming:
            self._welcoming.add(host)
            group.create_task(self._welcomed(host))

    async def _welcomed(self, host: str) -> None:
        try:
            for _ in range(WELCOMES):
                with suppress(BrokerAway):
                    if await self._welcome(host):
                        return
                await asyncio.sleep(0.1)
            log.warning("%s came and does not answer; it is asked again with the others", host)
        finally:
            self._welcoming.discard(host)

    async def _welcome(self, host: str) -> bool:
        """Learns what a worker is, and says to it again what was asked of it. False when it does not answer, or does
        not take work yet and may be about to."""
        about = await asking.about(self._broker, host)
        if about is None:
            return False
        worker = self._workers.answered(
            host, now_us(), queues=about.queues, pool=about.pool, conf=about.conf
        )
        if about.events_were_off:
            log.warning(
                "the task events of %s were off: they are on until it ends (start it with -E)", host
            )
        self._report(self._workers.registered(worker, now_us(), now_us()))
        if not worker.queues <= self._workers.should_take(worker):
            log.info("%s is told again what to leave", host)
            await self._control.enforce([host])
            await self._control.enforce([host])
        if host in self._workers.desired.draining:
            self._report(self._workers.drained(worker, now_us()))
        self._tell(self._workers.queue_states(now_us()))
        cancelled = [r for r in self._canvases.roots.values() if r.cancel and r.open]
        self._canvases.to_revoke.update(*(root.open for root in cancelled))
        if unbegun := self._canvases.revoked_unbegun():
            await self._control.revoke_again(host, unbegun)
        return bool(worker.queues or not self._workers.should_take(worker))

    # -- what time brings

    async def _ticks(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            now = now_us()
            linger = round(self._options.linger * 1_000_000)
            if self._workers.all_announce:
                linger = min(linger, LINGER_ANNOUNCED_US)
            self._tell(self._canvases.due(now, linger))
            if self._broker.connected:
                self._tell(self._workers.silent(now, now))

    async def _unknowns(self) -> None:
        while True:
            await asyncio.sleep(UNKNOWN_AFTER)
            with suppress(BrokerAway):
                await self._ask_unknown()
                await self._revoke_late()

    async def _ask_unknown(self) -> None:
        ids = list(self._canvases.unknown)[:500]
        if not ids:
            return
        found = await asking.known(self._broker, ids, len(self._workers.online))
        for each in found:
            self._tell(self._canvases.found(each, now_us(), now_us()))
        for uuid in set(ids) - {each.uuid for each in found}:
            self._canvases.not_found(uuid)

    async def _revoke_late(self) -> None:
        tasks = self._canvases.tasks
        late = {uuid for uuid in self._canvases.to_revoke if uuid in tasks and tasks[uuid].open}
        self._canvases.to_revoke = late
        if late:
            await self._control.revoke(late)

    async def _rounds(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._options.look_every):
                    await self._round_now.wait()
            self._round_now.clear()
            with suppress(BrokerAway):
                await self._round()

    async def _round(self) -> None:
        """Asks all workers what they have and take."""
        seen = await asking.round_of(self._broker, self._workers.online)
        for host in seen.hosts:
            known = self._workers.all.get(host)
            if known is None or not known.online or known.announces is None:
                if host not in self._welcoming:
                    await self._welcome(host)
            else:
                self._workers.answered(
                    host, now_us(), queues=seen.queues.get(host), pool=seen.pools.get(host)
                )
        self._tell(self._workers.queue_states(now_us()))
        for found in seen.tasks.values():
            self._tell(self._canvases.found(found, now_us(), now_us()))
        missing = asking.missing(self._canvases, self._workers, seen, now_us())
        if missing:
            outcomes = await self._broker.outcomes(task.uuid for task in missing)
            for task in missing:
                kind, error = asking.supposed(task, self._workers, outcomes.get(task.uuid))
                self._tell(self._canvases.suppose_ended(task, now_us(), now_us(), kind, error))
        await self._unheard(seen)
        if self.counts != self._said:
            self._said = dict(self.counts)
            log.warning("so far could not be told: %s", self._said)

    async def _unheard(self, seen: asking.Round) -> None:
        """Ends what waited when events were missed, and has a result."""
        tasks = asking.unheard(self._canvases, seen, self._gap_us, UNHEARD)
        outcomes = await self._broker.outcomes(task.uuid for task in tasks) if tasks else {}
        for task in tasks:
            outcome = outcomes.get(task.uuid)
            # What is heard of it while it is asked for says more.
            if outcome is None or not outcome.ended or task.touched_us > self._gap_us:
                continue
            kind, error = asking.supposed(task, self._workers, outcome)
            self._tell(self._canvases.suppose_ended(task, now_us(), now_us(), kind, error))

    def _tell(self, events: Iterable[Event]) -> None:
        for event in events:
            self._report(event)

    def _report(self, event: Event) -> None:
        self._executor.report(event)
