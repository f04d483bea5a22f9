"""How an entry that somebody else wrote says its events; its fields tell which way it is.

- `event`: one serialized Event, or JSON; `batch`: a serialized EventBatch.
- `data`, `payload`, `message` (or `event`): JSON, an object or a list of objects, each one event. It may be an event
  of the contract, what an event bus wraps around one (`{id, type, payload, timestamp}`), or an agent's report of a
  task.
- `topic` and `payload`: a message bus, `{"key": ..., "msg": {...}}`; the topic may tell the type.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar, cast

from google.protobuf.message import DecodeError

from pilothouse.v1 import events_pb2 as pb
from pilothouse_server.foreign.entries import Refused, Undecodable
from pilothouse_server.foreign.judging import Origin, judge
from pilothouse_server.foreign.mapping import event_of

MOST_EVENTS: Final = 1000
"""Events in one entry."""

_TEXTS: Final = (b"event", b"data", b"payload", b"message")
_T = TypeVar("_T")


class Reading(NamedTuple):
    """What an entry says."""

    events: Sequence[pb.Event]
    """Judged and stamped."""
    refused: Refused | None = None


def read_entry(origin: Origin, fields: Sequence[bytes]) -> Reading:
    """The events of an entry. Raises Undecodable when there is none that can be taken."""
    named = dict(zip(fields[::2], fields[1::2], strict=False))
    event = named.get(b"event")
    if event is not None and not _looks_like_json(event):
        return Reading([judge(_event(event), origin)])
    if (batch := named.get(b"batch")) is not None:
        return _batch(batch, origin)
    for name in _TEXTS:
        if (payload := named.get(name)) is not None:
            return _json(name, payload, _hint(named), origin)
    raise Undecodable(_nothing_known(named))


def _looks_like_json(payload: bytes) -> bool:
    # A serialized Event never begins like this: `{` and `[` would be groups, which the contract does not have.
    return payload.lstrip(b" \t\r\n")[:1] in {b"{", b"["}


def _event(payload: bytes) -> pb.Event:
    try:
        return pb.Event.FromString(payload)
    except DecodeError as error:
        raise Undecodable("event: neither a serialized Event nor JSON") from error


def _batch(payload: bytes, origin: Origin) -> Reading:
    try:
        found = pb.EventBatch.FromString(payload).events
    except DecodeError as error:
        raise Undecodable("batch: not a serialized EventBatch") from error

    def again(left: Sequence[pb.Event]) -> list[bytes]:
        return [b"batch", pb.EventBatch(events=left).SerializeToString()]

    return _each(found, lambda event: event, again, origin)


def _json(name: bytes, payload: bytes, hint: str, origin: Origin) -> Reading:
    field = name.decode()
    try:
        found: object = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise Undecodable(f"{field}: not JSON") from error
    if isinstance(found, dict):
        return Reading([judge(_mapped(cast("dict[str, object]", found), hint), origin)])
    if not isinstance(found, list):
        raise Undecodable(f"{field}: neither an object nor a list of objects")

    def again(left: Sequence[object]) -> list[bytes]:
        return [name, json.dumps(left).encode(), *([b"topic", hint.encode()] if hint else [])]

    return _each(cast("list[object]", found), lambda each: _mapped(each, hint), again, origin)


def _mapped(found: object, hint: str) -> pb.Event:
    if not isinstance(found, dict):
        raise Undecodable("not an object")
    try:
        return event_of(cast("dict[str, object]", found), hint)
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise Undecodable(f"cannot be read as an event: {str(error)[:200]}") from error


def _each(
    found: Sequence[_T],
    event_from: Callable[[_T], pb.Event],
    again: Callable[[Sequence[_T]], list[bytes]],
    origin: Origin,
) -> Reading:
    """The events of several, and what could not be taken, such that it can be tried again alone."""
    if not found:
        raise Undecodable("holds no event")
    if len(found) > MOST_EVENTS:
        raise Undecodable(f"holds {len(found):,} events, and at most {MOST_EVENTS:,} are read")
    events: list[pb.Event] = []
    left: list[_T] = []
    reasons: list[str] = []
    for number, each in enumerate(found):
        try:
            events.append(judge(event_from(each), origin._replace(number=number)))
        except Undecodable as error:
            reasons.append(f"event {number}: {error.reason}")
            left.append(each)
    told = "; ".join(reasons[:5])
    if not events:
        raise Undecodable(told)
    try:
        return Reading(events, Refused(told, again(left)) if left else None)
    except RecursionError as error:
        # What was just shallow enough to be read may be too deep to be written.
        raise Undecodable(f"{told}; and it is nested too deeply to be set aside alone") from error


def _hint(named: Mapping[bytes, bytes]) -> str:
    return named.get(b"topic", b"")[:200].decode(errors="replace")


def _nothing_known(named: Mapping[bytes, bytes]) -> str:
    names = ", ".join(name[:40].decode(errors="replace") for name in list(named)[:8])
    known = "event, batch, data, payload or message"
    return f"no field that holds an event ({known}); it has: {names or 'none'}"
