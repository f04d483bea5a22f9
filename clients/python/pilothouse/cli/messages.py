"""Messages as people type them: JSON, from the line or a file, or one line of words where there is such a form.

In JSON, too, people may write what they write elsewhere: short enum values, `5m` for a duration, `+2h` for a time,
and a matcher as `stage=~"build|test"`.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeGuard, cast

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from pilothouse.cli import contract, phrases, values
from pilothouse.cli.contract import DURATION, TIMESTAMP


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


def parse_messages(descriptor: Descriptor, typed: str) -> list[Message]:
    """Messages from JSON (one object, a list of them, or one on each line), or one in words. Raises ValueError."""
    if phrases.has(descriptor) and not typed.lstrip().startswith(("{", "[", "@")) and typed != "-":
        return [_message(descriptor, phrases.read(descriptor, typed))]
    return [_message(descriptor, each) for each in _parse_json(read_text(typed))]


def one_message(descriptor: Descriptor, typed: str) -> Message:
    """The same, of which there has to be one. Raises ValueError."""
    found = parse_messages(descriptor, typed)
    if len(found) != 1:
        raise ValueError(f"one {descriptor.name} is wanted, not {len(found)}")
    return found[0]


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
        json_format.ParseDict(as_canonical(descriptor, data), message)
    except json_format.ParseError as error:
        raise ValueError(f"not a {descriptor.name}: {error}") from None
    return message


def as_canonical(descriptor: Descriptor, data: Any) -> Any:
    """`data` as protobuf's JSON has it, where it was written as people write. Raises ValueError."""
    if isinstance(data, str) and phrases.has(descriptor):
        data = phrases.read(descriptor, data)
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
        convert = _converter(field)
        if field is None or convert is None or contract.is_map(field):
            changed[key] = value
        elif _is_list(value):
            changed[key] = [convert(each) for each in value]
        else:
            changed[key] = convert(value)
    return changed


def _converter(field: FieldDescriptor | None) -> Callable[[Any], Any] | None:
    if field is None:
        return None
    enum, message = field.enum_type, field.message_type
    if enum is not None:
        return lambda value: contract.enum_name(enum, value) if isinstance(value, str) else value
    if message is None:
        return None
    if message.full_name == DURATION:
        return _duration
    if message.full_name == TIMESTAMP:
        return _time
    if message.full_name.startswith("google.protobuf."):
        return None
    return lambda value: as_canonical(message, value)


def _duration(value: Any) -> Any:
    return values.parse_duration(value).ToJsonString() if isinstance(value, str) else value


def _time(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return values.parse_time(value, dt.datetime.now(dt.UTC)).ToJsonString()
