"""The log of deliveries, which anybody reads, and from which people put back what was given up, or drop it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pilothouse_server.domain.notifications.deliveries import Delivery
from pilothouse_server.ports import Clock
from pilothouse_server.services.control_views import Page
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.views import PageRequest


class DeliveryStore(Protocol):
    """Deliveries as rows. Everything raises Unavailable."""

    async def page(self, asked: PageRequest, now_us: int) -> Page[Delivery]:
        """One page, newest first. Raises InvalidFilter, InvalidPageToken."""
        ...

    async def find(self, delivery_id: str) -> Delivery:
        """Raises NotFound."""
        ...

    async def retry(self, delivery_id: str, now_us: int) -> Delivery:
        """Raises NotFound, DeliveryOver."""
        ...

    async def drop(self, delivery_id: str, now_us: int) -> Delivery:
        """Raises NotFound, DeliveryOver."""
        ...


@dataclass(frozen=True, slots=True)
class DeliveryLog:
    """The verbs. Lives as long as the process, on every replica; the one that leads is rung."""

    store: DeliveryStore
    clock: Clock
    changes: Changes

    async def page(self, asked: PageRequest) -> Page[Delivery]:
        """One page, newest first. Raises InvalidFilter, InvalidPageToken."""
        return await self.store.page(asked, self.clock.now_us())

    async def find(self, delivery_id: str) -> Delivery:
        """Raises NotFound."""
        return await self.store.find(delivery_id)

    async def retry(self, delivery_id: str) -> Delivery:
        """Tries it again, now, and for as long as a new one. Raises NotFound, DeliveryOver."""
        delivery = await self.store.retry(delivery_id, self.clock.now_us())
        self.changes.notify()
        return delivery

    async def drop(self, delivery_id: str) -> Delivery:
        """Nobody wants it any more; a repeat changes nothing. Raises NotFound, DeliveryOver."""
        delivery = await self.store.drop(delivery_id, self.clock.now_us())
        self.changes.notify()
        return delivery
