"""What the projector writes: events as they came, and workflows, tasks and agents as the events show them.

`record` is the whole of a row as its fold needs it (`domain/projection.py`); the columns beside it are what is searched
and sorted by. No text is NULL: "not stated" is the empty text. A time is NULL while it is not known.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, Table, false

from pilothouse_server.adapters.sql.metadata import TEXT, metadata

COUNTERS = Table(
    "counters",
    metadata,
    Column("name", TEXT, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
"""What `revisions` counts by."""

IDENTITY = Table(
    "identity",
    metadata,
    Column("name", TEXT, primary_key=True),
    Column("value", TEXT, nullable=False),
)
"""What tells this database from others."""

CURSORS = Table(
    "cursors",
    metadata,
    Column("consumer", TEXT, primary_key=True),
    Column("cursor", TEXT, nullable=False),
)
"""Where each consumer of the log stands, written in the transaction of its effects."""

EVENTS = Table(
    "events",
    metadata,
    Column(
        "position",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("id", TEXT, nullable=False),
    Column("cursor", TEXT, nullable=False),
    Column("type", Integer, nullable=False),
    Column("severity", Integer, nullable=False),
    Column("occur_us", BigInteger, nullable=False),
    Column("receive_us", BigInteger, nullable=False),
    Column("source", TEXT, nullable=False),
    Column("workflow_id", TEXT, nullable=False),
    Column("workflow_type", TEXT, nullable=False),
    Column("stage", TEXT, nullable=False),
    Column("task_id", TEXT, nullable=False),
    Column("agent_id", TEXT, nullable=False),
    Column("agent_type", TEXT, nullable=False),
    Column("trace_id", TEXT, nullable=False),
    Column("message", TEXT, nullable=False),
    Column("payload", LargeBinary, nullable=False),
)
"""Each event once. `position` is dense and in the order of the log; `payload` is the event as the log has it."""

Index("uq_events_id", EVENTS.c.id, unique=True)
Index("ix_events_type_position", EVENTS.c.type, EVENTS.c.position)
for _name in ("workflow_id", "agent_id", "trace_id"):
    _stated = EVENTS.c[_name] != ""
    Index(
        f"ix_events_{_name}_position",
        EVENTS.c[_name],
        EVENTS.c.position,
        sqlite_where=_stated,
        postgresql_where=_stated,
    )

WORKFLOWS = Table(
    "workflows",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("type", TEXT, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("source", TEXT, nullable=False),
    Column("state", Integer, nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("stage", TEXT, nullable=False),
    Column("agent_id", TEXT, nullable=False),
    Column("create_us", BigInteger, nullable=False),
    Column("start_us", BigInteger),
    Column("end_us", BigInteger),
    Column("update_us", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("record", TEXT, nullable=False),
    Column("tokens", BigInteger, nullable=False, server_default="0"),
    Column("cost_micros", BigInteger, nullable=False, server_default="0"),
    Column("waits_for", TEXT, nullable=False, server_default=""),
    Column("duration_us", BigInteger),
)
"""`waits_for`: the kinds of agents that its tasks wait for while none is in hand, each in a line. `duration_us`: from
when the engine knew of it to the end of its newest attempt; NULL while that has not ended."""

Index("uq_workflows_revision", WORKFLOWS.c.revision, unique=True)
Index("ix_workflows_create_us_id", WORKFLOWS.c.create_us, WORKFLOWS.c.id)
Index("ix_workflows_state_create_us_id", WORKFLOWS.c.state, WORKFLOWS.c.create_us, WORKFLOWS.c.id)
Index("ix_workflows_start_us_id", WORKFLOWS.c.start_us, WORKFLOWS.c.id)
Index("ix_workflows_name_id", WORKFLOWS.c.name, WORKFLOWS.c.id)
Index("ix_workflows_type_create_us_id", WORKFLOWS.c.type, WORKFLOWS.c.create_us, WORKFLOWS.c.id)
Index("ix_workflows_source_revision", WORKFLOWS.c.source, WORKFLOWS.c.revision)
_worked_on = WORKFLOWS.c.agent_id != ""
Index(
    "ix_workflows_agent_id",
    WORKFLOWS.c.agent_id,
    sqlite_where=_worked_on,
    postgresql_where=_worked_on,
)
Index("ix_workflows_duration_us_id", WORKFLOWS.c.duration_us, WORKFLOWS.c.id)
Index("ix_workflows_update_us_id", WORKFLOWS.c.update_us, WORKFLOWS.c.id)
_waits = WORKFLOWS.c.waits_for != ""
Index("ix_workflows_waits_for", WORKFLOWS.c.waits_for, sqlite_where=_waits, postgresql_where=_waits)

TASKS = Table(
    "tasks",
    metadata,
    Column("workflow_id", TEXT, primary_key=True),
    Column("task_id", TEXT, primary_key=True),
    Column("first_us", BigInteger, nullable=False),
    Column("state", Integer, nullable=False),
    Column("agent_id", TEXT, nullable=False),
    Column("start_us", BigInteger),
    Column("record", TEXT, nullable=False),
    Column("end_us", BigInteger),
    sqlite_with_rowid=False,
)
"""`end_us`: when its newest attempt ended; NULL while it has not, and for what was stored before that was kept."""
_ended = TASKS.c.end_us.is_not(None)
Index(
    "ix_tasks_agent_id_end_us",
    TASKS.c.agent_id,
    TASKS.c.end_us,
    sqlite_where=_ended,
    postgresql_where=_ended,
)
_running = TASKS.c.state == 3
Index("ix_tasks_running_agent", TASKS.c.agent_id, sqlite_where=_running, postgresql_where=_running)

AGENTS = Table(
    "agents",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("type", TEXT, nullable=False),
    Column("source", TEXT, nullable=False),
    Column("last_seen_us", BigInteger, nullable=False),
    Column("gone", Boolean, nullable=False),
    Column("draining", Boolean, nullable=False),
    Column("working", Boolean, nullable=False),
    Column("overdue", Boolean, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("record", TEXT, nullable=False),
    Column("full", Boolean, nullable=False, server_default=false()),
)
"""`gone`: it said goodbye. `full`: it has as much in hand as it can. `overdue`: the sweeper saw that its heartbeat is
too old; the next one clears it. `last_seen_us` is 0 for an agent that others named and that was never heard of itself:
it only counts its tasks."""

Index("uq_agents_revision", AGENTS.c.revision, unique=True)
Index("ix_agents_type_id", AGENTS.c.type, AGENTS.c.id)
Index("ix_agents_last_seen_us", AGENTS.c.last_seen_us)

QUEUES = Table(
    "queues",
    metadata,
    Column("source", TEXT, primary_key=True),
    Column("name", TEXT, primary_key=True),
    Column("workflow_type", TEXT, primary_key=True),
    Column("agent_type", TEXT, primary_key=True),
    Column("state", Integer, nullable=False),
    Column("since_us", BigInteger, nullable=False),
    Column("heard_us", BigInteger, nullable=False),
    Column("record", TEXT, nullable=False),
)
"""Queues as their engines report them; an empty name is all that the engine starts, or all of one type."""
Index("ix_queues_heard_us", QUEUES.c.heard_us)
