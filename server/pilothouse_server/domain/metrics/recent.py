"""The ids of events that belong to nothing that is remembered (messages, commands, alerts), so that a repeat is
seen.
"""

from __future__ import annotations

from collections.abc import Iterable


class RecentIds:
    """The last ids, up to a limit."""

    def __init__(self, limit: int) -> None:
        self._ids: dict[str, None] = {}
        self._limit = limit
        self.changed = False

    def add(self, event_id: str) -> bool:
        """Returns whether the id is new."""
        if event_id in self._ids:
            return False
        self._ids[event_id] = None
        self.changed = True
        if len(self._ids) > 2 * self._limit:
            self._ids = dict.fromkeys(self.newest())
        return True

    def newest(self) -> list[str]:
        """The remembered ids, oldest first."""
        return list(self._ids)[-self._limit :]

    def restore(self, ids: Iterable[str]) -> None:
        """Takes over stored ids."""
        self._ids = dict.fromkeys(ids)
