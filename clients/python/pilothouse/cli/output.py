"""What a call answered, in the form that was asked for: a table for people, JSON or YAML for programs.

JSON is the canonical form of protobuf. A stream is one JSON document on each line, or YAML documents one after another.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

from pilothouse._pages import rows_field
from pilothouse.cli import contract
from pilothouse.cli.tables import Screen, Table, details, table_for

if TYPE_CHECKING:
    from rich.live import Live

FORMS = ("table", "json", "yaml")

_INVISIBLE = re.compile(
    "[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)
"""What JSON may hold as it is and a terminal might obey: it is written as an escape, which means the same."""


def as_data(message: Message) -> dict[str, Any]:
    """The canonical JSON form."""
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415 - tables do without

    found: dict[str, Any] = MessageToDict(message)
    return found


def as_json(data: Any, indent: int | None) -> str:
    """JSON that is safe to look at."""
    text = json.dumps(data, ensure_ascii=False, indent=indent)
    return _INVISIBLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class Output(ABC):
    """One form."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen

    @abstractmethod
    def answer(self, message: Message) -> None:
        """Show the answer of a call."""

    @abstractmethod
    def rows(self, field: str, rows: Sequence[Message]) -> None:
        """Show what several pages of a list had in `field`."""

    @abstractmethod
    def item(self, message: Message) -> None:
        """Show one item of a stream."""

    def close(self) -> None:  # noqa: B027 - most forms have nothing to end
        """The stream is over."""


class Json(Output):
    """For programs."""

    def answer(self, message: Message) -> None:
        self.screen.line(as_json(as_data(message), 2))

    def rows(self, field: str, rows: Sequence[Message]) -> None:
        self.screen.line(as_json({_camel(field): [as_data(row) for row in rows]}, 2))

    def item(self, message: Message) -> None:
        self.screen.line(as_json(as_data(message), None))


class Yaml(Output):
    """For programs and patient people."""

    def answer(self, message: Message) -> None:
        self._write(as_data(message))

    def rows(self, field: str, rows: Sequence[Message]) -> None:
        self._write({_camel(field): [as_data(row) for row in rows]})

    def item(self, message: Message) -> None:
        self.screen.line("---")
        self._write(as_data(message))

    def _write(self, data: Any) -> None:
        import yaml  # noqa: PLC0415 - the other forms do without

        plain = not _INVISIBLE.search(json.dumps(data, ensure_ascii=False))
        # Without allow_unicode every character outside ASCII is written as an escape.
        self.screen.line(yaml.safe_dump(data, allow_unicode=plain, sort_keys=False))


class Tables(Output):
    """For people."""

    def __init__(self, screen: Screen, columns: Sequence[str]) -> None:
        super().__init__(screen)
        self._columns = columns
        self._stream: Table | None = None
        self._live: Live | None = None

    def answer(self, message: Message) -> None:
        field = rows_field(message)
        fields = message.DESCRIPTOR.fields_by_name
        if "document" in fields:
            self.screen.text(getattr(message, "document"))  # noqa: B009 - no field that all messages have
            return
        if field is not None and ("next_page_token" in fields or len(fields) == 1):
            self.rows(field, getattr(message, field))
        else:
            details(self.screen, message, _views())

    def rows(self, field: str, rows: Sequence[Message]) -> None:
        if rows:
            table_for(self.screen, contract.kind_of(rows[0]), self._columns).rows(rows)
        else:
            self.screen.line(self.screen.style(f"no {field.replace('_', ' ')}", "dim"))

    def item(self, message: Message) -> None:
        if message.DESCRIPTOR.full_name in _views():
            self._show(message)
            return
        if self._stream is None:
            self._stream = table_for(self.screen, contract.kind_of(message), self._columns)
        self._stream.stream(message)

    def _show(self, message: Message) -> None:
        """A message that replaces the one before it: in its place on a terminal, as a line elsewhere."""
        from pilothouse.cli import views  # noqa: PLC0415 - loads the messages of metrics

        snapshot = views.as_snapshot(message)
        if not self.screen.terminal:
            self.screen.line(views.summary(snapshot))
            return
        from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
        from rich.live import Live  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        if self._live is None:
            self._live = Live(console=Console(highlight=False), auto_refresh=False)
            self._live.start()
        self._live.update(
            Text.from_ansi("\n".join(views.snapshot_lines(self.screen, snapshot))), refresh=True
        )

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()


def _views() -> dict[str, Callable[[Screen, Message], None]]:
    from pilothouse.cli import views  # noqa: PLC0415

    return views.VIEWS


def _camel(field: str) -> str:
    first, *rest = field.split("_")
    return first + "".join(word.capitalize() for word in rest)


def output_for(form: str, screen: Screen, columns: Sequence[str]) -> Output:
    """The form of this name."""
    if form == "json":
        return Json(screen)
    return Yaml(screen) if form == "yaml" else Tables(screen, columns)
