"""Versions of the configuration: changed, compared and restored, by one at a time, and each act recorded."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import text

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql.config_store import SqlConfig
from pilothouse_server.domain.audit import Outcome
from pilothouse_server.domain.errors import (
    EtagMismatch,
    InvalidArgument,
    NotFound,
    RequestIdReused,
)
from pilothouse_server.domain.platform import (
    SETTINGS,
    Change,
    PlatformConfig,
    effective,
    every_override,
    shown_duration,
)
from pilothouse_server.services.configuration import Configuration
from tests.config.conftest import ADA, DEFAULTS, HOUR, SECOND, Panel

OFFLINE, RATE = "agents.offline_after", "commands.batch_rate"
ID = "0199f5a0-0000-7000-8000-000000000000"


async def test_while_nothing_is_set_the_environment_decides(panel: Panel) -> None:
    await panel.one.start()
    assert (panel.one.version.version, panel.one.version.overrides) == (0, {})
    assert panel.one.current() == DEFAULTS
    assert await panel.records() == []


async def test_what_is_set_is_in_force_at_once_and_the_rest_stays(panel: Panel) -> None:
    done = await panel.one.update({OFFLINE: 90 * SECOND}, [OFFLINE], ADA)
    assert (done.current.version, done.current.actor, done.current.reason) == (1, "ada", "because")
    assert done.changes == [Change(OFFLINE, "", "90s")]
    assert panel.one.current() == replace(DEFAULTS, agent_offline_after_us=90 * SECOND)
    again = await panel.one.update({RATE: 0.5}, [RATE], ADA)
    assert again.current.overrides == {OFFLINE: 90 * SECOND, RATE: 0.5}
    (first, second) = await panel.records()
    assert (first.verb, first.target_kind, first.target_id, first.outcome) == (
        "config.update", "config", "platform", Outcome.ACCEPTED,
    )  # fmt: skip
    assert first.before == {"version": "0", OFFLINE: ""}
    assert first.after == {"version": "1", OFFLINE: "90s"}
    assert second.after == {"version": "2", RATE: "0.5"}


async def test_a_field_that_is_named_without_a_value_has_its_default_again(panel: Panel) -> None:
    await panel.one.update({OFFLINE: 90 * SECOND, RATE: 5.0}, [OFFLINE, RATE], ADA)
    done = await panel.one.update({}, [OFFLINE], ADA)
    assert done.changes == [Change(OFFLINE, "90s", "")]
    assert panel.one.current() == replace(DEFAULTS, batch_rate=5.0)


async def test_a_change_that_changes_nothing_makes_no_version(panel: Panel) -> None:
    await panel.one.update({RATE: 5.0}, [RATE], ADA)
    done = await panel.one.update({RATE: 5.0}, [RATE, OFFLINE], ADA)
    assert (done.current.version, list(done.changes)) == (1, [])
    assert len(await panel.records()) == 1


async def test_who_only_asks_changes_nothing_and_is_told_what_would_change(panel: Panel) -> None:
    edit = replace(ADA, validate_only=True)
    done = await panel.one.update({RATE: 5.0}, [RATE], edit)
    assert done.changes == [Change(RATE, "", "5.0")]
    assert panel.one.current() == DEFAULTS
    with pytest.raises(EtagMismatch):
        await panel.one.update({RATE: 5.0}, [RATE], replace(edit, etag="7"))
    assert await panel.records() == []


async def test_of_two_who_saw_the_same_the_second_is_refused_and_that_is_recorded(
    panel: Panel,
) -> None:
    edit = replace(ADA, etag="0")
    answers = await asyncio.gather(
        *(panel.one.update({RATE: rate}, [RATE], edit) for rate in (5.0, 6.0)),
        return_exceptions=True,
    )
    (refused,) = [each for each in answers if isinstance(each, EtagMismatch)]
    assert (refused.kind, refused.etag) == ("config", "1")
    records = await panel.records()
    assert [each.outcome for each in records] == [Outcome.ACCEPTED, Outcome.REFUSED]
    assert records[1].error is not None
    assert (records[1].error.code, records[1].after) == ("ETAG_MISMATCH", {})


async def test_a_repeated_request_changes_nothing_more_and_is_told_what_it_did(
    panel: Panel,
) -> None:
    edit = replace(ADA, request_id=ID)
    first = await panel.one.update({RATE: 5.0}, [RATE], edit)
    await panel.one.update({RATE: 7.0}, [RATE], ADA)
    again = await panel.one.update({RATE: 5.0}, [RATE], edit)
    assert again.changes == first.changes
    assert (again.current.version, again.current.overrides) == (2, {RATE: 7.0})
    with pytest.raises(RequestIdReused):
        await panel.one.update({RATE: 8.0}, [RATE], edit)
    with pytest.raises(RequestIdReused):
        await panel.one.restore(1, edit)
    outcomes = [each.outcome for each in await panel.records()]
    assert outcomes == [Outcome.ACCEPTED] * 2 + [Outcome.REFUSED] * 2


async def test_restoring_makes_a_new_version_of_an_old_one(panel: Panel) -> None:
    await panel.one.update({RATE: 5.0}, [RATE], ADA)
    await panel.one.update({OFFLINE: 90 * SECOND}, [OFFLINE], ADA)
    back = await panel.one.restore(1, ADA)
    assert (back.current.version, back.current.overrides) == (3, {RATE: 5.0})
    assert back.changes == [Change(OFFLINE, "90s", "")]
    assert (await panel.one.restore(0, ADA)).current.overrides == {}
    assert panel.one.current() == DEFAULTS
    with pytest.raises(NotFound) as missing:
        await panel.one.restore(99, ADA)
    assert missing.value.reason == "CONFIG_VERSION_NOT_FOUND"
    with pytest.raises(EtagMismatch):
        await panel.one.restore(1, replace(ADA, etag="1"))
    verbs = [(each.verb, each.outcome) for each in await panel.records()][2:]
    assert verbs == [
        ("config.restore", outcome) for outcome in [Outcome.ACCEPTED] * 2 + [Outcome.REFUSED] * 2
    ]


async def test_versions_are_compared_with_one_another_and_with_nothing(panel: Panel) -> None:
    await panel.one.update({RATE: 5.0}, [RATE], ADA)
    await panel.one.update({RATE: 6.0, OFFLINE: 1_500_000}, [RATE, OFFLINE], ADA)
    assert await panel.one.diff(1, 2) == [Change(OFFLINE, "", "1.500s"), Change(RATE, "5.0", "6.0")]
    assert await panel.one.diff(0, 0) == [Change(OFFLINE, "", "1.500s"), Change(RATE, "", "6.0")]
    assert await panel.one.diff(2, 1) == [Change(OFFLINE, "1.500s", ""), Change(RATE, "6.0", "5.0")]
    for one, other in ((3, 0), (1, 3), (2**64 - 1, 0)):
        with pytest.raises(NotFound):
            await panel.one.diff(one, other)


async def test_the_newest_versions_are_kept_and_listed_page_by_page(panel: Panel) -> None:
    store = SqlConfig(panel.database, kept=4)
    four = Configuration(store, SystemClock(), panel.rung, DEFAULTS)
    for rate in range(1, 7):
        await four.update({RATE: float(rate)}, [RATE], ADA)
    first = await four.versions(3, "")
    rest = await four.versions(3, first.next_token)
    assert [each.version for each in (*first.versions, *rest.versions)] == [6, 5, 4, 3]
    assert not rest.next_token
    with pytest.raises(NotFound):
        await four.restore(2, ADA)


@pytest.mark.parametrize("path", [path for path, each in SETTINGS.items() if each.kept])
async def test_less_than_an_hour_is_not_kept_for(panel: Panel, path: str) -> None:
    for wrong in (1, HOUR - 1):
        with pytest.raises(InvalidArgument) as refused:
            await panel.one.update({path: wrong}, [path], ADA)
        assert refused.value.field == f"config.{path}"
        assert "at least an hour" in refused.value.description
    for right in (HOUR, 0):
        await panel.one.update({path: right}, [path], ADA)
    assert getattr(panel.one.current(), SETTINGS[path].attribute) == 0


async def test_other_replicas_take_up_what_one_changed(panel: Panel) -> None:
    other = panel.replica(PlatformConfig(batch_limit=7))
    following = asyncio.create_task(other.run())
    try:
        seen = other.applied.version
        await panel.one.update({OFFLINE: 90 * SECOND}, [OFFLINE], ADA)
        assert await other.applied.wait(seen, 30)
        # What is not set is what its own environment says.
        assert other.current() == PlatformConfig(batch_limit=7, agent_offline_after_us=90 * SECOND)
        await other.update({OFFLINE: 60 * SECOND}, [OFFLINE], ADA)
        assert panel.one.current().agent_offline_after_us == 90 * SECOND
        await panel.one.start()
        assert panel.one.current().agent_offline_after_us == 60 * SECOND
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_who_watches_gets_what_is_and_then_every_change(panel: Panel) -> None:
    watch = panel.one.watch()
    version, config = await anext(watch)
    assert (version.version, config) == (0, DEFAULTS)
    waiting = asyncio.ensure_future(anext(watch))
    await panel.one.update({RATE: 5.0}, [RATE], ADA)
    version, config = await asyncio.wait_for(waiting, 30)
    assert (version.version, config.batch_rate) == (1, 5.0)
    await watch.aclose()


async def test_what_a_newer_server_set_is_kept_and_not_obeyed(panel: Panel) -> None:
    await panel.one.update({RATE: 5.0}, [RATE], ADA)
    await panel.database.write(
        lambda connection: connection.execute(
            text("UPDATE config_versions SET overrides = '{\"new.field\": 7}'")
        ).close()
    )
    fresh = panel.replica()
    await fresh.start()
    assert fresh.current() == DEFAULTS
    done = await fresh.update({RATE: 6.0}, [RATE], ADA)
    assert done.current.overrides == {"new.field": 7, RATE: 6.0}
    assert await fresh.diff(0, 1) == [Change("new.field", "", "7")]


def test_every_field_of_the_configuration_can_be_set() -> None:
    odd = dict.fromkeys(SETTINGS, 7 * HOUR)
    assert every_override(effective(PlatformConfig(), odd)) == odd
    assert {each.attribute for each in SETTINGS.values()} == set(PlatformConfig.__slots__)


@pytest.mark.parametrize(
    ("us", "shown"), [(0, "0s"), (30 * SECOND, "30s"), (250_000, "0.250s"), (1, "0.000001s")]
)
def test_durations_are_written_as_in_json(us: int, shown: str) -> None:
    assert shown_duration(us) == shown
