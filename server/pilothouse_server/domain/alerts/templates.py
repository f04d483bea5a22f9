"""Texts with `{{ $labels.agent_id }}` and `{{ $value | humanize }}`: the part of Prometheus' templates without loops.

A template is taken apart once and checked as a whole: names, the number of arguments and their kinds. So `check` tells
the author everything, and `expand`, which runs wherever an alert changes, can fail only by a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import assert_never

from pilothouse_server.domain.alerts import formatting
from pilothouse_server.domain.alerts.formatting import NO_VALUE, NotPrintable
from pilothouse_server.domain.alerts.template_syntax import (
    Call,
    Constant,
    Label,
    Labels,
    Node,
    NotATemplate,
    Printf,
    Value,
    needs_value,
    parse,
)
from pilothouse_server.domain.errors import InvalidArgument

MOST_BYTES = 4096
"""What a template may become; the rest is cut, with an ellipsis."""
Scalar = str | float | int | None


def expand(text: str, labels: Mapping[str, str], value: float | None) -> str:
    """The text with its `{{ … }}` filled in, at most 4,096 bytes of it; a label that is not there is "". What is wrong
    is said in the result, never raised: an alert with an odd annotation is better than none."""
    try:
        said = _filled(_compiled(text), labels, value)
    except (NotATemplate, NotPrintable) as error:
        said = f"<error expanding template: {error}>"
    return _cut(said)


def check(text: str, field: str) -> None:
    """Raises InvalidArgument for what is not in the subset."""
    _checked(text, field)


def check_label(text: str, field: str) -> None:
    """Raises InvalidArgument for `$value` too, which an identity cannot have: each value would be a new alert."""
    if any(needs_value(part) for part in _checked(text, field) if not isinstance(part, str)):
        raise InvalidArgument(
            field, "$value cannot be used in a label: each value would be an alert of its own"
        )


def _checked(text: str, field: str) -> tuple[str | Node, ...]:
    try:
        return _compiled(text)
    except NotATemplate as error:
        raise InvalidArgument(field, str(error)) from error


def _filled(parts: Sequence[str | Node], labels: Mapping[str, str], value: float | None) -> str:
    said: list[str] = []
    length = 0
    for part in parts:
        one = part if isinstance(part, str) else _said(_evaluated(part, labels, value))
        said.append(one)
        length += len(one)
        if length > MOST_BYTES:
            break
    return "".join(said)


def _evaluated(node: Node, labels: Mapping[str, str], value: float | None) -> Scalar:
    match node:
        case Constant(constant):
            return constant
        case Label(name):
            return _label(labels, name)
        case Labels():
            return f"map[{' '.join(f'{name}:{_label(labels, name)}' for name in sorted(labels))}]"
        case Value():
            return value
        case Call(function, argument):
            return _called(function, _evaluated(argument, labels, value))
        case Printf(verbs, arguments):
            return formatting.printf(verbs, [_evaluated(each, labels, value) for each in arguments])
        case _:
            assert_never(node)


def _label(labels: Mapping[str, str], name: str) -> str:
    """As much of it as can matter, so that nothing is made of a label without bounds."""
    return labels.get(name, "")[: MOST_BYTES + 1]


def _called(name: str, argument: Scalar) -> str:
    if argument is None:
        return NO_VALUE
    if name in _OF_TEXTS:
        return _OF_TEXTS[name](str(argument))
    if isinstance(argument, str):
        if _NUMBER.fullmatch(argument) is None:
            raise NotPrintable(f"{name}: {argument!r} is no number")
        argument = float(argument)
    return _OF_NUMBERS[name](argument)


_NUMBER = re.compile(
    r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?|nan)", re.IGNORECASE | re.ASCII
)
_OF_NUMBERS: Mapping[str, Callable[[float], str]] = {
    "humanize": formatting.humanize,
    "humanize1024": formatting.humanize_1024,
    "humanizeDuration": formatting.humanize_duration,
    "humanizePercentage": formatting.humanize_percentage,
    "humanizeTimestamp": formatting.humanize_timestamp,
}
_OF_TEXTS: Mapping[str, Callable[[str], str]] = {
    "title": formatting.title,
    "toLower": formatting.to_lower,
    "toUpper": formatting.to_upper,
}


@lru_cache(maxsize=4096)
def _compiled(text: str) -> tuple[str | Node, ...]:
    return parse(text)


def _said(value: Scalar) -> str:
    match value:
        case None:
            return NO_VALUE
        case str():
            return value
        case int():
            return str(value)
        case float():
            return formatting.number(value)


def _cut(said: str) -> str:
    # Most texts are short: four bytes a letter fit without counting.
    if len(said) * 4 <= MOST_BYTES:
        return said
    encoded = said.encode(errors="replace")
    if len(encoded) <= MOST_BYTES:
        return said
    return encoded[: MOST_BYTES - len("…".encode())].decode(errors="ignore") + "…"
