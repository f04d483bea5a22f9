"""What bounds the alert engine, and what it counts of each rule."""

from __future__ import annotations

from dataclasses import dataclass

SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class AlertLimits:
    """What bounds the engine."""

    value_every_us: int = 5 * SECOND_US
    """How often the mere value of an alert is stored."""
    values_at_once: int = 200
    """Mere values stored with one slot; the others follow with the next."""
    begun_at_once: int = 1_000
    """Alerts of one rule that begin in one slot; the others begin with the next, so that a storm holds up nobody."""
    slot_every_us: int = SECOND_US
    """How often the newest slot is stored while an alert waits for its time: what a restart may forget of it at
    most."""
    rule_ns: int = 50_000_000
    """How long one rule may take in one slot; the instances that are left are looked at first in the next."""
    slot_ns: int = 100_000_000
    """How long all rules may take in one slot; the rules that are left are evaluated first in the next."""


@dataclass(slots=True)
class RuleMeters:
    """What became of a rule's evaluations."""

    run: int = 0
    missed: int = 0
    """Whole seconds in which it was not evaluated though the engine ran."""
    errors: int = 0
    refused: int = 0
    """Instances refused because there were too many."""
    cut: int = 0
    """Slots in which it took so long that some of its instances had to wait for the next."""
    instances: int = 0
    """Instances that it saw in the newest slot."""
    last_us: int = 0
    """How long the newest evaluation took."""
    total_us: int = 0
    """How long all of them took."""
    error: str = ""
    """Why the newest evaluation failed; empty when it did not."""
