"""The table of calls, read from the descriptors of every service in pilothouse.v1 when a bridge starts.

A new RPC with a `google.api.http` option is a new REST path with no code here.
"""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor import Descriptor, FileDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import pilothouse.v1
from pilothouse_server.bridge.templates import PathTemplate, parse


@dataclass(frozen=True, slots=True)
class Call:
    """One unary or streaming method of the server."""

    path: str
    """/pilothouse.v1.Service/Method"""
    method: MethodDescriptor
    request_type: type[Message]
    response_type: type[Message]
    streaming: bool


@dataclass(frozen=True, slots=True)
class Binding:
    """One REST path of a call."""

    call: Call
    verb: str
    """The HTTP method."""
    template: PathTemplate
    body: str
    """The field that the body is: "*" for the whole request, empty for none."""
    response_body: str
    """The field that is answered; empty for the whole response."""


def load_files() -> list[FileDescriptor]:
    """The descriptors of all files of the contract."""
    modules = pkgutil.iter_modules(pilothouse.v1.__path__, "pilothouse.v1.")
    names = sorted(module.name for module in modules if module.name.endswith("_pb2"))
    return [importlib.import_module(name).DESCRIPTOR for name in names]


def load_calls() -> dict[str, Call]:
    """All methods, by path."""
    calls: dict[str, Call] = {}
    for file in load_files():
        for service in file.services_by_name.values():
            for method in service.methods:
                path = f"/{service.full_name}/{method.name}"
                streaming = method.client_streaming or method.server_streaming
                types = _message_class(method.input_type), _message_class(method.output_type)
                calls[path] = Call(path, method, *types, streaming)
    return calls


def load_bindings(calls: Mapping[str, Call]) -> list[Binding]:
    """All REST paths, the most literal first. A stream of requests has none."""
    unary = (call for call in calls.values() if not call.method.client_streaming)
    bindings = [binding for call in unary for binding in _of(call)]
    return sorted(
        bindings, key=lambda b: (-b.template.literals, len(b.template.variables), b.template.text)
    )


def _of(call: Call) -> Iterator[Binding]:
    options = call.method.GetOptions()
    # The stubs take every extension for one of an unknown message.
    http: Any = annotations_pb2.http
    if not options.HasExtension(http):
        return
    rule: http_pb2.HttpRule = options.Extensions[http]
    for one in (rule, *rule.additional_bindings):
        verb, template = _pattern(one)
        yield Binding(call, verb, parse(template), one.body, one.response_body)


def _pattern(rule: http_pb2.HttpRule) -> tuple[str, str]:
    kind = rule.WhichOneof("pattern")
    if kind is None:
        message = "a google.api.http option has no path"
        raise ValueError(message)
    if kind == "custom":
        return rule.custom.kind.upper(), rule.custom.path
    return kind.upper(), str(getattr(rule, kind))


def _message_class(descriptor: Descriptor) -> type[Message]:
    return GetMessageClass(descriptor)
