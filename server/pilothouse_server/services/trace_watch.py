"""A trace as it grows: everything first, then the spans that are new or changed.

A token names the database, the revision up to which everything was sent, and what was kept of the trace then: only that
tells what has changed since. Without it everything is sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from pilothouse_server.domain.traces.model import Span, Trace
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.traces import Shown, TraceDesk
from pilothouse_server.services.watch import HEARTBEAT, CaughtUp, Heartbeat, Reset, read_numbers

AT_ONCE: Final = 500
"""Spans in one message."""
PACE: Final = 0.25
"""Seconds between two looks; what changes in between comes as one."""
SHARE: Final = 4
"""A trace that takes long to build is looked at so many times more rarely than it takes."""


@dataclass(frozen=True, slots=True)
class Changed:
    """Spans that are new or changed, and the trace as it is."""

    token: str
    trace: Trace
    spans: Sequence[Span]


TraceUpdate = Changed | CaughtUp | Heartbeat | Reset


async def watch_trace(
    desk: TraceDesk,
    asked_id: str,
    changes: Changes,
    token: str,
    *,
    heartbeat: float = HEARTBEAT,
) -> AsyncIterator[TraceUpdate]:
    """The trace after `token`. Raises NotFound, InvalidResumeToken, Unavailable."""
    numbers = read_numbers(token) if token else None
    loop = asyncio.get_running_loop()
    looked_at, seen = loop.time(), changes.version
    shown = await desk.show(asked_id)
    told: Shown | None = None
    spans: Sequence[Span] = shown.trace.spans
    here = ""
    if numbers is not None:
        resumed = _since(shown, *numbers)
        if resumed is None:
            reason = "the token is of another history; what follows is everything"
            yield Reset(_token(shown, 0), reason)
        else:
            spans, here = resumed, token
    caught_up, sent_at = False, loop.time()
    while True:
        if told is None or told is not shown:
            if told is not None and (
                told.made != shown.made or told.trace.revision < shown.vanished
            ):
                yield Reset(_token(shown, 0), "spans became others; what follows is everything")
                spans, here, caught_up = shown.trace.spans, "", False
            elif told is not None:
                spans = _changed(shown, told.trace.revision)
            for update in _messages(shown, spans, here):
                yield update
                sent_at = loop.time()
            told, here = shown, _token(shown, shown.trace.revision)
        if not caught_up:
            yield CaughtUp(here)
            caught_up, sent_at = True, loop.time()
        await changes.wait(seen, max(0.0, sent_at + heartbeat - loop.time()))
        if loop.time() - sent_at >= heartbeat:
            yield Heartbeat(here)
            sent_at = loop.time()
        pause = max(PACE, SHARE * shown.seconds)
        await asyncio.sleep(max(0.0, looked_at + pause - loop.time()))
        looked_at, seen = loop.time(), changes.version
        shown = await desk.show(asked_id, seen=seen)


def _messages(shown: Shown, spans: Sequence[Span], before: str) -> list[Changed]:
    """With the token of what came before until all of it was sent."""
    parts = [spans[at : at + AT_ONCE] for at in range(0, len(spans), AT_ONCE)] or [[]]
    token = _token(shown, shown.trace.revision)
    tokens = [before] * (len(parts) - 1) + [token]
    return [Changed(each, shown.trace, part) for each, part in zip(tokens, parts, strict=True)]


def _changed(shown: Shown, revision: int) -> Sequence[Span]:
    changed = shown.changed
    return [span for span in shown.trace.spans if changed[span.id] > revision]


def _since(shown: Shown, database_id: str, revision: int, made: int) -> Sequence[Span] | None:
    """What came after a token; None where that cannot be told."""
    if database_id != shown.database_id or made != shown.made:
        return None
    if not shown.vanished <= revision <= shown.trace.revision:
        return None
    return _changed(shown, revision)


def _token(shown: Shown, revision: int) -> str:
    return f"{shown.database_id}.{revision}.{shown.made}"
