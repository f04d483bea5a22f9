"""Messages that have a form in words, which is read and shown: `stage=~"build|test"`, `error_rate 5m > 0.05`, and any
message of plain fields as `after=5m channels=ops,phone`.

What is read becomes data as in JSON, so that all else about values is decided in one place.
"""

from __future__ import annotations

import re
import shlex
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from pilothouse.cli import contract, values
from pilothouse.cli.contract import DURATION

MATCHER = "pilothouse.v1.Matcher"
CONDITION = "pilothouse.v1.Condition"

_MATCHES = {"=": "EQUAL", "!=": "NOT_EQUAL", "=~": "REGEX", "!~": "NOT_REGEX"}
_COMPARISONS = {
    ">": "GREATER_THAN",
    ">=": "GREATER_OR_EQUAL",
    "<": "LESS_THAN",
    "<=": "LESS_OR_EQUAL",
}
_MATCHER_SIGNS = {word: sign for sign, word in _MATCHES.items()}
_COMPARISON_SIGNS = {word: sign for sign, word in _COMPARISONS.items()}
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_WRITTEN_MATCHER = re.compile(
    r'\s*([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*(?:"((?:[^"\\]|\\.)*)"|([^"].*?|))\s*',
    re.ASCII | re.DOTALL,
)
_THRESHOLD = re.compile(
    rf"""\s*(?P<metric>\w+)
    (?:\s*\{{(?P<matchers>(?:[^"}}]|{_QUOTED})*)\}})?
    (?:\s+(?P<window>\d[\d.a-z]*))?
    (?:\s+by\s+(?P<dimension>\w+))?
    \s*(?P<comparison>>=|<=|>|<)\s*(?P<threshold>[-+.\w]+)
    (?:\s*\((?P<more>\w+=[^)]*)\))?\s*""",
    re.VERBOSE,
)
_BETWEEN_MATCHERS = re.compile(rf"\s*((?:[^,\"]|{_QUOTED})+?)\s*(?:,|$)")


def has(descriptor: Descriptor) -> bool:
    """Whether messages of this kind have a form in words."""
    return is_phrase(descriptor) or is_plain(descriptor)


def is_phrase(descriptor: Descriptor) -> bool:
    """Whether it is a form of its own, better than the fields one by one."""
    return descriptor.full_name in {MATCHER, CONDITION}


def is_plain(descriptor: Descriptor) -> bool:
    """Whether a message of this kind is a few values."""
    fields = contract.fields(descriptor)
    return 0 < len(fields) <= 3 and all(_is_word(field) for field in fields)


def _is_word(field: FieldDescriptor) -> bool:
    message = field.message_type
    return message is None or message.full_name == DURATION


def read(descriptor: Descriptor, text: str) -> dict[str, Any]:
    """The data of a message, as JSON would have it. Raises ValueError."""
    if descriptor.full_name == MATCHER:
        return read_matcher(text)
    return (
        read_condition(text) if descriptor.full_name == CONDITION else _read_plain(descriptor, text)
    )


def show(message: Message) -> str:
    """The words of a message, as they could be typed; not neutralised."""
    name = message.DESCRIPTOR.full_name
    if name == MATCHER:
        return _show_matcher(message)
    return _show_condition(message) if name == CONDITION else _show_plain(message)


def read_matcher(text: str) -> dict[str, Any]:
    """`name="value"`, `name=~"regex"` and so on; the quotes may be left out. Raises ValueError."""
    found = _WRITTEN_MATCHER.fullmatch(text)
    if found is None:
        raise ValueError(f'{text!r} is no matcher, as agent_type="coder" or stage=~"build|test"')
    name, sign, quoted, bare = found.groups()
    value = bare if quoted is None else re.sub(r"\\(.)", _unescaped, quoted)
    return {"name": name, "type": _MATCHES[sign], "value": value}


def _unescaped(found: re.Match[str]) -> str:
    return {"n": "\n", "t": "\t"}.get(found[1], found[1])


def _show_matcher(message: Message) -> str:
    sign = _MATCHER_SIGNS.get(contract.word_of(message, "type"), "=")
    value = _text(message, "value").replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{_text(message, "name")}{sign}"{value}"'


def read_condition(text: str) -> dict[str, Any]:
    """`queue_depth > 100 and error_rate 5m by stage > 0.1 (min_samples=20)`, with parentheses. Raises ValueError."""
    found, end = _read_any(text, 0)
    if text[end:].strip():
        raise ValueError(_no_condition(text[end:]))
    return found


def _no_condition(text: str) -> str:
    example = 'latency_p95{stage="build"} 15m by stage > 2'
    return f"{text.strip()!r} is no condition, such as: error_rate 5m > 0.05, {example}"


def _read_any(text: str, at: int) -> tuple[dict[str, Any], int]:
    """`and` binds more than `or`, as in PromQL."""
    return _read_joined(text, at, "or", "any")


def _read_joined(text: str, at: int, word: str, name: str) -> tuple[dict[str, Any], int]:
    found: list[dict[str, Any]] = []
    while True:
        each, at = _read_joined(text, at, "and", "all") if word == "or" else _read_one(text, at)
        found.append(each)
        joined = re.compile(rf"\s*{word}\b").match(text, at)
        if joined is None:
            return (found[0] if len(found) == 1 else {name: {"conditions": found}}), at
        at = joined.end()


def _read_one(text: str, at: int) -> tuple[dict[str, Any], int]:
    opened = re.compile(r"\s*\(").match(text, at)
    if opened is not None:
        found, at = _read_any(text, opened.end())
        closed = re.compile(r"\s*\)").match(text, at)
        if closed is None:
            raise ValueError(f"a parenthesis is not closed in {text!r}")
        return found, closed.end()
    written = _THRESHOLD.match(text, at)
    if written is None:
        raise ValueError(_no_condition(text[at:]))
    names = ("metric", "window", "dimension", "threshold")
    data: dict[str, Any] = {name: written[name] for name in names if written[name]}
    data["comparison"] = _COMPARISONS[written["comparison"]]
    matchers = _BETWEEN_MATCHERS.findall(written["matchers"] or "")
    data["matchers"] = [read_matcher(each) for each in matchers]
    for more in re.split(r"[,\s]+", (written["more"] or "").strip()):
        name, _, value = more.partition("=")
        data |= {name: value} if name else {}
    return {"threshold": data}, written.end()


def _show_condition(message: Message) -> str:
    kind = message.WhichOneof("condition")
    if kind is None:
        return ""
    if kind == "threshold":
        return _show_threshold(getattr(message, kind))
    parts: list[str] = []
    for each in getattr(message, kind).conditions:
        inner = each.WhichOneof("condition")
        shown = _show_condition(each)
        parts.append(shown if inner in ("threshold", kind) else f"({shown})")
    return (" and " if kind == "all" else " or ").join(parts)


def _show_threshold(message: Message) -> str:
    words = [contract.word_of(message, "metric").lower()]
    matchers: Any = getattr(message, "matchers")  # noqa: B009 - no field that all messages have
    if matchers:
        words[0] += "{" + ", ".join(_show_matcher(each) for each in matchers) + "}"
    if message.HasField("window"):
        words.append(_compact(message, "window"))
    dimension = contract.word_of(message, "dimension").lower()
    if dimension not in ("", "fleet"):
        words += ["by", dimension]
    comparison = contract.word_of(message, "comparison")
    words += [_COMPARISON_SIGNS.get(comparison, comparison), _number(message, "threshold")]
    more = [
        f"{name}={_number(message, name)}"
        for name, given in (
            ("recovery_threshold", message.HasField("recovery_threshold")),
            ("min_samples", bool(getattr(message, "min_samples"))),  # noqa: B009
        )
        if given
    ]
    return " ".join(words) + (f" ({' '.join(more)})" if more else "")


def _number(message: Message, name: str) -> str:
    return f"{getattr(message, name):.12g}"


def _text(message: Message, name: str) -> str:
    return cast("str", getattr(message, name))


def _compact(message: Message, name: str) -> str:
    return values.show_duration(getattr(message, name)).replace(" ", "")


def _read_plain(descriptor: Descriptor, text: str) -> dict[str, Any]:
    example = " ".join(f"{field.name}=…" for field in contract.fields(descriptor))
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None
    found: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        field = descriptor.fields_by_name.get(name.replace("-", "_"))
        if field is None or not sign:
            raise ValueError(f"{word!r} is not understood: JSON is wanted, or {example}")
        found[field.name] = value.split(",") if field.is_repeated else _scalar(field, value)
    return found


def _scalar(field: FieldDescriptor, value: str) -> Any:
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return {"true": True, "yes": True, "false": False, "no": False}.get(value.lower(), value)
    return value


def _show_plain(message: Message) -> str:
    parts: list[str] = []
    for field, value in message.ListFields():
        if field.is_repeated:
            shown = ",".join(str(each) for each in value)
        elif field.message_type is not None:
            shown = _compact(message, field.name)
        elif field.enum_type is not None:
            shown = contract.enum_word(field.enum_type, value).lower()
        else:
            shown = str(value)
        parts.append(f"{field.name}={shlex.quote(shown) if ' ' in shown else shown}")
    return " ".join(parts)
