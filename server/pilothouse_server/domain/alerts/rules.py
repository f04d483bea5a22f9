"""A rule: typed data, never code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from pilothouse_server.domain.alerts.conditions import Condition, Threshold, thresholds
from pilothouse_server.domain.alerts.matchers import Matcher
from pilothouse_server.domain.events import Severity
from pilothouse_server.domain.metrics.snapshot import Dimension

MOST_INSTANCES = 10_000
"""Alerts of one rule at a time, where the rule does not say otherwise."""


LABEL_OF = {
    Dimension.WORKFLOW_TYPE: "workflow_type",
    Dimension.STAGE: "stage",
    Dimension.AGENT_TYPE: "agent_type",
    Dimension.AGENT: "agent_id",
}
"""The label that tells the instances of a rule about a dimension from each other."""


class NoDataPolicy(IntEnum):
    """What it means that there is no value. The numbers are those of the contract."""

    KEEP = 1
    """The instance stays as it is."""
    ALERT = 2
    """An alert of its own, which obeys `for`; the instance stays as it is."""
    RESOLVE = 3
    """As if the condition did not hold."""


@dataclass(frozen=True, slots=True)
class Inhibition:
    """While an alert that matches fires, with the same values of the labels `equal`, nobody is notified."""

    source_matchers: tuple[Matcher, ...]
    equal: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """What raises alerts. Times are microseconds."""

    id: str
    name: str
    condition: Condition
    description: str = ""
    enabled: bool = True
    for_us: int = 0
    keep_firing_us: int = 0
    no_data_policy: NoDataPolicy = NoDataPolicy.KEEP
    severity: Severity = Severity.WARNING
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    channels: tuple[str, ...] = ()
    """Ids; empty are those that are the default."""
    escalation: str = ""
    inhibited_by: tuple[Inhibition, ...] = ()
    instance_limit: int = MOST_INSTANCES
    version: int = 1
    create_us: int = 0
    update_us: int = 0
    updated_by: str = ""

    @property
    def thresholds(self) -> tuple[Threshold, ...]:
        """The comparisons of its condition, in the order of the tree."""
        return tuple(thresholds(self.condition))

    @property
    def first(self) -> Threshold:
        """The comparison that the rule is shown by."""
        return next(thresholds(self.condition))

    @property
    def dimension(self) -> Dimension:
        """What tells its instances from each other: that of its comparisons which is not the fleet's."""
        dimensions = (each.dimension for each in thresholds(self.condition))
        return next((each for each in dimensions if each != Dimension.FLEET), Dimension.FLEET)
