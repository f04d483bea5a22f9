"""The contract's own rules, read from the descriptors by protovalidate."""

from __future__ import annotations

from google.protobuf.message import Message
from protovalidate import Validator, Violation

_validator = Validator()


def violations_of(message: Message) -> list[tuple[str, str]]:
    """(field path, what is wrong) for each rule that `message` breaks."""
    return [
        (path_of(violation), violation.proto.message)
        for violation in _validator.collect_violations(message)
    ]


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
