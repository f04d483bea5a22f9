"""`config get`: each field with what is in force, what somebody set, and what it is otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

from google.protobuf.message import Message
from rich.cells import cell_len

from pilothouse.cli import contract, values
from pilothouse.cli.columns import cell
from pilothouse.cli.tables import GAP, Screen

if TYPE_CHECKING:
    from pilothouse.v1.config_pb2 import GetConfigResponse

NAME = "pilothouse.v1.GetConfigResponse"
_TITLES = ("field", "in force", "set", "default")


def view(screen: Screen, message: Message) -> None:
    """The version, and a line for each field."""
    answer = cast("GetConfigResponse", message)
    current = answer.current
    if current.version:
        by = f"by {values.neutral(current.actor)}, {values.show_time(current.create_time, screen.now)}"
        why = f": {values.neutral(current.reason)}" if current.reason else ""
        screen.line(f"version {current.version}, {by}{why}")
    else:
        screen.line("version 0: nothing is set")
    rows = [
        (path, *(each or "–" for each in shown))
        for path, *shown in zip(
            *_fields(answer.effective, answer.current.config, answer.defaults), strict=True
        )
    ]
    _write(screen, [_TITLES, *rows])


def _fields(effective: Message, *others: Message) -> Iterator[Sequence[str]]:
    """The paths, then the values of each message."""
    places = [
        (group, field)
        for group in contract.fields(contract.kind_of(effective))
        for field in contract.fields(contract.message_of(group))
    ]
    yield [f"{group.name}.{field.name}" for group, field in places]
    for message in (effective, *others):
        yield [cell(getattr(message, group.name), field, None).text for group, field in places]


def _write(screen: Screen, rows: Sequence[Sequence[str]]) -> None:
    widths = [max(cell_len(row[at]) for row in rows) for at in range(len(_TITLES))]
    for number, row in enumerate(rows):
        cells = (
            text + " " * (width - cell_len(text)) for text, width in zip(row, widths, strict=True)
        )
        line = GAP.join(cells).rstrip()
        screen.line(line if number else screen.style(line.upper(), "dim"))
