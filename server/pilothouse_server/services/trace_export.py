"""A trace written down for other programs, in parts: what is written is the trace as it was at the beginning, and no
more of it is in memory than a part and what is kept of the trace anyway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from pilothouse_server.domain.traces.model import Span, Trace
from pilothouse_server.services.traces import TraceDesk

AT_ONCE: Final = 200
"""Spans whose attributes are read together."""
LETTERS: Final = 64 << 10
"""A part is given out when it is longer than this."""


class Written(NamedTuple):
    """A part of the document, and how many spans were written so far."""

    text: str
    spans: int


class Document(Protocol):
    """How a trace is written."""

    def groups(self) -> Sequence[tuple[str, Sequence[Span]]]:
        """The spans in the order in which they are written, each group with what stands before it."""
        ...

    def span(self, span: Span, attributes: Mapping[str, str]) -> str:
        """One span; between two of one group there is a comma."""
        ...

    @property
    def group_end(self) -> str:
        """What stands after each group."""
        ...

    @property
    def end(self) -> str:
        """What stands after all of them."""
        ...


async def export(
    desk: TraceDesk, asked_id: str, form: Callable[[Trace], Document]
) -> AsyncIterator[Written]:
    """The document in parts. Raises NotFound, Unavailable."""
    document = form(await desk.trace(asked_id))
    parts: list[str] = []
    letters = count = 0
    for before, spans in document.groups():
        parts.append(before)
        for first in range(0, len(spans), AT_ONCE):
            some = spans[first : first + AT_ONCE]
            attributes = await desk.attributes(some)
            for place, span in enumerate(some, first):
                text = document.span(span, attributes.get(span.id, {}))
                parts.append(f",{text}" if place else text)
                letters, count = letters + len(text), count + 1
                if letters > LETTERS:
                    yield Written("".join(parts), count)
                    parts, letters = [], 0
                if count % 50 == 0:
                    await asyncio.sleep(0)
        parts.append(document.group_end)
    parts.append(document.end)
    yield Written("".join(parts), count)
