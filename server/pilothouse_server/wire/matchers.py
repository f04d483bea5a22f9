"""Matchers ⇄ the contract, wherever it has them."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.v1 import matchers_pb2 as pb
from pilothouse_server.domain.alerts import matchers
from pilothouse_server.domain.alerts.matchers import Matcher, MatchType


def matcher_to_proto(matcher: Matcher) -> pb.Matcher:
    """The contract's message of a matcher."""
    return pb.Matcher(
        name=matcher.name, type=pb.MatchType.ValueType(matcher.type), value=matcher.value
    )


def matchers_from_proto(messages: Iterable[pb.Matcher], at: str) -> tuple[Matcher, ...]:
    """The matchers; a type that is not stated is EQUAL. Raises InvalidArgument for what is no regular expression."""
    found: list[Matcher] = []
    for index, message in enumerate(messages):
        matcher = Matcher(message.name, MatchType(message.type or MatchType.EQUAL), message.value)
        matchers.check(matcher, f"{at}[{index}].value")
        found.append(matcher)
    return tuple(found)
