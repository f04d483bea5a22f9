"""The OpenAPI 3.1 description of the REST paths, read from the same descriptors and bindings that serve them.

Schemas say what is sent: the field names of the contract, 64-bit numbers as text, enums by name.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from pilothouse_server.bridge.bindings import Binding
from pilothouse_server.bridge.lines import NDJSON

VERSION = "1"
JSON = "application/json"
SCALARS: dict[int, dict[str, Any]] = {
    FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_SINT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_SFIXED32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    FieldDescriptor.TYPE_FIXED32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    FieldDescriptor.TYPE_INT64: {"type": "string", "format": "int64"},
    FieldDescriptor.TYPE_SINT64: {"type": "string", "format": "int64"},
    FieldDescriptor.TYPE_SFIXED64: {"type": "string", "format": "int64"},
    FieldDescriptor.TYPE_UINT64: {"type": "string", "format": "uint64"},
    FieldDescriptor.TYPE_FIXED64: {"type": "string", "format": "uint64"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}
WELL_KNOWN: dict[str, dict[str, Any]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?\d+(\.\d{1,9})?s$"},
    "google.protobuf.FieldMask": {"type": "string"},
}
ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["code", "message", "reason", "metadata", "violations"],
    "properties": {
        "code": {"type": "string", "description": "The name of a gRPC code."},
        "message": {"type": "string", "description": "For people."},
        "reason": {"type": "string", "description": "A name of ErrorReason without its prefix."},
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
        "violations": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "description": {"type": "string"}},
            },
        },
    },
}
REALTIME: dict[str, Any] = {
    "type": "object",
    "properties": {
        "snapshot": {"$ref": "#/components/schemas/MetricsSnapshot"},
        "age_seconds": {"type": "number"},
        "ttl_seconds": {"type": "number"},
        "throughput_per_minute": {
            "type": "object",
            "description": "Of the fleet, by window in seconds; null where it is not known.",
            "additionalProperties": {"type": ["number", "null"]},
        },
    },
}


def describe(bindings: Iterable[Binding], comments: Mapping[str, str]) -> dict[str, Any]:
    """The whole document. Comments are by full name."""
    schemas = _Schemas(comments)
    paths: dict[str, dict[str, Any]] = {}
    for binding in bindings:
        operations = paths.setdefault(_path(binding), {})
        operations[binding.verb.lower()] = _operation(binding, schemas)
    realtime = _answers({"type": "object", "$ref": "#/components/schemas/RealtimeMetrics"})
    paths["/api/v1/monitoring/metrics/realtime"] = {
        "get": {"operationId": "RealtimeMetrics", "tags": ["MetricsService"], "responses": realtime}
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pilothouse", "version": VERSION},
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(
                sorted({**schemas.made, "Error": ERROR, "RealtimeMetrics": REALTIME}.items())
            )
        },
    }


def _path(binding: Binding) -> str:
    """OpenAPI knows plain variables only."""
    text = binding.template.text
    for name in binding.template.variables:
        start = text.index("{" + name)
        text = f"{text[:start]}{{{name}}}{text[text.index('}', start) + 1 :]}"
    return text


def _operation(binding: Binding, schemas: "_Schemas") -> dict[str, Any]:
    method = binding.call.method
    request = method.input_type
    operation: dict[str, Any] = {
        "operationId": f"{method.containing_service.name}_{method.name}",
        "summary": schemas.comments.get(method.full_name, method.name),
        "tags": [method.containing_service.name],
        "responses": _answers(
            schemas.reference(method.output_type), NDJSON if binding.call.streaming else JSON
        ),
    }
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string"},
            "description": schemas.comments.get(f"{request.full_name}.{name}", name),
        }
        for name in binding.template.variables
    ]
    if binding.body != "*":
        taken = {*binding.template.variables, binding.body}
        fields = [field for field in request.fields if field.name not in taken]
        parameters += [
            {"name": field.name, "in": "query", "schema": schemas.of_field(field)}
            for field in fields
            if field.message_type is None or field.message_type.full_name in WELL_KNOWN
        ]
    if parameters:
        operation["parameters"] = parameters
    if binding.body:
        body = schemas.reference(request)
        if binding.body != "*":
            body = schemas.of_field(request.fields_by_name[binding.body])
        operation["requestBody"] = {
            "required": True,
            "content": {JSON: {"schema": body}},
        }
    return operation


def _answers(schema: dict[str, Any], kind: str = JSON) -> dict[str, Any]:
    """What is answered; of a stream the schema is that of each line."""
    error = {"$ref": "#/components/schemas/Error"}
    return {
        "200": {"description": "Done.", "content": {kind: {"schema": schema}}},
        "default": {
            "description": "Refused; `reason` says why.",
            "content": {JSON: {"schema": error}},
        },
    }


class _Schemas:
    """Schemas of the messages and enums that were asked for."""

    def __init__(self, comments: Mapping[str, str]) -> None:
        self.comments = comments
        self.made: dict[str, Any] = {}

    def reference(self, descriptor: Descriptor) -> dict[str, Any]:
        known = WELL_KNOWN.get(descriptor.full_name)
        if known is not None:
            return known
        if descriptor.name not in self.made:
            self.made[descriptor.name] = {}
            properties = {field.name: self.of_field(field) for field in descriptor.fields}
            schema = {"type": "object", "properties": properties}
            self.made[descriptor.name] = self._said(descriptor.full_name) | schema
        return {"$ref": f"#/components/schemas/{descriptor.name}"}

    def of_field(self, field: FieldDescriptor) -> dict[str, Any]:
        said = self._said(field.full_name)
        message = field.message_type
        if message is not None and message.GetOptions().map_entry:
            values = self._one(message.fields_by_name["value"])
            return said | {"type": "object", "additionalProperties": values}
        one = self._one(field)
        return said | ({"type": "array", "items": one} if field.is_repeated else one)

    def _said(self, full_name: str) -> dict[str, Any]:
        comment = self.comments.get(full_name)
        return {"description": comment} if comment else {}

    def _one(self, field: FieldDescriptor) -> dict[str, Any]:
        if field.message_type is not None:
            return self.reference(field.message_type)
        if field.enum_type is not None:
            return self._enum(field.enum_type)
        return SCALARS[field.type]

    def _enum(self, descriptor: EnumDescriptor) -> dict[str, Any]:
        if descriptor.name not in self.made:
            names = [value.name for value in descriptor.values]
            schema = {"type": "string", "enum": names}
            self.made[descriptor.name] = self._said(descriptor.full_name) | schema
        return {"$ref": f"#/components/schemas/{descriptor.name}"}
