"""The fast JSON is the JSON of the protobuf library, for any message of the contract."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.wrappers_pb2 import FloatValue
from hypothesis import given
from hypothesis import strategies as st

from pilothouse_server.bridge.bindings import load_files
from pilothouse_server.bridge.plain_json import Names, plain_json, write_float

TYPES: dict[str, Descriptor] = {
    message.name: message
    for file in load_files()
    for message in file.message_types_by_name.values()
}
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: st.text(st.characters(codec="utf-8"), max_size=8),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=8),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_DOUBLE: st.floats(),
    FieldDescriptor.TYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_ENUM: st.integers(0, 40),
}
NANOS = st.one_of(*(st.integers(0, 999).map(unit.__mul__) for unit in (1, 1_000, 1_000_000)))
PATHS = st.from_regex(r"[a-z]{1,4}(_[a-z]{1,4}){0,2}", fullmatch=True)
SPAN = {"google.protobuf.Timestamp": 250_000_000_000, "google.protobuf.Duration": 315_000_000_000}


def fill(draw: st.DrawFn, message: Any, depth: int) -> None:
    """Put anything into a message."""
    span = SPAN.get(message.DESCRIPTOR.full_name)
    if span is not None:
        sign = -1 if message.DESCRIPTOR.name == "Duration" and draw(st.booleans()) else 1
        message.seconds = sign * draw(st.integers(0, span))
        message.nanos = sign * draw(NANOS)
        return
    if message.DESCRIPTOR.full_name == "google.protobuf.FieldMask":
        # Only paths in snake case have a JSON of their own; the library refuses any other.
        message.paths.extend(draw(st.lists(PATHS, max_size=2)))
        return
    for field in message.DESCRIPTOR.fields:
        if not draw(st.booleans()):
            continue
        inner = field.message_type
        if inner is not None and inner.GetOptions().map_entry:
            fill_entry(draw, inner, getattr(message, field.name), depth)
        elif inner is not None and depth > 3:
            continue
        elif inner is not None and field.is_repeated:
            for _ in range(draw(st.integers(0, 2))):
                fill(draw, getattr(message, field.name).add(), depth + 1)
        elif inner is not None:
            getattr(message, field.name).SetInParent()
            fill(draw, getattr(message, field.name), depth + 1)
        elif field.is_repeated:
            getattr(message, field.name).extend(draw(st.lists(SCALARS[field.type], max_size=2)))
        else:
            setattr(message, field.name, draw(SCALARS[field.type]))


def fill_entry(draw: st.DrawFn, entry: Descriptor, values: Any, depth: int) -> None:
    """Put something into a map."""
    key = draw(SCALARS[FieldDescriptor.TYPE_STRING])
    if entry.fields_by_name["value"].message_type is None:
        values[key] = "value"
    else:
        fill(draw, values[key], depth + 1)


@st.composite
def messages(draw: st.DrawFn) -> Any:
    message = GetMessageClass(TYPES[draw(st.sampled_from(sorted(TYPES)))])()
    fill(draw, message, 0)
    return message


@given(messages(), st.sampled_from(Names))
def test_any_message_has_the_json_of_the_library(message: Any, names: Names) -> None:
    expected = json_format.MessageToDict(
        message,
        preserving_proto_field_name=names is Names.CONTRACT,
        always_print_fields_with_no_presence=True,
    )
    assert json.loads(plain_json(message, names)) == expected


@pytest.mark.parametrize("name", ["Event", "Workflow", "MetricsSnapshot", "LiveFrame", "AlertRule"])
def test_an_empty_message_has_the_json_of_the_library(name: str) -> None:
    message = GetMessageClass(TYPES[name])()
    expected = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    assert json.loads(plain_json(message)) == expected


@given(st.floats(width=32))
def test_a_single_precision_number_is_as_short_as_it_can_be(value: float) -> None:
    expected = json_format.MessageToDict(FloatValue(value=value))
    assert json.loads(write_float(value)) == expected
