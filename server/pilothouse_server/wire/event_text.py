"""Events written down: one JSON object a line, as the API has it, or CSV for a spreadsheet.

A line of JSON can be published again as it is. What an event does not say is left out of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from pilothouse.v1 import enums_pb2
from pilothouse.v1 import events_pb2 as pb
from pilothouse_server.wire.spreadsheets import csv_text

COLUMNS: Final = (
    "occur_time", "receive_time", "type", "severity", "source", "workflow_id", "workflow_type", "workflow_name",
    "stage", "task_id", "attempt", "agent_id", "agent_type", "queue", "message", "duration", "error", "usage",
    "attributes", "load", "stage_plan", "trace_id", "span_id", "parent_span_id", "command_id", "forced_after_time",
    "id", "cursor",
)  # fmt: skip
"""Every field of an event."""


def event_fields(event: pb.Event) -> dict[str, Any]:
    """What an event says, as JSON has it."""
    return {
        field.name: _WRITTEN.get(field.name, _as_it_is)(value)
        for field, value in event.ListFields()
    }


def json_line(event: pb.Event) -> str:
    """The event as a line."""
    return f"{json.dumps(event_fields(event), ensure_ascii=False)}\n"


def csv_line(event: pb.Event) -> str:
    """The event as a line, in the order of the columns."""
    fields = event_fields(event)
    return csv_text([[_cell(fields.get(name, "")) for name in COLUMNS]])


def csv_heading() -> str:
    """The first line."""
    return csv_text([COLUMNS])


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _as_it_is(value: Any) -> Any:
    return value


def _error(error: pb.EventError) -> Mapping[str, Any]:
    return {field.name: value for field, value in error.ListFields()}


def _usage(usage: pb.Usage) -> Mapping[str, str]:
    # 64 bits are more than a number of JSON can hold.
    return {field.name: str(value) for field, value in usage.ListFields()}


def _load(load: pb.AgentLoad) -> Mapping[str, int]:
    return {field.name: value for field, value in load.ListFields()}


def _time(time: Any) -> str:
    text: str = time.ToJsonString()
    return text


def _choices(items: Iterable[tuple[str, int]]) -> Callable[[int], str | int]:
    """Numbers that no choice has are written as they are."""
    names = {number: name for name, number in items}
    return lambda number: names.get(number, number)


_WRITTEN: Final[Mapping[str, Callable[[Any], Any]]] = {
    "type": _choices(pb.EventType.items()),
    "severity": _choices(enums_pb2.Severity.items()),
    "occur_time": _time,
    "receive_time": _time,
    "forced_after_time": _time,
    "duration": _time,
    "error": _error,
    "usage": _usage,
    "load": _load,
    "attributes": dict,
    "stage_plan": list,
}
