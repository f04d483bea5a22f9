"""What a channel knows now, bounded: the source of snapshots.

Three shapes, one for each class of channel: the newest value (metrics), the newest of each key (workflows,
agents, alerts), the newest few (events). Over the limit the least useful goes first, and the snapshot says
that it is not whole.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from google.protobuf.message import Message

from pilothouse.v1.live_pb2 import LiveSnapshot
from pilothouse_server.bridge.frames import DataWriter, Datum, list_json
from pilothouse_server.bridge.plain_json import Names


class Latest(Protocol):
    """The state of a channel."""

    def put(self, datum: Datum) -> None:
        """Take a newer value."""
        ...

    def clear(self) -> None:
        """Forget everything."""
        ...

    def data(self) -> list[Datum]:
        """What a snapshot holds, in its order."""
        ...

    def snapshot(self) -> tuple[LiveSnapshot, DataWriter]:
        """As it is now: as a message, and what makes its JSON from the JSON of its parts."""
        ...


class KeyedLatest:
    """The newest of each key, newest first. `ended` ones go first when there are too many; `gone` ones go at once."""

    def __init__(
        self,
        field: str,
        limit: int,
        key: Callable[[Message], str],
        ended: Callable[[Message], bool],
        gone: Callable[[Message], bool],
    ) -> None:
        self._field = field
        self._limit = limit
        self._key = key
        self._is_ended = ended
        self._is_gone = gone
        self._open: dict[str, Datum] = {}
        self._ended: dict[str, Datum] = {}
        self._truncated = False

    def put(self, datum: Datum) -> None:
        """Take a newer value."""
        key = self._key(datum.message)
        self._open.pop(key, None)
        self._ended.pop(key, None)
        if self._is_gone(datum.message):
            return
        (self._ended if self._is_ended(datum.message) else self._open)[key] = datum
        if len(self._open) + len(self._ended) > self._limit:
            least = self._ended or self._open
            del least[next(iter(least))]
            self._truncated = True

    def clear(self) -> None:
        """Forget everything."""
        self._open.clear()
        self._ended.clear()
        self._truncated = False

    def data(self) -> list[Datum]:
        """Those that have not ended, then those that have, each newest first."""
        return [*reversed(self._open.values()), *reversed(self._ended.values())]

    def snapshot(self) -> tuple[LiveSnapshot, DataWriter]:
        """As it is now."""
        return _snapshot(self._field, self.data(), truncated=self._truncated)


class NewestLatest:
    """The newest few, oldest first."""

    def __init__(self, field: str, limit: int) -> None:
        self._field = field
        self._data: deque[Datum] = deque(maxlen=limit)
        self._truncated = False

    def put(self, datum: Datum) -> None:
        """Take a newer one."""
        self._truncated = self._truncated or len(self._data) == self._data.maxlen
        self._data.append(datum)

    def clear(self) -> None:
        """Forget everything."""
        self._data.clear()
        self._truncated = False

    def data(self) -> list[Datum]:
        """Oldest first."""
        return list(self._data)

    def snapshot(self) -> tuple[LiveSnapshot, DataWriter]:
        """As it is now."""
        return _snapshot(self._field, self.data(), truncated=self._truncated)


def _snapshot(field: str, data: list[Datum], *, truncated: bool) -> tuple[LiveSnapshot, DataWriter]:
    snapshot = LiveSnapshot(truncated=truncated)
    getattr(snapshot, field).extend(datum.message for datum in data)

    def json(names: Names) -> bytes:
        return list_json(field, [datum.json(names) for datum in data], truncated=truncated)

    return snapshot, json
