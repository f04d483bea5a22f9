"""What people type, as the fields of a request: one kind of parameter for each kind of field."""

# What click calls has the arguments of click.
# ruff: noqa: ARG002

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

import click
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    MethodDescriptor,
)
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from pilothouse.cli import contract, messages, phrases, places, values
from pilothouse.cli.contract import DURATION, FIELD_MASK, TIMESTAMP
from pilothouse.cli.places import Place

EMPTY = object()
"""Typed as an empty text, where that is no value."""
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


def parse_paths(typed: str) -> FieldMask:
    """The names of fields, with commas between them."""
    return FieldMask(paths=[path.strip() for path in typed.split(",") if path.strip()])


class Emptiable(click.ParamType[Any]):
    """A value, or nothing at all, typed as an empty text: the field of what is changed shall have none."""

    def __init__(self, kind: click.ParamType[Any]) -> None:
        self.name = kind.name
        self._kind = kind

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        kind = self._kind
        return kind.name.upper() if isinstance(kind, ValueParam) else kind.get_metavar(param, ctx)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return EMPTY if value == "" else self._kind.convert(value, param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[Any]:
        return self._kind.shell_complete(ctx, param, incomplete)


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
    name = "TEXT|JSON|@FILE|-" if phrases.has(message) else "JSON|@FILE|-"
    if field.is_repeated:
        return ValueParam(name, lambda typed: messages.parse_messages(message, typed))
    return ValueParam(name, lambda typed: messages.one_message(message, typed))


class FieldOption(click.Option):
    """An option for a field: of the request, or of a message in it, by the way there. Its help is read from the
    contract only when it is shown."""

    def __init__(self, place: Place, kind: click.ParamType[Any], *, required: bool) -> None:
        field = place.field
        flag = kind is click.BOOL and not field.is_repeated
        declared = f"{place.flag}/--no-{place.flag[2:]}" if flag else place.flag
        super().__init__(
            [*place.also, declared, place.name],
            type=kind,
            required=required,
            multiple=field.is_repeated,
            metavar=None if flag else kind.name.upper() if isinstance(kind, ValueParam) else None,
        )
        if flag:
            # A flag that nobody gave is not a flag that was given as no.
            self.default = None
        self.place = place

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        self.help = contract.comment(self.place.field)
        return super().get_help_record(ctx)


class FieldArgument(click.Argument):
    """A positional argument for a field that says what the command is about."""

    def __init__(self, place: Place) -> None:
        document = contract.is_document(place.field)
        # What a message in the request may name too can be left out.
        required = contract.is_required(place.field) and not place.nested
        name = "FILE" if document else "_".join(place.words).upper()
        super().__init__(
            [place.name],
            type=ValueParam("FILE", messages.read_file) if document else click.STRING,
            required=required,
            metavar=name if required or place.nested else f"[{name}]",
        )
        self.place = place


def parameters(method: MethodDescriptor) -> list[click.Parameter]:
    """What a request of this method is made from: what it is about first, then options."""
    arguments: list[click.Parameter] = []
    options: list[click.Parameter] = []
    for place in places.places(method):
        if place.positional:
            arguments.append(FieldArgument(place))
            continue
        kind = type_of(place.field)
        if place.nested and kind not in (click.STRING, click.BOOL):
            kind = Emptiable(kind)
        required = contract.is_required(place.field) and not (place.nested or place.whole)
        options.append(FieldOption(place, kind, required=required))
    return [*arguments, *options]


def fill(request: Message, given: Mapping[str, Any]) -> None:
    """Set the fields of `request` that were given. Raises click.BadParameter for what a field cannot hold."""
    for field in contract.fields(contract.kind_of(request)):
        value = given.get(field.name)
        if value is not None and value != ():
            assign(request, field, value)


def assign(message: Message, field: FieldDescriptor, value: Any) -> None:
    """Give `field` what was typed, and nothing else. Raises click.BadParameter for what it cannot hold."""
    message.ClearField(field.name)
    if value is EMPTY or value in ((EMPTY,), ("",)):
        return
    try:
        _set(message, field, value)
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
