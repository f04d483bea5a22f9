"""What people type, as the fields of a request: one kind of parameter for each kind of field."""

# What click calls has the arguments of click.
# ruff: noqa: ARG002

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeGuard, cast

import click
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from pilothouse.cli import contract, values

DURATION = "google.protobuf.Duration"
TIMESTAMP = "google.protobuf.Timestamp"
FIELD_MASK = "google.protobuf.FieldMask"
_FLOATS = frozenset({FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT})
_UNSIGNED = frozenset({FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64})
_SIGNED = frozenset({FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64})


class EnumParam(click.ParamType[int]):
    """A value of an enum, by its short or long name in any case."""

    def __init__(self, enum: EnumDescriptor) -> None:
        self.name = enum.name
        self._enum = enum

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "[" + "|".join(contract.enum_words(self._enum)) + "]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return self._enum.values_by_name[contract.enum_name(self._enum, str(value))].number
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[Any]:
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only while completing

        typed = incomplete.lower()
        return [
            CompletionItem(word)
            for word in contract.enum_words(self._enum)
            if word.startswith(typed)
        ]


class ValueParam(click.ParamType[Any]):
    """A value that one function reads, with ValueError for what it cannot."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except (ValueError, OSError) as error:
            self.fail(str(error), param, ctx)


def read_text(typed: str) -> str:
    """What was typed, or the file that `@name` names, or standard input for `-`."""
    if typed == "-":
        return sys.stdin.read()
    if typed.startswith("@"):
        return Path(typed[1:]).read_text("utf-8")
    return typed


def read_file(typed: str) -> str:
    """The text of a file, or of standard input for `-`. Raises ValueError for what is no text, OSError."""
    try:
        return sys.stdin.read() if typed == "-" else Path(typed).read_text("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{typed} is no text in UTF-8") from None


def parse_paths(typed: str) -> FieldMask:
    """The names of fields, with commas between them."""
    return FieldMask(paths=[path.strip() for path in typed.split(",") if path.strip()])


def parse_messages(descriptor: Descriptor, typed: str) -> list[Message]:
    """Messages from JSON: one object, a list of them, or one on each line. Raises ValueError."""
    return [_message(descriptor, each) for each in _parse_json(read_text(typed))]


def _parse_json(text: str) -> list[Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2:
            raise ValueError(f"not JSON: {error}") from None
        return [_parse_line(number, line) for number, line in enumerate(lines, start=1)]
    return found if _is_list(found) else [found]


def _is_list(data: Any) -> TypeGuard[list[Any]]:
    return isinstance(data, list)


def _parse_line(number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number} is not JSON: {error}") from None


def _message(descriptor: Descriptor, data: Any) -> Message:
    message = GetMessageClass(descriptor)()
    try:
        json_format.ParseDict(with_full_enum_names(descriptor, data), message)
    except json_format.ParseError as error:
        raise ValueError(f"not a {descriptor.name}: {error}") from None
    return message


def with_full_enum_names(descriptor: Descriptor, data: Any) -> Any:
    """`data` with the enum values that were written short as the contract names them. Raises ValueError."""
    if not isinstance(data, dict):
        return data
    found = {
        name: field
        for field in contract.fields(descriptor)
        for name in (field.name, field.camelcase_name)
    }
    changed: dict[str, Any] = {}
    for key, value in cast("dict[str, Any]", data).items():
        field = found.get(key)
        convert = _enum_converter(field)
        if field is None or convert is None or contract.is_map(field):
            changed[key] = value
        elif _is_list(value):
            changed[key] = [convert(each) for each in value]
        else:
            changed[key] = convert(value)
    return changed


def _enum_converter(field: FieldDescriptor | None) -> Callable[[Any], Any] | None:
    if field is None:
        return None
    enum, message = field.enum_type, field.message_type
    if enum is not None:
        return lambda value: contract.enum_name(enum, value) if isinstance(value, str) else value
    if message is not None and not message.full_name.startswith("google.protobuf."):
        return lambda value: with_full_enum_names(message, value)
    return None


def _one_message(descriptor: Descriptor, typed: str) -> Message:
    found = parse_messages(descriptor, typed)
    if len(found) != 1:
        raise ValueError(f"one {descriptor.name} is wanted, not {len(found)}")
    return found[0]


def _pair(typed: str) -> tuple[str, str]:
    key, sign, value = typed.partition("=")
    if not sign or not key:
        raise ValueError(f"{typed!r} is not KEY=VALUE")
    return key, value


def type_of(field: FieldDescriptor) -> click.ParamType[Any]:
    """The kind of parameter for one value of `field`."""
    enum, message = field.enum_type, field.message_type
    if enum is not None:
        return EnumParam(enum)
    if message is not None:
        return _message_param(field, message)
    if field.cpp_type in _FLOATS:
        return click.FLOAT
    if field.cpp_type in _UNSIGNED:
        return click.IntRange(min=0)
    if field.cpp_type in _SIGNED:
        return click.INT
    return click.BOOL if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL else click.STRING


def _message_param(field: FieldDescriptor, message: Descriptor) -> ValueParam:
    if contract.is_map(field):
        return ValueParam("KEY=VALUE", _pair)
    if message.full_name == DURATION:
        return ValueParam("DURATION", values.parse_duration)
    if message.full_name == TIMESTAMP:
        return ValueParam("TIME", lambda typed: values.parse_time(typed, dt.datetime.now(dt.UTC)))
    if message.full_name == FIELD_MASK:
        return ValueParam("NAME,…", parse_paths)
    if field.is_repeated:
        return ValueParam("JSON|@FILE|-", lambda typed: parse_messages(message, typed))
    return ValueParam("JSON|@FILE|-", lambda typed: _one_message(message, typed))


class FieldOption(click.Option):
    """An option for a field. Its help is read from the contract only when it is shown."""

    def __init__(self, field: FieldDescriptor) -> None:
        kind = type_of(field)
        flag = kind is click.BOOL and not field.is_repeated
        name = field.name.replace("_", "-")
        declared = f"--{name}/--no-{name}" if flag else f"--{name}"
        super().__init__(
            [declared, field.name],
            type=kind,
            required=contract.is_required(field),
            multiple=field.is_repeated,
            metavar=None if flag else kind.name.upper() if isinstance(kind, ValueParam) else None,
        )
        if flag:
            # A flag that nobody gave is not a flag that was given as no.
            self.default = None
        self.field = field

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        self.help = contract.comment(self.field)
        return super().get_help_record(ctx)


class FieldArgument(click.Argument):
    """A positional argument for a field that says what the command is about."""

    def __init__(self, field: FieldDescriptor) -> None:
        document = contract.is_document(field)
        required = contract.is_required(field)
        name = "FILE" if document else field.name.upper()
        super().__init__(
            [field.name],
            type=ValueParam("FILE", read_file) if document else click.STRING,
            required=required,
            metavar=name if required else f"[{name}]",
        )
        self.field = field


def parameters(descriptor: Descriptor) -> list[click.Parameter]:
    """What a request of this kind is made from: its ids first, then options."""
    fields = contract.fields(descriptor)
    positional = [FieldArgument(field) for field in fields if contract.is_positional(field)]
    return [
        *positional,
        *(FieldOption(field) for field in fields if not contract.is_positional(field)),
    ]


def fill(request: Message, given: Mapping[str, Any]) -> None:
    """Set the fields of `request` that were given. Raises click.BadParameter for what a field cannot hold."""
    for field in contract.fields(contract.kind_of(request)):
        value = given.get(field.name)
        if value is None or value == ():
            continue
        try:
            _set(request, field, value)
        except (ValueError, TypeError) as error:
            raise click.BadParameter(str(error), param_hint=field.name) from None


def _set(request: Message, field: FieldDescriptor, value: Any) -> None:
    if contract.is_map(field):
        getattr(request, field.name).update(dict(value))
    elif field.is_repeated and field.message_type is not None:
        getattr(request, field.name).extend(message for some in value for message in some)
    elif field.is_repeated:
        getattr(request, field.name).extend(value)
    elif field.message_type is not None:
        getattr(request, field.name).CopyFrom(value)
    else:
        setattr(request, field.name, value)
