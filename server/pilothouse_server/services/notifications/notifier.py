"""What happened becomes what is told: intents are taken in their order, and in one transaction with what they led to.

So a kill at any moment neither loses nor doubles: either the intents are still there and are gathered again, or the
notifications are, with the groups that know of them. After a write of which nobody knows whether it went well, all of
it is read again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from pilothouse_server.domain.alerts.records import Alert
from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.domain.notifications.composing import Link, Told, compose
from pilothouse_server.domain.notifications.escalating import EscalationRun
from pilothouse_server.domain.notifications.gathering import Gatherer, Place, Returned, Sources
from pilothouse_server.domain.notifications.grouping import Group
from pilothouse_server.domain.notifications.intents import Intent
from pilothouse_server.domain.notifications.notification import Notification
from pilothouse_server.ports import Clock
from pilothouse_server.services.fanout import Changes

INTENTS_AT_ONCE: Final = 1_000
"""Gathered with one transaction."""
TOLD_AT_ONCE: Final = 200
"""Notifications stored with one transaction, about."""
LOOK: Final = 1.0
"""Seconds between two looks when nobody rings."""
FIRST_RETRY, LAST_RETRY = 0.1, 1.0
"""Seconds to wait when the database does not answer, doubled each time."""


class Placed(NamedTuple):
    """An intent and its place in the order."""

    position: int
    intent: Intent


class Pending(NamedTuple):
    """What is to be gathered, and what is needed for it."""

    intents: Sequence[Placed]
    alerts: Mapping[str, Alert]
    """Those of the intents."""
    sources: Sources | None
    """None when nobody needs them."""


class Kept(NamedTuple):
    """What was stored."""

    groups: Sequence[Group]
    runs: Sequence[EscalationRun]


class Outgoing(NamedTuple):
    """A notification on its way."""

    notification: Notification
    place: Place
    channel_name: str


class Outcome(NamedTuple):
    """What is stored in one transaction."""

    gathered: Sequence[int]
    """Positions of intents."""
    groups: Sequence[Group]
    vanished: Sequence[Place]
    runs: Mapping[str, EscalationRun | None]
    """Changed ones; None is over."""
    outgoing: Sequence[Outgoing]


class NotifierStore(Protocol):
    """Where all of it is kept. Everything raises Unavailable; writes raise LeaseLost."""

    async def restore(self) -> Kept: ...

    async def look(self, limit: int, *, sources: bool) -> Pending:
        """The oldest intents; and the sources if they are wanted or there are intents."""
        ...

    async def alerts(self, ids: Collection[str]) -> Mapping[str, Alert]: ...

    async def waiting(self) -> Collection[str]:
        """Ids of all notifications that are on their way."""
        ...

    async def returned(self, ids: Collection[str]) -> Sequence[Returned]:
        """Those of these that wait or arrived."""
        ...

    async def save(self, outcome: Outcome) -> None: ...


class Notifier:
    """`run` gathers. `waiting_for` tells what it waits for, "" when all is well."""

    def __init__(
        self,
        store: NotifierStore,
        clock: Clock,
        changes: Changes,
        sent: Callable[[Collection[str]], None],
        link: Link = lambda _: "",
    ) -> None:
        self._store = store
        self._clock = clock
        self._changes = changes
        self._sent = sent
        self._link = link
        self._gatherer: Gatherer | None = None
        self._sources: Sources | None = None
        self._time_us = 0
        self._ended: list[tuple[Place, str]] = []
        self._look_at_open = False
        self.waiting_for = ""
        self.gathered = 0
        self.failures = 0

    @property
    def groups(self) -> int:
        """How many there are."""
        return 0 if self._gatherer is None else len(self._gatherer.groups)

    def waiting(self) -> Mapping[str, int]:
        """How many notifications are on their way, by channel."""
        counts: Counter[str] = Counter()
        for group in () if self._gatherer is None else self._gatherer.groups.values():
            counts[group.channel_id] += len(group.open)
        return counts

    def ended(self, place: Place, delivery_id: str) -> None:
        """A notification arrived, or was given up: its group may go on."""
        self._ended.append((place, delivery_id))
        self._changes.wake()

    def look_again(self) -> None:
        """Somebody may have dropped notifications that were on their way."""
        self._look_at_open = True
        self._changes.wake()

    async def run(self) -> None:
        """Gathers until it is cancelled. Raises LeaseLost when another replica leads."""
        retry = FIRST_RETRY
        while True:
            seen = self._changes.version
            try:
                while await self.gather_some():
                    pass
            except Unavailable as error:
                self.failures += 1
                self._gatherer = None
                self.waiting_for = error.message
                await self._clock.sleep(retry)
                retry = min(2 * retry, LAST_RETRY)
                continue
            retry, self.waiting_for = FIRST_RETRY, ""
            await self._changes.wait(seen, self._pause())

    async def gather_some(self) -> bool:
        """Takes some of what happened, and tells what is due; whether there is more to do at once. Raises Unavailable,
        and then nothing in memory is to be trusted."""
        gatherer = self._gatherer or await self._restore()
        now_us = self._clock.now_us()
        await self._take_ended(gatherer, now_us)
        due_us = gatherer.next_us()
        due = due_us is not None and due_us <= now_us
        wanted = due or self._sources is None or bool(gatherer.changed)
        pending = await self._store.look(INTENTS_AT_ONCE, sources=wanted)
        sources = pending.sources
        if sources is None:
            return False
        vanished = self._take_sources(gatherer, sources, now_us)
        taken, told = self._apply(gatherer, pending, sources, now_us)
        outgoing = await self._composed(told, pending.alerts, sources, now_us)
        await self._save(gatherer, taken, outgoing, vanished)
        self.gathered += len(taken)
        due_us = gatherer.next_us()
        return (
            len(taken) < len(pending.intents)
            or len(pending.intents) == INTENTS_AT_ONCE
            or (due_us is not None and due_us <= now_us)
        )

    async def _restore(self) -> Gatherer:
        # What ended before is not open any more in what is read; what ends meanwhile may be.
        self._ended.clear()
        self._look_at_open = True
        kept = await self._store.restore()
        self._gatherer = gatherer = Gatherer(kept.groups, kept.runs)
        self._sources, self._time_us = None, 0
        return gatherer

    async def _take_ended(self, gatherer: Gatherer, now_us: int) -> None:
        unknown: set[str] = set()
        if self._look_at_open:
            self._look_at_open = False
            waiting = set(await self._store.waiting())
            known: set[str] = set()
            for place, group in gatherer.groups.items():
                known |= group.open
                self._ended += [(place, each) for each in group.open if each not in waiting]
            unknown = waiting - known
        ended, self._ended = self._ended, []
        for place, delivery_id in ended:
            if not gatherer.ended(place, delivery_id, now_us):
                unknown.add(delivery_id)
        if not unknown:
            return
        returned = await self._store.returned(unknown)
        alerts = await self._store.alerts({each for back in returned for each in back.alert_ids})
        for back in returned:
            gatherer.reopen(back, alerts, now_us)

    def _take_sources(self, gatherer: Gatherer, sources: Sources, now_us: int) -> list[Place]:
        before, self._sources = self._sources, sources
        if before is None or before.escalations != sources.escalations:
            gatherer.begin(sources, now_us)
        return list(gatherer.forget_channels(sources.channels))

    def _apply(
        self, gatherer: Gatherer, pending: Pending, sources: Sources, now_us: int
    ) -> tuple[list[int], list[Told]]:
        """The positions of what was taken, and what is told. Where there is more, only what was due before it."""
        taken: list[int] = []
        told: list[Told] = []
        for position, intent in pending.intents:
            at_us = min(now_us, max(self._time_us, intent.occur_us))
            if at_us > self._time_us:
                told += gatherer.flush(sources, at_us, TOLD_AT_ONCE, before=True)
                if len(told) >= TOLD_AT_ONCE:
                    return taken, told
            self._time_us = at_us
            gatherer.apply(intent, pending.alerts.get(intent.alert_id), sources, at_us)
            taken.append(position)
        if len(pending.intents) < INTENTS_AT_ONCE:
            told += gatherer.flush(sources, now_us, TOLD_AT_ONCE)
        return taken, told

    async def _composed(
        self, told: Sequence[Told], known: Mapping[str, Alert], sources: Sources, now_us: int
    ) -> list[Outgoing]:
        listed = {member.alert_id for each in told for member in each.telling.members}
        alerts = {**known}
        if missing := listed - alerts.keys():
            alerts |= await self._store.alerts(missing)
        return [
            Outgoing(
                compose(each, alerts, self._link, now_us),
                (each.group.channel_id, each.group.key),
                sources.channels[each.group.channel_id].name,
            )
            for each in told
        ]

    async def _save(
        self,
        gatherer: Gatherer,
        taken: Sequence[int],
        outgoing: Sequence[Outgoing],
        vanished: list[Place],
    ) -> None:
        vanished += gatherer.vanish(self._clock.now_us())
        if not (taken or outgoing or vanished or gatherer.changed or gatherer.changed_runs):
            return
        groups = [gatherer.groups[place] for place in sorted(gatherer.changed)]
        runs = {alert_id: gatherer.runs.get(alert_id) for alert_id in sorted(gatherer.changed_runs)}
        await self._store.save(Outcome(taken, groups, vanished, runs, outgoing))
        gatherer.stored()
        if outgoing:
            self._sent({each.notification.channel_id for each in outgoing})

    def _pause(self) -> float:
        due_us = None if self._gatherer is None else self._gatherer.next_us()
        if due_us is None:
            return LOOK
        return min(LOOK, max(0.0, (due_us - self._clock.now_us()) / 1_000_000))
