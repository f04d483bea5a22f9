"""Where an alert stands: `step(instance, observed, ts_us, rule)`, a pure function of one slot of the grid.

    (none) ──true──▶ PENDING ──`for` is over──▶ FIRING ──false──▶ RECOVERING ──`keep_firing` is over──▶ RESOLVED
       ▲                │                         ▲ │                  │                                   │
       └─────false──────┘                         │ └──────false, without `keep_firing`───────────────▶────┤
                                                  └───────true─────────┘                                   │
       ◀───────────────────────────── 15 minutes later, or at once as a new PENDING when true ─────────────┘

Between threshold and recovery threshold, and without a value, the state stays as it is: nothing fires, ends or
recovers in such a slot. The clocks go on, so what was held back comes about in the first slot that is clear: PENDING
fires if the condition holds then and held first so long ago, RECOVERING resolves if it does not. With the policy
RESOLVE no value is as good as false; with ALERT it is a condition of its own beside (`step_no_data`).

What was resolved by hand while its condition held is latched: it begins nothing new until the condition was false
once. Time during which nobody looked is kept in `down_us` and counts towards neither hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from pilothouse_server.domain.alerts.conditions import Observation, Verdict, decisive, judge
from pilothouse_server.domain.alerts.rules import NoDataPolicy, Rule

RETENTION_US = 15 * 60 * 1_000_000
"""What was resolved is remembered so long; after that it is history."""


class AlertState(IntEnum):
    """Where the condition stands. The numbers are those of the contract."""

    PENDING = 1
    FIRING = 2
    RECOVERING = 3
    RESOLVED = 4


@dataclass(frozen=True, slots=True)
class Instance:
    """The condition of one (rule, label set), from its first breach to its end. Times are slots."""

    state: AlertState
    active_us: int
    """When the condition first held."""
    fire_us: int | None = None
    false_us: int | None = None
    """When the condition first did not hold, while RECOVERING."""
    resolve_us: int | None = None
    down_us: int = 0
    """For how long nobody looked since the present hold began."""
    value: float | None = None
    latched: bool = False
    """Resolved by hand; the condition was not false since."""

    @property
    def live(self) -> bool:
        """Whether it is not over."""
        return self.state != AlertState.RESOLVED


def step(
    instance: Instance | None, observed: Sequence[Observation], ts_us: int, rule: Rule
) -> Instance | None:
    """The instance after the slot `ts_us`; None when there is none. The same object when nothing but the value
    changed and the value did not."""
    value = decisive(rule.condition, observed).value
    return after(instance, verdict_of(rule, observed), value, ts_us, rule)


def step_no_data(
    instance: Instance | None, observed: Sequence[Observation], ts_us: int, rule: Rule
) -> Instance | None:
    """The same of the alert that there is no value, which only the policy ALERT knows. It never has a value."""
    return after(instance, absence_of(rule, observed), None, ts_us, rule)


def verdict_of(rule: Rule, observed: Sequence[Observation]) -> Verdict:
    """Whether the rule's condition holds, by its policy for what has no value."""
    verdict = judge(rule.condition, observed)
    if verdict == Verdict.NO_DATA and rule.no_data_policy == NoDataPolicy.RESOLVE:
        return Verdict.FALSE
    return verdict


def absence_of(rule: Rule, observed: Sequence[Observation]) -> Verdict:
    """Whether there is nothing to judge by, for a rule with the policy ALERT."""
    absent = judge(rule.condition, observed) == Verdict.NO_DATA
    alerts = rule.no_data_policy == NoDataPolicy.ALERT
    return Verdict.TRUE if absent and alerts else Verdict.FALSE


def after(
    instance: Instance | None, verdict: Verdict, value: float | None, ts_us: int, rule: Rule
) -> Instance | None:
    """The instance after a slot with that verdict."""
    if verdict == Verdict.NO_DATA:
        return _aged(instance, ts_us)
    if instance is None:
        return _begun(value, ts_us, rule) if verdict == Verdict.TRUE else None
    instance = _valued(instance, value)
    if verdict == Verdict.BETWEEN:
        return _aged(instance, ts_us)
    condition = verdict == Verdict.TRUE
    match instance.state:
        case AlertState.PENDING:
            return _fired(instance, ts_us, rule) if condition else None
        case AlertState.FIRING:
            return instance if condition else _recovering(instance, ts_us, rule)
        case AlertState.RECOVERING:
            if condition:
                return replace(instance, state=AlertState.FIRING, false_us=None, down_us=0)
            return _recovered(instance, ts_us, rule)
        case AlertState.RESOLVED:
            return _after_end(instance, value, ts_us, rule, condition=condition)


def resolve_by_hand(instance: Instance, ts_us: int) -> Instance:
    """RESOLVED and latched, whatever its condition."""
    return replace(
        instance,
        state=AlertState.RESOLVED,
        resolve_us=max(ts_us, instance.false_us or 0, instance.fire_us or instance.active_us),
        latched=True,
        down_us=0,
    )


def down(instance: Instance, down_us: int) -> Instance:
    """The instance when for `down_us` nobody looked: neither hold counts that."""
    if instance.state not in (AlertState.PENDING, AlertState.RECOVERING) or down_us <= 0:
        return instance
    return replace(instance, down_us=instance.down_us + down_us)


def shifted(instance: Instance, by_us: int) -> Instance:
    """The instance when the grid was moved: its times move along, so that holds go on as if nothing had happened."""
    moved = {
        name: value + by_us
        for name in ("active_us", "fire_us", "false_us", "resolve_us")
        if (value := getattr(instance, name)) is not None
    }
    return replace(instance, **moved)


def _begun(value: float | None, ts_us: int, rule: Rule) -> Instance:
    begun = Instance(AlertState.PENDING, active_us=ts_us, value=value)
    return _fired(begun, ts_us, rule)


def _fired(instance: Instance, ts_us: int, rule: Rule) -> Instance:
    if ts_us - instance.active_us - instance.down_us < rule.for_us:
        return instance
    return replace(instance, state=AlertState.FIRING, fire_us=ts_us, down_us=0)


def _recovering(instance: Instance, ts_us: int, rule: Rule) -> Instance:
    recovering = replace(instance, state=AlertState.RECOVERING, false_us=ts_us, down_us=0)
    return _recovered(recovering, ts_us, rule)


def _recovered(instance: Instance, ts_us: int, rule: Rule) -> Instance:
    since = ts_us if instance.false_us is None else instance.false_us
    if ts_us - since - instance.down_us < rule.keep_firing_us:
        return instance
    return replace(instance, state=AlertState.RESOLVED, resolve_us=ts_us, down_us=0)


def _after_end(
    instance: Instance, value: float | None, ts_us: int, rule: Rule, *, condition: bool
) -> Instance | None:
    if not condition:
        return _aged(replace(instance, latched=False) if instance.latched else instance, ts_us)
    return instance if instance.latched else _begun(value, ts_us, rule)


def _aged(instance: Instance | None, ts_us: int) -> Instance | None:
    if instance is None or instance.resolve_us is None or instance.latched:
        return instance
    return None if ts_us - instance.resolve_us >= RETENTION_US else instance


def _valued(instance: Instance, value: float | None) -> Instance:
    if not instance.live or instance.value == value:
        return instance
    return replace(instance, value=value)
