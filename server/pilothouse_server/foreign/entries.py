"""What comes of an entry that somebody else wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

NOTHING: Final[Mapping[int, bytes]] = MappingProxyType({})


class Undecodable(Exception):
    """An entry, or an event in it, that cannot be taken; the reason is for whoever wrote it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Refused(NamedTuple):
    """What could not be taken of an entry."""

    reason: str
    fields: Sequence[bytes]
    """Fields and values in turn, such that the entry they make would be read as what was refused."""


class Sorted(NamedTuple):
    """An entry, sorted by what becomes of it."""

    payload: bytes
    """A serialized EventBatch of the events that belong to the shard; empty when there are none."""
    elsewhere: Mapping[int, bytes] = NOTHING
    """The same for other shards."""
    refused: Refused | None = None
    events: int = 0
    """How many were taken."""
