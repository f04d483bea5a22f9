"""A rule as a document: the plain values that are stored, written as YAML, and compared between versions.

    id: error-rate
    name: Error rate
    condition: {metric: error_rate, window: 5m, comparison: ">", threshold: 0.05, min_samples: 20}
    for: 1m
    severity: critical

A condition may be `{all: [...]}` or `{any: [...]}` of conditions. What has its default value is left out; what the
server knows of a rule (version, times) is no part of it. A document says nothing twice, so two rules are the same when
their documents are.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import Any, TypeVar, cast

from pilothouse_server.domain.alerts.conditions import (
    AlertMetric,
    AllOf,
    AnyOf,
    Comparison,
    Condition,
    Threshold,
)
from pilothouse_server.domain.alerts.matchers import Matcher, parse_matcher
from pilothouse_server.domain.alerts.rules import MOST_INSTANCES, Inhibition, NoDataPolicy, Rule
from pilothouse_server.domain.errors import InvalidArgument
from pilothouse_server.domain.events import Severity
from pilothouse_server.domain.metrics.snapshot import Dimension

Document = dict[str, Any]
E = TypeVar("E", bound=IntEnum)
T = TypeVar("T")

COMPARISONS = {
    ">": Comparison.GREATER_THAN,
    ">=": Comparison.GREATER_OR_EQUAL,
    "<": Comparison.LESS_THAN,
    "<=": Comparison.LESS_OR_EQUAL,
}
SIGNS = {comparison: sign for sign, comparison in COMPARISONS.items()}
MOST_DEEP = 5
"""Levels of `all` and `any`."""

_UNITS_US = {
    "w": 604_800_000_000, "d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1000, "us": 1,
}  # fmt: skip
_DURATION = re.compile(
    r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?(?:(\d+)us)?", re.ASCII
)
_LONGEST_US = 36_525 * _UNITS_US["d"]
_LONGEST_TEXT = 64
_MOST_WHOLE = 2**32 - 1
"""What the contract has room for."""


def duration_to_text(us: int) -> str:
    """As `1h30m`; `0s` is nothing."""
    parts: list[str] = []
    for unit, size in _UNITS_US.items():
        amount, us = divmod(us, size)
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts) or "0s"


def duration_of_text(text: object, at: str) -> int:
    """Microseconds of `1h30m`. Raises InvalidArgument."""
    short = isinstance(text, str) and 0 < len(text) <= _LONGEST_TEXT
    found = _DURATION.fullmatch(text) if isinstance(text, str) and short else None
    if found is None:
        said = text[:_LONGEST_TEXT] if isinstance(text, str) else text
        raise InvalidArgument(at, f"{said!r} is no duration, as 30s, 5m or 1h30m")
    us = sum(
        int(amount) * size
        for amount, size in zip(found.groups(), _UNITS_US.values(), strict=True)
        if amount
    )
    if us > _LONGEST_US:
        raise InvalidArgument(at, f"{text} is longer than 100 years")
    return us


def rule_to_document(rule: Rule) -> Document:
    """The rule without what the server knows of it."""
    document: Document = {
        "id": rule.id,
        "name": rule.name,
        "description": rule.description,
        "enabled": rule.enabled,
        "condition": condition_to_document(rule.condition),
        "for": duration_to_text(rule.for_us),
        "keep_firing_for": duration_to_text(rule.keep_firing_us),
        "no_data": rule.no_data_policy.name.lower(),
        "severity": rule.severity.name.lower(),
        "labels": dict(rule.labels),
        "annotations": dict(rule.annotations),
        "channels": list(rule.channels),
        "escalation": rule.escalation,
        "inhibited_by": [
            {
                "source_matchers": [str(each) for each in one.source_matchers],
                "equal": list(one.equal),
            }
            for one in rule.inhibited_by
        ],
        "instance_limit": rule.instance_limit,
    }
    return {key: value for key, value in document.items() if value != _DEFAULTS.get(key)}


_DEFAULTS: Document = {
    "description": "", "enabled": True, "for": "0s", "keep_firing_for": "0s", "no_data": "keep", "labels": {},
    "annotations": {}, "channels": [], "escalation": "", "inhibited_by": [], "instance_limit": MOST_INSTANCES,
}  # fmt: skip


def condition_to_document(condition: Condition) -> Document:
    """One condition."""
    match condition:
        case AllOf(conditions):
            return {"all": [condition_to_document(each) for each in conditions]}
        case AnyOf(conditions):
            return {"any": [condition_to_document(each) for each in conditions]}
        case Threshold():
            document: Document = {"metric": condition.metric.name.lower()}
            if condition.dimension != Dimension.FLEET:
                document["dimension"] = condition.dimension.name.lower()
            if condition.matchers:
                document["matchers"] = [str(each) for each in condition.matchers]
            if condition.window_us:
                document["window"] = duration_to_text(condition.window_us)
            document["comparison"] = SIGNS[condition.comparison]
            document["threshold"] = condition.threshold
            if condition.recovery_threshold is not None:
                document["recovery_threshold"] = condition.recovery_threshold
            if condition.min_samples:
                document["min_samples"] = condition.min_samples
            return document


def fingerprint(rule: Rule) -> str:
    """Differs when a change of the rule begins its instances anew: of thresholds, scope or labels. Made of
    documents, so that it is the same for every version of this program."""
    decides = [
        condition_to_document(rule.condition),
        dict(rule.labels),
        rule.no_data_policy == NoDataPolicy.ALERT,
    ]
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


def rule_from_document(document: object, at: str = "rule") -> Rule:
    """The rule of a document that says what it should. Raises InvalidArgument naming the field; what the values may be
    beyond their types is looked at by `validation`."""
    fields = _Fields(document, at)
    rule = Rule(
        id=fields.text("id", ""),
        name=fields.text("name"),
        description=fields.text("description", ""),
        enabled=fields.get("enabled", True, bool, "true or false"),
        condition=_condition(
            fields.get("condition", None, cast("type[Document]", dict), "a condition"),
            fields.path("condition"),
            1,
        ),
        for_us=fields.duration("for"),
        keep_firing_us=fields.duration("keep_firing_for"),
        no_data_policy=fields.one_of("no_data", NoDataPolicy, NoDataPolicy.KEEP),
        severity=fields.one_of("severity", Severity, Severity.WARNING),
        labels=fields.texts("labels"),
        annotations=fields.texts("annotations"),
        channels=tuple(fields.names("channels")),
        escalation=fields.text("escalation", ""),
        inhibited_by=tuple(
            _inhibition(each, f"{fields.path('inhibited_by')}[{index}]")
            for index, each in enumerate(fields.many("inhibited_by"))
        ),
        # 0 is what is not stated, in the contract too.
        instance_limit=fields.whole("instance_limit", MOST_INSTANCES) or MOST_INSTANCES,
    )
    fields.end()
    return rule


def _condition(document: object, at: str, depth: int) -> Condition:
    fields = _Fields(document, at)
    for key, made in (("all", AllOf), ("any", AnyOf)):
        if key in fields:
            if depth > MOST_DEEP:
                raise InvalidArgument(at, f"all and any may be {MOST_DEEP} deep at most")
            each = fields.many(key)
            fields.end()
            place = fields.path(key)
            return made(
                tuple(_condition(one, f"{place}[{i}]", depth + 1) for i, one in enumerate(each))
            )
    metric = fields.one_of("metric", AlertMetric)
    sign = fields.text("comparison")
    if sign not in COMPARISONS:
        raise InvalidArgument(
            fields.path("comparison"), f"{sign!r} is none of {', '.join(COMPARISONS)}"
        )
    own = Dimension.AGENT if metric == AlertMetric.AGENT_SILENCE else Dimension.FLEET
    threshold = Threshold(
        metric=metric,
        comparison=COMPARISONS[sign],
        threshold=fields.number("threshold"),
        dimension=fields.one_of("dimension", Dimension, own),
        matchers=tuple(fields.matchers("matchers")),
        window_us=fields.duration("window"),
        recovery_threshold=fields.number("recovery_threshold")
        if "recovery_threshold" in fields
        else None,
        min_samples=fields.whole("min_samples", 0),
    )
    fields.end()
    return threshold


def _inhibition(document: object, at: str) -> Inhibition:
    fields = _Fields(document, at)
    inhibition = Inhibition(tuple(fields.matchers("source_matchers")), tuple(fields.names("equal")))
    fields.end()
    return inhibition


class _Fields:
    """The fields of a mapping, each taken once; `end` refuses those that nobody took."""

    def __init__(self, document: object, at: str) -> None:
        if not isinstance(document, dict):
            raise InvalidArgument(at, f"{document!r} is no mapping")
        self._left = dict(cast("Mapping[object, object]", document))
        self._at = at
        self._known: list[str] = []

    def __contains__(self, key: str) -> bool:
        return key in self._left

    def path(self, key: str) -> str:
        """Where a field is."""
        return f"{self._at}.{key}"

    def get(self, key: str, default: T | None, kind: type[T], said: str) -> T:
        """One field; None is no default."""
        self._known.append(key)
        value = self._left.pop(key, default)
        if value is None:
            raise InvalidArgument(self.path(key), f"is missing; {said} is needed")
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            raise InvalidArgument(self.path(key), f"{value!r} is not {said}")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        return self.get(key, default, str, "a text")

    def number(self, key: str) -> float:
        return float(self.get(key, None, cast("type[float]", (int, float)), "a number"))

    def whole(self, key: str, default: int) -> int:
        value = self.get(key, default, int, "a whole number")
        if not 0 <= value <= _MOST_WHOLE:
            raise InvalidArgument(self.path(key), f"{value} is not from 0 to {_MOST_WHOLE:,}")
        return value

    def duration(self, key: str) -> int:
        self._known.append(key)
        return duration_of_text(self._left.pop(key, "0s"), self.path(key))

    def one_of(self, key: str, kind: type[E], default: E | None = None) -> E:
        text = self.text(key, None if default is None else default.name.lower())
        try:
            return kind[text.upper()]
        except KeyError:
            allowed = ", ".join(each.name.lower() for each in kind)
            raise InvalidArgument(self.path(key), f"{text!r} is none of {allowed}") from None

    def many(self, key: str) -> Sequence[object]:
        return self.get(key, cast("list[object]", []), list, "a list")

    def names(self, key: str) -> list[str]:
        return [self._each(each, f"{self.path(key)}[{i}]") for i, each in enumerate(self.many(key))]

    def texts(self, key: str) -> dict[str, str]:
        found = self.get(key, cast("dict[object, object]", {}), dict, "a mapping of texts")
        return {
            self._each(k, self.path(key)): self._each(v, f"{self.path(key)}.{k}")
            for k, v in found.items()
        }

    def matchers(self, key: str) -> list[Matcher]:
        return self._parsed(key, parse_matcher)

    def end(self) -> None:
        """Raises InvalidArgument when something is left."""
        for key in self._left:
            allowed = ", ".join(self._known)
            raise InvalidArgument(self.path(str(key)), f"is not known here; allowed are {allowed}")

    def _parsed(self, key: str, parse: Callable[[str, str], T]) -> list[T]:
        return [parse(text, f"{self.path(key)}[{i}]") for i, text in enumerate(self.names(key))]

    def _each(self, value: object, at: str) -> str:
        if not isinstance(value, str):
            raise InvalidArgument(at, f"{value!r} is not a text; put it in quotes")
        return value
