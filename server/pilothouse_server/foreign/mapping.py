"""A JSON object that says one event, in the names of whoever wrote it, as an Event of the contract.

A field is looked for in the object itself, then in what it carries (`payload`, `msg`, `data`, `metadata`, `metrics`).
Keys may be in snake or camel case. What is not known is left out; scalars that have no field become attributes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, cast

from pilothouse.v1 import enums_pb2
from pilothouse.v1 import events_pb2 as pb
from pilothouse_server.domain.events import EventType, Severity
from pilothouse_server.foreign.entries import Undecodable
from pilothouse_server.foreign.judging import MOST_ATTRIBUTES, clipped
from pilothouse_server.foreign.values import count, described, duration_us, text, time_us
from pilothouse_server.foreign.words import severity_of, task_type_of, type_of
from pilothouse_server.wire.publishing import LARGEST_USAGE
from pilothouse_server.wire.times import duration, timestamp

Fields = Mapping[str, object]
"""A JSON object with keys in snake case."""

_CARRIERS: Final = ("payload", "msg", "data", "metadata", "metrics", "context", "result")
_DEEP: Final = 3
_BOUNDARY: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[\s.\-]+")

_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "source": ("source", "producer", "service", "origin"),
    "workflow_id": ("workflow_id", "pipeline_id", "run_id"),
    "workflow_type": ("workflow_type", "pipeline_type"),
    "workflow_name": ("workflow_name",),
    "stage": ("stage", "stage_name", "current_stage"),
    "task_id": ("task_id", "job_id"),
    "agent_id": ("agent_id", "worker_id"),
    "agent_type": ("agent_type", "worker_type"),
    "trace_id": ("trace_id", "correlation_id"),
    "span_id": ("span_id",),
    "parent_span_id": ("parent_span_id",),
    "command_id": ("command_id",),
    "queue": ("queue", "queue_name"),
}
"""By field, the keys that say it."""
_OWN_NAMES: Final[Mapping[EventType, str]] = {
    EventType.WORKFLOW_CREATED: "workflow_name",
    EventType.WORKFLOW_STARTED: "workflow_name",
}
_TIMES: Final = ("occur_time", "timestamp", "time", "ts", "occurred_at", "event_time", "created_at")
_DURATIONS: Final = (
    ("duration_ms", "ms"), ("duration_us", "us"), ("duration_s", "s"), ("duration_seconds", "s"), ("elapsed_ms", "ms"),
    ("execution_time_ms", "ms"), ("latency_ms", "ms"), ("duration", ""),
)  # fmt: skip
_IDS: Final = ("id", "event_id", "message_id")
_TYPES: Final = ("type", "event_type", "event", "event_name")
_MESSAGES: Final = ("message", "description", "msg", "text")
_SPECIAL: Final = frozenset(
    {
        "id", "event_id", "message_id", "type", "event_type", "event", "event_name", "severity", "level", "attempt",
        "retry_count", "error", "usage", "load", "stage_plan", "attributes", "success", "status", "receive_time",
        "cursor", "error_message", "error_code", "key", "topic", "input_tokens", "output_tokens", "cost_micros",
        "version",
    }
    | {key for keys in _NAMES.values() for key in keys} | set(_TIMES) | set(_MESSAGES) | {key for key, _ in _DURATIONS}
)  # fmt: skip
_UINT32: Final = (1 << 32) - 1
_MOST_ATTEMPTS: Final = 100_000


def event_of(found: Mapping[str, object], hint: str = "") -> pb.Event:
    """The event that an object says; `hint` is where it was published, which may tell its type. Raises Undecodable."""
    layers = list(_layers(found))
    kind = _type_of(layers, hint)
    event = pb.Event(type=pb.EventType.ValueType(kind))
    stage_is_type = type_of(str(_in_metadata(layers, "stage"))) is not None
    for field, keys in _NAMES.items():
        skipped = "metadata" if field == "stage" and stage_is_type else ""
        if (value := _first(layers, keys, skip=skipped)) is not None:
            setattr(event, field, text(field, value))
    if (own := _first(layers[:1], _IDS)) is not None:
        event.id = text("id", own)
    if (time := _first(layers, _TIMES)) is not None:
        event.occur_time.CopyFrom(timestamp(time_us("timestamp", time)))
    _set_duration(event, layers)
    _set_details(event, layers)
    _set_failure(event, layers)
    _set_attributes(event, layers)
    return event


class _Layer(dict[str, object]):
    """One object on the way in, under the key by which it was found."""

    name = ""


def _layers(found: Mapping[str, object]) -> Iterator[_Layer]:
    """The object, then what it carries, the outer before the inner."""
    level = [("", found)]
    for _ in range(_DEEP):
        inner: list[tuple[str, Mapping[str, object]]] = []
        for name, each in level:
            layer = _Layer((_snake(key), value) for key, value in each.items() if value is not None)
            layer.name = name
            yield layer
            for carrier in _CARRIERS:
                value = layer.get(carrier)
                if isinstance(value, dict):
                    inner.append((carrier, cast("dict[str, object]", value)))
        level = inner


def _first(layers: Sequence[_Layer], keys: Sequence[str], *, skip: str = "") -> object | None:
    for layer in layers:
        if skip and layer.name == skip:
            continue
        for key in keys:
            value = layer.get(key)
            if value is not None and value != "" and not isinstance(value, dict | list):
                return value
    return None


def _in_metadata(layers: Sequence[_Layer], key: str) -> object:
    return next((layer[key] for layer in layers if layer.name == "metadata" and key in layer), "")


def _type_of(layers: Sequence[_Layer], hint: str) -> EventType:
    said: list[str] = []
    for value in (
        _first(layers[:1], _TYPES), _in_metadata(layers, "stage"), _first(layers[1:], _TYPES), hint
    ):  # fmt: skip
        if (
            isinstance(value, int)
            and not isinstance(value, bool)
            and value in EventType.__members__.values()
        ):
            return EventType(value)
        if isinstance(value, str) and value:
            if (kind := type_of(value)) is not None:
                return kind
            said.append(value[:60])
    if (kind := _of_result(layers)) is not None:
        return kind
    if said:
        raise Undecodable(f"type: {said[0]!r} is not a type of event")
    raise Undecodable("type: there is none, and nothing that tells how a task ended")


def _of_result(layers: Sequence[_Layer]) -> EventType | None:
    """The type of what an agent reports of its task."""
    if _first(layers, _NAMES["task_id"]) is None:
        return None
    success = _first(layers, ("success",))
    if isinstance(success, bool):
        return EventType.TASK_COMPLETED if success else EventType.TASK_FAILED
    state = _first(layers, ("status", "state"))
    return task_type_of(state) if isinstance(state, str) else None


def _set_duration(event: pb.Event, layers: Sequence[_Layer]) -> None:
    for key, unit in _DURATIONS:
        if (value := _first(layers, (key,))) is not None:
            event.duration.CopyFrom(duration(duration_us(key if unit else "duration", value, unit)))
            return


def _set_details(event: pb.Event, layers: Sequence[_Layer]) -> None:
    message = next(
        (v for layer in layers for key in _MESSAGES if isinstance(v := layer.get(key), str)), ""
    )
    event.message = text("message", message)
    if (weight := _first(layers, ("severity", "level"))) is not None:
        event.severity = enums_pb2.Severity.ValueType(_severity(weight))
    if (attempt := _first(layers, ("attempt",))) is not None:
        event.attempt = count("attempt", attempt, _MOST_ATTEMPTS)
    usage = _object(layers, "usage")
    for key in ("input_tokens", "output_tokens", "cost_micros"):
        value = usage.get(key)
        if value is None:
            value = _first(layers, (key,))
        if value is not None:
            setattr(event.usage, key, count(f"usage.{key}", value, LARGEST_USAGE))
    for key, value in _object(layers, "load").items():
        if key in {"active", "capacity"}:
            setattr(event.load, key, count(f"load.{key}", value, _UINT32))
    plan = next((layer["stage_plan"] for layer in layers if "stage_plan" in layer), None)
    if isinstance(plan, list):
        event.stage_plan.extend(text("stage_plan", stage) for stage in cast("list[object]", plan))


def _severity(weight: object) -> Severity:
    if isinstance(weight, int) and weight in Severity.__members__.values():
        return Severity(weight)
    found = severity_of(weight) if isinstance(weight, str) else None
    if found is None:
        raise Undecodable(
            f"severity: {str(weight)[:40]!r} is none of DEBUG, INFO, WARNING, ERROR, CRITICAL"
        )
    return found


def _set_failure(event: pb.Event, layers: Sequence[_Layer]) -> None:
    error = next((value for layer in layers if (value := layer.get("error"))), None)
    if isinstance(error, dict):
        said = {_snake(key): value for key, value in cast("dict[str, object]", error).items()}
        code = said.get("code") or said.get("type") or said.get("name") or ""
        event.error.code = clipped(described(code), 256) if code else ""
        event.error.message = described(said.get("message") or said.get("detail") or "")
        event.error.retryable = said.get("retryable") is True
    elif error is not None and error is not False:
        event.error.message = described(error)
    if (message := _first(layers, ("error_message",))) is not None and not event.error.message:
        event.error.message = described(message)
    if (code := _first(layers, ("error_code",))) is not None and not event.error.code:
        event.error.code = clipped(described(code), 256)


def _set_attributes(event: pb.Event, layers: Sequence[_Layer]) -> None:
    given = _object(layers, "attributes", snake=False)
    for key, value in given.items():
        if key and value is not None and len(event.attributes) < MOST_ATTRIBUTES:
            event.attributes[text("attributes", key)] = clipped(described(value))
    for layer in layers:
        for key, value in layer.items():
            known = key in _SPECIAL or key in _CARRIERS or not key or key in event.attributes
            if known or isinstance(value, dict | list) or len(event.attributes) >= MOST_ATTRIBUTES:
                continue
            event.attributes[text("attributes", key)] = clipped(described(value))


def _object(layers: Sequence[_Layer], key: str, *, snake: bool = True) -> Mapping[str, object]:
    for layer in layers:
        value = layer.get(key)
        if isinstance(value, dict):
            found = cast("dict[str, object]", value)
            return {_snake(name): each for name, each in found.items()} if snake else found
    return {}


@lru_cache(maxsize=4096)
def _snake(key: str) -> str:
    return _BOUNDARY.sub("_", key[:200]).strip("_").lower()
