"""What a backtest could not judge, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from pilothouse_server.domain.alerts.backtest import Tally
from pilothouse_server.domain.alerts.conditions import AlertMetric
from pilothouse_server.domain.alerts.documents import duration_to_text
from pilothouse_server.domain.alerts.phases import Extent, Phase
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.metrics.snapshot import MINUTE_US


class Facts(NamedTuple):
    """What was asked, and what became of it."""

    start_us: int
    end_us: int
    extent: Extent
    plan: Sequence[Phase]
    untold: Sequence[int]
    """Alerts that are counted and not listed: those that never fired, and those that did."""


def source_of(step_us: int) -> str:
    """What a span was judged by."""
    if step_us == MINUTE_US:
        return "1 min rollups: what is over within a minute is not seen"
    return "5 s buckets: what is over within 5 s is not seen"


def nothing_stored(extent: Extent) -> str:
    """Why there is nothing to judge."""
    span = f"from {_time(extent.begin_us)} to {_time(extent.end_us)}"
    return f"there is no history of this time; it reaches {span}"


def caveats(rule: Rule, tally: Tally, facts: Facts, *, covered: int) -> list[str]:
    """What should be known beside the figures."""
    return [
        *_of_time(facts),
        *_of_gaps(tally, facts, covered),
        *_of_holds(rule, facts),
        *_of_values(rule, tally, covered),
        *_of_counts(rule, tally, facts),
    ]


def _of_time(facts: Facts) -> Iterator[str]:
    extent = facts.extent
    if facts.start_us < extent.begin_us:
        yield f"history begins at {_time(extent.begin_us)}: nothing is judged before"
    if facts.end_us - extent.end_us > MINUTE_US:
        yield f"history ends at {_time(extent.end_us)}: nothing is judged after"


def _of_gaps(tally: Tally, facts: Facts, covered: int) -> Iterator[str]:
    slots = sum(phase.slots for phase in facts.plan)
    if not covered:
        yield "the server did not run at any time of it, or was behind: nothing was judged"
    elif tally.gaps:
        missing = f"{tally.gaps} time{'s' if tally.gaps > 1 else ''}"
        yield (
            f"{missing} the server did not run, or was behind: {covered:,} of {slots:,} slots are judged, and what was"
            " in between counts towards no hold"
        )


def _of_holds(rule: Rule, facts: Facts) -> Iterator[str]:
    steps = [phase.unit_us for phase in facts.plan if phase.slots]
    for field, hold_us in (("for", rule.for_us), ("keep_firing_for", rule.keep_firing_us)):
        for step_us in steps:
            counted = -(-hold_us // step_us) * step_us
            if counted != hold_us:
                asked, longer = duration_to_text(hold_us), duration_to_text(counted)
                step = duration_to_text(step_us)
                yield f"{field} of {asked} counts as {longer} where there is one evaluation every {step}"


def _of_values(rule: Rule, tally: Tally, covered: int) -> Iterator[str]:
    if covered and not tally.evaluations:
        yield "no instance was there to be looked at"
    elif tally.evaluations and not tally.judged:
        few = any(each.min_samples for each in rule.thresholds)
        why = " with min_samples of events in the window" if few else ""
        yield f"there was never a value{why}"
    if any(each.metric == AlertMetric.QUEUE_DEPTH for each in rule.thresholds):
        yield "queue depth is known as it was at the end of each step"


def _of_counts(rule: Rule, tally: Tally, facts: Facts) -> Iterator[str]:
    if tally.refused:
        limit = f"instance_limit of {rule.instance_limit:,}"
        yield f"the {limit} was reached: others were refused, {tally.refused:,} times in all"
    never_fired, fired = facts.untold
    if fired:
        yield f"{fired:,} more alerts that would have fired are counted and not listed"
    if never_fired:
        yield f"{never_fired:,} more times the condition held, too short to fire: not listed"


def _time(us: int) -> str:
    return datetime.fromtimestamp(us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
