"""Where every change of an alert is entered: in mind, on its way to the database, and in what is known of flapping."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from pilothouse_server.domain.alerts import records
from pilothouse_server.domain.alerts.records import Alert, Change
from pilothouse_server.domain.alerts.states import AlertState, Instance, down, shifted
from pilothouse_server.domain.alerts.suppression import LOUD, Suppression
from pilothouse_server.domain.notifications.intents import IntentKind
from pilothouse_server.services.alerts.flaps import FlapHistory, key_of
from pilothouse_server.services.alerts.journal import AlertJournal, InstanceKey, Restored
from pilothouse_server.services.alerts.ledger import Ledger
from pilothouse_server.services.alerts.limits import AlertLimits


class Suppressor(Protocol):
    """What keeps alerts quiet: silences and inhibition. It never changes their state."""

    @property
    def version(self) -> int:
        """Changes when the silences or the rules do."""
        ...

    @property
    def next_change_us(self) -> int | None:
        """When a silence begins or ends next; None when none will."""
        ...

    def judge(self, alerts: Iterable[Alert], ts_us: int) -> Mapping[str, Suppression]:
        """What keeps each of these quiet, by alert id; those that nothing does may be left out. They are all that are
        FIRING or RECOVERING."""
        ...


class Book:
    """The alerts, and what happens to them beside their condition."""

    def __init__(
        self,
        journal: AlertJournal,
        new_id: Callable[[], str],
        limits: AlertLimits,
        suppressor: Suppressor | None,
    ) -> None:
        self.journal = journal
        self.ledger = Ledger()
        self.new_id = new_id
        self.limits = limits
        self.values_left = 0
        """Mere values that may still be stored with this slot."""
        self.flaps = FlapHistory(journal)
        self._flapped: dict[InstanceKey, Alert] = {}
        """Of instances that flap: the newest alert that is over, as long as it is the newest that fired."""
        self._suppressor = suppressor
        self._judged: tuple[int, int] | None = None
        self._next_us: int | None = None

    def restore(self, restored: Restored) -> None:
        """Takes up what was stored."""
        for alert in restored.alerts:
            if over(alert):
                self._flapped[key_of(alert)] = alert
            else:
                self.journal.know(alert.id)
                self.ledger.keep(alert)
        self.flaps.restore(restored.flaps, restored.alerts, restored.slot_us or 0)

    def note(self, change: Change, ts_us: int) -> None:
        """An alert changed."""
        began = any(each.kind == IntentKind.FIRING for each in change.intents)
        ended = any(each.kind == IntentKind.RESOLVED for each in change.intents)
        if began and self.flaps.flaps(key_of(change.alert)):
            quiet = change.alert.suppression._replace(flapping=True)
            change = change._replace(alert=replace(change.alert, suppression=quiet))
        self.ledger.keep(change.alert)
        self.journal.note(change)
        key = key_of(change.alert)
        if (began or ended) and self.flaps.changed(change.alert, ts_us):
            self.note(records.flap(change.alert, ts_us, flapping=True), ts_us)
        elif began:
            self._flapped.pop(key, None)
        elif over(change.alert) and self.flaps.flaps(key):
            self._flapped[key] = change.alert

    def note_history(self, change: Change) -> None:
        """The same of an alert that is over and not in mind any more."""
        key = key_of(change.alert)
        flapped = self._flapped.get(key)
        if flapped is not None and flapped.id == change.alert.id:
            self._flapped[key] = change.alert
        self.journal.know(change.alert.id)
        self.journal.note(change)

    def gone(self, change: Change) -> None:
        """A PENDING alert is over, as if it had never been."""
        self.ledger.forget(change.alert)
        self.journal.note(change)

    def move(self, down_us: int, shift_us: int) -> None:
        """Makes up for time in which nobody looked, and for a grid that was moved. What that changed is stored with the
        slot, or the next engine would have to do it again and could not."""

        def moved(instance: Instance) -> Instance:
            return shifted(instance, shift_us) if shift_us else down(instance, down_us)

        if shift_us:
            self.flaps.shift(shift_us)
        for alert in [each for each in self.ledger.every() if each.instance.live]:
            after = moved(alert.instance)
            if after is not alert.instance:
                update_us = alert.update_us + shift_us
                self.note(Change(replace(alert, instance=after, update_us=update_us)), update_us)

    def sweep(self, ts_us: int) -> None:
        """Takes back acknowledgements of which the time is over, and says who flaps no more."""
        for alert in self.ledger.expired(ts_us):
            said = "the time of the acknowledgement was over"
            self.note(records.unacknowledge(alert, "", said, ts_us), ts_us)
        for key in self.flaps.sweep(ts_us):
            last = self._flapped.pop(key, None)
            now = self.ledger.group(key.rule_id, key.kind).get(key.name)
            if now is not None and now.suppression.flapping:
                self.note(records.flap(now, ts_us, flapping=False), ts_us)
            elif last is not None:
                self.journal.note(records.flap(last, ts_us, flapping=False))

    def quieten(self, ts_us: int) -> None:
        """Asks what keeps the alerts that fire quiet, when that may be another answer than before."""
        suppressor, ledger = self._suppressor, self.ledger
        if suppressor is None:
            return
        judged = (ledger.firing_version, suppressor.version)
        if judged == self._judged and (self._next_us is None or ts_us < self._next_us):
            return
        firing = list(ledger.firing.values())
        found = suppressor.judge(firing, ts_us)
        for alert in firing:
            flapping = alert.suppression.flapping
            wanted = found.get(alert.id, LOUD)._replace(flapping=flapping)
            if wanted != alert.suppression:
                self.note(records.suppress(alert, wanted, _why(wanted), ts_us), ts_us)
        self._judged, self._next_us = judged, suppressor.next_change_us


def _why(suppression: Suppression) -> str:
    said = [
        f"{by} {', '.join(ids)}"
        for by, ids in (
            ("silenced by", suppression.silenced_by),
            ("inhibited by", suppression.inhibited_by),
        )
        if ids
    ]
    return "; ".join(said) or "nothing keeps it quiet any more"


def over(alert: Alert) -> bool:
    """Whether nothing depends on the alert any more."""
    return alert.instance.state == AlertState.RESOLVED and not alert.instance.latched
