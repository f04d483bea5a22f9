"""From Celery's events to those of workflows and tasks, exactly, as far as Celery says enough.

*Which workflow.* What Celery calls the root of a task is its workflow. Only task-sent and task-received name it; what
else is told of a task is joined with those by its id. A task whose beginning was missed is asked of its worker, which
has everything but the root: then it is a workflow of its own, and says so.

*Which attempt.* Celery's retries are attempts. The retry of an attempt may be received, begun and even ended by
another process before the attempt is told to be retried: so that is told of the oldest that was begun, and an end for
good of the newest. What is given out again without a retry is an attempt more.

*When a workflow ends.* When no task of it that is known is open. The next link of a chain is put into its queue
before the task before it is told to have ended; whether it is known by then depends on who says so. With
`task_send_sent_event` its sender does, in time. Without, the worker that receives it does, which may be late when its
queue is long: so after `linger` the workflow is over, and a task that comes after all opens it again, as its next
attempt."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pilothouse.reporting import clip
from pilothouse.v1.events_pb2 import Event, EventError, EventType
from pilothouse_server.connectors.celery.records import Attempt, End, Found, RootSeen, TaskSeen
from pilothouse_server.connectors.celery.signals import TaskKind, TaskSignal, exception_words
from pilothouse_server.connectors.celery.telling import Teller

MAX_TASKS = 100_000
"""Tasks that are remembered; those of workflows that ended go first, and then the oldest."""
MAX_UNKNOWN = 10_000
"""Signals that are kept until somebody knows their task."""

_T = EventType


@dataclass(slots=True)
class Counts:
    """What could not be told."""

    forgotten: int = 0
    """Workflows that had not ended and were too many."""
    unmatched: int = 0
    """Signals about tasks that nobody knows."""
    reopened: int = 0
    """Workflows of which a task came after their end."""


class Canvases:
    """The fold. Times of signals are the workers'; `now_us` is ours, and decides only when nothing more is waited
    for."""

    def __init__(
        self, source: str, *, max_tasks: int = MAX_TASKS, max_unknown: int = MAX_UNKNOWN
    ) -> None:
        self.counts = Counts()
        self.tasks: dict[str, TaskSeen] = {}
        self.roots: OrderedDict[str, RootSeen] = OrderedDict()
        self.unknown: dict[str, list[TaskSignal]] = defaultdict(list)
        """Signals of tasks that are not known, to be asked of workers."""
        self.to_revoke: set[str] = set()
        """Tasks that came of a workflow that is cancelled."""
        self._held = 0
        self._quiet: dict[str, RootSeen] = {}
        self._over: OrderedDict[str, RootSeen] = OrderedDict()
        self._tell = Teller(source)
        self._max_tasks, self._max_unknown = max_tasks, max_unknown

    # -- what is heard

    def apply(self, signal: TaskSignal, now_us: int) -> list[Event]:
        """What a signal says that is new."""
        told: list[Event] = []
        task = self.tasks.get(signal.uuid)
        if task is None:
            if signal.kind not in (TaskKind.SENT, TaskKind.RECEIVED):
                self._hold(signal)
                return told
            task = self._begin(signal)
            told += self._apply(task, signal, now_us)
            for held in self._take_held(signal.uuid):
                told += self._apply(task, held, now_us)
            return told
        return self._apply(task, signal, now_us)

    def found(self, found: Found, now_us: int, time_us: int) -> list[Event]:
        """What a worker shows that it has."""
        task = self.tasks.get(found.uuid)
        told: list[Event] = []
        start_us = found.start_us or time_us
        if task is None:
            received = TaskSignal(
                TaskKind.RECEIVED,
                found.uuid,
                found.host,
                start_us,
                found.name,
                found.uuid,
                queue=found.queue,
            )
            task = self._begin(received, root_known=False)
            told += self._apply(task, received, now_us)
        newest = task.newest
        if found.active and (newest is None or not newest.started):
            started = TaskSignal(TaskKind.STARTED, found.uuid, found.host, start_us)
            told += self._apply(task, started, now_us)
        for held in self._take_held(found.uuid):
            told += self._apply(task, held, now_us)
        task.missing, task.touched_us = 0, now_us
        return told

    def not_found(self, uuid: str) -> None:
        """No worker knows of it: what was held of it is given up, and counted."""
        self.counts.unmatched += len(self._take_held(uuid))

    def seed(self, root: RootSeen, now_us: int) -> None:
        """What the server knows of a workflow that had not ended."""
        if root.id in self.roots:
            return
        self.roots[root.id] = root
        for task in root.tasks.values():
            task.touched_us = now_us
            self.tasks[task.uuid] = task
            if task.open:
                root.open.add(task.uuid)
        self._mind(root, now_us)

    # -- what is decided

    def due(self, now_us: int, linger_us: int) -> list[Event]:
        """The ends of workflows of which nothing was open for `linger_us`; of one that is cancelled at once,
        since what comes of it is revoked."""
        told: list[Event] = []
        for root in list(self._quiet.values()):
            if now_us - root.quiet_us < (0 if root.cancel and root.revoked else linger_us):
                continue
            del self._quiet[root.id]
            root.ended, root.quiet_us = True, 0
            self._over[root.id] = root
            told.append(self._end_of(root))
            if not root.revoked:
                # It went another way before it could be cancelled, so what comes of it still is not cancelled either.
                root.cancel = ""
        return told

    def suppose_ended(
        self,
        task: TaskSeen,
        now_us: int,
        time_us: int,
        kind: EventType.ValueType,
        error: EventError | None,
    ) -> list[Event]:
        """A task that no worker has any more, and whose end nobody told."""
        attempt = task.newest
        if attempt is None or attempt.end is not End.NOT:
            return []
        return self._close(task, attempt, kind, time_us, now_us, error=error, supposed=True)

    def cancel(self, root_id: str, command_id: str) -> list[TaskSeen] | None:
        """The open tasks of a workflow that is cancelled from now on; None when it is not known or has ended."""
        root = self.roots.get(root_id)
        if root is None or root.ended:
            return None
        root.cancel = command_id
        return [root.tasks[uuid] for uuid in sorted(root.open)]

    def revoked_unbegun(self) -> list[str]:
        """Tasks that were revoked before they began: they may still be in a queue, and a worker that comes does not
        know that they are."""
        cancelled = [root for root in self.roots.values() if root.cancel]
        tasks = [task for root in cancelled for task in root.tasks.values()]
        return [task.uuid for task in tasks if not any(a.started for a in task.attempts.values())]

    def cancel_given_up(self, root_id: str) -> None:
        """Some of its tasks cannot be stopped: what comes of it goes on."""
        root = self.roots.get(root_id)
        if root is not None:
            root.cancel = ""

    def revoked(self, uuids: Iterable[str], now_us: int, time_us: int) -> list[Event]:
        """All workers know that these are revoked: those that have not started will not."""
        told: list[Event] = []
        for task in [self.tasks[uuid] for uuid in uuids if uuid in self.tasks]:
            attempt = task.newest
            if attempt is not None and attempt.end is End.NOT and not attempt.started:
                self.roots[task.root].revoked = True
                told += self._close(task, attempt, _T.EVENT_TYPE_TASK_CANCELLED, time_us, now_us)
        return told

    # -- one signal

    def _apply(self, task: TaskSeen, signal: TaskSignal, now_us: int) -> list[Event]:
        task.touched_us, task.missing = now_us, 0
        match signal.kind:
            case TaskKind.SENT | TaskKind.RECEIVED:
                told = self._come(task, signal)
            case TaskKind.STARTED:
                told = self._started(task, signal)
            case TaskKind.REJECTED | TaskKind.CANCELLED if (
                signal.requeue or signal.kind is TaskKind.CANCELLED
            ):
                told = self._given_back(task, signal)
            case _:
                told = self._ended(task, signal, now_us)
        root = self.roots[task.root]
        (root.open.add if task.open else root.open.discard)(task.uuid)
        self._mind(root, now_us)
        return told

    def _come(self, task: TaskSeen, signal: TaskSignal) -> list[Event]:
        root, received = self.roots[task.root], signal.kind is TaskKind.RECEIVED
        told: list[Event] = []
        replaced = bool(task.name) and signal.name != task.name
        task.name = signal.name or task.name
        task.queue = signal.queue or task.queue
        if task.uuid == root.id:
            root.type = root.type or task.name
        number, again = self._number(task, signal, replaced=replaced)
        attempt = task.attempt(number)
        if again:
            told.append(self._again(root, task, number, signal, "it is given out again"))
        if attempt.end is not End.NOT:
            return told
        if root.cancel and (root.ended or received):
            self.to_revoke.add(task.uuid)
        told = [*self._opened(root, signal.time_us), *told]
        if received:
            attempt.host, attempt.received = signal.host, True
            kind = _T.EVENT_TYPE_TASK_ASSIGNED
            told.append(self._tell.task(root, task, kind, number, signal.time_us, host=signal.host))
        elif not attempt.received:
            kind = _T.EVENT_TYPE_TASK_QUEUED
            told.append(self._tell.task(root, task, kind, number, signal.time_us))
        return told

    def _number(self, task: TaskSeen, signal: TaskSignal, *, replaced: bool) -> tuple[int, bool]:
        """The attempt that a message is for, and whether it is one that is no retry."""
        newest, number = task.newest, signal.retries + 1 + task.shift
        if newest is None:
            return number, False
        if task.seeded:
            task.seeded = False
            task.shift = max(0, newest.number - signal.retries - 1)
            number = signal.retries + 1 + task.shift
        if number != newest.number or signal.kind is TaskKind.SENT:
            return number, False
        begun = newest.started or newest.end is not End.NOT
        if begun and not replaced:
            # Received again with no more retries than before: its worker was lost, or the broker thought so.
            task.shift += 1
            return number + 1, True
        return number, False

    def _started(self, task: TaskSeen, signal: TaskSignal) -> list[Event]:
        attempt = task.of_start(signal.host)
        if attempt is None:
            return []
        root = self.roots[task.root]
        attempt.started, attempt.host = True, signal.host
        told = [*self._opened(root, signal.time_us)]
        if not root.started and not root.ended:
            root.started = True
            told.append(self._tell.workflow(root, _T.EVENT_TYPE_WORKFLOW_STARTED, signal.time_us))
        kind = _T.EVENT_TYPE_TASK_STARTED
        told.append(
            self._tell.task(root, task, kind, attempt.number, signal.time_us, host=signal.host)
        )
        return told

    def _given_back(self, task: TaskSeen, signal: TaskSignal) -> list[Event]:
        attempt = task.of_end(signal.host)
        if attempt is None or not attempt.started:
            return []
        attempt.end = End.SEEN
        task.shift += 1
        why = (
            "its worker lost the broker" if signal.kind is TaskKind.CANCELLED else "it was put back"
        )
        root, number = self.roots[task.root], attempt.number + 1
        task.attempt(number)
        return [self._again(root, task, number, signal, why)]

    def _again(
        self, root: RootSeen, task: TaskSeen, number: int, signal: TaskSignal, why: str
    ) -> Event:
        error = EventError(code="GIVEN_BACK", message=why, retryable=True)
        kind = _T.EVENT_TYPE_TASK_RETRYING
        before = task.attempts.get(number - 1)
        if before is not None and before.end is End.NOT:
            before.end = End.SUPPOSED
        host = before.host if before else ""
        root.failures.pop(task.uuid, None)
        return self._tell.task(
            root, task, kind, number, signal.time_us, host=host, message=why, error=error
        )

    def _ended(self, task: TaskSeen, signal: TaskSignal, now_us: int) -> list[Event]:
        told: list[Event] = []
        retried = signal.kind is TaskKind.RETRIED
        attempt = task.of_retry(signal.host) if retried else task.of_end(signal.host)
        newest = task.newest
        if attempt is None and newest is not None and newest.end is End.SUPPOSED:
            # It was thought lost, and was not: what it says now is the end of an attempt more.
            task.shift += 1
            attempt = task.attempt(newest.number + 1)
            root = self.roots[task.root]
            told += self._opened(root, signal.time_us)
            told.append(
                self._again(root, task, attempt.number, signal, "its worker is heard again")
            )
        if attempt is None:
            return told
        if retried:
            return told + self._retried(task, attempt, signal)
        kind, error = _end_event(signal)
        return told + self._close(
            task, attempt, kind, signal.time_us, now_us, error=error, signal=signal
        )

    def _retried(self, task: TaskSeen, attempt: Attempt, signal: TaskSignal) -> list[Event]:
        attempt.end = End.SEEN
        task.attempt(attempt.number + 1)
        code, words = exception_words(signal.exception)
        error = EventError(code=clip(code, 256), message=clip(words), retryable=True)
        return [
            self._tell.task(
                self.roots[task.root],
                task,
                _T.EVENT_TYPE_TASK_RETRYING,
                attempt.number + 1,
                signal.time_us,
                host=signal.host,
                message=words,
                error=error,
                traceback=signal.traceback,
            )
        ]

    def _close(
        self,
        task: TaskSeen,
        attempt: Attempt,
        kind: EventType.ValueType,
        time_us: int,
        now_us: int,
        *,
        error: EventError | None = None,
        signal: TaskSignal | None = None,
        supposed: bool = False,
    ) -> list[Event]:
        attempt.end = End.SUPPOSED if supposed else End.SEEN
        root = self.roots[task.root]
        root.last_us = max(root.last_us, time_us)
        if kind == _T.EVENT_TYPE_TASK_FAILED and error is not None:
            root.failures[task.uuid] = error
        elif kind == _T.EVENT_TYPE_TASK_CANCELLED:
            root.revoked = True
        (root.open.add if task.open else root.open.discard)(task.uuid)
        self._mind(root, now_us)
        return [
            self._tell.task(
                root,
                task,
                kind,
                attempt.number,
                time_us,
                host=(signal.host if signal else "") or attempt.host,
                message=error.message if error else "",
                error=error,
                duration_us=signal.runtime_us if signal else None,
                traceback=signal.traceback if signal else "",
            )
        ]

    # -- the workflow

    def _opened(self, root: RootSeen, time_us: int) -> Iterator[Event]:
        """That the workflow is there; that it is there again, when a task comes after its end."""
        if not root.told:
            root.told = True
            yield self._tell.workflow(root, _T.EVENT_TYPE_WORKFLOW_CREATED, time_us)
        if root.ended and not root.cancel:
            self._over.pop(root.id, None)
            root.ended = root.started = False
            root.attempt += 1
            self.counts.reopened += 1
            said = "another task of it came after its end"
            yield self._tell.workflow(root, _T.EVENT_TYPE_WORKFLOW_RETRIED, time_us, message=said)

    def _mind(self, root: RootSeen, now_us: int) -> None:
        """Whether anything of it is open decides when it may end."""
        if root.open or root.ended or not root.tasks:
            root.quiet_us = 0
            self._quiet.pop(root.id, None)
        elif not root.quiet_us:
            root.quiet_us = now_us
            self._quiet[root.id] = root

    def _end_of(self, root: RootSeen) -> Event:
        time_us = root.last_us
        if root.revoked and (root.cancel or not root.failures):
            kind = _T.EVENT_TYPE_WORKFLOW_CANCELLED
            said = "" if root.cancel else "revoked in Celery"
            return self._tell.workflow(root, kind, time_us, message=said, command_id=root.cancel)
        if root.failures:
            uuid, error = next(iter(root.failures.items()))
            name = root.tasks[uuid].name if uuid in root.tasks else uuid
            words = clip(f"{name}: {error.message}" if error.message else name)
            stated = EventError(code=error.code, message=words, retryable=error.retryable)
            kind = _T.EVENT_TYPE_WORKFLOW_FAILED
            return self._tell.workflow(root, kind, time_us, message=words, error=stated)
        return self._tell.workflow(root, _T.EVENT_TYPE_WORKFLOW_COMPLETED, time_us)

    # -- memory

    def _begin(self, signal: TaskSignal, *, root_known: bool = True) -> TaskSeen:
        root_id = signal.root or signal.uuid
        root = self.roots.get(root_id)
        if root is None:
            root = self.roots[root_id] = RootSeen(root_id, root_known=root_known)
        task = TaskSeen(
            signal.uuid, root_id, parent=signal.parent if signal.parent != signal.uuid else ""
        )
        root.tasks[task.uuid] = self.tasks[task.uuid] = task
        while len(self.tasks) > self._max_tasks:
            self._forget()
        return task

    def _forget(self) -> None:
        root_id = next(iter(self._over or self.roots))
        root = self.roots.pop(root_id)
        if self._over.pop(root_id, None) is None:
            self.counts.forgotten += 1
            self._quiet.pop(root_id, None)
        for uuid in root.tasks:
            self.tasks.pop(uuid, None)

    def _hold(self, signal: TaskSignal) -> None:
        if self._held >= self._max_unknown:
            self.not_found(next(iter(self.unknown)))
        self.unknown[signal.uuid].append(signal)
        self._held += 1

    def _take_held(self, uuid: str) -> list[TaskSignal]:
        held = self.unknown.pop(uuid, [])
        self._held -= len(held)
        return held


def _end_event(signal: TaskSignal) -> tuple[EventType.ValueType, EventError | None]:
    """How an attempt ended for good."""
    match signal.kind:
        case TaskKind.SUCCEEDED:
            return _T.EVENT_TYPE_TASK_COMPLETED, None
        case TaskKind.REVOKED if not signal.expired:
            return _T.EVENT_TYPE_TASK_CANCELLED, None
        case TaskKind.REVOKED:
            error = EventError(code="EXPIRED", message="it expired before a worker began it")
        case TaskKind.REJECTED:
            error = EventError(code="REJECTED", message="its worker rejected it")
        case _:
            code, words = exception_words(signal.exception)
            error = EventError(code=clip(code, 256), message=clip(words))
    return _T.EVENT_TYPE_TASK_FAILED, error
