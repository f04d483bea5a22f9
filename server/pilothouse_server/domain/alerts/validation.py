"""What a rule may say, beyond what the contract bounds; judged here and nowhere else, so that every surface refuses
with the same words.

A rule that names something that is not there, or that could never fire or never be over, is refused with what is
allowed.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from pilothouse_server.domain.alerts import cycles, matchers, ranges, templates
from pilothouse_server.domain.alerts.conditions import (
    AlertMetric,
    AllOf,
    AnyOf,
    Comparison,
    Condition,
    Threshold,
)
from pilothouse_server.domain.alerts.documents import MOST_DEEP, SIGNS, rule_to_document
from pilothouse_server.domain.alerts.rules import LABEL_OF, Inhibition, NoDataPolicy, Rule
from pilothouse_server.domain.errors import InvalidArgument, LimitExceeded
from pilothouse_server.domain.events import Severity
from pilothouse_server.domain.metrics.snapshot import MINUTE_US, WINDOWS_US, Dimension

MOST_RULES: Final = 1000
MOST_THRESHOLDS: Final = 20
"""In one rule."""
MOST_BYTES: Final = 65_536
"""Of one rule, as JSON."""
MOST_BYTES_TOGETHER: Final = 3 * 1024 * 1024
"""Of all rules, so that a list of them fits into the 4 MiB that a gRPC client takes by itself."""

RESERVED: Final = ("alertname", "rule_id", "severity")
"""Labels that every alert has from its rule."""
KIND_LABEL: Final = "alert_kind"
"""What tells an alert about missing values from one about values."""
SEVERITIES: Final = (Severity.WARNING, Severity.CRITICAL)

_STATES = (Dimension.FLEET, Dimension.WORKFLOW_TYPE)
DIMENSIONS: Final[Mapping[AlertMetric, Collection[Dimension]]] = {
    metric: tuple(Dimension) for metric in AlertMetric
} | {AlertMetric.QUEUE_DEPTH: _STATES, AlertMetric.AGENT_SILENCE: (Dimension.AGENT,)}
"""Of what a metric is known."""
UNWINDOWED: Final = frozenset({AlertMetric.QUEUE_DEPTH, AlertMetric.AGENT_SILENCE})
"""What is the case now, whatever happened before."""
UNSAMPLED: Final = UNWINDOWED | {AlertMetric.THROUGHPUT}
"""What is as certain when little happened."""


def check(
    rule: Rule,
    others: Sequence[Rule],
    channels: Collection[str] | None,
    escalations: Collection[str] | None,
    at: str = "rule",
) -> None:
    """Raises InvalidArgument with the path of the field in the contract and what is allowed there, or LimitExceeded.

    `others` are all rules, with or without an older version of this one. `channels` and `escalations` are the ids that
    there are; None where that is not known, as offline.
    """
    check_alone(rule, channels, escalations, at)
    rules = [rule, *(each for each in others if each.id != rule.id)]
    check_together(rules, {rule.id: at})


def check_alone(
    rule: Rule,
    channels: Collection[str] | None,
    escalations: Collection[str] | None,
    at: str = "rule",
) -> None:
    """The part of `check` that needs no other rule."""
    if (size := size_of(rule)) > MOST_BYTES:
        raise LimitExceeded(f"bytes of {at} as JSON", MOST_BYTES, size)
    _check_name(rule.name, f"{at}.name")
    if rule.severity not in SEVERITIES:
        said = rule.severity.name.lower()
        raise InvalidArgument(f"{at}.severity", f"is warning or critical, not {said}")
    _check_condition(rule.condition, f"{at}.condition")
    _check_labels(rule, at)
    _check_known(rule.channels, channels, "channel", f"{at}.channels")
    if rule.escalation:
        _check_known((rule.escalation,), escalations, "escalation", f"{at}.escalation")
    for index, inhibition in enumerate(rule.inhibited_by):
        _check_inhibition(inhibition, f"{at}.inhibited_by[{index}]")


_UNSEEN: Final = frozenset({"Cc", "Zl", "Zp"})
_TURNS: Final = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))
"""What turns the direction of writing, so that a name is read as another."""


def _check_name(name: str, at: str) -> None:
    """It stands in tables, terminals and pages, and people have to tell it from another."""
    if any(letter in _TURNS or unicodedata.category(letter) in _UNSEEN for letter in name):
        raise InvalidArgument(at, "control characters are not allowed in a name")
    if name != name.strip():
        raise InvalidArgument(at, "begins or ends with white space")


def check_together(rules: Sequence[Rule], changed: Mapping[str, str]) -> None:
    """What all rules are held to together, after those whose ids are in `changed` were; with where each of them is."""
    if len(rules) > MOST_RULES:
        raise LimitExceeded("rules", MOST_RULES, len(rules))
    if (size := sum(map(size_of, rules))) > MOST_BYTES_TOGETHER:
        raise LimitExceeded("bytes of all rules as JSON", MOST_BYTES_TOGETHER, size)
    cycles.check(rules, changed)


def size_of(rule: Rule) -> int:
    """Bytes of the rule as JSON."""
    return len(json.dumps(rule_to_document(rule), ensure_ascii=False).encode())


def placed(condition: Condition, at: str, depth: int = 0) -> Iterator[tuple[str, Condition, int]]:
    """Every condition of the tree, those inside first, with its path in the contract and how many groups it is in."""
    if not isinstance(condition, Threshold):
        kind = "all" if isinstance(condition, AllOf) else "any"
        for index, each in enumerate(condition.conditions):
            yield from placed(each, f"{at}.{kind}.conditions[{index}]", depth + 1)
        yield f"{at}.{kind}", condition, depth
    else:
        yield f"{at}.threshold", condition, depth


def _check_condition(condition: Condition, at: str) -> None:
    tree = list(placed(condition, at))
    for path, each, depth in tree:
        if not isinstance(each, Threshold):
            if depth >= MOST_DEEP:
                raise InvalidArgument(path, f"all and any may be {MOST_DEEP} deep at most")
            if not each.conditions:
                raise InvalidArgument(f"{path}.conditions", "has to have one condition or more")
    leaves = [(path, each) for path, each, _ in tree if isinstance(each, Threshold)]
    if len(leaves) > MOST_THRESHOLDS:
        told = f"has {len(leaves)} thresholds; {MOST_THRESHOLDS} are allowed in one rule"
        raise InvalidArgument(at, told)
    for path, leaf in leaves:
        _check_threshold(leaf, path)
    _check_dimensions(leaves)
    for path, each, _ in tree:
        if not isinstance(each, Threshold):
            _check_possible(each, path)


def _check_dimensions(leaves: Sequence[tuple[str, Threshold]]) -> None:
    first: Threshold | None = None
    for path, leaf in leaves:
        if leaf.dimension == Dimension.FLEET:
            continue
        first = first or leaf
        if leaf.dimension != first.dimension:
            raise InvalidArgument(
                f"{path}.dimension",
                f"is {_word(leaf.dimension)}, and another threshold has {_word(first.dimension)}: all of a rule must be"
                " about one dimension or the fleet",
            )


def _check_threshold(threshold: Threshold, at: str) -> None:
    metric = threshold.metric
    allowed = DIMENSIONS[metric]
    if threshold.dimension not in allowed:
        known = " or ".join(map(_word, allowed))
        raise InvalidArgument(f"{at}.dimension", f"{_word(metric)} is known of {known} only")
    if metric in UNWINDOWED:
        if threshold.window_us:
            raise InvalidArgument(
                f"{at}.window", f"has no meaning for {_word(metric)}, which is of now; leave it out"
            )
    elif threshold.window_us not in WINDOWS_US:
        minutes = ", ".join(f"{each // MINUTE_US} min" for each in WINDOWS_US)
        raise InvalidArgument(f"{at}.window", f"is one of {minutes}")
    if threshold.min_samples and metric in UNSAMPLED:
        raise InvalidArgument(
            f"{at}.min_samples", f"has no meaning for {_word(metric)}, only for rates and latencies"
        )
    if not 0 <= threshold.min_samples <= 1_000_000_000:
        raise InvalidArgument(f"{at}.min_samples", "is from 0 to 1,000,000,000")
    _check_matchers(threshold, at)
    _check_limits(threshold, at)


def _check_matchers(threshold: Threshold, at: str) -> None:
    label = LABEL_OF.get(threshold.dimension)
    for index, matcher in enumerate(threshold.matchers):
        place = f"{at}.matchers[{index}]"
        if matcher.name != label:
            what = f"only {label} can be matched" if label else "the fleet has no labels to match"
            told = f"{matcher.name!r} is no label of {_word(threshold.dimension)}: {what}"
            raise InvalidArgument(f"{place}.name", told)
        matchers.check(matcher, f"{place}.value")


def _check_limits(threshold: Threshold, at: str) -> None:
    limit, recovery = threshold.threshold, threshold.recovery_threshold
    if not math.isfinite(limit):
        raise InvalidArgument(f"{at}.threshold", "has to be a finite number")
    said = f"{_word(threshold.metric)} {SIGNS[threshold.comparison]}"
    can_be = ranges.RANGES[threshold.metric]
    if ranges.never(threshold):
        told = f"{said} {limit:g} can never hold: {_word(threshold.metric)} is {can_be}"
        raise InvalidArgument(f"{at}.threshold", told)
    if ranges.always(threshold):
        told = f"{said} {limit:g} always holds: {_word(threshold.metric)} is {can_be}"
        raise InvalidArgument(f"{at}.threshold", told)
    if recovery is None:
        return
    if not math.isfinite(recovery):
        raise InvalidArgument(f"{at}.recovery_threshold", "has to be a finite number")
    above = threshold.comparison in (Comparison.GREATER_THAN, Comparison.GREATER_OR_EQUAL)
    if recovery > limit if above else recovery < limit:
        side = "above" if above else "below"
        told = f"{recovery:g} is {side} the threshold {limit:g}, so the condition could hold and be over at once"
        raise InvalidArgument(f"{at}.recovery_threshold", told)
    if ranges.always(replace(threshold, threshold=recovery)):
        told = f"{said} {recovery:g} always holds ({_word(threshold.metric)} is {can_be}), so it would never be over"
        raise InvalidArgument(f"{at}.recovery_threshold", told)


def _check_possible(group: AllOf | AnyOf, at: str) -> None:
    if series := ranges.never(group):
        told = f"can never hold: {_word(series.metric)} cannot be all of that at once"
        raise InvalidArgument(at, told)
    if series := ranges.always(group):
        raise InvalidArgument(at, f"always holds, whatever {_word(series.metric)} is")


def _check_labels(rule: Rule, at: str) -> None:
    own = LABEL_OF.get(rule.dimension)
    reserved = {*RESERVED, own}
    if rule.dimension == Dimension.AGENT:
        reserved.add(LABEL_OF[Dimension.AGENT_TYPE])
    if rule.no_data_policy == NoDataPolicy.ALERT:
        reserved.add(KIND_LABEL)
    for name, text in rule.labels.items():
        place = f'{at}.labels["{name}"]'
        if name in reserved or name.startswith("__"):
            told = f"alerts have {name!r} from the server; choose another name"
            raise InvalidArgument(place, told)
        templates.check_label(text, place)
    for name, text in rule.annotations.items():
        templates.check(text, f'{at}.annotations["{name}"]')


def _check_known(named: Sequence[str], known: Collection[str] | None, kind: str, at: str) -> None:
    for index, each in enumerate(named):
        place = f"{at}[{index}]" if kind == "channel" else at
        if each in named[:index]:
            raise InvalidArgument(place, f"names the {kind} {each!r} twice")
        if known is not None and each not in known:
            raise InvalidArgument(place, f"there is no {kind} {each!r}; {_listed(known, kind)}")


def _listed(known: Collection[str], kind: str) -> str:
    if not known:
        return f"there is no {kind} at all yet"
    shown = sorted(known)[:10]
    more = f" and {len(known) - len(shown)} more" if len(known) > len(shown) else ""
    return f"there are {', '.join(shown)}{more}"


def _check_inhibition(inhibition: Inhibition, at: str) -> None:
    if not inhibition.source_matchers:
        raise InvalidArgument(f"{at}.source_matchers", "has to have one matcher or more")
    for index, matcher in enumerate(inhibition.source_matchers):
        matchers.check(matcher, f"{at}.source_matchers[{index}].value")
    for index, name in enumerate(inhibition.equal):
        if name in inhibition.equal[:index]:
            raise InvalidArgument(f"{at}.equal[{index}]", f"names {name!r} twice")


def _word(of: AlertMetric | Dimension) -> str:
    return of.name.lower()
