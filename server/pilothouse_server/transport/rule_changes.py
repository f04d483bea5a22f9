"""What an UpdateRule makes of a rule: the fields that its mask names, and nothing else.

The request's rule may be incomplete, so the rules of the contract are looked at when it was put together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from google.protobuf.field_mask_pb2 import FieldMask

from pilothouse.v1 import rules_pb2 as pb
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.errors import InvalidArgument
from pilothouse_server.transport.validation import violations_of
from pilothouse_server.wire.alert_rules import rule_from_proto, rule_to_proto

CHANGEABLE: Final = (
    "name", "description", "enabled", "condition", "for_duration", "keep_firing_for", "no_data_policy", "severity",
    "labels", "annotations", "channels", "escalation", "inhibited_by", "instance_limit",
)  # fmt: skip
"""All else is the server's to say."""


def checked(rule: Rule, at: str) -> Rule:
    """The rule, when it keeps the rules of the contract. Raises InvalidArgument with the contract's own words."""
    for field, description in violations_of(rule_to_proto(rule)):
        raise InvalidArgument(f"{at}.{field}" if field else at, description)
    return rule


def changed(request: pb.UpdateRuleRequest) -> Callable[[Rule], Rule]:
    """What the request does to a rule. Raises InvalidArgument for a mask that names what cannot be changed."""
    mask = _mask(request)

    def apply(before: Rule) -> Rule:
        message = rule_to_proto(before)
        mask.MergeMessage(
            request.rule, message, replace_message_field=True, replace_repeated_field=True
        )
        for field, description in violations_of(message):
            raise InvalidArgument(f"rule.{field}", description)
        return rule_from_proto(message)

    return apply


def _mask(request: pb.UpdateRuleRequest) -> FieldMask:
    paths = list(request.update_mask.paths)
    given = request.rule.HasField("enabled")
    if not paths:
        return FieldMask(paths=[name for name in CHANGEABLE if given or name != "enabled"])
    for path in paths:
        top, dot, _ = path.partition(".")
        if top not in CHANGEABLE:
            known = top in pb.AlertRule.DESCRIPTOR.fields_by_name
            what = "cannot be changed" if known else "is no field of a rule"
            raise InvalidArgument(
                "update_mask", f"{path!r} {what}; allowed are {', '.join(CHANGEABLE)}"
            )
        if dot and not FieldMask(paths=[path]).IsValidForDescriptor(pb.AlertRule.DESCRIPTOR):
            raise InvalidArgument("update_mask", f"{path!r} is no field of a rule; try {top!r}")
    # What is not said stays as it was, named or not.
    return FieldMask(paths=[path for path in paths if given or path != "enabled"])
