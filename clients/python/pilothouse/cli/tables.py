"""Tables and details for people: coloured and fitted to a terminal, plain and whole for everything else."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable, Iterable, Sequence
from typing import IO

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from rich.cells import cell_len, set_cell_size

from pilothouse.cli import contract, values
from pilothouse.cli.columns import (
    Cell,
    Column,
    cell,
    choice_of,
    chosen,
    columns_of,
    in_one_cell,
    title,
)
from pilothouse.cli.contract import TIMESTAMP

GAP = "  "
MOST_OF_A_CELL = 48
"""Characters of one cell on a terminal."""
LEAST_OF_A_TEXT = 24
"""Characters of a text that is cut so that another column has a place."""
SCANNED = 3
"""Weight up to which columns are rather cut than left out."""

_STYLES = {
    "green": "32",
    "red": "31",
    "yellow": "33",
    "cyan": "36",
    "bright_black": "90",
    "bold": "1",
    "dim": "2",
}


class Screen:
    """Where text goes, and what can be shown there."""

    def __init__(
        self, stream: IO[str], *, terminal: bool, colour: bool, width: int | None = None
    ) -> None:
        self._stream = stream
        self.terminal = terminal
        """Whether a person looks at it now: relative times, cells that fit."""
        self.colour = colour
        """Whether colours are shown."""
        self.width = width or shutil.get_terminal_size((120, 40)).columns
        """Characters in a line of the terminal."""

    def line(self, text: str = "") -> None:
        """Write one line; at once, because a watch may be quiet for long."""
        self._stream.write(text.rstrip() + "\n")
        self._stream.flush()

    def text(self, text: str) -> None:
        """Write a whole text, line by line as it is, for a file as well as for a person."""
        lines = text.removesuffix("\n").split("\n")
        self._stream.write("".join(f"{values.neutral(line)}\n" for line in lines))
        self._stream.flush()

    def style(self, text: str, style: str) -> str:
        """`text` in a colour, where there are colours."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self.colour and text.strip() else text

    @property
    def now(self) -> dt.datetime | None:
        """What times are relative to; None where they are shown absolute."""
        return dt.datetime.now(dt.UTC) if self.terminal else None


def fit(text: str, width: int) -> str:
    """`text` cut to `width` columns, with `…` where it was cut."""
    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "…"


def _shown(screen: Screen, found: Cell) -> str:
    """The text of a cell: on a terminal with the symbol of its state, and short."""
    if not screen.terminal:
        return found.text
    symbol = f"{found.look.symbol} " if found.look else ""
    return fit(symbol + found.text, MOST_OF_A_CELL)


def _pad(text: str, width: int, *, right: bool) -> str:
    space = " " * max(width - cell_len(text), 0)
    return space + text if right else text + space


def _says(column: Column, grid: Sequence[Sequence[Cell]], at: int) -> bool:
    """Whether the column has something in it in any row."""
    nothing = ("", "no") if column.says_if else ("",)
    return any(row[at].text not in nothing for row in grid)


class Table:
    """Rows of one kind of message under one head."""

    def __init__(self, screen: Screen, columns: Sequence[Column]) -> None:
        self._screen = screen
        self._columns = columns
        self._widths: list[int] = []

    def rows(self, messages: Iterable[Message]) -> None:
        """Write a whole table: as wide as its cells, without empty columns, and no wider than the terminal."""
        now = self._screen.now
        grid = [
            [cell(message, column.field, now) for column in self._columns] for message in messages
        ]
        filled = [at for at, column in enumerate(self._columns) if _says(column, grid, at)]
        self._columns = [self._columns[at] for at in filled]
        kept = [[row[at] for at in filled] for row in grid]
        self._widths = [
            max(
                [cell_len(column.title), *(cell_len(_shown(self._screen, row[at])) for row in kept)]
            )
            for at, column in enumerate(self._columns)
        ]
        if self._screen.terminal:
            kept = self._narrow(kept)
        self._head()
        for row in kept:
            self._row(row)

    def _narrow(self, grid: list[list[Cell]]) -> list[list[Cell]]:
        """Leave out columns until the rest fit."""
        kept = list(range(len(self._columns)))

        def total() -> int:
            return sum(self._widths[at] for at in kept) + len(GAP) * (len(kept) - 1)

        while len(kept) > 1 and (over := total() - self._screen.width) > 0:
            last = max(kept, key=lambda at: (self._columns[at].weight, at))
            widest = max(kept, key=self._room_in)
            if self._columns[last].weight <= SCANNED and self._room_in(widest) >= over:
                self._widths[widest] -= over
                break
            kept.remove(last)
        self._columns = [self._columns[at] for at in kept]
        self._widths = [self._widths[at] for at in kept]
        return [[row[at] for at in kept] for row in grid]

    def _room_in(self, at: int) -> int:
        """How much narrower a text may be and still say something; an id is whole or useless."""
        column = self._columns[at]
        text = not column.numeric and column.weight > 0
        return self._widths[at] - LEAST_OF_A_TEXT if text else 0

    def stream(self, message: Message) -> None:
        """Write one row of a table that has no end: the widths are set before the first one."""
        if not self._widths:
            self._widths = [self._usual(column) for column in self._columns]
            if self._screen.terminal:
                self._narrow([])
            self._head()
        now = None if self._is_log else self._screen.now
        self._row([cell(message, column.field, now) for column in self._columns])

    @property
    def _is_log(self) -> bool:
        """Whether rows begin with when they happened. Such rows stay on the screen, so "now" would soon be wrong."""
        message = self._columns[0].field.message_type
        return message is not None and message.full_name == TIMESTAMP

    def _usual(self, column: Column) -> int:
        """The width that a column of a stream is given before anything is known."""
        field = column.field
        if field.enum_type is not None:
            longest = max((len(word) for word in contract.enum_words(field.enum_type)), default=8)
            return max(longest + 2, len(column.title))
        if field.message_type is not None:
            time = field.message_type.full_name == TIMESTAMP
            exact = time and (not self._screen.terminal or self._is_log)
            return max(24 if exact else 12, len(column.title))
        if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            return 36 if field.name in {"message", "summary"} else 24
        return max(8, len(column.title))

    def _head(self) -> None:
        parts = [
            _pad(column.title.upper(), width, right=column.numeric)
            for column, width in zip(self._columns, self._widths, strict=True)
        ]
        self._screen.line(self._screen.style(GAP.join(parts), "dim"))

    def _row(self, row: Sequence[Cell]) -> None:
        parts: list[str] = []
        for column, width, found in zip(self._columns, self._widths, row, strict=True):
            text = _shown(self._screen, found)
            if self._screen.terminal:
                text = fit(text, max(width, 1))
            padded = _pad(text, width, right=column.numeric)
            parts.append(self._screen.style(padded, found.look.style) if found.look else padded)
        self._screen.line(GAP.join(parts))


def table_for(screen: Screen, descriptor: Descriptor, names: Sequence[str]) -> Table:
    """A table for messages of this kind; with the columns that are named, or those that the rule gives."""
    return Table(screen, chosen(descriptor, names) if names else columns_of(descriptor))


View = Callable[[Screen, Message], None]
"""Shows one kind of message better than the rule does."""


def details(
    screen: Screen, message: Message, views: dict[str, View], *, inner: bool = False
) -> None:
    """Everything a message has: its values by name, then what it contains. An answer is not an inner one."""
    view = views.get(message.DESCRIPTOR.full_name)
    if view is not None:
        view(screen, message)
        return
    shown: list[tuple[str, Cell]] = []
    fields = contract.fields(contract.kind_of(message))
    for field in fields:
        if in_one_cell(field):
            found = cell(message, field, screen.now)
            if found.text:
                shown.append((title(field), found))
    width = max((cell_len(name) for name, _ in shown), default=0)
    for name, found in shown:
        text = f"{found.look.symbol} {found.text}" if found.look and screen.terminal else found.text
        styled = screen.style(text, found.look.style) if found.look else text
        label = screen.style(_pad(name, width, right=False), "dim")
        screen.line(f"{label}{GAP}{styled}")
    for field in fields:
        if contract.is_map(field):
            _pairs(screen, message, field)
        elif not in_one_cell(field) or choice_of(field) is not None:
            _contained(screen, message, field, views, inner=inner)


def _pairs(screen: Screen, message: Message, field: FieldDescriptor) -> None:
    for key, each in sorted(getattr(message, field.name).items()):
        shown = f"{values.neutral(str(key))}={values.neutral(str(each))}"
        screen.line(f"{screen.style(title(field), 'dim')}{GAP}{shown}")


def _contained(
    screen: Screen, message: Message, field: FieldDescriptor, views: dict[str, View], *, inner: bool
) -> None:
    """A message in a message, with a head of its own. In an answer the first is what was asked for and needs none."""
    value = getattr(message, field.name)
    if not (value if field.is_repeated else message.HasField(field.name)):
        return
    if field.is_repeated or inner:
        screen.line()
        screen.line(screen.style(field.name.replace("_", " ").upper(), "bold"))
    if field.is_repeated:
        Table(screen, columns_of(contract.message_of(field))).rows(value)
    else:
        details(screen, value, views, inner=True)
