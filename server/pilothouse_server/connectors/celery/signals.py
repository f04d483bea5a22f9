"""What Celery's events say, typed. Whatever a broker delivers is read without trust: what cannot be read is None."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MAX_ID_BYTES = 256
"""The limit of the contract on identifiers and names."""


class TaskKind(StrEnum):
    """Celery's events about tasks that say something of their state."""

    SENT = "task-sent"
    RECEIVED = "task-received"
    STARTED = "task-started"
    SUCCEEDED = "task-succeeded"
    FAILED = "task-failed"
    RETRIED = "task-retried"
    REVOKED = "task-revoked"
    REJECTED = "task-rejected"
    CANCELLED = "task-cancelled"
    """The worker lost its broker and interrupted the task; the broker gives it out again."""


class WorkerKind(StrEnum):
    """Celery's events about workers."""

    ONLINE = "worker-online"
    HEARTBEAT = "worker-heartbeat"
    OFFLINE = "worker-offline"


@dataclass(frozen=True, slots=True)
class TaskSignal:
    """One event about a task. Only SENT and RECEIVED say more than the task's id and what happened."""

    kind: TaskKind
    uuid: str
    host: str
    """The worker; of SENT, whoever sent it."""
    time_us: int
    name: str = ""
    root: str = ""
    """The task that all of its canvas comes from; empty when not said."""
    parent: str = ""
    retries: int = 0
    queue: str = ""
    runtime_us: int | None = None
    exception: str = ""
    traceback: str = ""
    expired: bool = False
    requeue: bool = False


@dataclass(frozen=True, slots=True)
class WorkerSignal:
    """One event about a worker."""

    kind: WorkerKind
    host: str
    time_us: int
    active: int = 0


def read(body: Mapping[str, Any]) -> TaskSignal | WorkerSignal | None:
    """One event as Celery's JSON has it; None when it says nothing to us, or cannot be read."""
    kind, host, time_us = (
        ident(body.get("type")),
        ident(body.get("hostname")),
        micros(body.get("timestamp")),
    )
    if time_us is None:
        return None
    if kind in set(WorkerKind):
        return (
            WorkerSignal(WorkerKind(kind), host, time_us, _count(body.get("active")))
            if host
            else None
        )
    uuid = ident(body.get("uuid"))
    if kind not in set(TaskKind) or not uuid:
        return None
    return TaskSignal(
        TaskKind(kind),
        uuid,
        host,
        time_us,
        name=ident(body.get("name")),
        root=ident(body.get("root_id")),
        parent=ident(body.get("parent_id")),
        retries=_count(body.get("retries")),
        queue=ident(body.get("queue")),
        runtime_us=micros(body.get("runtime")),
        exception=_text(body.get("exception")),
        traceback=_text(body.get("traceback")),
        expired=body.get("expired") is True,
        requeue=body.get("requeue") is True,
    )


def ident(value: object) -> str:
    """An identifier that the contract takes: one that is too long or has control characters becomes its digest, so
    that it is still the same each time."""
    if not isinstance(value, str) or not value:
        return ""
    raw = value.encode("utf-8", "replace")
    if len(raw) <= MAX_ID_BYTES and value.isprintable():
        return raw.decode("utf-8")
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def exception_words(said: str) -> tuple[str, str]:
    """The name of an exception's class, and its words, from its repr: `KeyError('x')`."""
    name, bracket, rest = said.partition("(")
    if bracket and name.replace(".", "").isidentifier():
        return name, rest.removesuffix(")").rstrip(",").strip("'\"")
    return "FAILED", said


def micros(seconds: object) -> int | None:
    """Seconds as microseconds; None when they are none."""
    if (
        isinstance(seconds, bool)
        or not isinstance(seconds, int | float)
        or not math.isfinite(seconds)
    ):
        return None
    return round(seconds * 1_000_000) if 0 <= seconds < 1e11 else None


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 100_000 else 0


def _text(value: object) -> str:
    return value[-20_000:] if isinstance(value, str) else ""
