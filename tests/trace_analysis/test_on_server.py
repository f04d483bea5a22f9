"""Every run of the demo, on the real server: its critical path adds up, and once it has ended it is among those that
are put together."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from tests.e2e.support import Pilothouse
from tests.support import wait_until

pytestmark = pytest.mark.timeout(300)

Found = dict[str, Any]


def microseconds(text: str) -> int:
    """Of a duration in JSON, as "1.500s"."""
    whole, _, rest = text.removesuffix("s").partition(".")
    return int(whole) * 1_000_000 + int(rest.ljust(6, "0")[:6])


def check(analysis: Found, trace: Found) -> None:
    """Its critical path is the whole of it, piece by piece."""
    assert not analysis.get("unavailable_reason")
    path = cast("list[Found]", analysis["critical_path"])
    at = 0
    for step in path:
        assert microseconds(step.get("start_offset", "0s")) == at
        at = microseconds(step["end_offset"])
    assert at == microseconds(analysis["until_offset"])
    if analysis.get("complete"):
        assert at == microseconds(trace["duration"])
    assert sum(microseconds(each["duration"]) for each in analysis["time_split"]) == at


async def test_the_critical_path_of_every_demo_run_adds_up(tmp_path: Path) -> None:
    async with Pilothouse(tmp_path / "data", "demo") as demo:

        async def ended() -> list[Found]:
            listed = await demo.get("/api/v1/traces?pageSize=200")
            return [each for each in listed.get("traces", []) if each.get("time_split")]

        async def enough() -> bool:
            return len(await ended()) >= 3

        await wait_until(enough, within=120, what="three runs that ended and were looked at")
        traces = (await demo.get("/api/v1/traces?pageSize=200"))["traces"]
        for listed in traces:
            found = await demo.get(f"/api/v1/traces/{listed['id']}")
            analysis = await demo.get(f"/api/v1/traces/{listed['id']}:analyze")
            if analysis.get("complete") == ("duration" in found["trace"]):
                check(analysis, found["trace"])
            slack = {each["span_id"]: each.get("slack") for each in found["spans"]}
            assert any(each is not None for each in slack.values())

        done = (await ended())[0]
        kind = done["workflow_type"]
        together = await demo.get(f"/api/v1/traces:aggregate?workflowType={kind}")
        assert together["current"]["run_count"] >= 1
        assert together["current"]["stages"][0]["share_p50"] > 0
        # One that ended has stages; of two that have just begun there is nothing to compare.
        others = [each["id"] for each in traces if each["workflow_type"] == kind]
        same = [done["id"], *(each for each in others if each != done["id"])][:2]
        if len(same) == 2:
            rows = await demo.get(f"/api/v1/traces:compare?ids={same[0]}&ids={same[1]}")
            assert {each["id"] for each in rows["traces"]} == set(same)
            assert rows["rows"]
