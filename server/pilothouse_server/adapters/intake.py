"""The intake of a log that has one shard."""

from __future__ import annotations

from collections.abc import Mapping

from pilothouse_server.ports import EventLog


class SingleIntake:
    """An `Intake` that puts everything into one log."""

    shards = 1

    def __init__(self, log: EventLog) -> None:
        self._log = log

    async def append(self, parts: Mapping[int, bytes]) -> str:
        """Returns the cursor of the entry. Raises Unavailable."""
        (payload,) = parts.values()
        return await self._log.append(payload)
