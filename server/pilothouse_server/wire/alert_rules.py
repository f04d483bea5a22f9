"""Rules ⇄ the contract."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pilothouse.v1 import enums_pb2, metrics_pb2
from pilothouse.v1 import rules_pb2 as pb
from pilothouse_server.domain.alerts.conditions import (
    AlertMetric,
    AllOf,
    AnyOf,
    Comparison,
    Condition,
    Threshold,
)
from pilothouse_server.domain.alerts.documents import MOST_DEEP
from pilothouse_server.domain.alerts.rules import MOST_INSTANCES, Inhibition, NoDataPolicy, Rule
from pilothouse_server.domain.alerts.versions import FieldDifference, RuleVersion
from pilothouse_server.domain.errors import InvalidArgument
from pilothouse_server.domain.events import Severity
from pilothouse_server.domain.metrics.snapshot import Dimension
from pilothouse_server.services.alerts.rulebook import VersionPage
from pilothouse_server.services.alerts.ruleviews import RuleView
from pilothouse_server.wire.matchers import matcher_to_proto, matchers_from_proto
from pilothouse_server.wire.times import duration, duration_us, timestamp


def condition_to_proto(condition: Condition) -> pb.Condition:
    """The contract's message of a condition."""
    match condition:
        case AllOf(conditions):
            return pb.Condition(all=pb.Conditions(conditions=map(condition_to_proto, conditions)))
        case AnyOf(conditions):
            return pb.Condition(any=pb.Conditions(conditions=map(condition_to_proto, conditions)))
        case Threshold():
            threshold = pb.Threshold(
                metric=pb.AlertMetric.ValueType(condition.metric),
                dimension=metrics_pb2.MetricDimension.ValueType(condition.dimension),
                matchers=map(matcher_to_proto, condition.matchers),
                window=duration(condition.window_us) if condition.window_us else None,
                comparison=pb.Comparison.ValueType(condition.comparison),
                threshold=condition.threshold,
                recovery_threshold=condition.recovery_threshold,
                min_samples=condition.min_samples,
            )
            return pb.Condition(threshold=threshold)


def condition_from_proto(message: pb.Condition, at: str, depth: int = 1) -> Condition:
    """The condition. Raises InvalidArgument where it is nested too deeply, or says nothing."""
    kind = message.WhichOneof("condition")
    if kind is None:
        raise InvalidArgument(at, "has to have one of threshold, all and any")
    if kind == "threshold":
        return _threshold(message.threshold, f"{at}.threshold")
    if depth > MOST_DEEP:
        raise InvalidArgument(f"{at}.{kind}", f"all and any may be {MOST_DEEP} deep at most")
    group = message.all if kind == "all" else message.any
    inside = tuple(
        condition_from_proto(each, f"{at}.{kind}.conditions[{index}]", depth + 1)
        for index, each in enumerate(group.conditions)
    )
    return AllOf(inside) if kind == "all" else AnyOf(inside)


def _threshold(message: pb.Threshold, at: str) -> Threshold:
    metric = AlertMetric(message.metric)
    own = Dimension.AGENT if metric == AlertMetric.AGENT_SILENCE else Dimension.FLEET
    recovers = message.HasField("recovery_threshold")
    return Threshold(
        metric=metric,
        comparison=Comparison(message.comparison),
        threshold=message.threshold,
        dimension=Dimension(message.dimension or own),
        matchers=matchers_from_proto(message.matchers, f"{at}.matchers"),
        window_us=duration_us(message.window),
        recovery_threshold=message.recovery_threshold if recovers else None,
        min_samples=message.min_samples,
    )


def rule_from_proto(message: pb.AlertRule, at: str = "rule") -> Rule:
    """The rule, without what only the server knows of it. What is not stated has the same value as in a document. The
    message must keep the rules of the contract. Raises InvalidArgument."""
    return Rule(
        id=message.id,
        name=message.name,
        description=message.description,
        enabled=message.enabled if message.HasField("enabled") else True,
        condition=condition_from_proto(message.condition, f"{at}.condition"),
        for_us=duration_us(message.for_duration),
        keep_firing_us=duration_us(message.keep_firing_for),
        no_data_policy=NoDataPolicy(message.no_data_policy or NoDataPolicy.KEEP),
        severity=Severity(message.severity or Severity.WARNING),
        labels=dict(message.labels),
        annotations=dict(message.annotations),
        channels=tuple(message.channels),
        escalation=message.escalation,
        inhibited_by=tuple(
            Inhibition(
                matchers_from_proto(
                    each.source_matchers, f"{at}.inhibited_by[{index}].source_matchers"
                ),
                tuple(each.equal),
            )
            for index, each in enumerate(message.inhibited_by)
        ),
        instance_limit=message.instance_limit or MOST_INSTANCES,
    )


def rule_to_proto(rule: Rule) -> pb.AlertRule:
    """The contract's message of a rule, without what is known of its evaluations."""
    return pb.AlertRule(
        id=rule.id,
        name=rule.name,
        description=rule.description,
        enabled=rule.enabled,
        condition=condition_to_proto(rule.condition),
        for_duration=duration(rule.for_us),
        keep_firing_for=duration(rule.keep_firing_us),
        no_data_policy=pb.NoDataPolicy.ValueType(rule.no_data_policy),
        severity=enums_pb2.Severity.ValueType(rule.severity),
        labels=rule.labels,
        annotations=rule.annotations,
        channels=rule.channels,
        escalation=rule.escalation,
        inhibited_by=[
            pb.Inhibition(
                source_matchers=map(matcher_to_proto, each.source_matchers), equal=each.equal
            )
            for each in rule.inhibited_by
        ],
        instance_limit=rule.instance_limit,
        create_time=timestamp(rule.create_us) if rule.create_us else None,
        update_time=timestamp(rule.update_us) if rule.update_us else None,
        updated_by=rule.updated_by,
        version=rule.version,
        etag=str(rule.version),
    )


def view_to_proto(view: RuleView) -> pb.AlertRule:
    """The contract's message of a rule as people see it."""
    message = rule_to_proto(view.rule)
    message.instance_count = view.live
    message.evaluation_error = view.error
    if (meters := view.meters) is not None:
        message.meters.CopyFrom(
            pb.RuleMeters(
                evaluations=meters.run,
                missed=meters.missed,
                errors=meters.errors,
                refused=meters.refused,
                last_duration=duration(meters.last_us),
            )
        )
    return message


def versions_to_proto(page: VersionPage) -> pb.ListRuleVersionsResponse:
    """One page of versions."""
    return pb.ListRuleVersionsResponse(
        versions=[_version(version, found) for version, found in page.versions],
        next_page_token=page.next_token,
    )


def _version(version: RuleVersion, found: Sequence[FieldDifference]) -> pb.RuleVersion:
    return pb.RuleVersion(
        version=version.version,
        create_time=timestamp(version.create_us),
        actor=version.actor,
        reason=version.reason,
        rule=rule_to_proto(version.rule),
        deleted=version.deleted,
        differences=differences_to_proto(found),
    )


def differences_to_proto(found: Iterable[FieldDifference]) -> list[pb.FieldDifference]:
    """What differs, field by field."""
    return [pb.FieldDifference(**each._asdict()) for each in found]
