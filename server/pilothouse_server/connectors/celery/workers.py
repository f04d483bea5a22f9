"""Workers and their queues: what each takes work from, what was asked for, and what the difference is.

Celery forgets what it is told once a worker ends: a worker that is started again takes work from all of its queues.
So what was asked for (`Desired`) is kept here and said to each worker that comes. What a worker takes work from when
nobody asked
for anything is its *home*; it is learnt from the worker when it comes, and from what was reported before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from pilothouse.v1.events_pb2 import AgentLoad, Event, EventType
from pilothouse_server.connectors.celery.signals import WorkerKind, WorkerSignal
from pilothouse_server.connectors.celery.telling import agent_type

HEARTBEAT_US = 10_000_000
"""Between two heartbeats of a worker that are reported while nothing changes."""
SILENT_US = 60_000_000
"""Without a heartbeat for longer a worker that did not say goodbye is gone. Celery's own come every 2 s."""
MAX_GONE = 2_000
"""Workers that are remembered though they are gone: those of containers come under a new name each time."""
HOMES = "homes"
_PIECE = 4000
_PIECES = 14

_T = EventType


@dataclass(slots=True)
class Worker:
    """One worker. Times are ours."""

    host: str
    online: bool = True
    seen_us: int = 0
    told_us: int = 0
    goodbye: bool = False
    """Whether it said that it ends; it finishes what it has in hand first."""
    active: int = 0
    told_active: int = -1
    capacity: int = 0
    queues: frozenset[str] = frozenset()
    """What it takes work from now."""
    home: set[str] = field(default_factory=set[str])
    """What it takes work from when nobody asked for anything."""
    announces: bool | None = None
    """Whether it tells what it sends (`task_send_sent_event`); None: not known."""
    restartable: bool = False
    """Whether its pool can be begun again (`worker_pool_restarts`)."""
    busy_with: tuple[str, str] = ("", "")
    """The workflow and the task that it began last."""


@dataclass(slots=True)
class Desired:
    """What operators asked for, that is so until they ask for something else."""

    paused: set[str] = field(default_factory=set[str])
    """Queues."""
    hold: bool = False
    """Whether nothing at all is to be taken."""
    draining: set[str] = field(default_factory=set[str])
    """Workers."""


class Workers:
    """All workers that were heard of; `report` takes what is told."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.all: dict[str, Worker] = {}
        self.desired = Desired()
        self._queue_states: dict[str, bool] = {}
        """Whether a queue was last told to be paused."""

    @property
    def online(self) -> dict[str, Worker]:
        """Those that are there."""
        return {host: worker for host, worker in self.all.items() if worker.online}

    @property
    def all_announce(self) -> bool:
        """Whether every worker tells what it sends, so that a next link is known before its task is told to have
        ended."""
        online = self.online.values()
        return bool(online) and all(worker.announces for worker in online)

    def should_take(self, worker: Worker) -> set[str]:
        """The queues of its home that nobody asked it to leave."""
        if self.desired.hold or worker.host in self.desired.draining:
            return set()
        return worker.home - self.desired.paused

    # -- what is heard

    def apply(self, signal: WorkerSignal, now_us: int) -> tuple[list[Event], bool]:
        """What a worker's own event says, and whether the worker is one that has to be looked at: new, or there
        again."""
        worker = self.all.get(signal.host)
        if signal.kind is WorkerKind.OFFLINE:
            if worker is None or not worker.online:
                return [], False
            worker.online, worker.goodbye = False, True
            return [
                self._agent(worker, _T.EVENT_TYPE_AGENT_OFFLINE, signal.time_us, "it was shut down")
            ], False
        back = worker is None or not worker.online or signal.kind is WorkerKind.ONLINE
        if worker is None:
            worker = self.all[signal.host] = Worker(signal.host)
            self._forget()
        worker.seen_us, worker.active = now_us, signal.active
        if back:
            worker.online, worker.goodbye = True, False
            # What it said of itself is of its life before.
            worker.queues, worker.announces = frozenset(), None
            return [], True
        return self._beat(worker, signal.time_us, now_us), False

    def silent(self, now_us: int, time_us: int) -> list[Event]:
        """Those that were not heard for long are gone."""
        told: list[Event] = []
        for worker in list(self.online.values()):
            if now_us - worker.seen_us > SILENT_US:
                worker.online = False
                said = f"no heartbeat for more than {SILENT_US // 1_000_000} s"
                told.append(self._agent(worker, _T.EVENT_TYPE_AGENT_OFFLINE, time_us, said))
        return told

    def heard_all(self, now_us: int) -> None:
        """Nobody could be heard until now: no silence before counts."""
        for worker in self.online.values():
            worker.seen_us = now_us

    def answered(
        self,
        host: str,
        now_us: int,
        *,
        queues: Iterable[str] | None = None,
        pool: Mapping[str, Any] | None = None,
        conf: Mapping[str, Any] | None = None,
    ) -> Worker:
        """What a worker that was asked said of itself."""
        worker = self.all.get(host)
        if worker is None:
            worker = self.all[host] = Worker(host)
        worker.online, worker.goodbye, worker.seen_us = True, False, now_us
        if queues is not None:
            worker.queues = frozenset(queues)
            worker.home |= worker.queues
        if pool is not None:
            worker.capacity = capacity_of(pool)
        if conf is not None:
            worker.announces = conf.get("task_send_sent_event") is True
            worker.restartable = conf.get("worker_pool_restarts") is True
        return worker

    def know_homes(self, homes: Mapping[str, Iterable[str]]) -> None:
        """What was reported before of where workers took their work from."""
        for host, queues in homes.items():
            worker = self.all.get(host)
            if worker is None:
                worker = self.all[host] = Worker(host, online=False)
            worker.home |= set(queues)

    def _forget(self) -> None:
        """Those that are gone longest, when they are too many; one that is to be drained when it comes back stays."""
        if len(self.all) <= MAX_GONE:
            return
        gone = [
            w for w in self.all.values() if not w.online and w.host not in self.desired.draining
        ]
        gone.sort(key=lambda worker: worker.seen_us, reverse=True)
        for worker in gone[MAX_GONE // 2 :]:
            del self.all[worker.host]

    # -- what is told

    def registered(self, worker: Worker, now_us: int, time_us: int, command_id: str = "") -> Event:
        """It is there, and takes work."""
        worker.told_us, worker.told_active = now_us, worker.active
        return self._agent(worker, _T.EVENT_TYPE_AGENT_REGISTERED, time_us, command_id=command_id)

    def drained(self, worker: Worker, time_us: int, command_id: str = "") -> Event:
        """It takes no more work."""
        event = self._agent(worker, _T.EVENT_TYPE_AGENT_DRAINING, time_us, command_id=command_id)
        event.attributes.update(packed({worker.host: worker.home}))
        return event

    def resized(self, worker: Worker, time_us: int, command_id: str) -> Event:
        """Its pool has another size."""
        return self._agent(worker, _T.EVENT_TYPE_AGENT_HEARTBEAT, time_us, command_id=command_id)

    def queue_states(self, time_us: int) -> list[Event]:
        """What changed of whether work is taken from queues. A hold of everything is a state of its own, so that each
        queue is after it as it was before."""
        told: list[Event] = []
        if "" not in self._queue_states and self.online:
            told.append(self.queue("", paused=self.held, time_us=time_us))
        if self.desired.hold:
            return told
        for name, paused in self.queues_now().items():
            if self._queue_states.get(name) != paused:
                told.append(self.queue(name, paused=paused, time_us=time_us))
        return told

    def queues_now(self) -> dict[str, bool]:
        """Each queue that is a home of a worker that is there and not draining, and whether none takes work from
        it."""
        takers = [w for w in self.online.values() if w.host not in self.desired.draining]
        taken = {name for worker in self.online.values() for name in worker.queues}
        return {name: name not in taken for name in sorted({n for w in takers for n in w.home})}

    @property
    def held(self) -> bool:
        """Whether everything is held, and no worker takes anything."""
        return self.desired.hold and not any(worker.queues for worker in self.online.values())

    def queue(self, name: str, *, paused: bool, time_us: int, command_id: str = "") -> Event:
        """Whether work is taken from a queue; an empty name is all of them."""
        self._queue_states[name] = paused
        kind = _T.EVENT_TYPE_QUEUE_PAUSED if paused else _T.EVENT_TYPE_QUEUE_ACTIVE
        event = Event(type=kind, source=self._source, queue=name, command_id=command_id)
        if paused:
            homes = {w.host: w.home & {name} if name else w.home for w in self.all.values()}
            event.attributes.update(packed(homes))
        event.occur_time.FromMicroseconds(time_us)
        return event

    def _beat(self, worker: Worker, time_us: int, now_us: int) -> list[Event]:
        if worker.active == worker.told_active and now_us - worker.told_us < HEARTBEAT_US:
            return []
        worker.told_us, worker.told_active = now_us, worker.active
        event = self._agent(worker, _T.EVENT_TYPE_AGENT_HEARTBEAT, time_us)
        if worker.active:
            event.workflow_id, event.task_id = worker.busy_with
        return [event]

    def _agent(
        self,
        worker: Worker,
        kind: EventType.ValueType,
        time_us: int,
        message: str = "",
        command_id: str = "",
    ) -> Event:
        event = Event(
            type=kind,
            source=self._source,
            agent_id=worker.host,
            agent_type=agent_type(worker.host),
            load=AgentLoad(active=worker.active, capacity=worker.capacity),
            message=message,
            command_id=command_id,
        )
        event.occur_time.FromMicroseconds(time_us)
        return event


def capacity_of(pool: Mapping[str, Any]) -> int:
    """How many tasks a pool can do at once, from a worker's `stats`; 0 is not known. A pool that grew or shrank shows
    it in its processes alone."""
    processes, limit = pool.get("processes"), pool.get("max-concurrency")
    if isinstance(processes, list) and "prefork" in str(pool.get("implementation")):
        return len(cast("list[object]", processes))
    return limit if isinstance(limit, int) and 0 < limit < 100_000 else 0


def packed(homes: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Homes as attributes of an event: JSON, in as many as it takes. What is more than an event can carry is left
    out."""
    pieces: list[dict[str, list[str]]] = [{}]
    for host, queues in sorted(homes.items()):
        names = sorted(queues)
        if not names:
            continue
        if len(json.dumps({**pieces[-1], host: names}).encode()) > _PIECE and pieces[-1]:
            pieces.append({})
        if len(json.dumps({host: names}).encode()) <= _PIECE:
            pieces[-1][host] = names
    return {
        f"{HOMES}.{number}" if number else HOMES: json.dumps(piece)
        for number, piece in enumerate(pieces[:_PIECES])
        if piece
    }


def unpacked(attributes: Mapping[str, str]) -> dict[str, set[str]]:
    """What `packed` made, read without trust."""
    homes: dict[str, set[str]] = {}
    for key, value in attributes.items():
        if key.partition(".")[0] != HOMES:
            continue
        try:
            read: object = json.loads(value)
        except ValueError:
            continue
        for host, queues in (
            cast("dict[str, object]", read) if isinstance(read, dict) else {}
        ).items():
            if isinstance(queues, list):
                named = cast("list[object]", queues)
                homes.setdefault(host, set()).update(
                    name for name in named if isinstance(name, str)
                )
    return homes
