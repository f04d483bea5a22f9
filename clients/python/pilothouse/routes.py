"""Several addresses for one service: the replicas of a server, one after the other.

A target is one address as gRPC takes it, or several, separated by commas. All calls go to one of them until it fails to
answer or cannot serve; then to the next, and from the last to the first. gRPC itself takes lists of numbers only, and
goes by connections, so it would stay with a replica that answers but cannot serve. There is no way back to the first
one while another serves: the addresses are of one service, and each does as well as another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import grpc

C = TypeVar("C")
M = TypeVar("M")

_OWN_LIST = re.compile(r"(?:ipv4|ipv6|unix|unix-abstract|vsock|xds):", re.IGNORECASE)
"""Targets in which a comma means something to gRPC."""

MOVES = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
"""What says that another replica may do better. A stream that is quiet for too long is ended by keepalive."""


def addresses(target: str) -> tuple[str, ...]:
    """The addresses of a target, in their order. Raises ValueError when there is none."""
    if _OWN_LIST.match(target.strip()):
        return (target.strip(),)
    found = tuple(part.strip() for part in target.split(",") if part.strip())
    if not found:
        raise ValueError(f"{target!r} is not an address: it is host:port, or several with commas")
    return found


class Route(Generic[C]):
    """The channels of a target, and which of them is used now."""

    def __init__(self, channels: Sequence[C]) -> None:
        self.channels = tuple(channels)
        """One for each address."""
        self.current = 0
        """Which is used; moves on when it fails."""

    def failed(self, at: int) -> None:
        """The call on this channel found that it cannot serve now. Of many calls that find so only the first moves."""
        if at == self.current:
            self.current = (at + 1) % len(self.channels)

    def judge(self, at: int, code: grpc.StatusCode | None) -> None:
        """A call on this channel ended so."""
        if code in MOVES:
            self.failed(at)


class Callables(Generic[C, M]):
    """One method on each channel of a route, made when it is first called there."""

    def __init__(self, route: Route[C], make: Callable[[C], M]) -> None:
        self._route = route
        self._make = make
        self._made: dict[int, M] = {}

    def pick(self) -> tuple[int, M]:
        """The method where calls go now, and which channel that is."""
        at = self._route.current
        if at not in self._made:
            self._made[at] = self._make(self._route.channels[at])
        return at, self._made[at]
