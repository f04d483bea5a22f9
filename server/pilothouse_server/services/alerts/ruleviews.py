"""Rules as people see them, on every replica: as they are stored, with what became of their evaluations.

The replica that leads knows that itself; others know what it noted last, and say so when that is too long ago.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple, Protocol

from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.errors import NotFound
from pilothouse_server.ports import Clock
from pilothouse_server.services.alerts.limits import RuleMeters

METERS_FRESH_US: Final = 30_000_000
"""Age at which what the lead noted says nothing any more."""
UNKNOWN: Final = "not known: no replica that evaluates rules has told of it lately"


@dataclass(frozen=True, slots=True)
class RuleView:
    """A rule as people see it."""

    rule: Rule
    live: int = 0
    """Alerts of it that are not over."""
    meters: RuleMeters | None = None
    """None while nobody knows."""
    error: str = ""
    """Why its newest evaluation failed; empty when it did not."""


class Noted(NamedTuple):
    """How many alerts of each rule are not over, and what the lead noted last of the evaluations, and when."""

    live: Mapping[str, int]
    meters: Mapping[str, Mapping[str, Any]] | None
    meters_us: int


class RuleViewStore(Protocol):
    """Where rules are read. Everything raises Unavailable."""

    async def rules(self, rule_id: str = "") -> tuple[Sequence[Rule], Noted]:
        """One rule, or all of them by name, and what is known of them, of one moment."""
        ...

    async def noted(self) -> Noted:
        """What is known of the rules."""
        ...


class Leading(Protocol):
    """The engine of the replica that leads."""

    def meters(self) -> Mapping[str, RuleMeters]: ...

    def live_count(self, rule_id: str) -> int: ...


class RuleViews:
    """Lists and shows rules. `leading` gives the engine while this replica leads."""

    def __init__(
        self, store: RuleViewStore, clock: Clock, leading: Callable[[], Leading | None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._leading = leading

    async def every(self) -> Sequence[RuleView]:
        """The rules, by name."""
        rules, noted = await self._store.rules()
        return self._views(rules, noted)

    async def one(self, rule_id: str) -> RuleView:
        """One rule. Raises NotFound."""
        rules, noted = await self._store.rules(rule_id)
        if not rules:
            raise NotFound(kind="rule", id=rule_id)
        return self._views(rules, noted)[0]

    async def of(self, rules: Sequence[Rule]) -> Sequence[RuleView]:
        """These rules, with what is known of them now."""
        return self._views(rules, await self._store.noted()) if rules else ()

    def _views(self, rules: Sequence[Rule], noted: Noted) -> Sequence[RuleView]:
        engine = self._leading()
        if engine is not None:
            meters = engine.meters()
            return [_view(rule, engine.live_count(rule.id), meters.get(rule.id)) for rule in rules]
        if noted.meters is None or self._clock.now_us() - noted.meters_us > METERS_FRESH_US:
            return [_view(rule, noted.live.get(rule.id, 0), None, UNKNOWN) for rule in rules]
        known = noted.meters
        return [
            _view(rule, noted.live.get(rule.id, 0), _meters(known.get(rule.id))) for rule in rules
        ]


def _view(rule: Rule, live: int, meters: RuleMeters | None, silence: str = "") -> RuleView:
    """`silence` is the error where nobody tells of any rule: one that the lead has not come to yet is none."""
    if not rule.enabled:
        return RuleView(rule, live, meters)
    return RuleView(rule, live, meters, silence if meters is None else meters.error)


_NAMES = frozenset(field.name for field in fields(RuleMeters))


def _meters(noted: Mapping[str, Any] | None) -> RuleMeters | None:
    """A lead of another version may note more than this one knows, or less."""
    if noted is None:
        return None
    return RuleMeters(**{name: value for name, value in noted.items() if name in _NAMES})
