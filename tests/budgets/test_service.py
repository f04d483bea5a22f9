"""Budgets over gRPC: made, changed, refused and deleted, each act recorded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import error_details_pb2, status_pb2
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, select

from pilothouse.v1 import budgets_pb2 as pb
from pilothouse.v1 import budgets_pb2_grpc
from pilothouse_server.adapters.sql.budget_rows import put
from pilothouse_server.adapters.sql.tables_audit import AUDIT
from pilothouse_server.domain.budgets import MOST_BUDGETS, Budget, Ceilings, Scope
from pilothouse_server.transport.budgets import BudgetServicer
from pilothouse_server.transport.interceptor import CallMeters
from pilothouse_server.transport.server import RpcServer, Service
from tests.budgets.conftest import Treasury


def a_budget(**fields: Any) -> pb.Budget:
    given: dict[str, Any] = {
        "name": "nightly",
        "scope": pb.BUDGET_SCOPE_RUN,
        "ceilings": pb.BudgetCeilings(tokens=100),
        "enabled": True,
    }
    return pb.Budget(**(given | fields))


@pytest.fixture
async def budgets(treasury: Treasury) -> AsyncIterator[budgets_pb2_grpc.BudgetServiceAsyncStub]:
    servicer = BudgetServicer(treasury.budgets)
    service = Service(
        pb.DESCRIPTOR.services_by_name["BudgetService"],
        lambda server: budgets_pb2_grpc.add_BudgetServiceServicer_to_server(servicer, server),
    )
    server = RpcServer([service], CallMeters(CollectorRegistry()))
    port = await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = budgets_pb2_grpc.BudgetServiceStub(channel)
        yield stub
    await server.drain(0)


async def refused(call: Any) -> tuple[str, str]:
    """The reason and the words with which a call was refused."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    metadata: Any = error.value.trailing_metadata()
    status = status_pb2.Status.FromString(dict(metadata)["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason, status.message


async def recorded(treasury: Treasury) -> list[tuple[str, int, str]]:
    query = select(AUDIT.c.verb, AUDIT.c.outcome, AUDIT.c.error).order_by(AUDIT.c.sequence)
    rows = await treasury.plant.database.read(lambda c: c.execute(query).all())
    return [(row.verb, row.outcome, row.error["code"] if row.error else "") for row in rows]


async def test_a_budget_is_made_changed_and_deleted(treasury: Treasury, budgets: Any) -> None:
    made = (await budgets.CreateBudget(pb.CreateBudgetRequest(budget=a_budget()))).budget
    assert (made.id != "", made.etag, made.warn_share) == (True, "1", 0.8)
    await treasury.use(90)
    got = (await budgets.GetBudget(pb.GetBudgetRequest(budget_id=made.id))).budget
    assert (got.state, [use.workflow_id for use in got.uses]) == (pb.BUDGET_STATE_WARNING, ["w"])
    wanted = pb.Budget(id=made.id, ceilings=pb.BudgetCeilings(cost_micros=7), pause=True)
    mask = FieldMask(paths=["ceilings", "pause"])
    changed = (
        await budgets.UpdateBudget(
            pb.UpdateBudgetRequest(budget=wanted, update_mask=mask, reason="cost counts")
        )
    ).budget
    assert (changed.etag, changed.name, changed.pause) == ("2", "nightly", True)
    assert not changed.ceilings.HasField("tokens")
    listed = await budgets.ListBudgets(pb.ListBudgetsRequest(workflow_id="w"))
    assert [budget.id for budget in listed.budgets] == [made.id]
    assert not (await budgets.ListBudgets(pb.ListBudgetsRequest(workflow_id="nobody"))).budgets
    await budgets.DeleteBudget(pb.DeleteBudgetRequest(budget_id=made.id))
    gone = await refused(budgets.GetBudget(pb.GetBudgetRequest(budget_id=made.id)))
    assert gone[0] == "BUDGET_NOT_FOUND"
    verbs = [verb for verb, _, _ in await recorded(treasury)]
    assert verbs == ["budget.create", "budget.update", "budget.delete"]


async def test_a_repeat_of_a_request_changes_nothing_more(treasury: Treasury, budgets: Any) -> None:
    request = pb.CreateBudgetRequest(budget=a_budget(), request_id=str(uuid4()))
    first = (await budgets.CreateBudget(request)).budget
    assert (await budgets.CreateBudget(request)).budget.id == first.id
    request.budget.pause = True
    assert (await refused(budgets.CreateBudget(request)))[0] == "REQUEST_ID_REUSED"
    update = pb.UpdateBudgetRequest(
        budget=a_budget(id=first.id, name="daily"), request_id=str(uuid4())
    )
    assert (await budgets.UpdateBudget(update)).budget.etag == "2"
    assert (await budgets.UpdateBudget(update)).budget.etag == "2"
    deletion = pb.DeleteBudgetRequest(budget_id=first.id, request_id=str(uuid4()))
    for _ in range(2):
        await budgets.DeleteBudget(deletion)
    assert [verb for verb, outcome, _ in await recorded(treasury) if outcome == 1] == [
        "budget.create",
        "budget.update",
        "budget.delete",
    ]


async def test_of_two_who_change_a_budget_at_once_one_is_refused(
    treasury: Treasury, budgets: Any
) -> None:
    made = (await budgets.CreateBudget(pb.CreateBudgetRequest(budget=a_budget()))).budget
    wanted = a_budget(id=made.id, pause=True)
    await budgets.UpdateBudget(pb.UpdateBudgetRequest(budget=wanted, etag=made.etag))
    wanted.description = "mine"
    stale = pb.UpdateBudgetRequest(budget=wanted, etag=made.etag)
    late = await refused(budgets.UpdateBudget(stale))
    assert late[0] == "ETAG_MISMATCH"
    assert (await recorded(treasury))[-1] == ("budget.update", 2, "ETAG_MISMATCH")
    # What changes nothing makes no new version.
    same = a_budget(id=made.id, pause=True)
    assert (await budgets.UpdateBudget(pb.UpdateBudgetRequest(budget=same))).budget.etag == "2"


async def test_what_cannot_be_is_refused_by_name(treasury: Treasury, budgets: Any) -> None:
    async def create(**fields: Any) -> tuple[str, str]:
        return await refused(
            budgets.CreateBudget(pb.CreateBudgetRequest(budget=a_budget(**fields)))
        )

    of_type = {"scope": pb.BUDGET_SCOPE_TYPE}
    assert "budget.window: needed" in (await create(**of_type))[1]
    assert "window" in (await create(window=Duration(seconds=90)))[1]
    assert "ceilings: at least one" in (await create(ceilings=pb.BudgetCeilings()))[1]
    assert "scope" in (await create(scope=0))[1]
    assert "warn_share" in (await create(warn_share=1.5))[1]
    made = (await budgets.CreateBudget(pb.CreateBudgetRequest(budget=a_budget()))).budget
    assert (await create())[0] == "ALREADY_THERE"
    wrong = pb.UpdateBudgetRequest(
        budget=a_budget(id=made.id), update_mask=FieldMask(paths=["uses"])
    )
    assert "'uses' cannot be changed" in (await refused(budgets.UpdateBudget(wrong)))[1]
    broken = pb.UpdateBudgetRequest(
        budget=pb.Budget(id=made.id, scope=pb.BUDGET_SCOPE_TYPE),
        update_mask=FieldMask(paths=["scope"]),
    )
    assert "budget.window: needed" in (await refused(budgets.UpdateBudget(broken)))[1]
    nobody = pb.DeleteBudgetRequest(budget_id="nobody")
    assert (await refused(budgets.DeleteBudget(nobody)))[0] == "BUDGET_NOT_FOUND"


async def test_there_is_a_most_of_them(treasury: Treasury, budgets: Any) -> None:
    def fill(connection: Connection) -> None:
        for n in range(MOST_BUDGETS):
            put(connection, Budget(f"b{n}", f"budget {n}", Scope.RUN, Ceilings(tokens=n + 1)))

    await treasury.plant.database.write(fill)
    request = pb.CreateBudgetRequest(budget=a_budget())
    assert (await refused(budgets.CreateBudget(request)))[0] == "LIMIT_EXCEEDED"
    assert len((await budgets.ListBudgets(pb.ListBudgetsRequest())).budgets) == MOST_BUDGETS
