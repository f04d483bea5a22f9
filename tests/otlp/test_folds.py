"""Spans of no convention touch nothing that is counted, and those that are work are found in their trace."""

from __future__ import annotations

import pytest

from tests.otlp.build import genai, id_of, request, span
from tests.otlp.conftest import PATIENCE, Station
from tests.otlp.test_reading import export
from tests.support import wait_until

on_server = pytest.mark.asyncio(loop_scope="package")


@on_server
async def test_plain_spans_are_in_no_metric_and_no_workflow(station: Station) -> None:
    told = request(
        *(span(number, trace=station.trace) for number in range(1, 9)), service=station.service
    )
    await export(station, told.SerializeToString())
    await station.events(8)
    path = f'/api/v1/workflows?filter=source="{station.service}"'
    assert (await station.server.get(path))["workflows"] == []

    async def metrics() -> str:
        # A server that has only begun has none yet.
        answer = await station.server.post("/pilothouse.v1.MetricsService/GetMetrics", {})
        return answer.text if answer.status_code == 200 else ""

    assert station.service not in await wait_until(metrics, within=PATIENCE)


@on_server
async def test_what_is_below_an_agent_is_below_its_task_in_the_trace(station: Station) -> None:
    spans = [
        genai(1, 0, "invoke_agent", gen_ai__agent__name="tracer", ms=50),
        genai(2, 1, "execute_tool", start_ms=5, ms=20),
        span(3, 2, "SELECT", start_ms=6, ms=5),
    ]
    for each in spans:
        each.trace_id = station.trace
    await export(station, request(*spans, service=station.service).SerializeToString())
    workflow = await station.workflow("COMPLETED")
    shown = await station.server.get(f"/api/v1/traces/{workflow['id']}")
    above = {each["span_id"]: each["parent_span_id"] for each in shown["spans"]}
    agent, tool = f"task:{id_of(1)}:1", f"task:{id_of(2)}:1"
    assert above == {"workflow": "", agent: "workflow", tool: agent, id_of(3): tool}
    assert shown["trace"]["problems"] == []
