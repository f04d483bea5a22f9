"""JSON and text into messages, by descriptor: strict about names, helpful about enums, exact about what is
wrong.

`google.protobuf.json_format` does the conversion. Before it runs, a walk over the input finds what it would
report badly or refuse needlessly: an unknown field is named with its path, and enum values are accepted short
and in any case ("pause").
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from pilothouse_server.bridge.errors import malformed, word

MAX_DEPTH = 32


def parse_json(body: bytes) -> Any:
    """JSON of a request body; an empty body is an empty object."""
    if not body.strip():
        return {}
    try:
        return json.loads(body)
    except RecursionError:
        raise malformed("the body is nested too deeply") from None
    except ValueError as error:
        # UnicodeDecodeError is one too; both say where.
        raise malformed(f"the body is not JSON: {word(error)}") from None


def fill(message: Message, value: Any) -> None:
    """Put JSON into a message. BridgeError names the field that is wrong."""
    ready = _message(value, cast("Descriptor", message.DESCRIPTOR), "", 0)
    try:
        json_format.ParseDict(ready, message)
    except (json_format.Error, ValueError, TypeError, OverflowError) as error:
        raise malformed(_reason(error), _blamed(error)) from None


def fill_texts(message: Message, texts: Iterable[tuple[str, str]]) -> None:
    """Put query parameters and path variables into a message: field paths with dots, repeated ones several times."""
    tree: dict[str, Any] = {}
    for path, text in texts:
        _plant(tree, cast("Descriptor", message.DESCRIPTOR), path, text)
    fill(message, tree)


def _plant(tree: dict[str, Any], descriptor: Descriptor, path: str, text: str) -> None:
    *parents, last = path.split(".")
    for name in parents:
        field = find(descriptor, name)
        if field is None or field.message_type is None or field.is_repeated:
            raise malformed(f"there is no parameter {word(path)!r}", path)
        descriptor = field.message_type
        tree = tree.setdefault(field.name, {})
    field = find(descriptor, last)
    if field is None or (field.message_type is not None and not _is_text(field.message_type)):
        raise malformed(f"there is no parameter {word(path)!r}", path)
    value = _scalar(field, text, path)
    if field.is_repeated:
        tree.setdefault(field.name, []).append(value)
    elif field.name in tree:
        raise malformed("the parameter is given more than once", path)
    else:
        tree[field.name] = value


def _scalar(field: FieldDescriptor, text: str, path: str) -> Any:
    if field.type != FieldDescriptor.TYPE_BOOL:
        return text
    match text.lower():
        case "true" | "1":
            return True
        case "false" | "0":
            return False
        case _:
            raise malformed("expected true or false", path)


def _is_text(descriptor: Descriptor) -> bool:
    """Whether the JSON of a message is a plain word."""
    return descriptor.full_name in {
        "google.protobuf.Timestamp",
        "google.protobuf.Duration",
        "google.protobuf.FieldMask",
    }


def find(descriptor: Descriptor, name: str) -> FieldDescriptor | None:
    """The field of a name, as in the contract or in JSON's camel case."""
    return descriptor.fields_by_name.get(name) or descriptor.fields_by_camelcase_name.get(name)


def _message(value: Any, descriptor: Descriptor, path: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise malformed("nested too deeply", path)
    if not isinstance(value, Mapping):
        raise malformed("expected an object", path or "(body)")
    ready: dict[str, Any] = {}
    for name, inner in cast("Mapping[str, Any]", value).items():
        here = f"{path}.{name}" if path else str(name)
        field = find(descriptor, name)
        if field is None:
            raise malformed(f"there is no field {word(name)!r} in {descriptor.name}", here)
        if field.name in ready:
            raise malformed("the field is given more than once", here)
        ready[field.name] = _field(inner, field, here, depth + 1)
    return ready


def _field(value: Any, field: FieldDescriptor, path: str, depth: int) -> Any:
    if value is None:
        return None
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return value
    if field.is_repeated:
        if not isinstance(value, list):
            raise malformed("expected a list", path)
        items = cast("Iterable[Any]", value)
        return [_one(inner, field, f"{path}[{i}]", depth) for i, inner in enumerate(items)]
    return _one(value, field, path, depth)


def _one(value: Any, field: FieldDescriptor, path: str, depth: int) -> Any:
    if field.enum_type is not None:
        return _enum(value, field.enum_type, path)
    if field.message_type is not None and not field.message_type.full_name.startswith(
        "google.protobuf."
    ):
        return _message(value, field.message_type, path, depth)
    if field.message_type is not None and isinstance(value, str) and _is_mask(field.message_type):
        # Proto JSON names the fields of a mask as it names fields; here they may be named as in the contract.
        return re.sub(r"_([a-z])", lambda found: found[1].upper(), value)
    return value


def _is_mask(descriptor: Descriptor) -> bool:
    return descriptor.full_name == "google.protobuf.FieldMask"


def _enum(value: Any, descriptor: EnumDescriptor, path: str) -> Any:
    """The full name of an enum value, from the full or the short one in any case; a number stays a number."""
    if isinstance(value, int) and not isinstance(value, bool):
        known = value in descriptor.values_by_number
    elif isinstance(value, str) and value.lstrip("-").isdecimal() and value.isascii():
        value = int(value[:12])
        known = value in descriptor.values_by_number
    elif isinstance(value, str):
        wanted = value.upper()
        names = descriptor.values_by_name
        value = wanted if wanted in names else f"{prefix(descriptor)}{wanted}"
        known = value in names
    else:
        known = False
    if not known:
        raise malformed(f"expected one of {', '.join(short_names(descriptor))}", path)
    return value


def prefix(descriptor: EnumDescriptor) -> str:
    """What all names of an enum begin with: CONTROL_ACTION_ of ControlAction."""
    return descriptor.values[0].name.removesuffix("UNSPECIFIED")


def short_names(descriptor: EnumDescriptor) -> list[str]:
    """The names that people type, without the zero value."""
    return [
        value.name.removeprefix(prefix(descriptor)).lower()
        for value in descriptor.values
        if value.number
    ]


def _reason(error: Exception) -> str:
    return word(str(error).splitlines()[0] if str(error) else type(error).__name__)


def _blamed(error: Exception) -> str:
    """json_format says "Failed to parse name field: …", from the outside in."""
    names = [part.split(" ", 1)[0] for part in str(error).split("Failed to parse ")[1:]]
    return ".".join(names)
