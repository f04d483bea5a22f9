"""When a group of alerts is told, and what: Alertmanager's dispatcher and its dedup stage, as values in and values out.

A group waits `wait_us` for more alerts before it is told of, and `interval_us` between two changes. It is told when
an alert fires that its newest notification did not show, when one ended that was told as firing, and again after
`repeat_us` unless somebody takes care of all of it. On purpose other than there: an end is owed wherever a firing was
told, also of an alert that was silenced meanwhile; acknowledged alerts do not repeat; flapping is told when it begins
and when it ends; a change after a quiet time waits for no tick, only for what comes with it; and while a notification
is on its way the group says nothing more, so that an end never overtakes its beginning.

A group changes in place, for a storm has ten thousand members; `changed` and `gone` say what is to be stored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from pilothouse_server.domain.notifications.notification import DeliveryKind

MOST_MEMBERS: Final = 20_000
"""Alerts in a group; more are counted in its next notification and not told one by one."""
MOST_GROUPS: Final = 10_000
"""Groups of a channel; alerts of more are told together in one that has no labels."""


@dataclass(slots=True)
class Member:
    """An alert in a group, as far as that decides what is told."""

    alert_id: str
    labels: Mapping[str, str]
    starts_us: int
    ends_us: int | None = None
    acknowledged: bool = False
    silenced: bool = False
    """Silenced or inhibited."""
    flapping: bool = False
    told: bool = False
    """As firing, so that its end is owed."""
    shown: bool = False
    """As firing in the newest notification of a change."""
    listed: bool = False
    """As firing by name, not only as one more that is counted: so its end is told by name as well."""
    escalated: bool = False
    """It is here only because nobody acknowledged it elsewhere."""

    @property
    def loud(self) -> bool:
        """Whether it fires and may be told."""
        return self.ends_us is None and not self.silenced and not self.flapping

    @property
    def owed(self) -> bool:
        """Whether its end is to be told."""
        return self.ends_us is not None and self.told


class Gathering(NamedTuple):
    """How a channel wants its groups told."""

    wait_us: int = 0
    interval_us: int = 5_000_000
    repeat_us: int = 4 * 3_600_000_000
    skip_resolved: bool = False
    limit: int = 100
    """Alerts listed in one notification; the others are counted."""
    muted: bool = False
    """Nothing is told, and nothing of it later."""
    names_ends: bool = True
    """Whether each end of what was listed is listed too, if need be with a later notification: for receivers that keep
    alerts. People read that so many are over."""


class Telling(NamedTuple):
    """What is told of a group now."""

    kind: DeliveryKind
    number: int
    """Which notification of the group it is."""
    members: tuple[Member, ...]
    """Those that are listed, in the order in which they fired or ended."""
    firing_count: int
    resolved_count: int
    truncated: int
    reason: str


class Flap(NamedTuple):
    """An instance that begins, or ends, to flap; not told yet."""

    alert_id: str
    began: bool


@dataclass(slots=True)
class Group:
    """Alerts that are told together to one channel."""

    channel_id: str
    labels: Mapping[str, str]
    key: str
    """What tells it from the other groups of the channel, however long its labels are."""
    members: dict[str, Member] = field(default_factory=dict[str, Member])
    due_us: int | None = None
    """When changes, or a repeat, are looked at."""
    flush_us: int | None = None
    """When changes were told last."""
    tell_us: int | None = None
    """When all of it was told last."""
    told: int = 0
    """How many notifications there were."""
    overflow: int = 0
    """Alerts that found no room since it was told."""
    flaps: dict[str, Flap] = field(default_factory=dict[str, Flap])
    """By the fingerprint of the instance."""
    escalating: set[str] = field(default_factory=set[str])
    """Members whose escalation is to be told."""
    open: set[str] = field(default_factory=set[str])
    """Notifications on their way."""
    changed: set[str] = field(default_factory=set[str])
    """Members to store."""
    gone: set[str] = field(default_factory=set[str])
    """Members to remove."""

    @property
    def text(self) -> str:
        """Its name for receivers, as Alertmanager writes it."""
        labels = ", ".join(
            f"{name}={json.dumps(self.labels[name])}" for name in sorted(self.labels)
        )
        return f"{self.channel_id}:{{{labels}}}"

    def over(self, now_us: int) -> bool:
        """Whether nobody needs it any more: it is empty, and a new alert would have to wait no longer than in a new
        one."""
        if self.members or self.open or self.overflow:
            return False
        return self.due_us is None or self.due_us <= now_us

    def look_us(self, now_us: int) -> int | None:
        """When it wants to be flushed; None while nothing has to be told or something is on its way."""
        if self.open:
            return None
        return now_us if self.flaps or self.escalating else self.due_us

    def join(self, member: Member, now_us: int, how: Gathering) -> bool:
        """An alert fires; False when there is no room for it. One that is here already stays as it is."""
        if member.alert_id in self.members:
            return True
        if len(self.members) >= MOST_MEMBERS:
            self.overflow += 1
            self._touch(now_us, how, now_us)
            return False
        self.members[member.alert_id] = member
        self._note(member)
        if member.loud and not member.escalated:
            self._touch(now_us, how, member.starts_us)
        return True

    def end(self, alert_id: str, ends_us: int, now_us: int, how: Gathering) -> None:
        """An alert is over."""
        member = self.members.get(alert_id)
        if member is None or member.ends_us is not None:
            return
        member.ends_us = ends_us
        self.escalating.discard(alert_id)
        self._note(member)
        if member.owed:
            self._touch(now_us, how, now_us)
        elif not self._flaps(alert_id):
            self._leave(member)

    def acknowledge(self, alert_id: str, now_us: int, how: Gathering, *, done: bool) -> None:
        """Somebody takes care of an alert, or nobody does any more."""
        member = self.members.get(alert_id)
        if member is None or member.acknowledged == done:
            return
        member.acknowledged = done
        self._note(member)
        if done:
            self.escalating.discard(alert_id)
        elif self.tell_us is not None:
            self._sooner(max(now_us, self.tell_us + how.repeat_us))

    def suppress(
        self, alert_id: str, now_us: int, how: Gathering, *, silenced: bool, flapping: bool
    ) -> None:
        """An alert is kept quiet, or not any more."""
        member = self.members.get(alert_id)
        if member is None or (member.silenced, member.flapping) == (silenced, flapping):
            return
        member.silenced, member.flapping = silenced, flapping
        self._note(member)
        if not member.loud:
            return
        if not member.shown and not member.escalated:
            self._touch(now_us, how, now_us)
        elif self.tell_us is not None:
            self._sooner(max(now_us, self.tell_us + how.repeat_us))

    def flap(self, instance: str, member: Member, *, began: bool) -> None:
        """An instance begins to flap, or ends; a beginning that was not told yet and its end are nothing."""
        if not began and (before := self.flaps.get(instance)) is not None and before.began:
            del self.flaps[instance]
            self._clear(before.alert_id)
            return
        known = self.members.get(member.alert_id)
        if known is None and len(self.members) >= MOST_MEMBERS:
            self.overflow += 1
            return
        if known is None:
            self.members[member.alert_id] = member
        before = self.flaps.get(instance)
        self.flaps[instance] = Flap(member.alert_id, began)
        if before is not None and before.alert_id != member.alert_id:
            self._clear(before.alert_id)
        self._note(member)

    def escalate(self, member: Member) -> bool:
        """Nobody acknowledged an alert in time; False when there is no room for it."""
        known = self.members.get(member.alert_id)
        if known is None:
            if len(self.members) >= MOST_MEMBERS:
                self.overflow += 1
                return False
            self.members[member.alert_id] = known = member
            member.escalated = True
        if known.ends_us is None:
            self.escalating.add(member.alert_id)
            self._note(known)
        return True

    def flush(self, now_us: int, how: Gathering) -> list[Telling]:
        """What is told now, when `look_us` says so. Whoever takes it puts the ids into `open`."""
        if how.muted:
            self._mute(now_us, how)
            return []
        told = [self._tell_flaps(now_us, how), self._tell_escalations(how)]
        told.append(self._tell_change(now_us, how))
        self.due_us = self._next_us(now_us, how)
        return [telling for telling in told if telling is not None]

    def rejoin(self, member: Member, now_us: int) -> None:
        """An alert that left is told as firing after all, so its end is owed once more."""
        member.told = member.shown = member.listed = True
        self.members[member.alert_id] = member
        self._note(member)
        if member.ends_us is not None:
            self._sooner(now_us)

    def rewind(self, now_us: int, how: Gathering) -> None:
        """The clock was put back while nobody ran: nothing waits until it is where it was."""
        if self.flush_us is None and self.due_us is not None:
            self.due_us = min(self.due_us, now_us + how.wait_us)
        if max(self.flush_us or 0, self.tell_us or 0) <= now_us:
            return
        self.flush_us = None if self.flush_us is None else min(self.flush_us, now_us)
        self.tell_us = None if self.tell_us is None else min(self.tell_us, now_us)
        self.due_us = None
        self.due_us = self._next_us(now_us, how)

    def ended(self, delivery_id: str) -> None:
        """A notification arrived, or was given up."""
        self.open.discard(delivery_id)

    def _tell_flaps(self, now_us: int, how: Gathering) -> Telling | None:
        flaps, self.flaps = self.flaps, {}
        found = [(self.members[each.alert_id], each.began) for each in flaps.values()]
        heard = [(member, began) for member, began in found if not member.silenced]
        telling = None
        if heard:
            began = sum(began for _, began in heard)
            reason = _sentence(began, "begins to flap", "begin to flap")
            reason += _sentence(len(heard) - began, "flaps no more", "flap no more")
            members = [member for member, _ in heard]
            telling = self._telling(DeliveryKind.FLAPPING, members, how, reason)
            self._mark(members)
            self.tell_us = now_us if self.tell_us is None else self.tell_us
        named = _named(telling)
        for member, _ in found:
            kept = member.silenced and member.told
            if member.ends_us is not None and not kept and not _unnamed(member, named, how):
                self._leave(member)
        return telling

    def _tell_escalations(self, how: Gathering) -> Telling | None:
        found = [self.members[alert_id] for alert_id in sorted(self.escalating)]
        self._calm()
        members = [member for member in found if member.loud]
        if not members:
            return None
        reason = _sentence(
            len(members), "was not acknowledged in time", "were not acknowledged in time"
        )
        telling = self._telling(DeliveryKind.ESCALATION, members, how, reason)
        self._mark(members)
        return telling

    def _tell_change(self, now_us: int, how: Gathering) -> Telling | None:
        if self.due_us is None or now_us < self.due_us:
            return None
        begun, ended = self._begun(), self._owed()
        changed = bool(begun or self.overflow or (ended and not how.skip_resolved))
        kind = DeliveryKind.CHANGE
        if changed and self.flush_us is not None and now_us < self.flush_us + how.interval_us:
            return None
        if not changed:
            if not self._repeats() or now_us < (self.tell_us or 0) + how.repeat_us:
                self._forget_ended(how)
                return None
            kind = DeliveryKind.REPEAT
        firing = [member for member in self.members.values() if member.loud]
        resolved = [member for member in self.members.values() if member.owed]
        reason = _sentence(begun, "fires", "fire") + _sentence(ended, "is resolved", "are resolved")
        if kind == DeliveryKind.REPEAT:
            reason = _sentence(len(firing), "still fires", "still fire")
        telling = self._telling(kind, [*firing, *resolved], how, reason)
        self._mark(firing)
        named = _named(telling)
        for member in list(self.members.values()):
            if member.ends_us is not None:
                if not _unnamed(member, named, how):
                    self._leave(member)
            elif member.shown and not member.loud:
                member.shown = False
                self._note(member)
        self.flush_us = self.tell_us = now_us
        return telling

    def _telling(
        self, kind: DeliveryKind, members: list[Member], how: Gathering, reason: list[str]
    ) -> Telling:
        """Where not all can be listed, what begins comes first and what fired before comes last."""
        firing = sum(member.ends_us is None for member in members)
        count = len(members)
        if count > how.limit:
            members = sorted(members, key=_weight)[: how.limit]
        listed = sorted(members, key=lambda m: (m.ends_us or m.starts_us, m.alert_id))
        for member in listed:
            if member.ends_us is None and not member.listed:
                member.listed = True
                self._note(member)
        overflow, self.overflow = self.overflow, 0
        self.told += 1
        return Telling(
            kind,
            self.told,
            tuple(replace(member) for member in listed),
            firing + overflow,
            count - firing,
            count - len(listed) + overflow,
            ", ".join(reason),
        )

    def _mark(self, members: Iterable[Member]) -> None:
        for member in members:
            if member.ends_us is None and not (member.told and member.shown):
                member.told = member.shown = True
                self._note(member)

    def _next_us(self, now_us: int, how: Gathering) -> int | None:
        if self._begun() or self.overflow or (self._owed() and not how.skip_resolved):
            if self.due_us is not None and self.due_us > now_us:
                return self.due_us
            return max(now_us, now_us if self.flush_us is None else self.flush_us + how.interval_us)
        if self._repeats() and self.tell_us is not None:
            return self.tell_us + how.repeat_us
        if not self.members and self.flush_us is not None:
            over_us = self.flush_us + how.interval_us
            return over_us if over_us > now_us else None
        return None

    def _begun(self) -> int:
        return sum(m.loud and not m.shown and not m.escalated for m in self.members.values())

    def _owed(self) -> int:
        return sum(member.owed for member in self.members.values())

    def _repeats(self) -> bool:
        return any(m.loud and not m.acknowledged and not m.escalated for m in self.members.values())

    def _forget_ended(self, how: Gathering) -> None:
        """Ends that are told only beside others are not told when there is nothing else any more."""
        if how.skip_resolved and not any(m.ends_us is None for m in self.members.values()):
            for member in list(self.members.values()):
                self._leave(member)

    def _mute(self, now_us: int, how: Gathering) -> None:
        self.flaps.clear()
        self._calm()
        self.overflow = 0
        for member in list(self.members.values()):
            if member.ends_us is not None:
                self._leave(member)
        self.due_us = now_us + how.repeat_us if self.members else None

    def _touch(self, now_us: int, how: Gathering, since_us: int) -> None:
        """Something is to be told."""
        if self.flush_us is not None:
            gathered_us = now_us + min(how.wait_us, how.interval_us)
            self._sooner(max(gathered_us, self.flush_us + how.interval_us))
        else:
            self._sooner(max(now_us, min(since_us, now_us) + how.wait_us))

    def _sooner(self, due_us: int) -> None:
        self.due_us = due_us if self.due_us is None else min(self.due_us, due_us)

    def _flaps(self, alert_id: str) -> bool:
        return any(each.alert_id == alert_id for each in self.flaps.values())

    def _clear(self, alert_id: str) -> None:
        """No notice names the member any more."""
        member = self.members.get(alert_id)
        if member is not None and member.ends_us is not None and not member.told:
            self._leave(member)

    def _calm(self) -> None:
        for alert_id in self.escalating:
            self._note(self.members[alert_id])
        self.escalating.clear()

    def _note(self, member: Member) -> None:
        self.changed.add(member.alert_id)
        self.gone.discard(member.alert_id)

    def _leave(self, member: Member) -> None:
        del self.members[member.alert_id]
        self.changed.discard(member.alert_id)
        self.gone.add(member.alert_id)


def _weight(member: Member) -> int:
    if member.ends_us is not None:
        return 1 if member.listed else 2
    return 3 if member.shown else 0


def _named(telling: Telling | None) -> set[str]:
    return set() if telling is None else {member.alert_id for member in telling.members}


def _unnamed(member: Member, named: set[str], how: Gathering) -> bool:
    """Whether its end has still to be told by name."""
    return how.names_ends and member.listed and member.alert_id not in named


def _sentence(count: int, one: str, more: str) -> list[str]:
    """As `3 alerts fire`; nothing of none."""
    if not count:
        return []
    return [f"1 alert {one}" if count == 1 else f"{count:,} alerts {more}"]


def key_of(labels: Mapping[str, str]) -> str:
    """A short name for a group's labels, which may be long."""
    return hashlib.sha256(json.dumps(sorted(labels.items())).encode()).hexdigest()[:32]
