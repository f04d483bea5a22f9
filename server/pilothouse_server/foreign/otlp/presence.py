"""Which spans of an agent run: it has not gone when one of several ended.

Only spans that say that they run are remembered, for as long as they say so; what is forgotten costs an agent that is
told to have gone until its next sign of life.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

MAX_AGENTS: Final = 10_000
MAX_SPANS: Final = 1_000
"""Of one agent."""
SILENT_US: Final = 30_000_000
"""A span that has said nothing for so long is not waited for."""


class Presence:
    """Running spans by agent."""

    def __init__(self) -> None:
        self._running: OrderedDict[str, OrderedDict[str, int]] = OrderedDict()

    def runs(self, agent_id: str, span: str, beat_us: int) -> None:
        """The span says that it runs."""
        spans = self._running.setdefault(agent_id, OrderedDict())
        self._running.move_to_end(agent_id)
        spans[span] = beat_us
        spans.move_to_end(span)
        if len(spans) > MAX_SPANS:
            spans.popitem(last=False)
        if len(self._running) > MAX_AGENTS:
            self._running.popitem(last=False)

    def ended(self, agent_id: str, span: str, end_us: int) -> bool:
        """Whether it was the last of the agent's that is known to run."""
        spans = self._running.get(agent_id)
        if spans is None:
            return True
        spans.pop(span, None)
        if any(beat_us > end_us - SILENT_US for beat_us in reversed(spans.values())):
            return False
        del self._running[agent_id]
        return True
