"""kill -9 at any moment of a firing alert: a receiver hears of its beginning once, and of its end once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pilothouse.executor import Executor, ExecutorOptions, WorkflowRun
from tests.channels.receiver import Receiver, listening
from tests.e2e.support import Pilothouse
from tests.notifications.office import key_of
from tests.support import wait_until

PATIENCE = 60.0
KILLS = 2

RULE = {
    "id": "waiting",
    "name": "Waiting",
    "enabled": True,
    "severity": "SEVERITY_CRITICAL",
    "condition": {
        "threshold": {
            "metric": "ALERT_METRIC_QUEUE_DEPTH",
            "comparison": "COMPARISON_GREATER_THAN",
            "threshold": 0,
        }
    },
}


def heard(receiver: Receiver) -> Sequence[tuple[str, str]]:
    """Status and id of each notification of the rule; a repeat has the same id and says the same."""
    said: dict[str, Any] = {}
    for each in receiver.received:
        body = each.json
        if any(alert["labels"]["rule_id"] == "waiting" for alert in body["alerts"]):
            assert said.setdefault(key_of(each), body) == body
    return [(body["status"], key) for key, body in said.items()]


async def statuses(receiver: Receiver, *wanted: str) -> None:
    """Waits until just these were heard."""
    await wait_until(
        lambda: [status for status, _ in heard(receiver)] == list(wanted),
        within=PATIENCE,
        what=f"{wanted}",
    )


async def killed(server: Pilothouse, chance: random.Random) -> None:
    """Some time passes, and the server is killed and started again, a few times."""
    for _ in range(KILLS):
        await asyncio.sleep(chance.expovariate(4.0))
        await server.kill()
        await server.start()


async def prepare(server: Pilothouse, receiver: Receiver) -> None:
    """A channel, and a rule that fires as long as a workflow waits."""
    channel: dict[str, Any] = {"name": "Hook", "enabled": True, "isDefault": True}
    channel |= {"webhook": {"url": receiver.url()}, "groupBy": ["rule_id"], "groupInterval": "0s"}
    for path, body in (
        ("/api/v1/channels", {"channel": channel}),
        ("/api/v1/rules", {"rule": RULE}),
    ):
        answer = await server.post(path, body)
        assert answer.status_code == 200, answer.text


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [41, 42])
async def test_a_server_that_is_killed_again_and_again_tells_one_beginning_and_one_end(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    options = ExecutorOptions(call_timeout=2, max_delay=0.2, close_timeout=60)
    async with (
        listening() as receiver,
        Pilothouse(tmp_path / "data", PILOTHOUSE_WEBHOOK_HOSTS="127.0.0.1") as server,
        Executor(server.grpc, source="tests", options=options) as executor,
    ):
        await prepare(server, receiver)
        run: WorkflowRun = executor.workflow("wf-1", workflow_type="feature")
        run.created()
        await killed(server, chance)
        await statuses(receiver, "firing")
        run.started()
        run.completed()
        await killed(server, chance)
        await statuses(receiver, "firing", "resolved")
        await delivered(server)
        assert [status for status, _ in heard(receiver)] == ["firing", "resolved"]


async def delivered(server: Pilothouse) -> None:
    """Waits until nothing is on its way any more."""

    async def all_of_them() -> bool:
        found = await server.get("/api/v1/deliveries")
        states = [each["state"] for each in found["deliveries"]]
        return len(states) >= 2 and set(states) == {"DELIVERY_STATE_DELIVERED"}

    await wait_until(all_of_them, within=PATIENCE, what="every delivery")
