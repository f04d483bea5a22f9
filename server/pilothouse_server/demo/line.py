"""Who waits for something, in the order of asking.

What is offered is taken in the same step of the loop in which it became free, together with what is written down
about it. So nothing lies between "it may begin" and "it has begun": what is held does not begin afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Line:
    """The line. One at its head that cannot go on yet keeps nobody behind it waiting."""

    def __init__(self) -> None:
        self._places: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self.closed = False
        """Whether nobody begins any more."""

    async def wait(self, begin: Callable[[], bool]) -> None:
        """Return once `begin` did, and returned True. It is called in every `serve()` until then."""
        place = (begin, asyncio.get_running_loop().create_future())
        self._places.append(place)
        self.serve()
        try:
            await place[1]
        finally:
            if place in self._places:
                self._places.remove(place)

    def serve(self) -> None:
        """Let everybody begin who can."""
        if self.closed:
            return
        for place in tuple(self._places):
            begin, served = place
            if served.done():
                continue  # cancelled, and not gone yet
            try:
                begun = begin()
            except Exception as error:  # noqa: BLE001 - it is that of who waits
                served.set_exception(error)
            else:
                if begun:
                    served.set_result(None)
            if served.done():
                self._places.remove(place)

    def close(self) -> None:
        """Let nobody begin any more: who waits is about to be cancelled."""
        self.closed = True


class Slots:
    """How many workflows work at once. One that goes on after a pause or a restart is never kept waiting."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.line = Line()
        """Those that wait for a slot."""
        self.taken = 0

    async def wait_for_one(self, ready: Callable[[], bool], begin: Callable[[], None]) -> None:
        """Take a slot, and `begin` with it, when there is one and it is `ready`."""

        def offer() -> bool:
            if self.taken >= self._limit or not ready():
                return False
            self.take()
            begin()
            return True

        await self.line.wait(offer)

    def take(self) -> None:
        """Take a slot, whether there is one or not."""
        self.taken += 1

    def give_back(self) -> None:
        """Let another one work."""
        self.taken -= 1
        self.line.serve()
