"""How often each instance changed lately, over restarts.

That an alert began to fire is stored with the alert itself. So only from the second change on is a row of its own
stored: a storm of alerts that begin once costs nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import takewhile

from pilothouse_server.domain.alerts import flapping
from pilothouse_server.domain.alerts.records import Alert
from pilothouse_server.domain.alerts.states import AlertState
from pilothouse_server.services.alerts.journal import AlertJournal, FlapRecord, InstanceKey

MOST = 50_000
"""Instances of which changes are remembered; those beyond never flap, which is counted."""


class FlapHistory:
    """The changes of all instances that had any lately."""

    def __init__(self, journal: AlertJournal) -> None:
        self._journal = journal
        self._records: dict[InstanceKey, FlapRecord] = {}
        """The one that changed longest ago first. Of those that flap every slot is looked at; nobody else begins to by
        the time alone."""
        self._flapping: set[InstanceKey] = set()
        self._swept = 0
        self.beyond = 0
        """Changes that were not remembered because there were too many."""

    def restore(
        self, records: Mapping[InstanceKey, FlapRecord], alerts: Iterable[Alert], slot_us: int
    ) -> None:
        """Takes up what was stored."""
        found = {
            key: record
            for key, record in records.items()
            if not flapping.passed(record.flaps, slot_us).quiet
        }
        for alert in alerts:
            began_us, key = alert.instance.fire_us, key_of(alert)
            if alert.instance.live and began_us is not None and key not in found:
                found[key] = FlapRecord(flapping.changed(None, began_us), alert.id)
        for key, record in sorted(found.items(), key=lambda each: each[1].flaps.slot):
            self._remember(key, record)

    def flaps(self, key: InstanceKey) -> bool:
        """Whether it begins and ends too often to be told each time."""
        record = self._records.get(key)
        return record is not None and record.flaps.flapping

    def changed(self, alert: Alert, ts_us: int) -> bool:
        """It began or ended to fire. Whether it flaps from now on."""
        key = key_of(alert)
        before = self._records.get(key)
        record = FlapRecord(flapping.changed(before and before.flaps, ts_us), alert.id)
        if not self._remember(key, record):
            return False
        if before is not None or alert.instance.state == AlertState.RESOLVED:
            self._journal.note_flaps(key, record)
        return record.flaps.flapping and not (before is not None and before.flaps.flapping)

    def sweep(self, ts_us: int) -> list[InstanceKey]:
        """Once a slot: those that flap no more; what is quiet is forgotten."""
        slot = ts_us // flapping.SLOT_US
        if slot == self._swept:
            return []
        self._swept = slot
        ended: list[InstanceKey] = []
        for key in list(self._flapping):
            before = self._records[key]
            record = before._replace(flaps=flapping.passed(before.flaps, ts_us))
            self._remember(key, record)
            if not record.flaps.flapping:
                ended.append(key)
                self._journal.note_flaps(key, record)
        quiet = takewhile(
            lambda each: each[1].flaps.slot <= slot - flapping.SLOTS, self._records.items()
        )
        for key, _ in list(quiet):
            del self._records[key]
            self._flapping.discard(key)
        return ended

    def shift(self, by_us: int) -> None:
        """The grid was moved."""
        for key, record in self._records.items():
            self._records[key] = record._replace(flaps=flapping.shifted(record.flaps, by_us))

    def _remember(self, key: InstanceKey, record: FlapRecord) -> bool:
        if key not in self._records and len(self._records) >= MOST:
            self.beyond += 1
            return False
        self._records.pop(key, None)
        self._records[key] = record
        if record.flaps.flapping:
            self._flapping.add(key)
        else:
            self._flapping.discard(key)
        return True


def key_of(alert: Alert) -> InstanceKey:
    """Of which instance the alert is."""
    return InstanceKey(alert.rule_id, alert.kind, alert.name)
