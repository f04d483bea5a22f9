"""CSV as RFC 4180 has it. What a spreadsheet would take for a formula begins with an apostrophe, which changes it:
CSV is for reading.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""The last four are their wide forms, which spreadsheets of East Asia read as the plain ones."""


def csv_text(rows: Iterable[Iterable[str]]) -> str:
    """A line for each row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerows([_harmless(cell) for cell in row] for row in rows)
    return text.getvalue()


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
