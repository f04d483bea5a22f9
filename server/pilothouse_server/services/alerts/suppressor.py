"""What keeps alerts quiet now: silences that hold, and alerts that inhibit others.

One judgement does so much work and no more: what does not fit follows with the next one, and until then an alert is as
quiet as it was. What was found is remembered: neither a silence's matchers nor an alert's labels change.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pilothouse_server.domain.alerts.inhibition import Firing, Inhibitions
from pilothouse_server.domain.alerts.matchers import Matcher, MatchType
from pilothouse_server.domain.alerts.records import Alert, matched_labels
from pilothouse_server.domain.alerts.rules import Inhibition, Rule
from pilothouse_server.domain.alerts.silences import Silence, SilenceState, Standing, standing
from pilothouse_server.domain.alerts.suppression import LOUD, Suppression

AT_ONCE: Final = 50_000
"""Work in one judgement: 1 for each pair of a silence and an alert, and more for a regular expression."""
EXPRESSION: Final = 10
"""Work that a regular expression is, on a value that it was not matched with yet."""
MOST_VALUES: Final = 1_000_000
"""Values of which it is remembered whether regular expressions match them."""
AGAIN_US: Final = 1
"""How soon what did not fit goes on: with the next slot."""

_Label = tuple[str, str]


@dataclass(slots=True)
class _Known:
    """An alert: its labels, and which silences match it of those that were looked at."""

    firing: Firing
    seen: int = 0
    """How many of the list of silences, in the order in which they came."""
    matching: list[str] = field(default_factory=list[str])


class Silenced:
    """Implements `services.alerts.book.Suppressor`. `load` gives it the silences, `apply` the rules."""

    def __init__(self, *, at_once: int = AT_ONCE) -> None:
        self._inhibited_by: Mapping[str, Sequence[Inhibition]] = {}
        self._at_once = at_once
        self._silences: dict[str, Silence] = {}
        self._order: list[Silence] = []
        """As they came; what is gone stays until everything is begun anew."""
        self._keyed: dict[_Label, list[int]] = {}
        """Places in the order of those that ask for one value of a label, by that."""
        self._unkeyed: list[int] = []
        self._standings: dict[str, Standing] = {}
        self._known: dict[str, _Known] = {}
        self._outcomes: dict[tuple[Matcher, str], bool] = {}
        self._left = 0
        """Work that may still be done in this judgement."""
        self._inhibitions = Inhibitions()
        self._version = 0
        self._next_us: int | None = None
        self._judged_us = 0

    @property
    def version(self) -> int:
        """Changes when the silences or the inhibitions do."""
        return self._version

    @property
    def next_change_us(self) -> int | None:
        """When a silence begins or ends next, or when what did not fit goes on."""
        return self._next_us

    def apply(self, rules: Iterable[Rule]) -> None:
        """From now on these are the rules."""
        inhibited_by = {rule.id: rule.inhibited_by for rule in rules if rule.inhibited_by}
        if inhibited_by != self._inhibited_by:
            self._inhibited_by = inhibited_by
            self._version += 1

    def load(self, silences: Iterable[Silence]) -> None:
        """From now on these are the silences."""
        loaded = {silence.id: silence for silence in silences}
        if loaded == self._silences:
            return
        new = [each for each in loaded.values() if each.id not in self._silences]
        gone = [each for each in self._silences if each not in loaded]
        # When one that recurs holds again is not worked out anew because another one was made or ended.
        self._standings = {
            silence_id: known
            for silence_id, known in self._standings.items()
            if loaded.get(silence_id) == self._silences.get(silence_id)
        }
        self._silences = loaded
        self._version += 1
        if gone and len(self._order) > 2 * len(loaded) + 100:
            self._order, self._keyed, self._unkeyed, self._known = [], {}, [], {}
            new = list(loaded.values())
        for silence in new:
            self._place(silence)

    def judge(self, alerts: Iterable[Alert], ts_us: int) -> Mapping[str, Suppression]:
        """What keeps each of these quiet, by alert id; those that nothing does are left out."""
        there = list(alerts)
        active, newest = self._stand(ts_us), len(self._order)
        self._left, complete = self._at_once, True
        silenced: dict[str, tuple[str, ...]] = {}
        firing: list[Firing] = []
        for alert in there:
            known = self._of(alert)
            firing.append(known.firing)
            if known.seen < newest and not self._look(known):
                complete = False
                kept = alert.suppression.silenced_by
                known.matching = list(dict.fromkeys((*kept, *known.matching)))
            if known.matching:
                matching = [each for each in known.matching if each in active]
                if matching:
                    silenced[alert.id] = tuple(sorted(matching))
        if not complete:
            self._next_us = ts_us + AGAIN_US
        if len(self._known) > 2 * len(there) + 100:
            self._known = {alert.id: self._known[alert.id] for alert in there}
        inhibited = self._inhibitions.judge(firing, self._inhibited_by)
        return {
            alert_id: LOUD._replace(
                silenced_by=silenced.get(alert_id, ()), inhibited_by=inhibited.get(alert_id, ())
            )
            for alert_id in silenced.keys() | inhibited.keys()
        }

    def _place(self, silence: Silence) -> None:
        place = len(self._order)
        self._order.append(silence)
        for matcher in silence.matchers:
            if matcher.type == MatchType.EQUAL and matcher.value and not silence.until_resolved:
                self._keyed.setdefault((matcher.name, matcher.value), []).append(place)
                return
        self._unkeyed.append(place)

    def _stand(self, ts_us: int) -> set[str]:
        """The silences that hold at that time."""
        if ts_us < self._judged_us:
            self._standings.clear()
        self._judged_us = ts_us
        active: set[str] = set()
        changes: list[int] = []
        for silence in self._silences.values():
            known = self._standings.get(silence.id)
            if known is None or (known.until_us is not None and ts_us >= known.until_us):
                known = self._standings[silence.id] = standing(silence, ts_us)
            if known.state == SilenceState.ACTIVE:
                active.add(silence.id)
            if known.until_us is not None:
                changes.append(known.until_us)
        self._next_us = min(changes, default=None)
        return active

    def _of(self, alert: Alert) -> _Known:
        known = self._known.get(alert.id)
        if known is None:
            firing = Firing(alert.id, alert.rule_id, matched_labels(alert))
            known = self._known[alert.id] = _Known(firing)
        return known

    def _look(self, known: _Known) -> bool:
        """Matches the alert with silences that it was not matched with yet; False when that is too much for now."""
        labels, alert_id = known.firing.labels, known.firing.id
        places = _from(self._unkeyed, known.seen)
        for label in labels.items():
            places += _from(self._keyed.get(label, ()), known.seen)
        if len(places) > self._left and self._left < self._at_once:
            self._left = 0
            return False
        self._left -= len(places)
        for place in places:
            silence = self._order[place]
            if silence.until_resolved:
                matches = alert_id in silence.bound
            else:
                matches = all(self._matches(each, labels) for each in silence.matchers)
            if matches and silence.id not in known.matching:
                known.matching.append(silence.id)
        known.seen = len(self._order)
        return True

    def _matches(self, matcher: Matcher, labels: Mapping[str, str]) -> bool:
        if matcher.type in (MatchType.EQUAL, MatchType.NOT_EQUAL):
            return matcher.matches(labels)
        asked = (matcher, labels.get(matcher.name, ""))
        outcome = self._outcomes.get(asked)
        if outcome is None:
            if len(self._outcomes) >= MOST_VALUES:
                self._outcomes.clear()
            self._left -= EXPRESSION
            outcome = self._outcomes[asked] = matcher.matches(labels)
        return outcome


def _from(places: Sequence[int], first: int) -> list[int]:
    return list(places[bisect_left(places, first) :])
