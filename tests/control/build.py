"""Commands and events for the tests of control, with everything that does not matter filled in."""

from __future__ import annotations

from typing import Any

from pilothouse_server.domain.commands import Command, CommandState, Deadlines
from pilothouse_server.domain.events import Event, EventType
from pilothouse_server.domain.workflows import Action

SECOND = 1_000_000
DEADLINES = Deadlines(accept_us=60 * SECOND, effect_us=3600 * SECOND)


def command(action: Action = Action.PAUSE, **fields: Any) -> Command:
    """A command on workflow w of engine e, attempt 1, requested at 1,000 s by the server's clock."""
    given: dict[str, Any] = {
        "id": "c1",
        "workflow_id": "w",
        "source": "e",
        "state": CommandState.REQUESTED,
        "attempt": 1,
        "request_us": 1000 * SECOND,
        "expire_us": 1060 * SECOND,
        "since_us": 500 * SECOND,
    }
    return Command(action=action, **(given | fields))


def event(kind: EventType, **fields: Any) -> Event:
    """An event of engine e about w, received ten seconds after the request."""
    given: dict[str, Any] = {
        "id": f"{kind.name}-{len(fields)}",
        "occur_us": 600 * SECOND,
        "receive_us": 1010 * SECOND,
        "source": "e",
        "workflow_id": "w",
        "attempt": 1,
    }
    return Event(type=kind, **(given | fields))
