"""The parts that reports are made of: text within the limits of the contract, errors, durations, ids of commands."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from google.protobuf.duration_pb2 import Duration

from pilothouse.v1.commands_pb2 import Command
from pilothouse.v1.events_pb2 import Event, EventError

Report = Callable[[Event], "str | None"]
"""Takes an event to deliver. Returns its id, or None when there was no room for it."""

Failure = BaseException | EventError | str
"""What went wrong: an exception, an error of the contract, or words."""

MAX_MESSAGE_BYTES = 4096
"""The limit of the contract on messages for people."""

MAX_NAME_BYTES = 256
"""The limit of the contract on identifiers and names."""


def clip(text: str, limit: int = MAX_MESSAGE_BYTES) -> str:
    """`text` in at most `limit` bytes of UTF-8, with `…` where it was cut. What is not UTF-8 becomes `?`.

    A traceback or the output of a tool may be of any length and hold anything; a report about a failure must not fail
    for it.
    """
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit:
        return raw.decode("utf-8")
    return raw[: limit - len("…".encode())].decode("utf-8", "ignore") + "…"


def event_error(failure: Failure, *, retryable: bool = False) -> EventError:
    """`failure` as the contract has it. The code of an exception is the name of its class."""
    match failure:
        case EventError():
            return failure
        case str():
            return EventError(message=clip(failure), retryable=retryable)
        case BaseException():
            code = clip(type(failure).__name__, MAX_NAME_BYTES)
            return EventError(code=code, message=clip(_words(failure)), retryable=retryable)


def _words(failure: BaseException) -> str:
    try:
        return str(failure) or repr(failure)
    except Exception:  # noqa: BLE001 - an exception of somebody else's, whose own words fail; its class is in the code
        return "no words could be had of it"


def command_id(command: Command | str | None) -> str:
    """The id of the command that an event answers; empty when it answers none."""
    return command.id if isinstance(command, Command) else command or ""


def duration_of(seconds: float | dt.timedelta | None) -> Duration | None:
    """A duration of the contract."""
    if seconds is None:
        return None
    duration = Duration()
    duration.FromTimedelta(
        seconds if isinstance(seconds, dt.timedelta) else dt.timedelta(seconds=seconds)
    )
    return duration
