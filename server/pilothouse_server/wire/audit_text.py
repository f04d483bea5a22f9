"""Records of the audit log written down: one JSON object a line, or CSV for a spreadsheet.

A line of JSON has all that was hashed, so that the chain can be checked without this program. CSV is for reading: what
a spreadsheet would take for a formula is made a text, which changes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pilothouse_server.domain.audit import Entry
from pilothouse_server.wire.spreadsheets import csv_text

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
COLUMNS: Final = (
    "sequence", "record_time", "actor", "verb", "target_kind", "target_id", "reason", "before", "after", "outcome",
    "error", "request_id", "command_id", "batch_id", "emergency_stop_id", "previous_hash", "hash",
)  # fmt: skip


def json_lines(entries: Iterable[Entry]) -> str:
    """A line for each record."""
    return "".join(f"{json.dumps(_fields(each), ensure_ascii=False)}\n" for each in entries)


def csv_lines(entries: Iterable[Entry], *, header: bool) -> str:
    """As RFC 4180 has it."""
    rows: list[Iterable[str]] = [COLUMNS] if header else []
    for entry in entries:
        fields = _fields(entry)
        error = fields["error"]
        fields |= {name: _pairs(fields[name]) for name in ("before", "after")}
        fields["error"] = "" if error is None else f"{error['code']}: {error['message']}"
        rows.append([str(fields[name]) for name in COLUMNS])
    return csv_text(rows)


def _fields(entry: Entry) -> dict[str, Any]:
    plain = {name: getattr(entry, name) for name in COLUMNS if hasattr(entry, name)}
    at = _EPOCH + timedelta(microseconds=entry.record_us)
    error = entry.error
    found = plain | {
        "record_time": at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "before": dict(sorted(entry.before.items())),
        "after": dict(sorted(entry.after.items())),
        "outcome": entry.outcome.name,
        "error": None
        if error is None
        else {"code": error.code, "message": error.message, "retryable": error.retryable},
        "emergency_stop_id": entry.stop_id,
    }
    return {name: found[name] for name in COLUMNS}


def _pairs(values: Mapping[str, str]) -> str:
    return json.dumps(values, ensure_ascii=False) if values else ""
