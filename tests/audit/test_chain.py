"""The chain of the audit log: whatever is done to it by hand is found, and where."""

from __future__ import annotations

import asyncio
import dataclasses
import json

import pytest
from sqlalchemy import Connection

from pilothouse_server.adapters.sql import audit_rows
from pilothouse_server.domain.audit import FIRST_HASH, Entry, canonical, chained
from pilothouse_server.domain.errors import InvalidArgument
from pilothouse_server.domain.events import EventError
from pilothouse_server.services.audit import SLICE, Noted
from tests.audit.conftest import REFUSED, Archive, entry
from tests.databases import Place, open_database

# What a hand does, what is said about it, and of which record.
DAMAGES = {
    "a field of a record": ("UPDATE audit SET reason = 'another' WHERE sequence = 4", "not what it was", 4),
    "who did it": ("UPDATE audit SET actor = 'grace' WHERE sequence = 1", "not what it was", 1),
    "when": ("UPDATE audit SET record_us = record_us + 1 WHERE sequence = 7", "not what it was", 7),
    "what was before": ("UPDATE audit SET before = '{}' WHERE sequence = 2", "not what it was", 2),
    "why it was refused": ("UPDATE audit SET error = NULL WHERE sequence = 3", "not what it was", 3),
    "what came of it": ("UPDATE audit SET outcome = 1 WHERE sequence = 3", "not what it was", 3),
    "to something that is no record": ("UPDATE audit SET after = '[7]' WHERE sequence = 5", "cannot be read", 5),
    "a hash": ("UPDATE audit SET hash = 'x' WHERE sequence = 4", "not what it was", 4),
    "a record in the middle away": ("DELETE FROM audit WHERE sequence = 4", "record 4 is missing", 4),
    "several records away": ("DELETE FROM audit WHERE sequence IN (3, 4, 5)", "records 3 to 5 are missing", 3),
    "the first record away": ("DELETE FROM audit WHERE sequence = 1", "record 1 is missing", 1),
    "the last records away": ("DELETE FROM audit WHERE sequence > 5", "those from 6 on are missing", 6),
    "every record away": ("DELETE FROM audit", "those from 1 on are missing", 1),
    "the head away": ("DELETE FROM audit_head", "the head of the chain is gone", 7),
    "the head back": ("UPDATE audit_head SET sequence = 5", "not the one that was written last", 5),
    "the order": (
        "UPDATE audit SET sequence = CASE sequence WHEN 2 THEN -3 ELSE -2 END WHERE sequence IN (2, 3)",
        "records before the first", -3,
    ),
}  # fmt: skip


async def test_what_nobody_touched_is_whole_and_ends_with_a_hash_to_note(archive: Archive) -> None:
    verdict = await archive.verdict()
    assert (verdict.checked, verdict.verdict.problem, verdict.link.sequence) == (7, "", 7)
    before = Noted(7, verdict.link.hash)
    await archive.write([entry(8)])
    assert not (await archive.verdict(noted=before)).verdict.problem
    assert (await archive.verdict(first=6, noted=before)).checked == 3


@pytest.mark.parametrize("what", DAMAGES)
async def test_what_a_hand_changes_is_found(archive: Archive, what: str) -> None:
    statement, words, sequence = DAMAGES[what]
    await archive.tamper(statement)
    found = (await archive.verdict()).verdict
    assert words in found.problem
    assert found.sequence == sequence


async def _forge(archive: Archive, number: int, **fields: object) -> None:
    """Puts another record in the place of one, with the hash that belongs to it."""
    before = await archive.record(number)
    forged = chained(entry(number, **fields), number, before.previous_hash)
    await archive.tamper(
        f"UPDATE audit SET reason = '{forged.reason}', before = '{json.dumps(dict(forged.before))}',"
        f" hash = '{forged.hash}' WHERE sequence = {number}"
    )


async def test_a_forged_record_with_a_right_hash_breaks_the_link_to_the_next(
    archive: Archive,
) -> None:
    await _forge(archive, 5, reason="forged")
    found = (await archive.verdict()).verdict
    assert (found.sequence, "does not follow record 5" in found.problem) == (6, True)


async def test_a_forged_last_record_does_not_have_the_hash_of_the_head(archive: Archive) -> None:
    await _forge(archive, 7, reason="forged")
    found = (await archive.verdict()).verdict
    assert (found.sequence, "the head of the chain has another hash" in found.problem) == (7, True)


async def test_records_behind_the_end_are_found(archive: Archive) -> None:
    last = await archive.record(7)
    await archive.write([entry(8)])
    await archive.tamper(f"UPDATE audit_head SET sequence = 7, hash = '{last.hash}'")
    found = (await archive.verdict()).verdict
    assert (found.sequence, "records behind 7" in found.problem) == (8, True)


async def test_a_chain_that_was_made_anew_is_known_by_a_hash_that_was_noted(
    archive: Archive,
) -> None:
    noted = Noted(7, (await archive.verdict()).link.hash)
    await archive.tamper("DELETE FROM audit")
    await archive.tamper(f"UPDATE audit_head SET sequence = 0, hash = '{FIRST_HASH}'")
    await archive.write([entry(n, reason="all is well") for n in range(1, 8)])
    assert not (await archive.verdict()).verdict.problem
    assert "made anew" in (await archive.verdict(noted=noted)).verdict.problem
    gone = await archive.verdict(noted=Noted(99, noted.hash))
    assert (gone.verdict.sequence, "whose hash was noted" in gone.verdict.problem) == (99, True)


async def test_a_proof_from_the_middle_needs_the_record_before(archive: Archive) -> None:
    assert (await archive.verdict(first=8)).checked == 0
    await archive.tamper("DELETE FROM audit WHERE sequence = 3")
    found = (await archive.verdict(first=4)).verdict
    assert (found.sequence, "which record 4 has to follow" in found.problem) == (3, True)
    assert not (await archive.verdict(first=5)).verdict.problem


@pytest.mark.parametrize(
    ("first", "noted", "field"),
    [
        (9, Noted(), "from_sequence"),
        (0, Noted(7), "expected_hash"),
        (0, Noted(0, "ab"), "expected_sequence"),
    ],
)
async def test_what_cannot_be_proved_is_refused_by_name(
    archive: Archive, first: int, noted: Noted, field: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await archive.verdict(first, noted)
    assert refused.value.field == field


async def test_a_long_chain_is_proved_in_slices_with_progress(archive: Archive) -> None:
    await archive.write([entry(n) for n in range(8, 2 * SLICE + 1)])
    found = [each async for each in archive.audit.verify(0, Noted())]
    assert [each.checked for each in found] == [SLICE, 2 * SLICE, 2 * SLICE]
    assert not found[-1].verdict.problem


async def test_what_is_written_during_a_proof_does_not_disturb_it(archive: Archive) -> None:
    await archive.write([entry(n) for n in range(8, SLICE + 100)])
    proof = archive.audit.verify(0, Noted())
    assert (await anext(proof)).checked == SLICE
    await archive.write([entry(n) for n in range(SLICE + 100, SLICE + 120)])
    *_, last = [each async for each in proof]
    assert (last.complete, last.checked, last.verdict.problem) == (True, SLICE + 99, "")


async def test_of_many_who_write_at_once_none_forks_the_chain(archive: Archive) -> None:
    await asyncio.gather(*(archive.write([entry(n), entry(n + 100)]) for n in range(8, 28)))
    verdict = await archive.verdict()
    assert (verdict.checked, verdict.verdict.problem) == (47, "")


async def test_projectors_that_end_commands_beside_each_other_fork_no_chain(
    archive: Archive, place: Place
) -> None:
    # On PostgreSQL two processes write at once; a second writer of one file there never is.
    second = open_database(place) if isinstance(place, str) else archive.database

    def append(connection: Connection) -> None:
        audit_rows.append(connection, [entry(8), entry(9)])

    databases = (archive.database, second) * 20
    try:
        await asyncio.gather(*(each.write(append, beside=True) for each in databases))
        verdict = await archive.verdict()
    finally:
        if second is not archive.database:
            await second.close()
    assert (verdict.checked, verdict.verdict.problem) == (87, "")


async def test_a_text_that_a_database_cannot_hold_breaks_no_chain(archive: Archive) -> None:
    said = {"actor": "a\0b", "target_id": "w\0", "reason": "half of a pair: \ud800"}
    refused = EventError("NO\0", "bad\0news")
    await archive.write([entry(8, **said, error=refused), entry(9)])
    assert not (await archive.verdict()).verdict.problem
    assert (await archive.record(8)).actor == "a\ufffdb"


async def test_a_damaged_record_is_listed_in_its_place_and_hides_no_other(archive: Archive) -> None:
    await archive.tamper("UPDATE audit SET after = '[7]' WHERE sequence = 5")
    (listed,) = [each async for each in archive.audit.export("")]
    assert [each.sequence for each in listed] == [1, 2, 3, 4, 5, 6, 7]
    assert listed[4].error is not None
    assert (listed[4].error.code, listed[4].target_id) == ("DAMAGED", "w5")


def test_what_is_hashed_is_compact_json_of_everything_in_one_order() -> None:
    placed = chained(REFUSED, 3, "ab")
    assert json.loads(canonical(placed)) == [
        "ab", 3, placed.record_us, "ada", "workflow.pause", "workflow", "w3", "reason 3",
        [["attempt", "1"], ["state", "RUNNING"]], [["état", "“paused”"]], 2,
        ["COMMAND_PENDING", "wait for it", False], "r3", "", "", "",
    ]  # fmt: skip
    assert "“paused”".encode() in canonical(placed)
    # A field that is new has to be hashed as well.
    assert len(json.loads(canonical(placed))) == len(dataclasses.fields(Entry)) - 1
