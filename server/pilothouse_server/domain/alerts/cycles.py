"""Rules that could keep each other quiet: then nobody would be told of either.

What is judged is what is the same for all alerts of a rule: its name, id, severity and own labels. What differs from
alert to alert (the label of its dimension, labels that are templates) may be anything. An alert never inhibits those of
its own rule, so a rule that names only itself would never be inhibited at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from pilothouse_server.domain.alerts.matchers import Matcher, MatchType
from pilothouse_server.domain.alerts.rules import LABEL_OF, Inhibition, Rule
from pilothouse_server.domain.errors import InvalidArgument, LimitExceeded

MOST_COMPARISONS: Final = 500_000
"""Regular expressions of inhibitions times values of labels that one change of a rule looks at."""


def check(rules: Sequence[Rule], changed: Mapping[str, str]) -> None:
    """Raises InvalidArgument when an inhibition of a rule that is `changed` matches only alerts of that rule, or closes
    a circle; LimitExceeded when there are too many to look at. `changed` has the place of each by its id."""
    if not any(each.inhibited_by for each in rules):
        return
    labels = _Labels(rules)
    for start, rule in enumerate(rules):
        if rule.id not in changed:
            continue
        at = changed[rule.id]
        for index, inhibition in enumerate(rule.inhibited_by):
            if labels.sources(start, inhibition) == 1 << start:
                raise InvalidArgument(
                    f"{at}.inhibited_by[{index}]",
                    "matches only alerts of this rule itself, and those never inhibit each other",
                )
        circle = _circle(start, labels)
        if circle:
            ids = [rules[each].id for each in (*circle, start)]
            named = ", ".join(f"{one!r} by {by!r}" for one, by in pairwise(ids))
            raise InvalidArgument(
                f"{at}.inhibited_by",
                f"these rules could keep each other quiet, and nobody would be told: {named}",
            )


def _circle(start: int, labels: _Labels) -> list[int]:
    """The shortest way from a rule back to it, by what may inhibit what; empty when there is none."""
    came_from: dict[int, int] = {}
    edge = [start]
    while edge:
        following: list[int] = []
        for index in edge:
            for source in labels.all_sources(index):
                if source == start:
                    return _way(came_from, start, index)
                if source not in came_from:
                    came_from[source] = index
                    following.append(source)
        edge = following
    return []


def _way(came_from: Mapping[int, int], start: int, last: int) -> list[int]:
    way = [last]
    while way[-1] != start:
        way.append(came_from[way[-1]])
    return way[::-1]


class _Labels:
    """Which rules have which values of a label; sets of rules are bits of a number."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._every = (1 << len(rules)) - 1
        self._sources: dict[int, Sequence[int]] = {}
        self._fixed = [_fixed(rule) for rule in rules]
        self._with: dict[str, dict[str, int]] = {}
        self._varying: dict[str, int] = {}
        self._matched: dict[Matcher, int] = {}
        self._compared = 0
        for index, (rule, fixed) in enumerate(zip(rules, self._fixed, strict=True)):
            for name, value in fixed.items():
                values = self._with.setdefault(name, {})
                values[value] = values.get(value, 0) | 1 << index
            for name in _varying(rule):
                self._varying[name] = self._varying.get(name, 0) | 1 << index

    def all_sources(self, index: int) -> Sequence[int]:
        """The other rules whose alerts may inhibit those of the rule at `index`."""
        found = self._sources.get(index)
        if found is None:
            rules = 0
            for inhibition in self._rules[index].inhibited_by:
                rules |= self.sources(index, inhibition)
            found = self._sources[index] = _bits(rules & ~(1 << index))
        return found

    def sources(self, index: int, inhibition: Inhibition) -> int:
        """The rules whose alerts may inhibit those of the rule at `index` by this."""
        found = self._every
        for matcher in inhibition.source_matchers:
            found &= self._matching(matcher)
        for name in inhibition.equal:
            if not self._varying.get(name, 0) >> index & 1:
                found &= self._having(name, self._fixed[index].get(name, ""))
        return found

    def _having(self, name: str, value: str) -> int:
        """Rules that have this value of a label, or may have it."""
        values = self._with.get(name, {})
        found = values.get(value, 0) | self._varying.get(name, 0)
        return found if value else found | self._without(name)

    def _without(self, name: str) -> int:
        named = self._varying.get(name, 0)
        for rules in self._with.get(name, {}).values():
            named |= rules
        return self._every & ~named

    def _matching(self, matcher: Matcher) -> int:
        found = self._matched.get(matcher)
        if found is None:
            found = self._matched[matcher] = self._look(matcher)
        return found

    def _look(self, matcher: Matcher) -> int:
        if matcher.type == MatchType.EQUAL:
            return self._having(matcher.name, matcher.value)
        values = self._with.get(matcher.name, {})
        self._compared += len(values)
        if self._compared > MOST_COMPARISONS:
            raise LimitExceeded("comparisons of inhibitions", MOST_COMPARISONS, self._compared)
        found = self._varying.get(matcher.name, 0)
        for value, rules in values.items():
            if matcher.matches({matcher.name: value}):
                found |= rules
        return found | self._without(matcher.name) if matcher.matches({}) else found


def _fixed(rule: Rule) -> dict[str, str]:
    own = {name: value for name, value in rule.labels.items() if "{{" not in value}
    said = {"alertname": rule.name, "rule_id": rule.id, "severity": rule.severity.name.lower()}
    return own | said


def _varying(rule: Rule) -> list[str]:
    label = LABEL_OF.get(rule.dimension)
    templated = [name for name, value in rule.labels.items() if "{{" in value]
    return [*templated, label] if label else templated


def _bits(rules: int) -> list[int]:
    return [index for index in range(rules.bit_length()) if rules >> index & 1]
