"""Channels to receivers, and waiting for what arrives there."""

from __future__ import annotations

from typing import Any

from pilothouse_server.adapters.sql import courier_store
from pilothouse_server.domain.notifications.channels import Channel, Webhook
from pilothouse_server.services.channels import ChannelHealth
from tests.channels.receiver import Receiver
from tests.notifications.build import channel
from tests.notifications.office import Office, told
from tests.support import wait_until

PATIENCE = 20.0


def hook(receiver: Receiver, id: str = "hook", **given: Any) -> Channel:
    """A channel to a receiver."""
    return channel(id, target=Webhook(receiver.url()), **given)


async def health(office: Office, id: str = "hook") -> ChannelHealth:
    """How a channel does."""
    return (await office.database.read(courier_store.health)).get(id, ChannelHealth())


async def states(office: Office) -> list[str]:
    """Of all deliveries, newest first."""
    return [each.state.name for each in await office.deliveries()]


async def until_told(receiver: Receiver, *wanted: tuple[str, str]) -> None:
    """Exactly this arrived, in this order, however often each."""
    await wait_until(
        lambda: told(receiver) == list(wanted),
        within=PATIENCE,
        what=f"{wanted}, not {told(receiver)}",
    )


async def until_states(office: Office, *wanted: str) -> None:
    """The deliveries stand so, newest first."""
    seen: list[str] = []

    async def reached() -> bool:
        seen[:] = await states(office)
        return seen == list(wanted)

    await wait_until(reached, within=PATIENCE, what=f"{wanted}")


async def rests(office: Office, before: ChannelHealth) -> bool:
    now = await health(office)
    return (now.retry_us or 0) > (before.retry_us or 0) and now.failures > before.failures


async def waits(office: Office, count: int) -> bool:
    return (await health(office)).waiting == count


async def until_delivered(office: Office, count: int) -> None:
    """So many arrived."""

    async def reached() -> bool:
        return (await states(office)).count("DELIVERED") == count

    await wait_until(reached, within=PATIENCE)
