"""Rules: what raises alerts. Every change is the rulebook's; what is shown is as it is stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from pilothouse.v1 import rules_pb2 as pb
from pilothouse.v1 import rules_pb2_grpc
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.alerts.validation import MOST_RULES
from pilothouse_server.domain.errors import InvalidArgument, LimitExceeded, NotFound
from pilothouse_server.services.alerts.rulebook import Edit, Rulebook
from pilothouse_server.services.alerts.ruleviews import RuleViews
from pilothouse_server.transport.caller import actor
from pilothouse_server.transport.rule_changes import changed, checked
from pilothouse_server.wire.alert_rules import (
    differences_to_proto,
    rule_from_proto,
    rule_to_proto,
    versions_to_proto,
    view_to_proto,
)

Context = grpc.aio.ServicerContext[Any, Any]
Backtest = Callable[[pb.BacktestRuleRequest, Context], AsyncIterator[pb.BacktestRuleResponse]]

PAGE = 50
"""Versions on a page, where the request does not say how many."""
AT_ONCE = 50
"""Rules of a document that are judged before others get their turn."""


class RuleFiles(Protocol):
    """Rules as documents; a format is one of the contract's, 0 where it is told by the document. Called in threads."""

    def read(self, document: str, format: int) -> Sequence[Rule]:
        """The rules of a document. Raises InvalidArgument with the line."""
        ...

    def write(self, rules: Sequence[Rule], format: int) -> tuple[str, Sequence[str]]:
        """A document with the rules, and in words what could not be said in it."""
        ...


@dataclass(frozen=True)
class RuleServicer(rules_pb2_grpc.RuleServiceServicer):
    """`pilothouse.v1.RuleService`."""

    rulebook: Rulebook
    views: RuleViews
    files: RuleFiles
    backtest: Backtest

    async def ListRules(
        self, request: pb.ListRulesRequest, context: Context
    ) -> pb.ListRulesResponse:
        return pb.ListRulesResponse(rules=map(view_to_proto, await self.views.every()))

    async def GetRule(self, request: pb.GetRuleRequest, context: Context) -> pb.GetRuleResponse:
        if not request.version:
            return pb.GetRuleResponse(rule=view_to_proto(await self.views.one(request.rule_id)))
        version = await self.rulebook.version(request.rule_id, request.version)
        return pb.GetRuleResponse(rule=rule_to_proto(version.rule))

    async def CreateRule(
        self, request: pb.CreateRuleRequest, context: Context
    ) -> pb.CreateRuleResponse:
        edit = Edit(actor(context), request.reason, request.validate_only)
        # A UUID is one value however it is written.
        made = await self.rulebook.create(
            rule_from_proto(request.rule), edit, request.request_id.lower()
        )
        return pb.CreateRuleResponse(rule=await self._shown(made))

    async def UpdateRule(
        self, request: pb.UpdateRuleRequest, context: Context
    ) -> pb.UpdateRuleResponse:
        if not request.rule.id:
            raise InvalidArgument("rule.id", "names the rule that is to be changed")
        edit = Edit(actor(context), request.reason, request.validate_only)
        updated = await self.rulebook.update(request.rule.id, changed(request), request.etag, edit)
        return pb.UpdateRuleResponse(
            rule=await self._shown(updated.rule), resets_instances=updated.resets
        )

    async def DeleteRule(
        self, request: pb.DeleteRuleRequest, context: Context
    ) -> pb.DeleteRuleResponse:
        await self.rulebook.delete(
            request.rule_id, request.etag, Edit(actor(context), request.reason)
        )
        return pb.DeleteRuleResponse()

    async def EnableRule(
        self, request: pb.EnableRuleRequest, context: Context
    ) -> pb.EnableRuleResponse:
        edit = Edit(actor(context), request.reason)
        rule = await self.rulebook.enable(request.rule_id, True, edit)
        return pb.EnableRuleResponse(rule=await self._shown(rule))

    async def DisableRule(
        self, request: pb.DisableRuleRequest, context: Context
    ) -> pb.DisableRuleResponse:
        edit = Edit(actor(context), request.reason)
        rule = await self.rulebook.enable(request.rule_id, False, edit)
        return pb.DisableRuleResponse(rule=await self._shown(rule))

    async def ListRuleVersions(
        self, request: pb.ListRuleVersionsRequest, context: Context
    ) -> pb.ListRuleVersionsResponse:
        page = await self.rulebook.versions(
            request.rule_id, request.page_size or PAGE, request.page_token
        )
        return versions_to_proto(page)

    async def DiffRule(self, request: pb.DiffRuleRequest, context: Context) -> pb.DiffRuleResponse:
        found = await self.rulebook.diff(request.rule_id, request.from_version, request.to_version)
        return pb.DiffRuleResponse(differences=differences_to_proto(found))

    async def RestoreRule(
        self, request: pb.RestoreRuleRequest, context: Context
    ) -> pb.RestoreRuleResponse:
        edit = Edit(actor(context), request.reason)
        restored = await self.rulebook.restore(request.rule_id, request.version, request.etag, edit)
        return pb.RestoreRuleResponse(rule=await self._shown(restored.rule))

    async def BacktestRule(
        self, request: pb.BacktestRuleRequest, context: Context
    ) -> AsyncIterator[pb.BacktestRuleResponse]:
        async for each in self.backtest(request, context):
            yield each

    async def ImportRules(
        self, request: pb.ImportRulesRequest, context: Context
    ) -> pb.ImportRulesResponse:
        rules = await asyncio.to_thread(self.files.read, request.document, request.format)
        if len(rules) > MOST_RULES:
            raise LimitExceeded("rules", MOST_RULES, len(rules))
        for place, rule in enumerate(rules):
            checked(rule, f'rules["{rule.id or rule.name}"]')
            if not place % AT_ONCE:
                await asyncio.sleep(0)
        edit = Edit(actor(context), request.reason, request.validate_only)
        done = await self.rulebook.bring_in(rules, edit)
        return pb.ImportRulesResponse(
            created=map(view_to_proto, await self.views.of(done.created)),
            updated=map(view_to_proto, await self.views.of(done.updated)),
            unchanged=map(view_to_proto, await self.views.of(done.unchanged)),
        )

    async def ExportRules(
        self, request: pb.ExportRulesRequest, context: Context
    ) -> pb.ExportRulesResponse:
        rules = {view.rule.id: view.rule for view in await self.views.every()}
        for rule_id in request.rule_ids:
            if rule_id not in rules:
                raise NotFound(kind="rule", id=rule_id)
        chosen = [rules[rule_id] for rule_id in request.rule_ids or rules]
        document, left_out = await asyncio.to_thread(self.files.write, chosen, request.format)
        return pb.ExportRulesResponse(document=document, left_out=left_out)

    async def _shown(self, rule: Rule) -> pb.AlertRule:
        (view,) = await self.views.of([rule])
        return view_to_proto(view)
