"""Every group of every channel, and every escalation: intents in, notifications to be composed out.

Time is that of what happened: before an alert ends, what was due until then is told. So what is told does not depend
on how much was waiting, and nothing is left out because nobody looked for a while.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pilothouse_server.domain.alerts.matchers import all_match
from pilothouse_server.domain.alerts.records import Alert, matched_labels
from pilothouse_server.domain.notifications.channels import Apprise, Channel, Escalation, Webhook
from pilothouse_server.domain.notifications.composing import Told, fingerprint_of, told
from pilothouse_server.domain.notifications.escalating import (
    EscalationRun,
    Held,
    channels_of,
    due_us,
    hold,
    rewound,
    taken,
)
from pilothouse_server.domain.notifications.grouping import (
    MOST_GROUPS,
    MOST_MEMBERS,
    Gathering,
    Group,
    Member,
    key_of,
)
from pilothouse_server.domain.notifications.intents import Intent, IntentKind

MOST_ALERTS = 100
"""Alerts listed in one notification where the channel does not say."""

SPARE_LOOKS = 64
"""Planned looks that mean nothing any more are swept out when there are so many more of them than of others."""

Place = tuple[str, str]
"""A group: its channel and its key."""


class Wanted(NamedTuple):
    """Whom an alert's rule wants told."""

    channels: tuple[str, ...] = ()
    """Ids; none are those that are the default."""
    escalation: str = ""


class Returned(NamedTuple):
    """A notification that was given up, and put back by somebody."""

    id: str
    place: Place
    labels: Mapping[str, str]
    """Of its group."""
    alert_ids: Sequence[str]
    create_us: int
    waits: bool
    """Or it arrived already."""


class Sources(NamedTuple):
    """What people said about who is told."""

    channels: Mapping[str, Channel]
    escalations: Mapping[str, Escalation]
    wanted: Mapping[str, Wanted]
    """By each alert at hand; one that is not there wants what is the default."""


class Gatherer:
    """What is to be told. `apply` what happened, `flush` what is due, then store what `changes` are there."""

    def __init__(self, groups: Iterable[Group] = (), runs: Iterable[EscalationRun] = ()) -> None:
        self.groups: dict[Place, Group] = {}
        self.runs: dict[str, EscalationRun] = {run.alert_id: run for run in runs}
        self.changed: set[Place] = set()
        self.changed_runs: set[str] = set()
        self._of_channel: dict[str, int] = {}
        self._of_alert: dict[str, set[Place]] = {}
        self._heap: list[tuple[int, Place]] = []
        self._looks: dict[Place, int] = {}
        """The newest entry of each group in the heap; older ones mean nothing."""
        self._run_heap: list[tuple[int, str]] = []
        for group in groups:
            self._add(group)
            for alert_id in group.members:
                self._of_alert.setdefault(alert_id, set()).add((group.channel_id, group.key))

    def begin(self, sources: Sources, now_us: int) -> None:
        """Plans everything anew: after a restart, and when escalations are others."""
        self._heap.clear()
        self._looks.clear()
        self._run_heap.clear()
        for place, group in self.groups.items():
            channel = sources.channels.get(group.channel_id)
            if channel is not None:
                group.rewind(now_us, how_of(channel))
            self._plan(place, now_us)
        for run in list(self.runs.values()):
            self.runs[run.alert_id] = back = rewound(run, now_us)
            self._plan_run(back, sources)

    def apply(self, intent: Intent, alert: Alert | None, sources: Sources, now_us: int) -> None:
        """One thing that happened. Without an alert it is over and forgotten."""
        match intent.kind:
            case IntentKind.FIRING:
                if alert is not None:
                    self._fire(intent, alert, sources, now_us)
            case IntentKind.RESOLVED:
                self._resolve(intent, alert, sources, now_us)
            case IntentKind.ACKNOWLEDGED | IntentKind.UNACKNOWLEDGED:
                done = intent.kind == IntentKind.ACKNOWLEDGED
                for group, how in self._with(intent.alert_id, sources):
                    group.acknowledge(intent.alert_id, now_us, how, done=done)
                    self._note(group, now_us)
                self._hold(intent.alert_id, Held.ACKNOWLEDGED, sources, now_us, on=done)
            case IntentKind.SUPPRESSION:
                if alert is not None:
                    self._suppress(alert, sources, now_us)
            case IntentKind.FLAPPING | IntentKind.FLAPPED:
                if alert is not None:
                    self._suppress(alert, sources, now_us)
                    began = intent.kind == IntentKind.FLAPPING
                    self._flap(alert, sources, now_us, began=began)

    def flush(
        self, sources: Sources, now_us: int, most: int, *, before: bool = False
    ) -> list[Told]:
        """What is due by now, or earlier; about `most` at once. Escalations come first, as groups tell them."""
        limit_us = now_us - 1 if before else now_us
        while self._run_heap and self._run_heap[0][0] <= limit_us:
            due, alert_id = heapq.heappop(self._run_heap)
            run = self.runs.get(alert_id)
            if run is not None:
                self._step(run, due, sources, now_us)
        found: list[Told] = []
        while len(found) < most and self._heap and self._heap[0][0] <= limit_us:
            due, place = heapq.heappop(self._heap)
            if self._looks.get(place) == due:
                del self._looks[place]
            group = self.groups.get(place)
            if group is not None and group.look_us(due) == due:
                found += self._flush(group, sources, due if before else now_us)
        return found

    def next_us(self) -> int | None:
        """When something is due next."""
        heads = [heap[0][0] for heap in (self._heap, self._run_heap) if heap]
        return min(heads, default=None)

    @property
    def planned(self) -> int:
        """How many looks are planned: not many more than there are groups and escalations."""
        return len(self._heap) + len(self._run_heap)

    def ended(self, place: Place, delivery_id: str, now_us: int) -> bool:
        """A notification arrived, or was given up; False when its group knows nothing of it."""
        group = self.groups.get(place)
        if group is None or delivery_id not in group.open:
            return False
        group.ended(delivery_id)
        self._plan(place, now_us)
        if not group.members:
            self.changed.add(place)
        return True

    def reopen(self, back: Returned, alerts: Mapping[str, Alert], now_us: int) -> None:
        """Somebody put a notification back that was given up. Its group waits for it as for any other, and what it
        tells as firing and is over by now is told as over once more, after it."""
        channel_id, key = back.place
        group = self.groups.get(back.place)
        if group is None:
            group = Group(channel_id, back.labels, key)
            self._add(group)
        if back.waits:
            group.open.add(back.id)
        for alert in (alerts[each] for each in back.alert_ids if each in alerts):
            ends_us = alert.instance.resolve_us
            over = ends_us is not None and ends_us <= back.create_us
            heard = any(place[0] == channel_id for place in self._of_alert.get(alert.id, ()))
            if over or heard or len(group.members) >= MOST_MEMBERS:
                continue
            member = _member(alert, matched_labels(alert), alert.instance.fire_us or now_us)
            member.ends_us = ends_us
            group.rejoin(member, now_us)
            self._of_alert.setdefault(alert.id, set()).add(back.place)
        self._note(group, now_us)

    def forget_channels(self, known: Mapping[str, Channel]) -> Sequence[Place]:
        """Groups of channels that are there no more."""
        lost = [place for place in self.groups if place[0] not in known]
        for place in lost:
            for alert_id in self.groups[place].members:
                self._part(alert_id, place)
            self._remove(place)
        return lost

    def vanish(self, now_us: int) -> list[Place]:
        """Changed groups that nobody needs any more."""
        over = [place for place in self.changed if self.groups[place].over(now_us)]
        for place in over:
            self._remove(place)
        return over

    def stored(self) -> None:
        """All changes are."""
        for place in self.changed:
            group = self.groups[place]
            group.changed.clear()
            group.gone.clear()
        self.changed.clear()
        self.changed_runs.clear()

    def _fire(self, intent: Intent, alert: Alert, sources: Sources, now_us: int) -> None:
        labels = matched_labels(alert)
        for channel in self._routed(alert, labels, sources):
            group = self._group(channel, labels)
            place = (group.channel_id, group.key)
            if group.join(_member(alert, labels, intent.occur_us), now_us, how_of(channel)):
                self._of_alert.setdefault(alert.id, set()).add(place)
            self._note(group, now_us)
        wanted = sources.wanted.get(alert.id, Wanted()).escalation
        if wanted in sources.escalations and alert.id not in self.runs:
            run = EscalationRun(alert.id, wanted, labels, intent.occur_us)
            self._put(hold(run, Held.QUIET, now_us, on=alert.suppression.quiet), sources)

    def _resolve(self, intent: Intent, alert: Alert | None, sources: Sources, now_us: int) -> None:
        ends_us = intent.occur_us
        if alert is not None and alert.instance.resolve_us is not None:
            ends_us = alert.instance.resolve_us
        for group, how in self._with(intent.alert_id, sources):
            group.end(intent.alert_id, ends_us, now_us, how)
            self._note(group, now_us)
        if self.runs.pop(intent.alert_id, None) is not None:
            self.changed_runs.add(intent.alert_id)

    def _suppress(self, alert: Alert, sources: Sources, now_us: int) -> None:
        kept = alert.suppression
        silenced = bool(kept.silenced_by or kept.inhibited_by)
        for group, how in self._with(alert.id, sources):
            group.suppress(alert.id, now_us, how, silenced=silenced, flapping=kept.flapping)
            self._note(group, now_us)
        self._hold(alert.id, Held.QUIET, sources, now_us, on=kept.quiet)

    def _flap(self, alert: Alert, sources: Sources, now_us: int, *, began: bool) -> None:
        labels = matched_labels(alert)
        instance = fingerprint_of(labels)
        for channel in self._routed(alert, labels, sources):
            group = self._group(channel, labels)
            place = (group.channel_id, group.key)
            member = _member(alert, labels, alert.instance.fire_us or alert.instance.active_us)
            member.ends_us = alert.instance.resolve_us
            group.flap(instance, member, began=began)
            if alert.id in group.members:
                self._of_alert.setdefault(alert.id, set()).add(place)
            self._note(group, now_us)

    def _step(self, run: EscalationRun, due: int, sources: Sources, now_us: int) -> None:
        escalation = sources.escalations.get(run.escalation_id)
        if escalation is None or due_us(run, escalation) != due:
            return
        for channel_id in channels_of(run, escalation):
            channel = sources.channels.get(channel_id)
            if channel is None or not channel.enabled:
                continue
            group = self._group(channel, run.labels)
            if group.escalate(Member(run.alert_id, run.labels, run.fire_us)):
                place = (group.channel_id, group.key)
                self._of_alert.setdefault(run.alert_id, set()).add(place)
            self._note(group, now_us)
        self._put(taken(run, now_us), sources)

    def _hold(self, alert_id: str, why: Held, sources: Sources, now_us: int, *, on: bool) -> None:
        run = self.runs.get(alert_id)
        if run is not None:
            self._put(hold(run, why, now_us, on=on), sources)

    def _put(self, run: EscalationRun, sources: Sources) -> None:
        self.runs[run.alert_id] = run
        self.changed_runs.add(run.alert_id)
        self._plan_run(run, sources)

    def _plan_run(self, run: EscalationRun, sources: Sources) -> None:
        escalation = sources.escalations.get(run.escalation_id)
        due = None if escalation is None else due_us(run, escalation)
        if due is None:
            return
        heapq.heappush(self._run_heap, (due, run.alert_id))
        if len(self._run_heap) > 2 * len(self.runs) + SPARE_LOOKS:
            self._run_heap.clear()
            for each in self.runs.values():
                self._plan_run(each, sources)

    def _flush(self, group: Group, sources: Sources, now_us: int) -> list[Told]:
        channel = sources.channels.get(group.channel_id)
        if channel is None:
            return []
        found = [told(group, telling, now_us) for telling in group.flush(now_us, how_of(channel))]
        group.open.update(each.id for each in found)
        self._note(group, now_us)
        return found

    def _routed(
        self, alert: Alert, labels: Mapping[str, str], sources: Sources
    ) -> Iterator[Channel]:
        named = sources.wanted.get(alert.id, Wanted()).channels
        for channel in sources.channels.values():
            wanted = channel.id in named if named else channel.is_default
            severe = channel.min_severity is None or alert.severity >= channel.min_severity
            if wanted and channel.enabled and severe and all_match(channel.matchers, labels):
                yield channel

    def _group(self, channel: Channel, labels: Mapping[str, str]) -> Group:
        chosen = {name: labels[name] for name in channel.group_by if name in labels}
        found = self.groups.get((channel.id, key_of(chosen)))
        if found is None and self._of_channel.get(channel.id, 0) >= MOST_GROUPS:
            chosen.clear()
            found = self.groups.get((channel.id, key_of(chosen)))
        if found is None:
            found = Group(channel.id, chosen, key_of(chosen))
            self._add(found)
        return found

    def _with(self, alert_id: str, sources: Sources) -> list[tuple[Group, Gathering]]:
        """The groups that an alert is in."""
        return [
            (self.groups[place], how_of(channel))
            for place in sorted(self._of_alert.get(alert_id, ()))
            if (channel := sources.channels.get(place[0])) is not None
        ]

    def _add(self, group: Group) -> None:
        self.groups[group.channel_id, group.key] = group
        self._of_channel[group.channel_id] = self._of_channel.get(group.channel_id, 0) + 1

    def _remove(self, place: Place) -> None:
        del self.groups[place]
        self._looks.pop(place, None)
        self.changed.discard(place)
        self._of_channel[place[0]] -= 1

    def _note(self, group: Group, now_us: int) -> None:
        place = (group.channel_id, group.key)
        self.changed.add(place)
        for alert_id in group.gone:
            self._part(alert_id, place)
        self._plan(place, now_us)

    def _plan(self, place: Place, now_us: int) -> None:
        look_us = self.groups[place].look_us(now_us)
        if look_us is None or self._looks.get(place) == look_us:
            return
        self._looks[place] = look_us
        heapq.heappush(self._heap, (look_us, place))
        if len(self._heap) > 2 * len(self.groups) + SPARE_LOOKS:
            self._heap = [(us, each) for each, us in self._looks.items()]
            heapq.heapify(self._heap)

    def _part(self, alert_id: str, place: Place) -> None:
        places = self._of_alert.get(alert_id)
        if places is not None:
            places.discard(place)
            if not places:
                del self._of_alert[alert_id]


def how_of(channel: Channel) -> Gathering:
    """How a channel wants its groups told."""
    target = channel.target
    return Gathering(
        wait_us=channel.group_wait_us,
        interval_us=channel.group_interval_us,
        repeat_us=channel.repeat_interval_us,
        skip_resolved=channel.skip_resolved,
        limit=target.max_alerts if isinstance(target, Webhook) else MOST_ALERTS,
        muted=not channel.enabled,
        names_ends=not isinstance(target, Apprise),
    )


def _member(alert: Alert, labels: Mapping[str, str], starts_us: int) -> Member:
    kept = alert.suppression
    return Member(
        alert.id,
        labels,
        starts_us,
        silenced=bool(kept.silenced_by or kept.inhibited_by),
        flapping=kept.flapping,
    )
