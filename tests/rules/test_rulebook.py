"""Rules made, changed, deleted and restored, each change with its version, on both databases."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import insert

from pilothouse_server.adapters.sql.rule_store import SqlRules, ship
from pilothouse_server.adapters.sql.tables_control import ALERT_RULE_VERSIONS
from pilothouse_server.domain.alerts import versions
from pilothouse_server.domain.alerts.documents import Document, rule_to_document
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.alerts.shipped import HEARTBEAT_MISSED, OVER_LIMIT, SHIPPED
from pilothouse_server.domain.alerts.versions import differences
from pilothouse_server.domain.errors import (
    AlreadyThere,
    EtagMismatch,
    InvalidArgument,
    InvalidPageToken,
    LimitExceeded,
    NotFound,
    RequestIdReused,
)
from pilothouse_server.services.alerts.following import RuleFollower
from pilothouse_server.services.alerts.rulebook import Edit, Rulebook
from pilothouse_server.services.fanout import Changes
from pilothouse_server.wire.alert_rules import versions_to_proto
from tests.rules.build import inhibited_by, rule, threshold
from tests.rules.conftest import ADA, Shelf
from tests.support import wait_until

REQUEST = "0f5ba3a4-4ac6-4b6e-8a0a-0d3a2c6b8d11"


async def store_version(shelf: Shelf, document: Document) -> None:
    """The fourth of a rule that was deleted with it."""
    row = {"rule_id": document["id"], "version": 4, "document": document, "deleted": True}
    row |= {"create_us": 7, "actor": "", "reason": "", "request_id": ""}
    query = insert(ALERT_RULE_VERSIONS).values(row)
    await shelf.database.write(lambda connection: connection.execute(query).rowcount)


async def test_a_new_rule_is_there_with_its_first_version(shelf: Shelf) -> None:
    made = await shelf.book.create(rule(id="mine"), ADA)
    assert (made.version, made.updated_by, made.create_us) == (1, "ada", shelf.clock.us)
    assert await shelf.every() == [made]
    (version, found), *none = (await shelf.book.versions("mine", 50, "")).versions
    assert (version.version, version.actor, version.reason) == (1, "ada", "because")
    assert (none, list(found), shelf.changes.version) == ([], [], 1)


async def test_an_id_is_made_of_the_name(shelf: Shelf) -> None:
    for name in ("Error rate (p95)!", "error-rate P95", "ÄÖÜ", "x" * 128):
        await shelf.book.create(rule(id="", name=name), ADA)
    assert set(await shelf.ids()) == {"error-rate-p95", "error-rate-p95-2", "rule", "x" * 59}


async def test_a_name_and_an_id_are_given_once(shelf: Shelf) -> None:
    await shelf.book.create(rule(id="a", name="A"), ADA)
    b = await shelf.book.create(rule(id="b", name="B"), ADA)
    for taken, field in ((rule(id="a", name="C"), "id"), (rule(id="c", name="A"), "name")):
        with pytest.raises(AlreadyThere) as refusal:
            await shelf.book.create(taken, ADA)
        assert refusal.value.field == field
    with pytest.raises(AlreadyThere):
        await shelf.book.update("b", lambda before: replace(before, name="A"), "", ADA)
    for own in (rule(id="rule-over-limit"), rule(id="x", name="RuleOverLimit")):
        with pytest.raises(AlreadyThere):
            await shelf.book.create(own, ADA)
    assert await shelf.every() == [(await shelf.every())[0], b]


async def test_a_repeated_request_makes_one_rule(shelf: Shelf) -> None:
    made = await shelf.book.create(rule(id=""), ADA, REQUEST)
    again = await shelf.book.create(rule(id=""), ADA, REQUEST)
    assert made == again
    changed = await shelf.book.enable(made.id, False, ADA)
    assert await shelf.book.create(rule(id=""), ADA, REQUEST) == changed
    with pytest.raises(RequestIdReused):
        await shelf.book.create(rule("queue_depth > 11", id=""), ADA, REQUEST)
    await shelf.book.delete(made.id, "", ADA)
    assert await shelf.book.create(rule(id=""), ADA, REQUEST) == made
    assert await shelf.ids() == []


async def test_a_change_is_a_version_and_says_whether_instances_begin_anew(shelf: Shelf) -> None:
    made = await shelf.book.create(rule(), ADA)
    shelf.clock.us += 5
    bob = Edit("bob", "too loud")
    said = await shelf.book.update("r", lambda r: replace(r, description="x"), "1", bob)
    assert (said.rule.version, said.rule.updated_by, said.resets) == (2, "bob", False)
    assert (said.rule.create_us, said.rule.update_us) == (made.create_us, shelf.clock.us)
    other = threshold("queue_depth > 20")
    moved = await shelf.book.update("r", lambda r: replace(r, condition=other), "", bob)
    assert (moved.rule.version, moved.resets) == (3, True)
    nothing = await shelf.book.update("r", lambda r: r, "3", bob)
    assert (nothing.rule, nothing.resets) == (moved.rule, False)
    with pytest.raises(EtagMismatch) as refusal:
        await shelf.book.update("r", lambda r: replace(r, description="y"), "2", bob)
    assert refusal.value.etag == "3"
    page = await shelf.book.versions("r", 50, "")
    assert [each.version for each, _ in page.versions] == [3, 2, 1]
    assert [[d.path for d in found] for _, found in page.versions] == [
        ["condition.threshold"],
        ["description"],
        [],
    ]


async def test_enabling_twice_is_one_change(shelf: Shelf) -> None:
    await shelf.book.create(rule(), ADA)
    assert (await shelf.book.enable("r", True, ADA)).version == 1
    for _ in range(2):
        off = await shelf.book.enable("r", False, ADA)
        assert (off.version, off.enabled) == (2, False)


async def test_a_deleted_rule_comes_back_as_it_was(shelf: Shelf) -> None:
    made = await shelf.book.create(rule(labels={"team": "web"}), ADA)
    await shelf.book.delete("r", "1", Edit("bob", "noise"))
    assert await shelf.every() == []
    for missing in (shelf.book.delete("r", "", ADA), shelf.book.enable("r", True, ADA)):
        with pytest.raises(NotFound):
            await missing
    (newest, _), _ = (await shelf.book.versions("r", 50, "")).versions
    assert (newest.version, newest.deleted, newest.actor, newest.reason) == (
        2,
        True,
        "bob",
        "noise",
    )
    with pytest.raises(EtagMismatch):
        await shelf.book.restore("r", 1, "1", ADA)
    back = await shelf.book.restore("r", 1, "2", ADA)
    assert back.rule == replace(made, version=3)
    assert (await shelf.book.restore("r", 1, "", ADA)).rule.version == 3
    gone, there = await shelf.book.diff("r", 2, 3), await shelf.book.diff("r", 1, 0)
    assert (there, {each.before for each in gone}) == ([], {""})
    assert 'labels["team"]' in {each.path for each in gone}


async def test_what_an_old_version_names_has_to_be_there_still(shelf: Shelf) -> None:
    await shelf.book.create(rule(name="Old"), ADA)
    await shelf.book.update("r", lambda r: replace(r, name="New"), "", ADA)
    await shelf.book.create(rule(id="other", name="Old"), ADA)
    with pytest.raises(AlreadyThere):
        await shelf.book.restore("r", 1, "", ADA)


async def test_a_version_whose_channels_are_gone_is_not_restored(shelf: Shelf) -> None:
    for field, named in (("channels", ["pager"]), ("escalation", "night")):
        old = {**rule_to_document(rule()), "id": field, field: named}
        await store_version(shelf, old)
        with pytest.raises(InvalidArgument, match=f"there is no {field.removesuffix('s')} '"):
            await shelf.book.restore(field, 4, "", ADA)
        assert await shelf.ids() == []


async def test_a_version_that_is_not_there_is_named(shelf: Shelf) -> None:
    await shelf.book.create(rule(), ADA)
    with pytest.raises(NotFound, match="rule version 'r/7'"):
        await shelf.book.version("r", 7)
    for version in (2**63, 2**64 - 1):
        with pytest.raises(NotFound, match=f"rule version 'r/{version}'"):
            await shelf.book.diff("r", 1, version)
    with pytest.raises(NotFound, match="rule 'x'"):
        await shelf.book.restore("x", 1, "", ADA)
    with pytest.raises(NotFound, match="rule 'x'"):
        await shelf.book.versions("x", 10, "")


async def test_versions_come_page_by_page_and_the_oldest_are_removed(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pilothouse_server.adapters.sql.rule_store.VERSIONS_KEPT", 5)
    await shelf.book.create(rule(), ADA)
    for number in range(7):
        described = partial(replace, description=str(number))
        await shelf.book.update("r", described, "", ADA)
    seen, token = list[int](), ""
    while True:
        page = await shelf.book.versions("r", 2, token)
        seen += [each.version for each, _ in page.versions]
        token = page.next_token
        if not token:
            break
        assert all(found for _, found in page.versions)
    assert seen == [8, 7, 6, 5, 4]
    first = (await shelf.book.versions("r", 2, "")).next_token
    with pytest.raises(InvalidPageToken):
        await shelf.book.versions("other", 2, first)


async def test_rules_deleted_longest_ago_are_forgotten(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pilothouse_server.adapters.sql.rule_store.DELETED_KEPT", 2)
    for name in "abcd":
        shelf.clock.us += 1
        await shelf.book.create(rule(id=name, name=name), ADA)
        await shelf.book.delete(name, "", ADA)
        if name == "a":
            await shelf.book.restore("a", 1, "", ADA)
    kept = list[str]()
    for name in "abcd":
        try:
            await shelf.book.version(name, 0)
            kept.append(name)
        except NotFound:
            continue
    assert kept == ["a", "c", "d"], "what is there again is not forgotten"


async def test_only_checking_stores_nothing(shelf: Shelf) -> None:
    only = replace(ADA, validate_only=True)
    assert (await shelf.book.create(rule(), only)).version == 1
    with pytest.raises(InvalidArgument):
        await shelf.book.create(rule("queue_depth >= 0"), only)
    assert await shelf.ids() == []
    with pytest.raises(NotFound):
        await shelf.book.version("r", 0)
    assert shelf.changes.version == 0


async def test_a_rule_is_judged_with_the_others(shelf: Shelf) -> None:
    by_b, by_a = inhibited_by("alertname=B"), inhibited_by("alertname=A")
    await shelf.book.create(rule(id="a", name="A", inhibited_by=(by_b,)), ADA)
    with pytest.raises(InvalidArgument, match="quiet"):
        await shelf.book.create(rule(id="b", name="B", inhibited_by=(by_a,)), ADA)
    with pytest.raises(InvalidArgument, match="no channel at all yet"):
        await shelf.book.create(rule(id="b", channels=("ops",)), ADA)


async def test_a_document_is_brought_in_whole_or_not_at_all(shelf: Shelf) -> None:
    await shelf.book.create(rule(id="a", name="A"), ADA)
    await shelf.book.create(rule(id="b", name="B"), ADA)
    await shelf.book.create(rule(id="same", name="Same"), ADA)
    document = [
        rule(id="a", name="B"),
        rule(id="b", name="A"),
        rule(id="", name="Same"),
        rule(id="", name="New"),
    ]
    only = await shelf.book.bring_in(document, replace(ADA, validate_only=True))
    done = await shelf.book.bring_in(document, ADA)
    assert done == only
    assert [each.id for each in done.created] == ["new"]
    assert [(each.id, each.name, each.version) for each in done.updated] == [
        ("a", "B", 2),
        ("b", "A", 2),
    ]
    assert [(each.id, each.version) for each in done.unchanged] == [("same", 1)]
    again = await shelf.book.bring_in(document, ADA)
    assert (again.created, again.updated, len(again.unchanged)) == ([], [], 4)
    for bad in (rule("queue_depth >= 0", id="bad", name="Bad"), rule(id="a", name="Same")):
        with pytest.raises((InvalidArgument, AlreadyThere)):
            await shelf.book.bring_in([rule(id="fine", name="Fine"), bad], ADA)
    with pytest.raises(InvalidArgument, match="twice in the document"):
        await shelf.book.bring_in([rule(id="x", name="X"), rule(id="x", name="Y")], ADA)
    assert "fine" not in await shelf.ids()


async def test_the_paths_of_a_document_name_the_rule(shelf: Shelf) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        await shelf.book.bring_in([rule("queue_depth >= 0", id="bad")], ADA)
    assert refusal.value.field == 'rules["bad"].condition.threshold.threshold'


async def test_many_rules_are_brought_in_at_once(shelf: Shelf) -> None:
    many = [rule(id=f"r{n}", name=f"N{n}") for n in range(1000)]
    assert len((await shelf.book.bring_in(many, ADA)).created) == 1000
    with pytest.raises(LimitExceeded, match="rules: at most 1,000"):
        await shelf.book.create(rule(), ADA)


async def test_of_two_changes_at_once_the_second_sees_the_first(shelf: Shelf) -> None:
    made = await asyncio.gather(
        *(shelf.book.create(rule(id=f"r{n}"), ADA) for n in range(4)), return_exceptions=True
    )
    assert sum(isinstance(each, Rule) for each in made) == 1
    assert sum(isinstance(each, AlreadyThere) for each in made) == 3


async def test_of_edits_at_once_with_one_etag_one_is_made(shelf: Shelf) -> None:
    await shelf.book.create(rule(), ADA)
    other = Rulebook(SqlRules(shelf.database), shelf.clock, Changes())
    edits = [
        book.update("r", partial(replace, description=str(number)), "1", ADA)
        for number, book in enumerate([shelf.book, other] * 3)
    ]
    done = await asyncio.gather(*edits, return_exceptions=True)
    refused = [each for each in done if isinstance(each, EtagMismatch)]
    assert [each.etag for each in refused] == ["2"] * 5
    assert [each.version for each in await shelf.every()] == [2]


async def test_one_request_made_at_once_makes_one_rule(shelf: Shelf) -> None:
    other = Rulebook(SqlRules(shelf.database), shelf.clock, Changes())
    made = await asyncio.gather(
        *(book.create(rule(id=""), ADA, REQUEST) for book in [shelf.book, other] * 3)
    )
    assert made == [made[0]] * 6
    assert [each.version for each in await shelf.every()] == [1]


async def test_whoever_leads_takes_up_each_change_exactly_once(shelf: Shelf) -> None:
    class Ruled:
        def __init__(self) -> None:
            self.rules: list[list[str]] = []

        def apply(self, rules: list[Rule], ts_us: int) -> None:
            assert ts_us == shelf.clock.us
            self.rules.append([each.id for each in rules])

    ruled = Ruled()
    follower = RuleFollower(SqlRules(shelf.database), ruled, shelf.clock, shelf.changes)  # type: ignore[arg-type]
    assert await follower.look()
    assert not await follower.look()
    running = asyncio.create_task(follower.run())
    await shelf.book.create(rule(), ADA)
    await wait_until(lambda: ruled.rules == [[], ["r"]], what="the new rule")
    await shelf.book.create(rule(id="y", name="Y"), replace(ADA, validate_only=True))
    await shelf.book.delete("r", "", ADA)
    await wait_until(lambda: ruled.rules == [[], ["r"], []], what="the end of the rule")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_new_database_gets_the_shipped_rules_beside_what_is_there(shelf: Shelf) -> None:
    """Somebody may make a rule on one replica before another led for the first time."""
    await shelf.book.create(rule(id="error-rate", name="Mine"), ADA)
    await shelf.book.create(rule(id="mine", name="Queue depth"), ADA)
    await shelf.book.create(rule(id="latency-p95", name="Latency"), ADA)
    await shelf.book.delete("latency-p95", "", ADA)
    await shelf.database.write(lambda connection: ship(connection, SHIPPED))
    assert set(await shelf.ids()) == {"error-rate", "mine", "agent-offline", "success-rate-sla"}


async def test_a_version_is_read_as_an_older_server_stored_it(shelf: Shelf) -> None:
    """Documents leave out what has its default value."""
    document = {
        "id": "old",
        "name": "Old",
        "condition": {"metric": "queue_depth"},
        "severity": "warning",
    }
    document["condition"] |= {"comparison": ">", "threshold": 10}  # type: ignore[operator]
    await store_version(shelf, document)
    found = await shelf.book.version("old", 0)
    assert (found.rule.condition, found.rule.version) == (threshold("queue_depth > 10"), 4)
    assert (await shelf.book.create(rule(id="old"), ADA)).version == 5


def test_what_differs_is_said_field_by_field() -> None:
    one = rule(labels={"a": "1", "b.c": "2"}, channels=("x",))
    other = rule(
        "queue_depth > 11", id="r", labels={"b.c": "3"}, channels=("x", "y"), for_us=60_000_000
    )
    assert [tuple(each) for each in differences(one, other)] == [
        ("condition.threshold", "10.0", "11.0"),
        ('labels["a"]', '"1"', ""),
        ('labels["b.c"]', '"2"', '"3"'),
        ("channels[1]", "", '"y"'),
        ("for", "", '"1m"'),
    ]
    assert differences(one, one) == []
    assert versions.VERSIONS_KEPT == 1000


async def test_a_document_cannot_give_a_rule_the_name_of_another(shelf: Shelf) -> None:
    for name in "ab":
        await shelf.book.create(rule(id=name, name=name.upper()), ADA)
    for taker, taken in (("a", "B"), ("b", "A")):
        with pytest.raises(AlreadyThere) as refusal:
            await shelf.book.bring_in([rule(id=taker, name=taken)], ADA)
        assert (refusal.value.field, refusal.value.value) == ("name", taken)


async def test_an_id_made_of_a_name_is_none_that_the_document_gives(shelf: Shelf) -> None:
    document = [rule(id="", name="Queue"), rule(id="queue", name="Other")]
    for rules in (document, document[::-1]):
        done = await shelf.book.bring_in(rules, replace(ADA, validate_only=True))
        assert {each.id: each.name for each in done.created} == {
            "queue-2": "Queue",
            "queue": "Other",
        }


async def test_what_is_the_server_s_own_cannot_be_made(shelf: Shelf) -> None:
    for own in (OVER_LIMIT, HEARTBEAT_MISSED):
        for taken in (rule(id=own.id), rule(id="x", name=own.name)):
            with pytest.raises(AlreadyThere):
                await shelf.book.create(taken, ADA)


async def test_a_page_of_large_versions_fits_into_an_answer(shelf: Shelf) -> None:
    await shelf.book.create(rule(), ADA)
    for letter in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJ":
        large = partial(replace, annotations={f"x{n}": letter * 4000 for n in range(15)})
        await shelf.book.update("r", large, "", ADA)
    seen, token = 0, ""
    while True:
        page = await shelf.book.versions("r", 200, token)
        assert versions_to_proto(page).ByteSize() < 4 * 1024 * 1024
        seen, token = seen + len(page.versions), page.next_token
        if not token:
            break
    assert seen == 37
