"""What events are filtered by.

A word on its own is looked for among the words of the message, so that an index of words can answer; `message:` looks
for a text anywhere in it.
"""

from __future__ import annotations

from typing import Final

from pilothouse_server.domain.events import EventType, Severity
from pilothouse_server.domain.filters import Field, Kind, Schema, enum_field

WORDS: Final = "words"
"""The words of the message."""

EVENT_FIELDS: Final = Schema(
    {
        "id": Field(),
        "type": enum_field(EventType, "EVENT_TYPE_"),
        "severity": enum_field(Severity, "SEVERITY_", ordered=True),
        "workflow_id": Field(),
        "workflow_type": Field(),
        "stage": Field(),
        "task_id": Field(),
        "agent_id": Field(),
        "agent_type": Field(),
        "trace_id": Field(),
        "source": Field(),
        "occur_time": Field(Kind.TIME),
        "message": Field(),
    },
    searched=(),
    words=WORDS,
)
