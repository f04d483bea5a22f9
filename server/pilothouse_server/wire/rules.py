"""The contract's own rules, read from the descriptors by protovalidate; and one for every text: PostgreSQL cannot keep
the character NUL, so no text has it, whatever the database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from protovalidate import Validator, Violation

from pilothouse.v1.events_pb2 import Event

_validator = Validator()
NO_NUL = "the character NUL is not allowed"


def violations_of(message: Message) -> list[tuple[str, str]]:
    """(field path, what is wrong) for each rule that `message` breaks."""
    broken = [
        (path_of(violation), violation.proto.message)
        for violation in _validator.collect_violations(message)
    ]
    if broken or isinstance(message, Event):
        return broken
    return [(path, NO_NUL) for path in _with_nul(message, "")]


def _with_nul(message: Message, at: str) -> Iterator[str]:
    """The fields whose text has a NUL, but for events: whoever publishes them judges each by itself."""
    for field, value in message.ListFields():
        if field.cpp_type not in _WITH_TEXTS or field.message_type is Event.DESCRIPTOR:
            continue
        path = f"{at}.{field.name}" if at else field.name
        for place, each in _values(field, value, path):
            if isinstance(each, Message):
                yield from _with_nul(each, place)
            elif isinstance(each, str) and "\0" in each:
                yield place


_WITH_TEXTS = (FieldDescriptor.CPPTYPE_STRING, FieldDescriptor.CPPTYPE_MESSAGE)


def _values(field: FieldDescriptor, value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not field.is_repeated:
        yield path, value
    elif field.message_type is not None and field.message_type.GetOptions().map_entry:
        for key in value:
            place = f'{path}["{key}"]'
            yield place, key
            yield place, value[key]
    else:
        for index, each in enumerate(value):
            yield f"{path}[{index}]", each


def path_of(violation: Violation) -> str:
    """Where, as `workflow_id`, `capabilities[0].action` or `attributes["key"]`."""
    path = ""
    field = violation.proto.field
    for element in field.elements if field else ():
        path += f".{element.field_name}" if path else element.field_name
        if element.subscript is not None:
            key = element.subscript.value
            path += f'["{key}"]' if isinstance(key, str) else f"[{key}]"
    return path
