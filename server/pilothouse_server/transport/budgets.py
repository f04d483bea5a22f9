"""Budgets: ceilings on tokens, cost and time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import grpc

from pilothouse.v1 import budgets_pb2 as pb
from pilothouse.v1 import budgets_pb2_grpc
from pilothouse_server.domain.budgets import Budget
from pilothouse_server.services.budgets import Budgets, Edit, Wanted
from pilothouse_server.transport.caller import actor
from pilothouse_server.transport.masks import checked, merged
from pilothouse_server.wire.budgets import CHANGEABLE, budget_of, settings_to_proto, view_to_proto

Context = grpc.aio.ServicerContext[Any, Any]


class BudgetServicer(budgets_pb2_grpc.BudgetServiceServicer):
    """`pilothouse.v1.BudgetService`."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets

    async def ListBudgets(
        self, request: pb.ListBudgetsRequest, context: Context
    ) -> pb.ListBudgetsResponse:
        views = await self._budgets.every(request.workflow_id)
        return pb.ListBudgetsResponse(budgets=map(view_to_proto, views))

    async def GetBudget(
        self, request: pb.GetBudgetRequest, context: Context
    ) -> pb.GetBudgetResponse:
        return pb.GetBudgetResponse(
            budget=view_to_proto(await self._budgets.get(request.budget_id))
        )

    async def CreateBudget(
        self, request: pb.CreateBudgetRequest, context: Context
    ) -> pb.CreateBudgetResponse:
        made = await self._budgets.create(budget_of(request.budget), _edit(request, context))
        return pb.CreateBudgetResponse(budget=view_to_proto(made))

    async def UpdateBudget(
        self, request: pb.UpdateBudgetRequest, context: Context
    ) -> pb.UpdateBudgetResponse:
        wanted = request.budget
        mask = checked(request.update_mask, pb.Budget.DESCRIPTOR, CHANGEABLE)

        def change(before: Budget) -> Budget:
            message = settings_to_proto(before)
            merged(message, wanted, mask, "budget")
            now = budget_of(message)
            return replace(
                now,
                id=before.id,
                version=before.version,
                create_us=before.create_us,
                update_us=before.update_us,
                updated_by=before.updated_by,
            )

        content = wanted.SerializeToString(deterministic=True).hex()
        asked = Wanted(wanted.id, request.etag, sorted(mask.paths), content)
        changed = await self._budgets.update(asked, change, _edit(request, context))
        return pb.UpdateBudgetResponse(budget=view_to_proto(changed))

    async def DeleteBudget(
        self, request: pb.DeleteBudgetRequest, context: Context
    ) -> pb.DeleteBudgetResponse:
        await self._budgets.delete(request.budget_id, _edit(request, context))
        return pb.DeleteBudgetResponse()


def _edit(
    request: pb.CreateBudgetRequest | pb.UpdateBudgetRequest | pb.DeleteBudgetRequest,
    context: Context,
) -> Edit:
    # A UUID is one value however it is written.
    return Edit(actor(context), request.reason, request.request_id.lower())
