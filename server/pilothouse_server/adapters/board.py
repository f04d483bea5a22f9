"""The board of a process that is alone: values in memory, and those who follow them woken at once."""

from __future__ import annotations

from collections.abc import AsyncIterator

from pilothouse_server.ports import Fence
from pilothouse_server.services.fanout import Changes

LOOK = 60.0
"""Seconds between two looks when nothing is posted: nothing can be missed here."""


class MemoryBoard:
    """A `Board` that lives as long as the process."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._epochs: dict[tuple[str, str], int] = {}
        self._changes: dict[str, Changes] = {}

    async def post(self, name: str, value: bytes, fence: Fence) -> bool:
        """Puts a value up, unless a later tenure of the lease has posted under this name."""
        key = (name, fence.lease)
        if self._epochs.get(key, 0) > fence.epoch:
            return False
        self._epochs[key] = fence.epoch
        self._values[name] = value
        self._changes_of(name).notify()
        return True

    async def follow(self, name: str) -> AsyncIterator[bytes]:
        """The value that is there, then each newer one that is seen in time."""
        changes = self._changes_of(name)
        while True:
            seen = changes.version
            if name in self._values:
                yield self._values[name]
            while not await changes.wait(seen, LOOK):
                pass

    async def close(self) -> None:
        """Nothing is to be done."""

    def _changes_of(self, name: str) -> Changes:
        return self._changes.setdefault(name, Changes())
