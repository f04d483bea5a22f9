"""The comments of the contract by full name, from the descriptor set beside the generated code.

The descriptors that a program runs with have none.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

import pilothouse.v1

SET = "descriptors.binpb"


def load_comments() -> Mapping[str, str]:
    """What is said of each message, field, enum, value, service and method; nothing where the set is missing."""
    path = Path(pilothouse.v1.__path__[0]) / SET
    if not path.is_file():
        return {}
    files = FileDescriptorSet.FromString(path.read_bytes()).file
    return {name: text for file in files for name, text in _of(file)}


def _of(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    for location in file.source_code_info.location:
        text = " ".join(location.leading_comments.split())
        if text and len(location.path) % 2 == 0 and location.path:
            name = _name(file, tuple(location.path))
            if name:
                yield f"{file.package}.{name}", text


def _name(file: FileDescriptorProto, path: tuple[int, ...]) -> str:
    """A path is pairs of a field's number and an index: from file to message to field, for example."""
    at: Any = file
    names: list[str] = []
    for number, index in zip(path[::2], path[1::2], strict=True):
        field = at.DESCRIPTOR.fields_by_number.get(number)
        if field is None or field.message_type is None or not field.is_repeated:
            return ""
        at = getattr(at, field.name)[index]
        if not hasattr(at, "name"):
            return ""
        names.append(at.name)
    return ".".join(names)
