"""What is done to rules, silences, channels, escalations and heartbeats is in the audit log, in its own transaction;
what was not done, or is the server's own, is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql.channel_store import SqlChannels
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.escalation_store import SqlEscalations
from pilothouse_server.adapters.sql.heartbeat_store import SqlHeartbeats
from pilothouse_server.adapters.sql.rule_store import SqlRules, ship
from pilothouse_server.adapters.sql.silence_store import SqlSilences
from pilothouse_server.domain.alerts.matchers import Matcher, MatchType
from pilothouse_server.domain.alerts.silences import Draft
from pilothouse_server.domain.audit import Author, Entry, Outcome
from pilothouse_server.domain.errors import EtagMismatch, NotFound
from pilothouse_server.domain.notifications.channels import Escalation, EscalationStep, Heartbeat
from pilothouse_server.services.alerts.rulebook import Edit, Rulebook
from pilothouse_server.services.alerts.silencing import Silences
from pilothouse_server.services.escalations import Escalations
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.heartbeats import Heartbeats
from pilothouse_server.services.ids import uuid7
from tests.audit.conftest import Archive
from tests.channels.build import webhook
from tests.rules.build import rule

ADA = Edit("ada", "because")


@pytest.fixture
def archive(database: Database) -> Archive:
    """Nothing was done yet."""
    return Archive(database)


async def told(archive: Archive) -> list[tuple[str, str, str]]:
    """(who, what, to what) of each record; the chain is whole."""
    assert not (await archive.verdict()).verdict.problem
    return [(each.actor, each.verb, each.target_id) for each in await records(archive)]


async def records(archive: Archive) -> list[Entry]:
    found = [entry async for part in archive.audit.export("") for entry in part]
    assert all(each.outcome == Outcome.ACCEPTED for each in found)
    assert all(each.verb.startswith(f"{each.target_kind}.") for each in found)
    return found


async def test_rules(archive: Archive) -> None:
    book = Rulebook(SqlRules(archive.database), SystemClock(), Changes())
    await archive.database.write(lambda c: ship(c, [rule(id="own", name="Own")]))
    await book.create(rule(id="r", name="R"), ADA)
    await book.update("r", lambda before: replace(before, description="x"), "", Edit("ben", "y"))
    await book.update("r", lambda before: before, "", Edit("cem"))
    await book.enable("r", False, ADA)
    with pytest.raises(EtagMismatch):
        await book.delete("r", "1", ADA)
    await book.delete("r", "", ADA)
    assert await told(archive) == [
        ("ada", "rule.create", "r"), ("ben", "rule.update", "r"), ("ada", "rule.update", "r"),
        ("ada", "rule.delete", "r"),
    ]  # fmt: skip
    created, changed, disabled, deleted = await records(archive)
    assert (created.before, created.after["version"], created.reason) == ({}, "1", "because")
    assert (changed.before, changed.after["version"]) == ({"version": "1"}, "2")
    assert (disabled.after["enabled"], deleted.before, deleted.after) == (
        "false", {"version": "3"}, {},
    )  # fmt: skip


async def test_silences(archive: Archive) -> None:
    silences = Silences(SqlSilences(archive.database), SystemClock(), Changes(), uuid7)
    end_us = SystemClock().now_us() + 3_600_000_000
    draft = Draft((Matcher("severity", MatchType.EQUAL, "critical"),), "maintenance", end_us=end_us)
    made = (await silences.create(draft, actor="ada", request_id="")).silence
    for _ in range(2):
        await silences.expire(made.id, actor="ben", reason="done")
    assert await told(archive) == [
        ("ada", "silence.create", made.id),
        ("ben", "silence.expire", made.id),
    ]
    created, expired = await records(archive)
    assert (created.reason, created.after) == ("maintenance", {"matchers": 'severity="critical"'})
    assert expired.reason == "done"


async def test_channels_and_escalations(archive: Archive) -> None:
    channels = SqlChannels(archive.database)
    hook = webhook("https://example.com", updated_by="ada")
    for _ in range(2):
        await channels.create(hook, "7", "digest")
    await channels.replace(replace(hook, version=2, updated_by="ben"), 1)
    assert await channels.replace(replace(hook, version=2, updated_by="cem"), 1) is None
    escalations = Escalations(SqlEscalations(archive.database), SystemClock(), Changes())
    steps = (EscalationStep(0, ("ops",)),)
    await escalations.create(Escalation("e", "E", steps), actor="ada", request_id="")
    await escalations.update("e", lambda each: replace(each, name="F"), etag="", actor="ben")
    await escalations.delete("e", etag="", actor="cem")
    await channels.delete("ops", "", Author("cem", 7))
    assert await told(archive) == [
        ("ada", "channel.create", "ops"), ("ben", "channel.update", "ops"), ("ada", "escalation.create", "e"),
        ("ben", "escalation.update", "e"), ("cem", "escalation.delete", "e"), ("cem", "channel.delete", "ops"),
    ]  # fmt: skip
    renamed = (await records(archive))[3]
    assert (renamed.before, renamed.after) == (
        {"version": "1", "name": "E"}, {"version": "2", "name": "F"},
    )  # fmt: skip


async def test_heartbeats(archive: Archive) -> None:
    heartbeats = Heartbeats(SqlHeartbeats(archive.database), SystemClock(), Changes())
    for _ in range(2):
        await heartbeats.put(Heartbeat("nightly", 60_000_000), "ada")
    await heartbeats.beat("nightly")
    await heartbeats.put(Heartbeat("nightly", 90_000_000), "ben")
    await heartbeats.delete("nightly", "cem")
    with pytest.raises(NotFound):
        await heartbeats.delete("nightly", "cem")
    assert await told(archive) == [
        ("ada", "heartbeat.set", "nightly"), ("ben", "heartbeat.set", "nightly"),
        ("cem", "heartbeat.delete", "nightly"),
    ]  # fmt: skip
    changed = (await records(archive))[1]
    assert (changed.before, changed.after) == (
        {"interval_us": "60000000"}, {"interval_us": "90000000"},
    )  # fmt: skip
