"""The contract as the command line sees it: groups, commands and what each field is, by rule and from the descriptors.

A service is a group named by its noun in the plural. A method is a command named by its verb, with the noun left out
where it is the service's own. A service about a kind of what another one is about is a group in that one's group:
DeadEventService is `events dead`. Where that gives two methods one name, the one about many keeps its noun: `publish`
and `publish-events`.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from google.api import annotations_pb2, field_behavior_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    MethodDescriptor,
    OneofDescriptor,
    ServiceDescriptor,
)
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import pilothouse.v1
from pilothouse._vendor.buf.validate import validate_pb2

DURATION = "google.protobuf.Duration"
TIMESTAMP = "google.protobuf.Timestamp"
FIELD_MASK = "google.protobuf.FieldMask"

FOLLOWING_VERBS = frozenset({"Subscribe", "Watch", "Follow"})
"""First words of methods that a person would call watching."""

COMMENTS = Path(__file__).resolve().parent.parent / "v1" / "descriptors.binpb"
"""The contract with its comments, which the descriptors of a running program do not have."""


@dataclass(frozen=True)
class Command:
    """One method as a command."""

    group: str
    """Its service's group."""
    name: str
    """Its name in the group."""
    method: MethodDescriptor
    """The method."""

    @property
    def path(self) -> str:
        """The path of the RPC."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"


def words(camel: str) -> list[str]:
    """The words of a CamelCase name."""
    return re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]*", camel)


def plural(noun: str) -> str:
    """More than one of them."""
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    if noun.endswith(("ch", "sh", "x")):
        return noun + "es"
    return noun if noun.endswith("s") else noun + "s"


def singular(nouns: str) -> str:
    """One of them."""
    if nouns.endswith("ies"):
        return nouns[:-3] + "y"
    if nouns.endswith(("ches", "shes", "xes")):
        return nouns[:-2]
    return nouns[:-1] if nouns.endswith("s") and not nouns.endswith("ss") else nouns


def kebab(parts: list[str]) -> str:
    """`parts` as a word of a command line."""
    return "-".join(part.lower() for part in parts)


@functools.cache
def groups() -> Mapping[str, Mapping[str, Command]]:
    """All commands, by group and name; a group in another has both names, with a space between."""
    found = {group_name(service): commands(service) for service in _services()}
    return dict(sorted(found.items()))


@functools.cache
def _nouns() -> frozenset[str]:
    """What the services are about."""
    return frozenset("".join(noun(service)) for service in _services())


def is_noun(word: str) -> bool:
    """Whether one of the services is about that."""
    return word.capitalize() in _nouns()


def _services() -> Iterator[ServiceDescriptor]:
    for module in pkgutil.iter_modules(pilothouse.v1.__path__):
        if module.name.endswith("_pb2_grpc"):
            messages = importlib.import_module(f"pilothouse.v1.{module.name.removesuffix('_grpc')}")
            yield from messages.DESCRIPTOR.services_by_name.values()


def noun(service: ServiceDescriptor) -> list[str]:
    """What the service is about."""
    return words(service.name.removesuffix("Service"))


def group_name(service: ServiceDescriptor) -> str:
    """`workflows` for WorkflowService; `events dead` for DeadEventService, beside EventService; `audit` for a service
    none of whose methods names several of what it is about, since then there is only one of it."""
    *first, last = noun(service)
    counted = any(_names_several(method, noun(service)) for method in service.methods)
    if first and counted and last in _nouns():
        return f"{kebab([plural(last)])} {kebab(first)}"
    return kebab([*first, plural(last) if counted else last])


def _names_several(method: MethodDescriptor, subject: list[str]) -> bool:
    _, *rest = words(method.name)
    return rest[: len(subject)] == [*subject[:-1], plural(subject[-1])]


def commands(service: ServiceDescriptor) -> Mapping[str, Command]:
    """The commands of one service, in the order of the contract."""
    short = {method.name: _short_name(method) for method in service.methods}
    taken = list(short.values())
    group = group_name(service)
    named: dict[str, Command] = {}
    for method in service.methods:
        name = short[method.name]
        if taken.count(name) > 1 and method.name.endswith("s"):
            name = kebab(words(method.name))
        named[name] = Command(group, name, method)
    return named


def _short_name(method: MethodDescriptor) -> str:
    verb, *rest = words(method.name)
    subject = noun(method.containing_service)
    many = [*subject[:-1], plural(subject[-1])]
    if rest[: len(many)] == many:
        rest = rest[len(many) :]
    elif rest[: len(subject)] == subject:
        rest = rest[len(subject) :]
    if verb in FOLLOWING_VERBS and method.server_streaming:
        verb = "Watch"
    return kebab([verb, *rest])


def request_class(method: MethodDescriptor) -> type[Message]:
    """The class of what the method is called with."""
    return GetMessageClass(method.input_type)


def response_class(method: MethodDescriptor) -> type[Message]:
    """The class of what the method answers."""
    return GetMessageClass(method.output_type)


def rules(field: FieldDescriptor) -> Any:
    """The rules of the contract for `field`."""
    return field.GetOptions().Extensions[validate_pb2.field]


def is_required(field: FieldDescriptor) -> bool:
    """Whether a request without `field` would be refused."""
    of = rules(field)
    least = of.string.min_bytes or of.string.min_len or of.repeated.min_items
    return bool(of.required or least or 0 in of.enum.not_in)


def is_unchecked(field: FieldDescriptor) -> bool:
    """Whether what is in `field` is not held to the rules of its own kind, since part of it may be left out."""
    return bool(rules(field).ignore == validate_pb2.IGNORE_ALWAYS)


def is_output_only(field: FieldDescriptor) -> bool:
    """Whether only the server sets `field`."""
    behaviour: Any = field_behavior_pb2.field_behavior
    return field_behavior_pb2.OUTPUT_ONLY in field.GetOptions().Extensions[behaviour]


def is_resource(descriptor: Descriptor) -> bool:
    """Whether people make messages of this kind and the server adds to them."""
    return any(is_output_only(field) for field in fields(descriptor))


def choices(descriptor: Descriptor) -> list[OneofDescriptor]:
    """What a message of this kind is one of, with a kind of message for each."""
    return [
        each
        for each in descriptor.oneofs
        if len(each.fields) > 1 and all(field.message_type for field in each.fields)
    ]


def is_needed(choice: OneofDescriptor) -> bool:
    """Whether a message without any of them would be refused."""
    options: Any = choice.GetOptions()
    return bool(options.Extensions[validate_pb2.oneof].required)


def path_fields(method: MethodDescriptor) -> frozenset[str]:
    """What the method's address names, as `rule.id`: what a call is about."""
    key: Any = annotations_pb2.http
    http: Any = method.GetOptions().Extensions[key]
    address = getattr(http, http.WhichOneof("pattern") or "get")
    return frozenset(re.findall(r"\{([\w.]+)\}", address))


def is_positional(field: FieldDescriptor) -> bool:
    """Whether `field` says what the command is about, as an id or a file does."""
    if is_document(field):
        return True
    if field.type != field.TYPE_STRING or field.is_repeated:
        return False
    subject = words(cast("Descriptor", field.containing_type).name)[1:-1]
    own = field.name == "_".join(word.lower() for word in [*subject, "id"])
    return own or ((field.name == "id" or field.name.endswith("_id")) and is_required(field))


def is_document(field: FieldDescriptor) -> bool:
    """Whether `field` is a whole document, which people have in a file."""
    return field.name == "document" and field.type == field.TYPE_STRING and not field.is_repeated


def is_address(field: FieldDescriptor) -> bool:
    """Whether `field` says where something is, as a URL does."""
    return bool(rules(field).string.uri) or field.name in {"url", "urls"}


def enum_prefix(enum: EnumDescriptor) -> str:
    """What every value of `enum` begins with: `CONTROL_ACTION_` for ControlAction."""
    return "_".join(word.upper() for word in words(enum.name)) + "_"


def word_of(message: Message, name: str) -> str:
    """The word of the enum field `name` of `message`."""
    enum = field_of(kind_of(message), name).enum_type
    return enum_word(cast("EnumDescriptor", enum), getattr(message, name))


def enum_word(enum: EnumDescriptor, number: int) -> str:
    """The name of a value without its prefix; the number when this program does not know it; empty when unspecified."""
    value = enum.values_by_number.get(number)
    if value is None:
        return str(number)
    name: str = value.name.removeprefix(enum_prefix(enum))
    return "" if name == "UNSPECIFIED" else name


def enum_words(enum: EnumDescriptor) -> list[str]:
    """What people may type for a value of `enum`."""
    return [enum_word(enum, value.number).lower() for value in enum.values if value.number != 0]


def enum_name(enum: EnumDescriptor, typed: str) -> str:
    """The full name of what was typed: short or long, in any case, `-` for `_`. Raises ValueError with what it could
    be."""
    name = typed.strip().upper().replace("-", "_")
    for candidate in (enum_prefix(enum) + name.removeprefix(enum_prefix(enum)), name):
        if candidate in enum.values_by_name:
            return candidate
    raise ValueError(f"{typed!r} is not one of {', '.join(enum_words(enum))}")


def kind_of(message: Message) -> Descriptor:
    """What kind of message it is."""
    # The stubs name the class of upb beside the public one that it stands for.
    return cast("Descriptor", message.DESCRIPTOR)


def fields(descriptor: Descriptor) -> list[FieldDescriptor]:
    """The fields of a kind of message, in the order of the contract."""
    return list(descriptor.fields)


def field_of(descriptor: Descriptor, name: str) -> FieldDescriptor:
    """The field of this name."""
    return descriptor.fields_by_name[name]


def message_of(field: FieldDescriptor) -> Descriptor:
    """The kind of message that `field` holds. Raises TypeError for a field that holds none."""
    if field.message_type is None:
        raise TypeError(f"{field.full_name} holds no message")
    return field.message_type


def is_map(field: FieldDescriptor) -> bool:
    """Whether `field` is a map."""
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


@functools.cache
def comments() -> Mapping[str, str]:
    """What the contract says about each service, method, message, field and enum value, by full name."""
    try:
        raw = COMMENTS.read_bytes()
    except OSError:
        return {}
    found: dict[str, str] = {}
    for file in descriptor_pb2.FileDescriptorSet.FromString(raw).file:
        for location in file.source_code_info.location:
            text = " ".join(location.leading_comments.split())
            name = _name_at(file, tuple(location.path)) if text else None
            if name is not None:
                found[name] = text
    return found


def _name_at(file: descriptor_pb2.FileDescriptorProto, path: tuple[int, ...]) -> str | None:
    """The full name of what is at `path` of a file: pairs of a field number and an index, from the file inwards."""
    name, place = file.package, file
    for number, index in zip(path[::2], path[1::2], strict=False):
        field = place.DESCRIPTOR.fields_by_number.get(number)
        if field is None or not field.is_repeated or field.message_type is None:
            return None
        place = getattr(place, field.name)[index]
        name = f"{name}.{place.name}"
    return name if len(path) % 2 == 0 and path else None


def comment(descriptor: Descriptor | FieldDescriptor | MethodDescriptor | ServiceDescriptor) -> str:
    """What the contract says about `descriptor`; empty when the comments are not there."""
    return comments().get(descriptor.full_name, "")
