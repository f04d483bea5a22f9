"""What a WebSocket client asks, from JSON or protobuf. Strict: a misspelt key would otherwise be a wish
silently not granted.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from google.protobuf.message import DecodeError

from pilothouse.v1.live_pb2 import LiveRequest
from pilothouse_server.bridge.channel import Place
from pilothouse_server.bridge.errors import malformed, over_limit, word
from pilothouse_server.bridge.plain_json import Names

MAX_SEQUENCE = 2**64


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Follow channels, from places or from a snapshot."""

    channels: tuple[str, ...]
    places: dict[str, Place] = field(default_factory=dict[str, Place])
    names: Names = Names.CONTRACT
    """The field names of JSON frames."""


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Follow channels no more."""

    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ping:
    """A sign of life."""

    nonce: int


LiveAsk = Subscribe | Unsubscribe | Ping


def from_text(text: str, max_channels: int) -> LiveAsk:
    """A JSON frame. BridgeError says what is wrong with it."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise malformed("the message is not JSON") from None
    ask = _object(value, "(message)")
    match ask.pop("type", None):
        case "subscribe":
            _only(ask, {"channels", "positions", "names"})
            places = {
                name: _place(at, name) for name, at in _object(ask.get("positions", {})).items()
            }
            return Subscribe(
                _channels(ask, max_channels), places, _names(ask.get("names", "contract"))
            )
        case "unsubscribe":
            _only(ask, {"channels"})
            return Unsubscribe(_channels(ask, max_channels))
        case "ping":
            _only(ask, {"nonce"})
            return Ping(_natural(ask.get("nonce", 0), "nonce"))
        case _:
            raise malformed("type must be subscribe, unsubscribe or ping", "type")


def from_bytes(data: bytes, max_channels: int) -> LiveAsk:
    """A protobuf frame. BridgeError says what is wrong with it."""
    try:
        request = LiveRequest.FromString(data)
    except DecodeError:
        raise malformed("the message is not a pilothouse.v1.LiveRequest") from None
    match request.WhichOneof("request"):
        case "subscribe":
            ask = request.subscribe
            _bounded(len(ask.channels), max_channels)
            places = {
                name: Place(at.epoch, at.sequence, resumed=True)
                for name, at in ask.positions.items()
            }
            return Subscribe(tuple(dict.fromkeys(ask.channels)), places)
        case "unsubscribe":
            _bounded(len(request.unsubscribe.channels), max_channels)
            return Unsubscribe(tuple(dict.fromkeys(request.unsubscribe.channels)))
        case "ping":
            return Ping(request.ping.nonce)
        case _:
            raise malformed("the request is empty")


def _channels(value: dict[str, Any], limit: int) -> tuple[str, ...]:
    channels: Any = value.get("channels")
    if not isinstance(channels, list):
        raise malformed("channels must be a list of names", "channels")
    names = cast("Sequence[Any]", channels)
    _bounded(len(names), limit)
    if not all(isinstance(name, str) for name in names):
        raise malformed("channels must be a list of names", "channels")
    return tuple(dict.fromkeys(names))


def _names(value: Any) -> Names:
    for names in Names:
        if names.value == value:
            return names
    raise malformed('names must be "contract" (workflow_id) or "json" (workflowId)', "names")


def _bounded(count: int, limit: int) -> None:
    if count == 0:
        raise malformed("channels must name at least one", "channels")
    if count > limit:
        raise over_limit(f"at most {limit} channels in one request", limit, count)


def _place(value: Any, name: str) -> Place:
    where = f"positions.{name}"
    at = _object(value, where)
    _only(at, {"epoch", "sequence"}, where)
    epoch = at.get("epoch")
    if not isinstance(epoch, str):
        raise malformed("epoch must be text", f"{where}.epoch")
    return Place(epoch, _natural(at.get("sequence"), f"{where}.sequence"), resumed=True)


def _object(value: Any, where: str = "positions") -> dict[str, Any]:
    if not isinstance(value, dict):
        raise malformed("expected an object", where)
    return cast("dict[str, Any]", value)


def _only(value: dict[str, Any], known: set[str], where: str = "") -> None:
    for name in value:
        if name not in known:
            path = f"{where}.{name}" if where else name
            raise malformed(
                f"there is no {word(name)!r} here, only {', '.join(sorted(known))}", path
            )


def _natural(value: Any, where: str) -> int:
    """A number from 0 below 2^64, or its decimal text, as proto JSON writes it."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 20:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < MAX_SEQUENCE:
        raise malformed("expected a number from 0", where)
    return value


__all__ = ["LiveAsk", "Ping", "Subscribe", "Unsubscribe", "from_bytes", "from_text"]
