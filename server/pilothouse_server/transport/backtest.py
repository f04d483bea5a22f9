"""`BacktestRule`: a draft, from a message or a document, judged as a new rule is and then replayed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final

import grpc

from pilothouse.v1 import rules_pb2 as pb
from pilothouse_server.domain.alerts import validation
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.errors import InvalidArgument, LimitExceeded
from pilothouse_server.services.alerts.backtest import Backtests
from pilothouse_server.transport.rule_changes import checked
from pilothouse_server.wire.alert_rules import rule_from_proto
from pilothouse_server.wire.backtests import update_to_proto
from pilothouse_server.wire.times import is_valid_timestamp, timestamp_us

Context = grpc.aio.ServicerContext[Any, Any]
ReadRules = Callable[[str, int], Sequence[Rule]]
"""The rules of a document in a form; 0 is told by the document. Raises InvalidArgument."""

LONGEST: Final = 600
"""Seconds that one backtest may take, a caller that does not read included."""
NAMES_SHOWN: Final = 10


class BacktestCalls:
    """The calls of one server."""

    def __init__(self, backtests: Backtests, read: ReadRules) -> None:
        self._backtests = backtests
        self._read = read

    async def __call__(
        self, request: pb.BacktestRuleRequest, context: Context
    ) -> AsyncIterator[pb.BacktestRuleResponse]:
        """What the draft would have done. Raises InvalidArgument, LimitExceeded, Busy, Unavailable."""
        start_us = _time(request, "start_time")
        end_us = _time(request, "end_time") if request.HasField("end_time") else None
        rule = await self._draft(request)
        updates = self._backtests.run(rule, start_us, end_us)
        try:
            async with asyncio.timeout(LONGEST), aclosing(updates):
                async for update in updates:
                    for response in update_to_proto(update, rule):
                        yield response
        except TimeoutError:
            raise LimitExceeded("seconds of one backtest", LONGEST, LONGEST) from None

    async def _draft(self, request: pb.BacktestRuleRequest) -> Rule:
        if request.HasField("rule") == bool(request.document):
            raise InvalidArgument("rule", "give either a rule or a document with it")
        if request.HasField("rule"):
            rule = rule_from_proto(request.rule)
            at = "rule"
        else:
            rules = await asyncio.to_thread(self._read, request.document, 0)
            rule = _chosen(rules, request.rule_name)
            at = f'rules["{rule.id or rule.name}"]'
            checked(rule, at)
        # Whom it would notify decides nothing here, so a draft may name channels that are still to be made.
        validation.check_alone(rule, None, None, at)
        return rule


def _time(request: pb.BacktestRuleRequest, field: str) -> int:
    stamp = getattr(request, field)
    if not is_valid_timestamp(stamp):
        raise InvalidArgument(field, "is no time from 1970 to 9999")
    return timestamp_us(stamp)


def _chosen(rules: Sequence[Rule], name: str) -> Rule:
    named = [rule for rule in rules if name in (rule.name, rule.id)] if name else list(rules)
    if len(named) == 1:
        return named[0]
    shown = ", ".join(rule.name for rule in rules[:NAMES_SHOWN]) or "none"
    more = ", …" if len(rules) > NAMES_SHOWN else ""
    if not named:
        raise InvalidArgument("rule_name", f"the document has no such rule; it has {shown}{more}")
    told = f"the document has {len(named)} rules; say which: {shown}{more}"
    raise InvalidArgument("rule_name", told)
