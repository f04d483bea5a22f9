"""Writes the API reference from the contract: all of it, with the comments that stand in the protos.

Part of `make gen`, so that the reference cannot differ from what is served.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.api import annotations_pb2, field_behavior_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)

from pilothouse.v1 import options_pb2

PACKAGE = ".pilothouse.v1."
_SERVICES, _MESSAGES, _ENUMS = 6, 4, 5
_METHODS, _FIELDS, _VALUES = 2, 2, 2
_BEHAVIOUR: Any = field_behavior_pb2.field_behavior
_SCALARS = {
    number: name.removeprefix("TYPE_").lower() for name, number in FieldDescriptorProto.Type.items()
}


@dataclass
class Source:
    """One file and the comments that stand before its parts."""

    file: FileDescriptorProto
    comments: Mapping[tuple[int, ...], str] = field(init=False)

    def __post_init__(self) -> None:
        self.comments = {
            tuple(location.path): _flow(location.leading_comments)
            for location in self.file.source_code_info.location
            if location.leading_comments
        }

    def comment(self, *path: int) -> str:
        """The comment of a part; "" where there is none."""
        return self.comments.get(path, "")


def reference(files: FileDescriptorSet) -> str:
    """The whole page as Markdown."""
    sources = [Source(file) for file in files.file if file.package == PACKAGE.strip(".")]
    lines = [
        "# API reference",
        "",
        "Made from the contract in `protos/pilothouse/v1`. Every method is served by gRPC; unary ones",
        "also over HTTP as `POST /pilothouse.v1.Service/Method` with JSON or binary protobuf, and at the",
        "path shown. Errors carry one reason of [ErrorReason](#errorreason).",
        "",
    ]
    for source in sources:
        for index, service in enumerate(source.file.service):
            lines += _service(source, index, service)
    lines += ["# Messages", ""]
    for source in sources:
        for index, message in enumerate(source.file.message_type):
            lines += _message(source, (_MESSAGES, index), message)
    lines += ["# Enumerations", ""]
    for source in sources:
        for index, enum in enumerate(source.file.enum_type):
            lines += _enum(source, (_ENUMS, index), enum)
    return "\n".join(lines).rstrip() + "\n"


def _service(source: Source, index: int, service: ServiceDescriptorProto) -> Iterator[str]:
    yield f"## {service.name}"
    yield ""
    yield source.comment(_SERVICES, index)
    yield ""
    for number, method in enumerate(service.method):
        yield f"### {service.name}.{method.name}"
        yield ""
        yield source.comment(_SERVICES, index, _METHODS, number)
        yield ""
        yield from _call(method)
        yield ""


def _call(method: MethodDescriptorProto) -> Iterator[str]:
    asked = ("stream of " if method.client_streaming else "") + _link(method.input_type)
    answered = ("stream of " if method.server_streaming else "") + _link(method.output_type)
    yield f"- {asked} → {answered}"
    # The stubs of googleapis know their extensions by another type than those of protobuf.
    extensions: Any = method.options.Extensions
    http = extensions[annotations_pb2.http]
    verb: str | None = http.WhichOneof("pattern")
    if verb:
        yield f"- `{verb.upper()} {getattr(http, verb)}`"
    role = options_pb2.Role.Name(method.options.Extensions[options_pb2.required_role])
    yield f"- role: {role.removeprefix('ROLE_').lower()}"


def _message(source: Source, path: tuple[int, ...], message: DescriptorProto) -> Iterator[str]:
    entries = {
        f"{nested.name}": nested for nested in message.nested_type if nested.options.map_entry
    }
    yield f"## {message.name}"
    yield ""
    yield source.comment(*path)
    yield ""
    if not message.field:
        return
    yield "| field | type | |"
    yield "|---|---|---|"
    for number, item in enumerate(message.field):
        comment = source.comment(*path, _FIELDS, number)
        if field_behavior_pb2.OUTPUT_ONLY in item.options.Extensions[_BEHAVIOUR]:
            comment += " Set by the server."
        yield f"| `{item.name}` | {_type(item, entries)} | {comment.replace('|', chr(92) + '|')} |"
    yield ""


def _enum(source: Source, path: tuple[int, ...], enum: EnumDescriptorProto) -> Iterator[str]:
    yield f"## {enum.name}"
    yield ""
    yield source.comment(*path)
    yield ""
    yield "| value | number | |"
    yield "|---|---|---|"
    for number, value in enumerate(enum.value):
        comment = source.comment(*path, _VALUES, number)
        yield f"| `{value.name}` | {value.number} | {comment} |"
    yield ""


def _type(item: FieldDescriptorProto, entries: Mapping[str, DescriptorProto]) -> str:
    entry = entries.get(item.type_name.rsplit(".", 1)[-1])
    if entry is not None:
        return f"map of {_type(entry.field[0], {})} to {_type(entry.field[1], {})}"
    plain = _link(item.type_name) if item.type_name else _SCALARS[item.type]
    if item.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"list of {plain}"
    return f"{plain}, optional" if item.proto3_optional else plain


def _link(type_name: str) -> str:
    name = type_name.removeprefix(PACKAGE)
    if name == type_name:
        return type_name.rsplit(".", 1)[-1]
    return f"[{name}](#{name.lower()})"


def _flow(comment: str) -> str:
    """A comment as running text; a drawing in it stays a drawing."""
    lines = [line.removeprefix(" ") for line in comment.rstrip().splitlines()]
    text, drawing = "", False
    for line in lines:
        indented = line.startswith("  ")
        if indented and not drawing:
            text = text.rstrip() + "\n\n```\n"
        if not indented and drawing:
            text = text.rstrip("\n") + "\n```\n\n"
        drawing = indented
        text += line + "\n" if drawing else line + " "
    return (text.rstrip() + "\n```") if drawing else text.strip()


def main() -> None:
    """Reads a descriptor set with comments from the first path, writes the page to the second."""
    image, page = sys.argv[1:]
    Path(page).write_text(
        reference(FileDescriptorSet.FromString(Path(image).read_bytes())), "utf-8"
    )


if __name__ == "__main__":
    main()
