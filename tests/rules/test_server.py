"""Rules on a real server: over gRPC, REST and the command line, and what becomes of alerts when one is changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration

import pilothouse.aio
from pilothouse import errors
from pilothouse.v1 import alerts_pb2, events_pb2, metrics_pb2
from pilothouse.v1 import rules_pb2 as pb
from pilothouse.v1.enums_pb2 import Severity
from pilothouse.v1.events_pb2 import Event
from tests.client.cli import Done, type_command
from tests.e2e.support import Pilothouse
from tests.support import wait_until

# The first test of each database waits for a server to start.
pytestmark = [pytest.mark.xdist_group("rules on a server"), pytest.mark.timeout(180)]

PATIENCE = 30.0
"""Seconds in which a server that shares its machine with many does what takes it one."""

M = pb.AlertMetric
FIRING, RESOLVED = alerts_pb2.ALERT_STATE_FIRING, alerts_pb2.ALERT_STATE_RESOLVED


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sqlite", "postgresql"])
async def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Pilothouse]:
    """`pilothouse-server up` on each database, for all tests of the file: each has rules of its own."""
    url: dict[str, str] = {}
    if request.param == "postgresql":
        url["PILOTHOUSE_DATABASE_URL"] = request.getfixturevalue("module_database_url")
    async with Pilothouse(tmp_path_factory.mktemp("rules") / "data", **url) as running:

        async def shipped() -> bool:
            return bool((await running.get("/api/v1/rules"))["rules"])

        # It answers before it leads, and whoever leads first brings the rules.
        await wait_until(shipped, within=60, what="the shipped rules")
        yield running


@pytest.fixture
async def client(server: Pilothouse) -> AsyncIterator[pilothouse.aio.Client]:
    async with pilothouse.aio.Client(server.grpc) as connected:
        yield connected


def waiting(limit: float, **fields: Any) -> pb.AlertRule:
    """More than so much waits."""
    threshold = pb.Threshold(
        metric=M.ALERT_METRIC_QUEUE_DEPTH,
        comparison=pb.COMPARISON_GREATER_THAN,
        threshold=limit,
    )
    return pb.AlertRule(condition=pb.Condition(threshold=threshold), **fields)


async def typed(server: Pilothouse, *arguments: str) -> Done:
    return await asyncio.to_thread(type_command, "--server", server.grpc, *arguments)


async def test_a_rule_is_edited_while_it_fires(client: pilothouse.aio.Client) -> None:
    """Only its own instances begin anew, and only by what decides."""
    await client.create_rule(waiting(0, name="Waiting", labels={"team": "web"}), reason="look")
    await client.create_rule(waiting(0, name="Other"))
    queued = Event(workflow_id="w", type=events_pb2.EVENT_TYPE_WORKFLOW_CREATED, source="test")
    await client.events.PublishEvent(events_pb2.PublishEventRequest(event=queued))

    async def alerts(rule_id: str) -> list[alerts_pb2.Alert]:
        return [each async for each in client.list_alerts(filter=f"rule = {rule_id}")]

    async def fires(rule_id: str, but: str = "") -> alerts_pb2.Alert:
        async def found() -> alerts_pb2.Alert | None:
            alert = await firing(rule_id)
            return None if alert is None or alert.id == but else alert

        alert = await wait_until(found, within=PATIENCE, what=f"an alert of {rule_id}")
        assert alert is not None
        return alert

    async def firing(rule_id: str) -> alerts_pb2.Alert | None:
        return next((each for each in await alerts(rule_id) if each.state == FIRING), None)

    first, other = await fires("waiting"), await fires("other")
    rule = client.rule("waiting")
    described = await rule.update(pb.AlertRule(description="x"), "description", etag="1")
    assert (described.resets_instances, described.rule.version) == (False, 2)
    moved = pb.AlertRule(labels={"team": "ops"})
    assert (await rule.update(moved, "labels")).resets_instances

    second = await fires("waiting", but=first.id)
    assert dict(second.labels) == {"team": "ops"}
    ended = (await client.alerts.GetAlert(alerts_pb2.GetAlertRequest(alert_id=first.id))).alert
    assert ended.state == RESOLVED
    assert other == await firing("other")
    await rule.disable(reason="enough")

    async def none() -> bool:
        return await firing("waiting") is None

    await wait_until(none, within=PATIENCE, what="the end of the alert")
    shown = await rule.get()
    assert (shown.enabled, shown.version, shown.instance_count) == (False, 4, 0)
    await rule.enable()
    await fires("waiting", but=second.id)

    async def counted() -> bool:
        rules = {each.id: each for each in await client.list_rules()}
        return rules["waiting"].instance_count == 1 and rules["waiting"].meters.evaluations > 0

    await wait_until(counted, within=PATIENCE, what="what became of it")
    await rule.delete(reason="gone")
    await wait_until(none, within=PATIENCE, what="the end of it")
    with pytest.raises(errors.NotFound):
        await rule.get()
    assert (await rule.get(version=1)).labels["team"] == "web"


async def test_a_rule_is_made_over_http_and_changed_field_by_field(server: Pilothouse) -> None:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
        condition = {
            "all": {
                "conditions": [
                    {"threshold": {"metric": "error_rate", "window": "300s", "threshold": 0.05}},
                    {"threshold": {"metric": "queue_depth", "threshold": 3}},
                ]
            }
        }
        for each in condition["all"]["conditions"]:
            each["threshold"]["comparison"] = "greater_than"
        body = {"rule": {"name": "Both", "severity": "critical", "condition": condition}}
        made = await http.post("/api/v1/rules", json=body)
        assert made.status_code == 200, made.text
        assert (made.json()["rule"]["id"], made.json()["rule"]["enabled"]) == ("both", True)
        patch = {"rule": {"description": "why"}, "update_mask": "description", "etag": "1"}
        changed = await http.patch("/api/v1/rules/both", json=patch)
        assert changed.status_code == 200, changed.text
        assert changed.json()["rule"]["version"] == "2"
        stale = await http.patch("/api/v1/rules/both", json=patch)
        assert (stale.status_code, stale.json()["reason"]) == (409, "ETAG_MISMATCH")
        deep = "condition.threshold.threshold"
        patch = {"rule": {"condition": {"threshold": {"threshold": 7}}}, "update_mask": deep}
        wrong = await http.patch("/api/v1/rules/both", json=patch)
        assert wrong.status_code == 400
        assert wrong.json()["violations"][0]["field"].startswith("rule.condition.threshold.")
        right = await http.patch("/api/v1/rules/queue-depth", json=patch)
        assert right.json()["rule"]["condition"]["threshold"]["threshold"] == 7
        assert right.json()["resets_instances"] is True
        condition["all"]["conditions"][1]["threshold"]["window"] = "60s"
        refused = await http.patch(
            "/api/v1/rules/both", json={"rule": {"condition": condition}, "updateMask": "condition"}
        )
        assert refused.json()["violations"] == [
            {
                "field": "rule.condition.all.conditions[1].threshold.window",
                "description": "has no meaning for queue_depth, which is of now; leave it out",
            }
        ]
        versions = (await http.get("/api/v1/rules/both/versions")).json()["versions"]
        assert [each["version"] for each in versions] == ["2", "1"]
        assert versions[0]["differences"] == [
            {"path": "description", "before": "", "after": '"why"'}
        ]
        difference = await http.get("/api/v1/rules/both:diff?from_version=1")
        assert difference.json()["differences"] == versions[0]["differences"]
        assert (await http.post("/api/v1/rules/both:disable", json={})).status_code == 200
        silent = {"rule": {"description": "still off"}, "update_mask": "description,enabled"}
        kept = (await http.patch("/api/v1/rules/both", json=silent)).json()["rule"]
        assert (kept["description"], kept["enabled"]) == ("still off", False)
        assert (await http.delete("/api/v1/rules/both")).status_code == 200
        back = await http.post("/api/v1/rules/both:restore", json={"version": 1})
        assert back.json()["rule"]["version"] == "6"
        missing = await http.get("/api/v1/rules/both?version=9")
        assert (missing.status_code, missing.json()["reason"]) == (404, "RULE_VERSION_NOT_FOUND")
        document = (await http.get("/api/v1/rules:export?rule_ids=both")).json()["document"]
        again = await http.post("/api/v1/rules:import", json={"document": document})
        assert [each["id"] for each in again.json()["unchanged"]] == ["both"]


async def test_the_same_words_on_every_surface(
    server: Pilothouse, client: pilothouse.aio.Client, tmp_path: Path
) -> None:
    rule = waiting(-1, id="bad", name="Bad")
    with pytest.raises(errors.InvalidArgument) as refusal:
        await client.create_rule(rule)
    (violation,) = refusal.value.violations
    assert violation.field == "rule.condition.threshold.threshold"
    assert "always holds: queue_depth is 0 or more" in violation.description
    file = tmp_path / "rules.yaml"
    condition = '{metric: queue_depth, comparison: ">", threshold: -1}'
    file.write_text(f"rules:\n- {{id: bad, name: Bad, condition: {condition}}}\n", "utf-8")
    done = await typed(server, "rules", "import", str(file))
    assert done.code == 13
    assert violation.description in done.err
    assert 'rules["bad"].condition.threshold.threshold' in done.err


async def test_a_file_is_taken_and_given_by_the_command_line(
    server: Pilothouse, tmp_path: Path
) -> None:
    exported = await typed(server, "rules", "export")
    assert exported.code == 0, exported.err
    file = tmp_path / "rules.yaml"
    file.write_text(exported.out.replace("name: Latency p95", "name: Slow"), "utf-8")
    only = await typed(server, "rules", "import", str(file), "--validate-only")
    assert only.code == 0, only.err
    done = await typed(server, "rules", "import", str(file), "--reason", "renamed")
    assert "UPDATED" in done.out
    assert "Slow" in (await typed(server, "rules", "list")).out
    versions = await typed(server, "rules", "list-versions", "latency-p95")
    assert "renamed" in versions.out
    prometheus = await typed(server, "rules", "export", "--format", "prometheus")
    assert prometheus.out.startswith("groups:")
    missing = await typed(server, "rules", "import", str(tmp_path / "nothing.yaml"))
    assert missing.code == 2
    (tmp_path / "rule.json").write_text(
        '{"id": "agent-offline", "condition": {"threshold": {"threshold": 90}}}', "utf-8"
    )
    masked = ("--update-mask", "condition.threshold.threshold")
    done = await typed(server, "rules", "update", "--rule", f"@{tmp_path}/rule.json", *masked)
    assert done.code == 0, done.err
    for mask, said in (
        ("version", "cannot be changed"),
        ("colour", "is no field"),
        ("labels.x", "try 'labels'"),
    ):
        done = await typed(
            server, "rules", "update", "--rule", '{"id": "x"}', "--update-mask", mask
        )
        assert said in done.err, done


async def test_a_document_of_more_rules_than_there_may_be_is_refused_at_once(
    client: pilothouse.aio.Client,
) -> None:
    rule = "- {{name: N{}, condition: {{metric: queue_depth, comparison: '>', threshold: 1}}}}"
    document = "rules:\n" + "\n".join(rule.format(number) for number in range(1001))
    with pytest.raises(errors.LimitExceeded, match="rules: at most 1,000"):
        await client.rules.ImportRules(pb.ImportRulesRequest(document=document))


async def test_what_the_contract_bounds_is_refused_by_it(client: pilothouse.aio.Client) -> None:
    deep = pb.Condition(threshold=waiting(1).condition.threshold)
    for _ in range(6):
        deep = pb.Condition(all=pb.Conditions(conditions=[deep]))
    minute = Duration(seconds=60)
    cases = {
        "rule.condition": pb.AlertRule(name="A"),
        "rule.name": waiting(1),
        "rule.for_duration": waiting(1, name="A", for_duration=Duration(seconds=-1)),
        'rule.labels["1x"]': waiting(1, name="A", labels={"1x": "y"}),
        "rule.severity": waiting(1, name="A", severity=Severity.SEVERITY_ERROR),
        "rule.severity ": waiting(1, name="A", severity=Severity.ValueType(99)),
        "rule.description": waiting(1, name="A", description="a\0b"),
        "rule.condition.all.conditions[0].all": pb.AlertRule(name="A", condition=deep),
        "rule.condition.threshold.window": pb.AlertRule(
            name="A",
            condition=pb.Condition(
                threshold=pb.Threshold(
                    metric=M.ALERT_METRIC_AGENT_SILENCE,
                    comparison=pb.COMPARISON_GREATER_THAN,
                    threshold=60,
                    window=minute,
                )
            ),
        ),
        "rule.condition.threshold.dimension": pb.AlertRule(
            name="A",
            condition=pb.Condition(
                threshold=pb.Threshold(
                    metric=M.ALERT_METRIC_QUEUE_DEPTH,
                    dimension=metrics_pb2.METRIC_DIMENSION_AGENT,
                    comparison=pb.COMPARISON_GREATER_THAN,
                )
            ),
        ),
    }
    for field, rule in cases.items():
        with pytest.raises(errors.InvalidArgument) as refusal:
            await client.create_rule(rule)
        assert refusal.value.violations[0].field.startswith(field.strip()), refusal.value
