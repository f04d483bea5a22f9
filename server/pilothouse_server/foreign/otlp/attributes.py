"""Attributes of any type as bounded text. What is cut is counted, and said on the event."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from pilothouse_server.foreign.judging import MESSAGE_BYTES, MOST_ATTRIBUTES, clipped

MOST_BYTES: Final = 32 << 10
"""Of all attributes of one event together."""
KEY_BYTES: Final = 128
PLAIN: Final = 512
"""Characters of a key and its value that are within all limits if they are ASCII."""
MOST_ITEMS: Final = 256
"""Of a list or a map in an attribute, all its levels together."""
MOST_READ: Final = 1_000
"""Attributes of one thing that are looked at; a request has room for two million."""
MOST_TOLD: Final = 32
"""Events and links of a span that are kept."""
TOLD_VALUE: Final = 1024
"""Characters of an attribute of such an event."""

CUT: Final = "otel.cut"
EVENTS: Final = "otel.events"
LINKS: Final = "otel.links"
KIND: Final = "otel.kind"
SCOPE: Final = "otel.scope"
_NAME_BYTES: Final = 256
_CONTROLS: Final = dict.fromkeys((*range(32), *range(127, 160)), "�")


class Attributes:
    """The attributes of one event, within what an event may have."""

    __slots__ = ("_left", "cut", "kept")

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.cut = 0
        """How many are shortened or missing."""
        self._left = MOST_BYTES

    def put(self, key: str, value: str) -> None:
        """Keeps one, or as much of it as there is room for. A key that is there already stays as it is."""
        if not key or key in self.kept:
            return
        if "\0" in value:
            value = value.replace("\0", "�")
        if len(key) > KEY_BYTES // 4 or "\0" in key:
            key = clipped(key.replace("\0", "�"), KEY_BYTES)
        size = len(value) if value.isascii() else len(value.encode())
        if size > MESSAGE_BYTES:
            value, size = clipped(value), MESSAGE_BYTES
            self.cut += 1
        size += len(key)
        # One place is kept for saying that something is missing.
        if size > self._left or len(self.kept) >= MOST_ATTRIBUTES - 1:
            self.cut += 1
            return
        self._left -= size
        self.kept[key] = value

    def put_all(self, texts: Mapping[str, str]) -> None:
        """Keeps what there is room for. Most are short and plain, and nothing about those has to be measured."""
        kept = self.kept
        for key, value in texts.items():
            size = len(key) + len(value)
            if (
                size <= PLAIN
                and size <= self._left
                and key not in kept
                and len(kept) < MOST_ATTRIBUTES - 1
                and (plain := key + value).isascii()
                and "\0" not in plain
                and 0 < len(key) <= KEY_BYTES
            ):
                self._left -= size
                kept[key] = value
            else:
                self.put(key, value)

    def finish(self) -> dict[str, str]:
        """All of them, and how many are not whole."""
        if self.cut:
            self.kept[CUT] = str(self.cut)
        return self.kept


def text_of(value: AnyValue) -> str:
    """A value as text: what is not a text already as JSON has it, bytes in base64."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return value.string_value
    if kind == "int_value":
        return str(value.int_value)
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    if kind == "double_value":
        return repr(value.double_value)
    if kind is None:
        return ""
    plain = _plain(value, iter(range(MOST_ITEMS)))
    return plain if isinstance(plain, str) else _json(plain)


def texts_of(attributes: Iterable[KeyValue]) -> dict[str, str]:
    """By key, the first of them; of a key that is there twice the first."""
    found: dict[str, str] = {}
    for each in islice(attributes, MOST_READ):
        value = each.value
        found.setdefault(each.key, value.string_value or text_of(value))
    return found


def name_of(text: str, limit: int = _NAME_BYTES) -> str:
    """What may be a name: without control characters, at most so many bytes."""
    if len(text) <= limit // 4 and text.isprintable():
        return text
    return clipped(text.translate(_CONTROLS), limit)


def told(span: Span, start_us: int) -> dict[str, str]:
    """A span's events and links, each as one attribute: JSON, the first of them that fit."""
    found: dict[str, str] = {}
    if span.events:
        told_events = (
            {
                "name": event.name[:_NAME_BYTES],
                "offset_us": event.time_unix_nano // 1000 - start_us,
                "attributes": {
                    key: text[:TOLD_VALUE] for key, text in texts_of(event.attributes).items()
                },
            }
            for event in span.events[:MOST_TOLD]
        )
        found[EVENTS] = _fitting(told_events, len(span.events) + span.dropped_events_count)
    if span.links:
        told_links = (
            {"trace_id": link.trace_id.hex()[:64], "span_id": link.span_id.hex()[:64]}
            for link in span.links[:MOST_TOLD]
        )
        found[LINKS] = _fitting(told_links, len(span.links) + span.dropped_links_count)
    return found


def _fitting(items: Iterable[Mapping[str, object]], count: int) -> str:
    """A JSON list of as many as fit, and at its end how many are missing."""
    parts: list[str] = []
    left = MESSAGE_BYTES - 64
    for item in items:
        part = _json(item)
        left -= len(part.encode()) + 1
        if left < 0:
            break
        parts.append(part)
    if missing := count - len(parts):
        parts.append(_json({"missing": missing}))
    return f"[{','.join(parts)}]"


def _plain(value: AnyValue, left: Iterator[int]) -> object:
    """For JSON. `left` has one for each item that may still be taken."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        items: list[object] = []
        for each in value.array_value.values:
            if next(left, None) is None:
                items.append("…")
                break
            items.append(_plain(each, left))
        return items
    if kind == "kvlist_value":
        named: dict[str, object] = {}
        for pair in value.kvlist_value.values:
            if next(left, None) is None:
                named["…"] = "…"
                break
            named[pair.key] = _plain(pair.value, left)
        return named
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value[:MESSAGE_BYTES]).decode()
    if kind == "int_value":
        return value.int_value
    if kind == "bool_value":
        return value.bool_value
    if kind == "double_value":
        return value.double_value
    return value.string_value


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
