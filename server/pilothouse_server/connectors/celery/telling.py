"""The events about one canvas. Their ids follow from what they say, so that a connector that is started again, and
finds and says the same again, changes nothing."""

from __future__ import annotations

import uuid

from pilothouse.reporting import clip
from pilothouse.v1.events_pb2 import Event, EventError, EventType
from pilothouse_server.connectors.celery.records import RootSeen, TaskSeen

SPACE = uuid.UUID("3f3a9a52-6a0e-5a3e-9a55-0d4f5c1f6c11")
"""Of all ids that are made here."""


class Teller:
    """Makes events of one connector."""

    def __init__(self, source: str) -> None:
        self._source = source

    def workflow(
        self,
        root: RootSeen,
        kind: EventType.ValueType,
        time_us: int,
        *,
        message: str = "",
        error: EventError | None = None,
        command_id: str = "",
    ) -> Event:
        """About the workflow, in its attempt."""
        event = Event(
            id=self._id(kind, root.id, "", root.attempt, ""),
            type=kind,
            source=self._source,
            workflow_id=root.id,
            workflow_type=root.type,
            workflow_name=f"{root.type} {root.id[:8]}" if root.type else "",
            trace_id=root.id.replace("-", "")[:64],
            attempt=root.attempt,
            message=clip(message),
            error=error,
            command_id=command_id,
        )
        if not root.root_known:
            event.attributes["celery.root"] = "unknown"
        event.occur_time.FromMicroseconds(time_us)
        return event

    def task(
        self,
        root: RootSeen,
        task: TaskSeen,
        kind: EventType.ValueType,
        attempt: int,
        time_us: int,
        *,
        host: str = "",
        message: str = "",
        error: EventError | None = None,
        duration_us: int | None = None,
        traceback: str = "",
    ) -> Event:
        """About one of its tasks."""
        assigned = host if kind == EventType.EVENT_TYPE_TASK_ASSIGNED else ""
        event = Event(
            id=self._id(kind, root.id, task.uuid, attempt, assigned),
            type=kind,
            source=self._source,
            workflow_id=root.id,
            workflow_type=root.type,
            stage=task.name,
            task_id=task.uuid,
            agent_id=host,
            agent_type=agent_type(host),
            trace_id=root.id.replace("-", "")[:64],
            span_id=task.uuid[:64],
            parent_span_id=task.parent[:64],
            attempt=attempt,
            queue=task.queue,
            message=clip(message),
            error=error,
        )
        if duration_us is not None:
            event.duration.FromMicroseconds(duration_us)
        if traceback:
            # The end of a traceback says more than its beginning.
            event.attributes["traceback"] = traceback.encode("utf-8", "replace")[-4000:].decode(
                "utf-8", "ignore"
            )
        event.occur_time.FromMicroseconds(time_us)
        return event

    def _id(self, kind: int, root: str, task: str, attempt: int, more: str) -> str:
        words = "\n".join((self._source, str(kind), root, task, str(attempt), more))
        return str(uuid.uuid5(SPACE, words))


def agent_type(host: str) -> str:
    """The kind of a worker: its name before the machine's, as `gpu` of gpu@host-7."""
    return host.partition("@")[0] if host else ""
