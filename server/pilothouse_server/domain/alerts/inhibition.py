"""Which alerts keep which others quiet: what the rules say of the alerts that fire.

Sources are alerts that fire, whether or not somebody is notified of them, as in Alertmanager. An alert inhibits neither
itself nor, directly or through others, one that inhibits it: whoever is in a circle of inhibitions is not kept quiet by
the circle, or else nobody would be told of any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple

from pilothouse_server.domain.alerts.matchers import all_match
from pilothouse_server.domain.alerts.rules import Inhibition

MOST_SOURCES: Final = 10
"""Alerts that are named as keeping another one quiet."""


class Firing(NamedTuple):
    """An alert that fires, as inhibition sees it."""

    id: str
    rule_id: str
    labels: Mapping[str, str]


@dataclass(slots=True)
class _Group:
    """Alerts with the same values of the labels that count for one inhibition."""

    sources: list[str] = field(default_factory=list[str])
    targets: list[str] = field(default_factory=list[str])


_Key = tuple[str, ...]


class Inhibitions:
    """Remembers which inhibitions an alert is a source of: of one that fires on, that does not change."""

    def __init__(self) -> None:
        self._source_keys: dict[Inhibition, dict[str, _Key | None]] = {}

    def judge(
        self, alerts: Sequence[Firing], rules: Mapping[str, Sequence[Inhibition]]
    ) -> dict[str, tuple[str, ...]]:
        """The alerts that inhibit each one, by id, at most 10 of each, in the order given; `rules` are the inhibitions
        by the id of the rule."""
        wanted: dict[Inhibition, list[str]] = {}
        for rule_id, inhibitions in rules.items():
            for inhibition in inhibitions:
                wanted.setdefault(inhibition, []).append(rule_id)
        self._forget(alerts, wanted)
        by_rule: dict[str, list[Firing]] = {}
        for alert in alerts:
            by_rule.setdefault(alert.rule_id, []).append(alert)
        groups: list[_Group] = []
        for inhibition, rule_ids in wanted.items():
            targets = [alert for rule_id in rule_ids for alert in by_rule.get(rule_id, ())]
            if targets:
                groups += self._groups(inhibition, alerts, targets)
        return _inhibited(groups)

    def _groups(
        self, inhibition: Inhibition, alerts: Sequence[Firing], targets: Sequence[Firing]
    ) -> Iterable[_Group]:
        """Those in which there are both sources and targets."""
        known = self._source_keys.setdefault(inhibition, {})
        groups: dict[_Key, _Group] = {}
        for alert in alerts:
            if alert.id not in known:
                is_source = all_match(inhibition.source_matchers, alert.labels)
                known[alert.id] = _key(inhibition, alert) if is_source else None
            key = known[alert.id]
            if key is not None:
                groups.setdefault(key, _Group()).sources.append(alert.id)
        for alert in targets if groups else ():
            group = groups.get(_key(inhibition, alert))
            if group is not None:
                group.targets.append(alert.id)
        return (group for group in groups.values() if group.targets)

    def _forget(self, alerts: Sequence[Firing], wanted: Mapping[Inhibition, Sequence[str]]) -> None:
        for inhibition in [each for each in self._source_keys if each not in wanted]:
            del self._source_keys[inhibition]
        there = {alert.id for alert in alerts}
        for inhibition, known in self._source_keys.items():
            if len(known) > 2 * len(there) + 100:
                kept = {alert_id: key for alert_id, key in known.items() if alert_id in there}
                self._source_keys[inhibition] = kept


def _key(inhibition: Inhibition, alert: Firing) -> _Key:
    return tuple(alert.labels.get(name, "") for name in inhibition.equal)


def _inhibited(groups: Sequence[_Group]) -> dict[str, tuple[str, ...]]:
    circles = _circles(groups)
    found: dict[str, dict[str, None]] = {}
    for group in groups:
        # Of each circle the first few are enough, and none of them counts for its own members.
        by_circle: dict[object, list[str]] = {}
        for source in group.sources:
            some = by_circle.setdefault(circles.get(source, source), [])
            if len(some) < MOST_SOURCES:
                some.append(source)
        for target in group.targets:
            own = circles.get(target, target)
            others = (each for circle, some in by_circle.items() if circle != own for each in some)
            sources = found.setdefault(target, {})
            sources.update(dict.fromkeys(islice(others, MOST_SOURCES - len(sources))))
    return {target: tuple(sources) for target, sources in found.items() if sources}


def _circles(groups: Sequence[_Group]) -> dict[str, int]:
    """A number for each circle of two or more, by alert. Only those that inhibit and are inhibited can be in one."""
    targets = {target for group in groups for target in group.targets}
    sources = {source for group in groups for source in group.sources}
    both = targets & sources
    if len(both) < 2:
        return {}
    # Through a node for each group there are as many edges as alerts in groups, and not their square.
    edges: dict[object, list[object]] = {}
    for number, group in enumerate(groups):
        inner: list[object] = [target for target in group.targets if target in both]
        edges[number] = inner
        for source in group.sources:
            if source in both and inner:
                edges.setdefault(source, []).append(number)
    return {
        alert: number
        for number, members in enumerate(_components(edges))
        for alert in members
        if isinstance(alert, str)
    }


def _components(edges: Mapping[object, Sequence[object]]) -> Iterable[list[object]]:
    """Strongly connected components, by Tarjan's algorithm without recursion."""
    index: dict[object, int] = {}
    low: dict[object, int] = {}
    open_nodes: list[object] = []
    is_open: set[object] = set()
    for root in edges:
        if root in index:
            continue
        path = [(root, iter(edges.get(root, ())))]
        index[root] = low[root] = len(index)
        open_nodes.append(root)
        is_open.add(root)
        while path:
            node, following = path[-1]
            for after in following:
                if after not in index:
                    index[after] = low[after] = len(index)
                    open_nodes.append(after)
                    is_open.add(after)
                    path.append((after, iter(edges.get(after, ()))))
                    break
                if after in is_open:
                    low[node] = min(low[node], index[after])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[node])
                if low[node] == index[node]:
                    members: list[object] = []
                    while True:
                        member = open_nodes.pop()
                        is_open.discard(member)
                        members.append(member)
                        if member == node:
                            break
                    yield members
