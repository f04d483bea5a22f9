"""The plant of control's tests: a real database of each kind, with projector, commands and closing on it."""

from __future__ import annotations

from tests.control.conftest import Plant, SetClock, plant

__all__ = ["Plant", "SetClock", "plant"]
