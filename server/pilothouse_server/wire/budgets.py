"""Budgets, for the contract."""

from __future__ import annotations

from pilothouse.v1 import budgets_pb2 as pb
from pilothouse_server.domain.budgets import Budget, BudgetState, Ceilings, Scope, Use
from pilothouse_server.services.budgets import BudgetView
from pilothouse_server.wire.events import LARGEST_UINT64
from pilothouse_server.wire.times import (
    duration,
    duration_us,
    optional_duration,
    optional_timestamp,
    timestamp,
)

CHANGEABLE = (
    "name", "scope", "workflow_id", "workflow_type", "window", "ceilings", "warn_share", "pause", "enabled",
    "description",
)  # fmt: skip
"""What people set."""


def budget_of(message: pb.Budget) -> Budget:
    """What is wanted, without what the server gives."""
    ceilings = message.ceilings
    return Budget(
        id="",
        name=message.name,
        scope=Scope(message.scope),
        ceilings=Ceilings(
            tokens=ceilings.tokens if ceilings.HasField("tokens") else None,
            cost_micros=ceilings.cost_micros if ceilings.HasField("cost_micros") else None,
            duration_us=duration_us(ceilings.duration) if ceilings.HasField("duration") else None,
        ),
        workflow_id=message.workflow_id,
        workflow_type=message.workflow_type,
        window_us=duration_us(message.window) if message.HasField("window") else 0,
        warn_share=message.warn_share if message.HasField("warn_share") else 0.8,
        pause=message.pause,
        enabled=message.enabled,
        description=message.description,
    )


def settings_to_proto(budget: Budget) -> pb.Budget:
    """What people set of it."""
    ceilings = budget.ceilings
    return pb.Budget(
        name=budget.name,
        scope=pb.BudgetScope.ValueType(budget.scope),
        workflow_id=budget.workflow_id,
        workflow_type=budget.workflow_type,
        window=duration(budget.window_us) if budget.window_us else None,
        ceilings=pb.BudgetCeilings(
            tokens=ceilings.tokens,
            cost_micros=ceilings.cost_micros,
            duration=optional_duration(ceilings.duration_us),
        ),
        warn_share=budget.warn_share,
        pause=budget.pause,
        enabled=budget.enabled,
        description=budget.description,
    )


def view_to_proto(view: BudgetView) -> pb.Budget:
    """One budget with where things stand."""
    budget = view.budget
    message = settings_to_proto(budget)
    message.id = budget.id
    worst = max((use.state for use in view.uses), default=BudgetState.WITHIN)
    message.state = pb.BudgetState.ValueType(worst)
    message.uses.extend(map(_use_to_proto, view.uses))
    message.create_time.CopyFrom(timestamp(budget.create_us))
    message.update_time.CopyFrom(timestamp(budget.update_us))
    message.updated_by = budget.updated_by
    message.etag = budget.etag
    return message


def _use_to_proto(use: Use) -> pb.BudgetUse:
    rate, used = use.rate, use.used
    return pb.BudgetUse(
        workflow_id=use.workflow_id,
        workflow_type=use.workflow_type,
        state=pb.BudgetState.ValueType(use.state),
        tokens=min(used.tokens, LARGEST_UINT64),
        cost_micros=min(used.cost_micros, LARGEST_UINT64),
        duration=optional_duration(used.duration_us),
        share=use.share,
        tokens_per_minute=None if rate is None else rate.per_minute(rate.tokens),
        cost_micros_per_minute=None if rate is None else rate.per_minute(rate.cost_micros),
        exceed_time=optional_timestamp(use.exceed_us),
        command_id=use.command_id,
    )
