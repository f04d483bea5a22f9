"""Rules: what raises alerts."""

from __future__ import annotations

from typing import Any

import grpc

from pilothouse.v1 import rules_pb2 as pb
from pilothouse.v1 import rules_pb2_grpc
from pilothouse_server.services.alerts.desk import AlertDesk
from pilothouse_server.services.alerts.engine import RuleView
from pilothouse_server.wire.alert_rules import rule_to_proto

Context = grpc.aio.ServicerContext[Any, Any]


class RuleServicer(rules_pb2_grpc.RuleServiceServicer):
    """`pilothouse.v1.RuleService`."""

    def __init__(self, desk: AlertDesk) -> None:
        self._desk = desk

    async def ListRules(
        self, request: pb.ListRulesRequest, context: Context
    ) -> pb.ListRulesResponse:
        return pb.ListRulesResponse(rules=[_rule(view) for view in await self._desk.rules()])

    async def GetRule(self, request: pb.GetRuleRequest, context: Context) -> pb.GetRuleResponse:
        return pb.GetRuleResponse(rule=_rule(await self._desk.rule(request.rule_id)))


def _rule(view: RuleView) -> pb.AlertRule:
    return rule_to_proto(view.rule, view.live, view.error)
