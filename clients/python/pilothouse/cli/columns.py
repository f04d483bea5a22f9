"""Which fields of a message are its columns, and the text of each: by rule, for any message.

Identity comes first, then state, then what a person scans for; what only programs need (tokens, etags, spans) is left
out. A column that is empty in every row is not shown.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import click
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from pilothouse.cli import contract, values
from pilothouse.cli.params import DURATION, TIMESTAMP

_FOR_PROGRAMS = re.compile(r".*_token|etag|cursor|request_id|epoch|.*span_id|trace_id|.*position")
_IRREGULAR = {
    "occur": "occurred",
    "last_seen": "last seen",
    "send": "sent",
    "expire": "expires",
    "since": "since",
}
_STAMPED = re.compile(r"(?P<verb>\w+)_time")


@dataclass(frozen=True)
class Cell:
    """What one field of one row shows."""

    text: str
    look: values.Look | None = None


@dataclass(frozen=True)
class Column:
    """One field as a column."""

    field: FieldDescriptor
    title: str
    weight: int
    """How early it is left out where there is no room: the greatest first."""

    @property
    def numeric(self) -> bool:
        """Whether values line up on the right."""
        field = self.field
        plain = field.enum_type is None and field.message_type is None
        text = (FieldDescriptor.CPPTYPE_STRING, FieldDescriptor.CPPTYPE_BOOL)
        duration = field.message_type is not None and field.message_type.full_name == DURATION
        return (plain and field.cpp_type not in text) or duration


def columns_of(descriptor: Descriptor) -> list[Column]:
    """All columns that a message of this kind can have, in the order in which they are shown."""
    fields = [field for field in contract.fields(descriptor) if _is_column(field)]
    columns = [Column(field, title(field), _weight(field)) for field in fields]
    return sorted(columns, key=lambda each: (each.weight > 1, each.field.index))


def _is_column(field: FieldDescriptor) -> bool:
    if field.is_repeated or _FOR_PROGRAMS.fullmatch(field.name):
        return False
    message = field.message_type
    return message is None or message.full_name in {DURATION, TIMESTAMP} or _short(message)


def _short(message: Descriptor) -> bool:
    """Whether a nested message fits into one cell."""
    return len(message.fields) <= 3 and all(
        field.message_type is None and not field.is_repeated for field in contract.fields(message)
    )


def _weight(field: FieldDescriptor) -> int:
    name = field.name
    if name in {"id", "name"} or (name == "source" and field.index == 0):
        return 0
    if field.enum_type is not None and name in {"state", "severity", "type", "action"}:
        return 1
    if name.endswith(("_name", "_type")) or name in {
        "summary",
        "message",
        "stage",
        "current_stage",
        "workflow_id",
    }:
        return 2
    if name in {
        "create_time",
        "occur_time",
        "request_time",
        "last_seen_time",
        "fire_time",
        "duration",
        "load",
        "enabled",
        "instance_count",
    }:
        return 3
    if name in {"description", "comment", "instance_limit", "no_data_policy", "keep_firing_for"}:
        return 6
    return (
        4 if field.enum_type is not None or name in {"error", "reason", "value", "threshold"} else 5
    )


def title(field: FieldDescriptor) -> str:
    """`create_time` → `created`, `workflow_type` of a Workflow → `type`."""
    owner = (
        "_".join(
            word.lower() for word in contract.words(cast("Descriptor", field.containing_type).name)
        )
        + "_"
    )
    name = field.name.removeprefix(owner) if field.name != owner else field.name
    stamped = _STAMPED.fullmatch(name)
    if stamped:
        verb = stamped["verb"]
        return _IRREGULAR.get(verb) or verb.replace("_", " ") + (
            "d" if verb.endswith("e") else "ed"
        )
    return name.replace("_", " ")


def cell(message: Message, field: FieldDescriptor, now: dt.datetime | None) -> Cell:
    """What `field` of `message` shows; times relative to `now` when it is given."""
    if field.has_presence and not message.HasField(field.name):
        return Cell("")
    value = getattr(message, field.name)
    nested, enum = field.message_type, field.enum_type
    if enum is not None:
        word = contract.enum_word(enum, value)
        return Cell(word, values.LOOKS.get(word))
    if nested is None:
        return Cell(_scalar(field, value))
    if nested.full_name == TIMESTAMP:
        return Cell(values.show_time(value, now))
    if nested.full_name == DURATION:
        return Cell(values.show_duration(value))
    return Cell(_nested(value))


def _scalar(field: FieldDescriptor, value: str | bytes | float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return values.neutral(value)
    if isinstance(value, bytes):
        return value.hex()
    # Without presence, 0 is what was never said; with it, 0 was.
    return values.show_number(value) if value or field.has_presence else "0"


def _nested(message: Message) -> str:
    parts = {field.name: str(value) for field, value in message.ListFields()}
    if set(parts) <= {"code", "message", "retryable"}:
        return values.neutral(": ".join(parts[key] for key in ("code", "message") if key in parts))
    if set(message.DESCRIPTOR.fields_by_name) == {"active", "capacity"}:
        return f"{parts.get('active', '0')}/{parts.get('capacity', '?')}"
    return values.neutral(" ".join(f"{key}={value}" for key, value in parts.items()))


def chosen(descriptor: Descriptor, names: Sequence[str]) -> list[Column]:
    """The columns that `--columns` names, by field name or title. Raises click.BadParameter with what it could be."""
    found: list[Column] = []
    for name in names:
        word = name.strip().lower().replace("-", "_")
        field = next(
            (
                each
                for each in contract.fields(descriptor)
                if word in {each.name, title(each).replace(" ", "_")}
            ),
            None,
        )
        if field is None:
            known = ", ".join(each.name for each in descriptor.fields)
            message = f"{name!r} is not a column of {descriptor.name}; there are: {known}"
            raise click.BadParameter(message, param_hint="--columns")
        found.append(Column(field, title(field), 0))
    return found
