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
from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.message import Message

from pilothouse.cli import contract, phrases, values
from pilothouse.cli.contract import DURATION, TIMESTAMP

_FOR_PROGRAMS = re.compile(
    r".*_token|etag|cursor|request_id|epoch|.*span_id|trace_id|.*position|.*hash"
)
_NAMED_SO = re.compile(r"CriticalStep\.span_id")
"""Of one message, where it is what one asks for next."""
_BOOKKEEPING = re.compile(r"(create|update)_time|version")
"""Of what people make; who made it says more."""
_SETTINGS = re.compile(
    r"description|keep_firing_for|skip_.*|.+_(limit|policy|wait|interval|per_minute)"
)
"""Of what people make: looked up of one, and not scanned."""
_LOOKED_UP = re.compile(
    r"Alert\.(rule_id|clears_when|threshold|fire_time|acknowledge_\w+|update_time|kind|rule_version)"
    r"|Delivery\.(channel_id|status_code)"
)
"""Of one message, where another column of the list says it or it says little."""
_IF_SO = re.compile(
    r"Workflow\.forced|Command\.(attempt|pool_size)|Compared(Row\.attempt|Trace\.run_count)"
)
"""Of one message, where no or 0 says nothing."""
_LEADING = {"Event": ("occur_time", "severity", "type", "workflow_id", "message")}
"""Columns of what is read like a log: these come first, and stay where there is no room for others."""
_DONE = {
    "occur": "occurred",
    "effect": "effective",
    "quiet": "quiet since",
    "stage": "in this stage since",
    "send": "sent",
    "expire": "expires",
    "active": "active since",
    "due": "due",
    "last": "last heard",
    "retry": "next try",
    "acknowledge_expire": "acknowledged until",
}
"""Where the past of the verb is not what is meant."""
_NAMES = {
    "for_duration": "for",
    "instance_count": "alerts",
    "run_count": "runs",
    "row_count": "rows",
    "recovery_count": "recoveries",
    "span_count": "spans",
    "error_count": "errors",
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
    """One of them, where it is whichever of several is there."""
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
        return not field.is_repeated and ((plain and field.cpp_type not in text) or duration)

    @property
    def says_if(self) -> bool:
        """Whether it is a flag that people raise: where nobody has, there is nothing to say."""
        field = self.field
        flag = field.cpp_type == FieldDescriptor.CPPTYPE_BOOL and not field.has_presence
        return flag and not field.is_repeated and not contract.is_output_only(field)


def columns_of(descriptor: Descriptor) -> list[Column]:
    """The columns of a message of this kind, in the order in which they are shown."""
    made = contract.is_resource(descriptor)
    fields = [
        field
        for field in contract.fields(descriptor)
        if (in_one_cell(field) or _has_brief(field)) and _is_scanned(field, made=made)
    ]
    leading = _LEADING.get(descriptor.name)
    if leading is not None:
        return _as_log(fields, leading)
    columns = [Column(field, title(field), _weight(field)) for field in fields]
    return sorted(columns, key=lambda each: (each.weight > 1, _place(each.field)))


def _as_log(fields: Sequence[FieldDescriptor], leading: Sequence[str]) -> list[Column]:
    """What leads may be cut; of the rest the id is what one can do without until one has found what one looks for."""
    first = [field for name in leading for field in fields if field.name == name]
    rest = [field for field in fields if field.name not in leading]
    return [
        *(Column(field, title(field), 1) for field in first),
        *(Column(field, title(field), 9 if field.name == "id" else 5) for field in rest),
    ]


def _place(field: FieldDescriptor) -> tuple[bool, int]:
    """In the order of the contract; what the server adds comes last."""
    return contract.is_output_only(field), field.index


def _is_scanned(field: FieldDescriptor, *, made: bool) -> bool:
    """Whether one looks for it in a list, where a whole text, say, has no place."""
    owner = cast("Descriptor", field.containing_type)
    name = f"{owner.name}.{field.name}"
    if _LOOKED_UP.fullmatch(name):
        return False
    if _FOR_PROGRAMS.fullmatch(field.name) and not _NAMED_SO.fullmatch(name):
        return False
    if not made:
        return not field.is_repeated or phrases.is_plain(owner)
    if contract.is_output_only(field):
        return not field.is_repeated and _BOOKKEEPING.fullmatch(field.name) is None
    return _SETTINGS.fullmatch(field.name) is None


def in_one_cell(field: FieldDescriptor) -> bool:
    """Whether what `field` holds is shown in one line."""
    choice = choice_of(field)
    if choice is not None:
        return choice.fields[0] is field
    message, owner = field.message_type, cast("Descriptor", field.containing_type)
    if message is None:
        return True
    if message.full_name in {DURATION, TIMESTAMP}:
        return not field.is_repeated
    if field.is_repeated and not contract.is_resource(owner):
        return phrases.is_phrase(message)
    return not contract.is_map(field) and phrases.has(message)


def _has_brief(field: FieldDescriptor) -> bool:
    """Whether what `field` holds can be named in a row of a table: it has an identity and a state."""
    message = field.message_type
    return (
        message is not None
        and not field.is_repeated
        and {"id", "state"} <= set(message.fields_by_name)
    )


def _brief(message: Message) -> str:
    """`PAUSE ACCEPTED` of a command, `tests/unit COMPLETED 2.1 s` of a task."""
    fields = {field.name: field for field in contract.fields(contract.kind_of(message))}
    names = ("action" if "action" in fields else "id", "state", "duration")
    said = (cell(message, fields[name], None).text for name in names if name in fields)
    return " ".join(each for each in said if each)


def choice_of(field: FieldDescriptor) -> OneofDescriptor | None:
    """What `field` is one of; they share a column."""
    choice = field.containing_oneof
    owner = cast("Descriptor", field.containing_type)
    made = contract.is_resource(owner) and choice in contract.choices(owner)
    return choice if made else None


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
        "active_time",
        "condition",
        "matchers",
        "duration",
        "load",
        "enabled",
        "instance_count",
    }:
        return 3
    if name in {"description", "instance_limit", "no_data_policy", "keep_firing_for"}:
        return 6
    return (
        4
        if field.enum_type is not None
        or name in {"error", "reason", "value", "threshold", "comment"}
        else 5
    )


def title(field: FieldDescriptor) -> str:
    """`create_time` → `created`, `workflow_type` of a Workflow → `type`, `silenced_count` → `silenced`."""
    choice, owner = choice_of(field), cast("Descriptor", field.containing_type)
    if choice is not None:
        return choice.name.replace("_", " ")
    prefix = "_".join(word.lower() for word in contract.words(owner.name)) + "_"
    if field.name in _NAMES:
        return _NAMES[field.name]
    if field.name.endswith("_count"):
        counted = field.name.removesuffix("_count")
        noun = contract.is_noun(counted)
        return contract.plural(counted) if noun else counted.replace("_", " ")
    name = field.name.removeprefix(prefix).removeprefix("is_")
    stamped = _STAMPED.fullmatch(name)
    if stamped is None:
        return name.replace("_", " ")
    verb = stamped["verb"]
    # What people set may be yet to come.
    planned = contract.is_resource(owner) and not contract.is_output_only(field)
    if verb in _DONE or planned:
        return _DONE.get(verb, verb)
    past = verb + ("d" if verb.endswith("e") else "ed")
    return verb.replace("_", " ") if "_" in verb or verb == "since" else past


def _is_said(message: Message, field: FieldDescriptor) -> bool:
    if field.has_presence:
        return message.HasField(field.name)
    silent = _IF_SO.fullmatch(f"{message.DESCRIPTOR.name}.{field.name}")
    return silent is None or bool(getattr(message, field.name))


def cell(message: Message, field: FieldDescriptor, now: dt.datetime | None) -> Cell:
    """What `field` of `message` shows; times relative to `now` when it is given."""
    choice = choice_of(field)
    if choice is not None:
        return Cell(_chosen(message, choice))
    if field.is_repeated:
        return Cell(_several(message, field))
    if not _is_said(message, field):
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
    return Cell(_brief(value) if _has_brief(field) else _nested(value))


def _several(message: Message, field: FieldDescriptor) -> str:
    every = getattr(message, field.name)
    if field.message_type is None:
        return values.neutral(", ".join(str(each) for each in every))
    between = ", " if field.message_type.full_name == phrases.MATCHER else "; "
    return values.neutral(between.join(phrases.show(each) for each in every))


def _chosen(message: Message, choice: OneofDescriptor) -> str:
    """Which it is, and the first thing that it says: `webhook http://…`."""
    name = message.WhichOneof(choice.name)
    if name is None:
        return ""
    inner = getattr(message, name)
    said = next((field for field, _ in inner.ListFields() if field.message_type is None), None)
    words = cell(inner, said, None).text if said is not None else ""
    return f"{name.replace('_', ' ')} {words}".rstrip()


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
    return values.neutral(phrases.show(message))


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
