"""Why nobody is notified of an alert: an axis of its own, which its state and the human side know nothing of."""

from __future__ import annotations

from typing import NamedTuple


class Suppression(NamedTuple):
    """What keeps an alert quiet now."""

    silenced_by: tuple[str, ...] = ()
    """Ids of silences."""
    inhibited_by: tuple[str, ...] = ()
    """Ids of alerts; at most 10."""
    flapping: bool = False

    @property
    def quiet(self) -> bool:
        """Whether anything does."""
        return self.flapping or bool(self.silenced_by or self.inhibited_by)


LOUD = Suppression()
