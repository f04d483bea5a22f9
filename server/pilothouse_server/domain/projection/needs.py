"""How many tasks of a workflow are in somebody's hand, and what those that are not wait for.

Counted by what each task's record says before and after an event, so that the sums are those of the records, in
whatever order events come.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

MOST: Final = 64
"""Kinds of needs of one workflow that are told apart; tasks with another one are not counted."""


class Need(NamedTuple):
    """What a task waits for; "" is not stated."""

    agent_type: str
    queue: str = ""


class Needs:
    """`in_hand`: tasks that an agent works on. `waiting`: how many wait, by what for."""

    __slots__ = ("in_hand", "waiting")

    def __init__(self) -> None:
        self.in_hand = 0
        self.waiting: dict[Need, int] = {}

    def add(self, what: Need | bool | None, by: int) -> None:
        """One task more (or less): True is one in hand, a need one that waits, None neither."""
        if what is None or what is False:
            return
        if what is True:
            self.in_hand = max(self.in_hand + by, 0)
            return
        count = self.waiting.get(what, 0) + by
        if count > 0:
            if what in self.waiting or len(self.waiting) < MOST:
                self.waiting[what] = count
        else:
            self.waiting.pop(what, None)

    @property
    def agent_types(self) -> list[str]:
        """The kinds of agents that tasks wait for, while none is in hand."""
        if self.in_hand:
            return []
        return sorted({need.agent_type for need in self.waiting if need.agent_type})

    def dump(self) -> list[Any]:
        """For JSON; `loaded` reads it."""
        return [self.in_hand, [[*need, count] for need, count in sorted(self.waiting.items())]]

    @classmethod
    def loaded(cls, dumped: list[Any]) -> Needs:
        """What `dump` returned, again."""
        needs = cls()
        needs.in_hand = dumped[0]
        needs.waiting = {Need(kind, queue): count for kind, queue, count in dumped[1]}
        return needs
