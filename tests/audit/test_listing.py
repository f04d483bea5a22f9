"""The audit log searched: newest first or oldest first, by any field, page by page."""

from __future__ import annotations

import pytest

from pilothouse_server.domain.errors import InvalidFilter, InvalidPageToken
from pilothouse_server.services.views import PageRequest
from tests.audit.conftest import Archive, entry


async def found(archive: Archive, filter_text: str) -> list[int]:
    page = await archive.audit.page(PageRequest(50, filter=filter_text), ascending=True)
    return [each.sequence for each in page.items]


@pytest.mark.parametrize(
    ("filter_text", "sequences"),
    [
        ("", [1, 2, 3, 4, 5, 6, 7, 8]),
        ("sequence = 4", [4]),
        ("sequence > 6", [7, 8]),
        ("outcome = REFUSED", [3]),
        ("outcome = AUDIT_OUTCOME_REFUSED", [3]),
        ("target_kind = workflow AND target_id = w2", [2]),
        ("actor != ada", [8]),
        ("verb = config.update", [8]),
        ("request_id = r5", [5]),
        ("command_id = c5", [5]),
        ('command_id = ""', [3, 8]),
        ("batch_id = b1 OR emergency_stop_id = s1", [8]),
        ("record_time > 2027-01-15T08:00:06Z", [7, 8]),
        ("grace", [8]),
        ('"reason 6"', [6]),
        ("pause w1", [1]),
    ],
)
async def test_records_are_found_by(
    archive: Archive, filter_text: str, sequences: list[int]
) -> None:
    odd = entry(8, actor="Grace", verb="config.update", command_id="", batch_id="b1", stop_id="s1")
    await archive.write([odd])
    assert await found(archive, filter_text) == sequences


async def test_pages_follow_one_another_either_way_while_records_come(archive: Archive) -> None:
    for ascending in (False, True):
        first = await archive.audit.page(PageRequest(4), ascending=ascending)
        await archive.write([entry(100)])
        second = await archive.audit.page(PageRequest(4, first.next_token), ascending=ascending)
        sequences = [each.sequence for each in (*first.items, *second.items)]
        assert sequences == sorted(sequences, reverse=not ascending)
        assert len(set(sequences)) == len(sequences) == (8 if ascending else 7)


async def test_a_filter_or_token_that_is_none_is_refused(archive: Archive) -> None:
    with pytest.raises(InvalidFilter):
        await found(archive, "colour = red")
    page = await archive.audit.page(PageRequest(4), ascending=False)
    with pytest.raises(InvalidPageToken):
        await archive.audit.page(PageRequest(4, page.next_token), ascending=True)
