"""Proto JSON with its zeros written out, so that what is absent is what is not known; with the contract's field
names (`workflow_id`) for those who do not have it at hand, or JSON's (`workflowId`) for those who have types of it.

The same as `json_format.MessageToDict` makes with `always_print_fields_with_no_presence`, and with
`preserving_proto_field_name` or without, from writers that are put together once for each message type: two to
three times as fast, which counts where a bridge sends thousands of events a second.
"""

import base64
import functools
import json
import math
import struct
from collections.abc import Callable, Sequence
from enum import Enum
from json.encoder import encode_basestring
from typing import Any, cast

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

Writer = Callable[[Any], str]

_LONG = frozenset(
    {
        FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_SINT64,
        FieldDescriptor.TYPE_SFIXED64,
        FieldDescriptor.TYPE_UINT64,
        FieldDescriptor.TYPE_FIXED64,
    }
)
_SECONDS_KEPT = 1024


class Names(Enum):
    """How fields are called."""

    CONTRACT = "contract"
    JSON = "json"


def plain_json(message: Message, names: Names = Names.CONTRACT) -> bytes:
    """The JSON of a message."""
    return _writer_of(cast("Descriptor", message.DESCRIPTOR), names)(message).encode()


@functools.cache
def _writer_of(descriptor: Descriptor, names: Names) -> Writer:
    """What writes messages of a type."""
    if descriptor.full_name in _WORDS:
        return _WORDS[descriptor.full_name]
    if descriptor.full_name.startswith("google.protobuf."):
        return functools.partial(_write_slowly, names=names)
    # A message type may contain itself, so its fields are looked up when the first one is written.
    fields: list[tuple[str, str, bool, Writer]] = []

    def write(message: Message) -> str:
        if not fields:
            fields.extend(_fields(descriptor, names))
        return (
            "{"
            + ",".join(
                [
                    key + one(getattr(message, name))
                    for key, name, optional, one in fields
                    if not optional or message.HasField(name)
                ]
            )
            + "}"
        )

    return write


def _fields(descriptor: Descriptor, names: Names) -> list[tuple[str, str, bool, Writer]]:
    return [
        (
            f'"{field.name if names is Names.CONTRACT else field.json_name}":',
            field.name,
            field.has_presence,
            _field_writer(field, names),
        )
        for field in descriptor.fields
    ]


def _field_writer(field: FieldDescriptor, names: Names) -> Writer:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        return _map_writer(message, names)
    one = _one_writer(field, names)
    if not field.is_repeated:
        return one

    def write(values: Sequence[Any]) -> str:
        return "[" + ",".join([one(value) for value in values]) + "]"

    return write


def _map_writer(entry: Descriptor, names: Names) -> Writer:
    key = entry.fields_by_name["key"]
    one = _one_writer(entry.fields_by_name["value"], names)

    def name(value: Any) -> str:
        if key.type == FieldDescriptor.TYPE_BOOL:
            return '"true"' if value else '"false"'
        return encode_basestring(str(value))

    def write(values: Any) -> str:
        # Reading a missing key of a map of messages would add it, so only those that are there are read.
        return "{" + ",".join([f"{name(at)}:{one(values[at])}" for at in values]) + "}"

    return write


def _one_writer(field: FieldDescriptor, names: Names) -> Writer:
    if field.message_type is not None:
        return _writer_of(field.message_type, names)
    if field.enum_type is not None:
        return _enum_writer(field.enum_type)
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return encode_basestring
        case FieldDescriptor.TYPE_BOOL:
            return _write_bool
        case FieldDescriptor.TYPE_DOUBLE:
            return _write_double
        case FieldDescriptor.TYPE_FLOAT:
            return write_float
        case FieldDescriptor.TYPE_BYTES:
            return _write_bytes
        case kind:
            return _write_long if kind in _LONG else str


def _enum_writer(descriptor: EnumDescriptor) -> Writer:
    names = {number: f'"{value.name}"' for number, value in descriptor.values_by_number.items()}

    def write(number: int) -> str:
        return names.get(number) or str(number)

    return write


def _write_bool(value: Any) -> str:
    return "true" if value else "false"


def _write_long(value: Any) -> str:
    return f'"{value}"'


def _write_double(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return '"NaN"' if math.isnan(value) else '"Infinity"' if value > 0 else '"-Infinity"'


def write_float(value: float) -> str:
    """The shortest text that gives the same single-precision number back."""
    if not math.isfinite(value):
        return _write_double(value)
    texts = (f"{value:.{digits}g}" for digits in range(6, 9))
    exact = (
        text for text in texts if struct.unpack("f", struct.pack("f", float(text)))[0] == value
    )
    return repr(float(next(exact, f"{value:.9g}")))


def _write_bytes(value: bytes) -> str:
    return f'"{base64.b64encode(value).decode()}"'


def _write_duration(message: Any) -> str:
    if message.seconds < 0 or message.nanos < 0:
        return f'"{message.ToJsonString()}"'
    return f'"{message.seconds}{_fraction(message.nanos)}s"'


def _write_timestamp(message: Any) -> str:
    return f'"{_date_and_time(message.seconds)}{_fraction(message.nanos)}Z"'


@functools.lru_cache(_SECONDS_KEPT)
def _date_and_time(seconds: int) -> str:
    """Most times of a burst share their second, and to find out its date is most of the work."""
    return Timestamp(seconds=seconds).ToJsonString()[:-1]


def _fraction(nanos: int) -> str:
    if nanos == 0:
        return ""
    if nanos % 1_000_000 == 0:
        return f".{nanos // 1_000_000:03d}"
    return f".{nanos // 1_000:06d}" if nanos % 1_000 == 0 else f".{nanos:09d}"


_WORDS: dict[str, Writer] = {
    "google.protobuf.Timestamp": _write_timestamp,
    "google.protobuf.Duration": _write_duration,
}


def _write_slowly(message: Any, names: Names) -> str:
    """The rest of the well-known types have forms of their own, and are rare."""
    contract = names is Names.CONTRACT
    return json.dumps(json_format.MessageToDict(message, preserving_proto_field_name=contract))
