"""What others call the types of events, and the weights.

`WORKFLOW_STAGE_COMPLETED`, `stage.completed` and `orchestrator:workflow:stage:completed` are one type: the last word is
what happened, and the nearest word before it that names a kind of thing is what it happened to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from pilothouse_server.domain.events import EventType, Severity

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_LONGEST: Final = 120

_NAMED: Final = (
    "workflow", "stage", "task", "agent", "command", "alert", "queue", "budget", "span",
)  # fmt: skip
"""Kinds of things, as the names of our own types begin."""

_KINDS: Final[Mapping[str, str]] = {
    **{name: name for name in _NAMED},
    "pipeline": "workflow", "flow": "workflow", "run": "workflow", "workflows": "workflow",
    "step": "stage", "phase": "stage", "stages": "stage",
    "job": "task", "tasks": "task",
    "worker": "agent", "agents": "agent",
}  # fmt: skip

_VERBS: Final[Mapping[str, tuple[str, ...]]] = {
    "CREATED": ("created", "submitted"),
    "STARTED": ("started", "start", "running", "began", "begun"),
    "PAUSED": ("paused", "suspended"),
    "RESUMED": ("resumed", "continued"),
    "WAITING": ("waiting", "blocked"),
    "COMPLETED": ("completed", "complete", "succeeded", "success", "finished", "done"),
    "FAILED": ("failed", "failure", "error", "errored"),
    "CANCELLED": ("cancelled", "canceled", "aborted", "revoked"),
    "RETRIED": ("retried", "restarted"),
    "RETRYING": ("retrying", "retry", "retried"),
    "SKIPPED": ("skipped",),
    "QUEUED": ("queued", "enqueued", "pending"),
    "ASSIGNED": ("assigned", "received", "dispatched"),
    "REGISTERED": ("registered", "online", "joined"),
    "HEARTBEAT": ("heartbeat", "beat", "alive"),
    "DRAINING": ("draining",),
    "ACTIVE": ("active", "resumed"),
    "ENDED": ("ended",),
    "OFFLINE": ("offline", "deregistered", "left", "stopped"),
    "ACCEPTED": ("accepted",),
    "REQUESTED": ("requested",),
    "EFFECTIVE": ("effective",),
    "EXPIRED": ("expired",),
    "FIRING": ("firing",),
    "RESOLVED": ("resolved",),
    "WARNING": ("warning",),
    "EXCEEDED": ("exceeded",),
}

_TYPES: Final[Mapping[tuple[str, str], EventType]] = {
    (kind, word): EventType[name]
    for kind in _NAMED
    for verb, words in _VERBS.items()
    if (name := f"{kind.upper()}_{verb}") in EventType.__members__
    for word in words
}

_SEVERITIES: Final[Mapping[str, Severity]] = {
    "trace": Severity.DEBUG, "debug": Severity.DEBUG,
    "info": Severity.INFO, "notice": Severity.INFO,
    "warning": Severity.WARNING, "warn": Severity.WARNING,
    "error": Severity.ERROR, "err": Severity.ERROR,
    "critical": Severity.CRITICAL, "fatal": Severity.CRITICAL, "emergency": Severity.CRITICAL,
}  # fmt: skip


@lru_cache(maxsize=1024)
def type_of(name: str) -> EventType | None:
    """The type that a name means; None when it means none."""
    if len(name) > _LONGEST:
        return None
    words = [word.lower() for word in _WORD.findall(name)]
    if words and words[-1] in {"log", "logged"}:
        return EventType.LOG
    kinds = [_KINDS[word] for word in words[:-1] if word in _KINDS]
    return _TYPES.get((kinds[-1], words[-1])) if kinds else None


def task_type_of(state: str) -> EventType | None:
    """The type of an event that says how a task is."""
    words = [word.lower() for word in _WORD.findall(state[:_LONGEST])]
    return _TYPES.get(("task", words[-1])) if words else None


def severity_of(name: str) -> Severity | None:
    """The weight that a name means."""
    words = [word.lower() for word in _WORD.findall(name[:_LONGEST])]
    return _SEVERITIES.get(words[-1]) if words else None
