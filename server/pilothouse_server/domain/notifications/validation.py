"""What a channel and an escalation may be beyond what the contract says."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pilothouse_server.domain.alerts.matchers import check
from pilothouse_server.domain.errors import InvalidArgument
from pilothouse_server.domain.notifications.channels import Channel, Escalation

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,63}", re.ASCII)
_OURS = (
    "connection", "content-encoding", "content-length", "content-type", "expect", "host", "idempotency-key",
    "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "user-agent",
)  # fmt: skip
OUR_PREFIX = "x-pilothouse-"


def check_channel(channel: Channel) -> None:
    """Raises InvalidArgument."""
    _check_name(channel.name, "channel.name")
    for position, label in enumerate(channel.group_by):
        if not _LABEL.fullmatch(label):
            raise InvalidArgument(
                f"channel.group_by[{position}]",
                f"{label!r} is no name of a label: letters, digits and _, not a digit first, 64 at most",
            )
    for position, matcher in enumerate(channel.matchers):
        check(matcher, f"channel.matchers[{position}].value")


def check_headers(headers: Mapping[str, str], field: str) -> None:
    """Raises InvalidArgument, which does not repeat a value."""
    seen: set[str] = set()
    for name, value in headers.items():
        lower = name.lower()
        if lower in _OURS or lower.startswith(OUR_PREFIX):
            raise InvalidArgument(field, f"{name} is set by the server")
        if lower in seen:
            raise InvalidArgument(field, f"{name} is there twice")
        seen.add(lower)
        if not value:
            raise InvalidArgument(field, f"{name} has no value")
        if value != value.strip() or not all(" " <= each <= "~" or each == "\t" for each in value):
            raise InvalidArgument(
                field,
                f"the value of {name} may have printable ASCII characters only, no space at its ends",
            )


def check_escalation(escalation: Escalation) -> None:
    """Raises InvalidArgument."""
    _check_name(escalation.name, "escalation.name")
    if not escalation.steps:
        raise InvalidArgument("escalation.steps", "needs at least one step")
    for position, step in enumerate(escalation.steps):
        field = f"escalation.steps[{position}]"
        if not step.channels:
            raise InvalidArgument(f"{field}.channels", "needs at least one channel")
        if position and step.after_us <= escalation.steps[position - 1].after_us:
            raise InvalidArgument(
                f"{field}.after",
                "has to be later than the step before; put both into one, or in order",
            )


def _check_name(name: str, field: str) -> None:
    if name != name.strip() or not name.isprintable():
        raise InvalidArgument(
            field, "may have no space at its ends, and nothing that cannot be printed"
        )
