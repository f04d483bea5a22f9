"""A workflow whose engine is gone, on a running server: why it waits, and how it is closed by force and comes back."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import httpx
import pytest

import pilothouse.aio
from pilothouse import errors
from pilothouse.v1 import enums_pb2, events_pb2, workflows_pb2
from tests.e2e.support import Pilothouse
from tests.support import wait_until

pytestmark = pytest.mark.timeout(180)

FAILED = "WORKFLOW_STATE_FAILED"


async def test_a_workflow_is_closed_by_force_and_its_engine_overrules_it(tmp_path: Path) -> None:
    async with (
        Pilothouse(tmp_path / "data") as server,
        pilothouse.aio.Client(server.grpc) as client,
    ):

        async def say(kind: events_pb2.EventType.ValueType) -> None:
            told = events_pb2.Event(id=str(uuid4()), type=kind, workflow_id="w", source="gone")
            await client.events.PublishEvents(events_pb2.PublishEventsRequest(events=[told]))

        async def stands(state: str, *, forced: bool) -> None:
            async def so() -> bool:
                found = [each async for each in client.list_workflows(filter='id = "w"')]
                said = [(enums_pb2.WorkflowState.Name(w.state), w.forced) for w in found]
                return said == [(state, forced)]

            await wait_until(so, within=30, what=f"{state}, forced: {forced}")

        await say(events_pb2.EVENT_TYPE_WORKFLOW_STARTED)
        await say(events_pb2.EVENT_TYPE_WORKFLOW_PAUSED)
        await stands("WORKFLOW_STATE_PAUSED", forced=False)
        (waits,) = [each async for each in client.list_workflows(filter='id = "w"')]
        assert waits.waiting.reason == "paused by the engine gone itself"
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as rest:
            body = {"state": FAILED, "reason": "host is scrapped"}
            closed = await rest.post("/api/v1/workflows/w:close", json=body)
        assert closed.status_code == 200, closed.text
        await stands(FAILED, forced=True)
        again = workflows_pb2.CloseWorkflowRequest(
            workflow_id="w", state=enums_pb2.WORKFLOW_STATE_CANCELLED, reason="as well"
        )
        with pytest.raises(errors.WrongState):
            await client.workflows.CloseWorkflow(again)
        await say(events_pb2.EVENT_TYPE_WORKFLOW_RESUMED)
        await stands("WORKFLOW_STATE_RUNNING", forced=False)
