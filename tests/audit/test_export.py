"""The audit log written down: as JSON that is checked without the program, and as CSV that does nothing in a
spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pilothouse_server.services.audit import WRITTEN
from pilothouse_server.wire.audit_text import COLUMNS, csv_lines, json_lines
from tests.audit.conftest import Archive, entry

PAGE = Path(__file__).parents[2] / "docs" / "control.md"
EMBEDDED = pytest.mark.parametrize("kind", ["sqlite"])
"""Where it does not matter which database it is."""


async def exported(archive: Archive, filter_text: str = "") -> str:
    return "".join([json_lines(each) async for each in archive.audit.export(filter_text)])


def checked(folder: Path, document: str) -> tuple[int, str]:
    """What the program on the page says of a document, and how it ends."""
    found = re.search(r"## Audit.*?```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    program, exported = folder / "check.py", folder / "audit.jsonl"
    program.write_text(found[1])
    exported.write_text(document, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-I", program, exported], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


async def test_the_program_on_the_page_proves_an_export(archive: Archive, tmp_path: Path) -> None:
    last = (await archive.verdict()).link.hash
    assert checked(tmp_path, await exported(archive)) == (0, f"whole up to record 7, {last}\n")


@EMBEDDED
@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("reason 4", "another", "record 4 is not what it was"),
        ("REFUSED", "ACCEPTED", "record 3 is not what it was"),
        ('"RUNNING"', '"PAUSED"', "record 1 is not what it was"),
    ],
)
async def test_the_program_on_the_page_finds_what_was_edited(
    archive: Archive, tmp_path: Path, before: str, after: str, said: str
) -> None:
    document = await exported(archive)
    assert before in document
    assert checked(tmp_path, document.replace(before, after)) == (1, f"{said}\n")


@EMBEDDED
async def test_the_program_on_the_page_says_what_is_not_in_the_file(
    archive: Archive, tmp_path: Path
) -> None:
    code, said = checked(tmp_path, await exported(archive, "sequence < 3 OR sequence > 5"))
    assert (code, "records 3 to 5 are not in this file" in said) == (0, True)


@EMBEDDED
async def test_many_records_are_written_oldest_first_a_part_at_a_time(archive: Archive) -> None:
    await archive.write([entry(n) for n in range(8, 2 * WRITTEN + 8)])
    parts = [each async for each in archive.audit.export("actor = ada")]
    assert [len(each) for each in parts] == [WRITTEN, WRITTEN, 7]
    assert [each.sequence for part in parts for each in part] == list(range(1, 2 * WRITTEN + 8))


def test_a_line_is_one_json_object_with_every_field() -> None:
    (line,) = json_lines([entry(1, reason="two\nlines", stop_id="s1")]).splitlines()
    found = json.loads(line)
    assert tuple(found) == COLUMNS
    assert found["record_time"] == "2027-01-15T08:00:01.000000Z"
    assert (found["outcome"], found["error"], found["emergency_stop_id"]) == (
        "ACCEPTED",
        None,
        "s1",
    )
    assert (found["reason"], found["after"]) == ("two\nlines", {"état": "“paused”"})


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_what_a_spreadsheet_would_take_for_a_formula_is_a_text(cell: str) -> None:
    document = csv_lines([entry(1, reason=cell, target_id=cell)], header=True)
    header, row = csv.reader(io.StringIO(document, newline=""))
    assert tuple(header) == COLUMNS
    cells = dict(zip(header, row, strict=True))
    assert cells["reason"] == cells["target_id"] == f"'{cell}"
    assert cells["before"] == '{"attempt": "1", "state": "RUNNING"}'


def test_what_separates_cells_is_kept_in_one() -> None:
    document = csv_lines([entry(1, reason='a "b", c\r\nd')], header=False)
    (row,) = csv.reader(io.StringIO(document, newline=""))
    assert row[COLUMNS.index("reason")] == 'a "b", c\r\nd'
