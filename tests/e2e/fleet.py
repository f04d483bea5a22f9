"""A server with something of everything in it: the demo's engine at work, and what people make on every page.

Ids are what the server answered, by the kind of thing.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.e2e.support import Pilothouse
from tests.support import wait_until

SHORT = 16
"""Workflows that the engine makes."""


async def ask(server: Pilothouse, method: str, body: dict[str, Any]) -> dict[str, Any]:
    """A unary call through the bridge."""
    answer = await server.post(f"/pilothouse.v1.{method}", body)
    assert answer.status_code == 200, f"{method}: {answer.text}"
    said: dict[str, Any] = answer.json()
    return said


@asynccontextmanager
async def demo_engine(server: Pilothouse, folder: Path) -> AsyncGenerator[None]:
    """The demo's engine, a process of its own."""
    arguments = {"server": server.grpc, "data-dir": folder, "pace": 600, "seed": 4}
    arguments |= {"max-workflows": SHORT, "parent": os.getpid()}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pilothouse_server.demo"),
        *(f"--{name}={value}" for name, value in arguments.items()),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(40):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise


async def ended(server: Pilothouse) -> list[str]:
    """The ids of the workflows that ended, once a few have."""

    async def some() -> list[str]:
        body = {"filter": "state = COMPLETED", "pageSize": 5}
        found = await ask(server, "WorkflowService/ListWorkflows", body)
        ids = [each["id"] for each in found.get("workflows", [])]
        return ids if len(ids) >= 2 else []

    return await wait_until(some, within=90, what="the end of two workflows")


async def alarm(server: Pilothouse) -> dict[str, str]:
    """What alerts are made of, and one that fires; says their ids."""
    waits = {"type": "EVENT_TYPE_WORKFLOW_CREATED", "workflowId": "waits", "workflowType": "report"}
    await ask(server, "EventService/PublishEvent", {"event": {**waits, "source": "tests"}})
    waiting = {
        "metric": "ALERT_METRIC_QUEUE_DEPTH",
        "threshold": 0,
        "comparison": "COMPARISON_GREATER_THAN",
    }
    channel = {"name": "on call", "enabled": True, "webhook": {"url": "http://127.0.0.1:9/hook"}}
    channel_id = (await ask(server, "ChannelService/CreateChannel", {"channel": channel}))[
        "channel"
    ]["id"]
    escalation = {"name": "nights", "steps": [{"after": "300s", "channels": [channel_id]}]}
    ids = {
        "channel": channel_id,
        "escalation": (
            await ask(server, "EscalationService/CreateEscalation", {"escalation": escalation})
        )["escalation"]["id"],
    }
    await ask(
        server,
        "HeartbeatService/SetHeartbeat",
        {"heartbeat": {"id": "nightly", "interval": "3600s", "severity": "SEVERITY_CRITICAL"}},
    )
    for name, severity in (("Work waits", "CRITICAL"), ("Much work waits", "WARNING")):
        rule = {"name": name, "enabled": True, "severity": f"SEVERITY_{severity}"}
        made = await ask(
            server,
            "RuleService/CreateRule",
            {"rule": {**rule, "condition": {"threshold": waiting}, "channels": [channel_id]}},
        )
        ids["rule"] = made["rule"]["id"]

    async def fired() -> str:
        body = {"filter": f"rule = {json.dumps(ids['rule'])} AND state = FIRING"}
        alerts = (await ask(server, "AlertService/ListAlerts", body)).get("alerts", [])
        return str(alerts[0]["id"]) if alerts else ""

    ids["alert"] = await wait_until(fired, within=30, what="an alert")
    return ids


async def furnish(server: Pilothouse) -> dict[str, str]:
    """Makes one of each, and says their ids."""
    ids = await alarm(server)
    matcher = {"name": "alertname", "type": "MATCH_TYPE_EQUAL", "value": "Much work waits"}
    silence = {"matchers": [matcher], "untilResolved": True, "comment": "known"}
    await ask(server, "SilenceService/CreateSilence", {"silence": silence})
    budget = {
        "name": "a run",
        "scope": "BUDGET_SCOPE_RUN",
        "enabled": True,
        "ceilings": {"duration": "60s"},
    }
    made = await ask(server, "BudgetService/CreateBudget", {"budget": budget})
    ids["budget"] = made["budget"]["id"]
    ids["workflow"], ids["other"] = (await ended(server))[:2]
    batch = {
        "action": "CONTROL_ACTION_PAUSE",
        "workflowIds": [ids["workflow"], ids["other"]],
    }
    made = await ask(server, "BatchService/CreateBatch", batch)
    ids["batch"] = made["batch"]["id"]
    await ask(
        server,
        "ConfigService/UpdateConfig",
        {"config": {"agents": {"offlineAfter": "45s"}}, "updateMask": "agents.offlineAfter"},
    )
    ids["agent"] = (await ask(server, "AgentService/ListAgents", {}))["agents"][0]["id"]
    ids["event"] = (await ask(server, "EventService/ListEvents", {"pageSize": 1}))["events"][0][
        "id"
    ]
    return ids
