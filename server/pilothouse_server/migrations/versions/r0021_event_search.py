"""What finds events among millions: counts of each minute, hour and day, and an index of what they say."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pilothouse_server.adapters.sql import event_search

revision = "0021_event_search"
down_revision = "0020_waiting"
branch_labels = None
depends_on = None

AT_ONCE = 5_000
"""Events that are read at once."""
_LATE = "occur_us < receive_us - 120000000"
_SIZES = (60_000_000, 3_600_000_000, 86_400_000_000)


def upgrade() -> None:
    """Up."""
    op.create_table(
        "event_counts",
        sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("start_us", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("late", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("type", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("severity", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("first_position", sa.BigInteger, nullable=False),
        sa.Column("last_position", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    for level, size in enumerate(_SIZES):
        # Rounded down also for what happened before 1970.
        start = f"occur_us - ((occur_us % {size}) + {size}) % {size}"
        late = f"CASE WHEN {_LATE} THEN 1 ELSE 0 END"
        op.execute(
            f"INSERT INTO event_counts SELECT {level}, {start}, {late}, type, severity, count(*), min(position),"  # noqa: S608 - our own words
            f" max(position) FROM events GROUP BY {start}, {late}, type, severity"
        )
    late_ones = sa.text(_LATE)
    op.create_index(
        "ix_events_late_position",
        "events",
        ["position"],
        sqlite_where=late_ones,
        postgresql_where=late_ones,
    )
    if op.get_bind().dialect.name == "sqlite":
        op.execute(_SEARCH)
        _fill(op.get_bind())
    else:
        op.execute(_FUNCTION)
        op.execute(
            f"CREATE INDEX ix_events_terms ON events USING gin ({event_search.FUNCTION_OF_ROW})"
        )


def downgrade() -> None:
    """Down."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE event_search")
    else:
        op.drop_index("ix_events_terms", table_name="events")
        op.execute("DROP FUNCTION event_terms")
    op.drop_index("ix_events_late_position", table_name="events")
    op.drop_table("event_counts")


def _fill(connection: sa.Connection) -> None:
    names = ", ".join(event_search.Said._fields)
    query = sa.text(
        f"SELECT {names} FROM events WHERE position > :behind ORDER BY position LIMIT {AT_ONCE}"  # noqa: S608 - our own words
    )
    behind = 0
    while rows := connection.execute(query, {"behind": behind}).all():
        event_search.add(connection, (event_search.Said(*row) for row in rows))
        behind = rows[-1].position


_SEARCH = (
    "CREATE VIRTUAL TABLE event_search USING fts5(terms, content='', detail=none, columnsize=0,"
    " tokenize='ascii')"
)

_WORD = "[0-9a-z\\u0080-\\U0010ffff]"
_FUNCTION = rf"""
CREATE FUNCTION event_terms(
  place bigint, kind integer, weight integer, source text, workflow_type text, stage text, task_id text,
  agent_id text, agent_type text, message text
) RETURNS tsvector LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 10000 AS $function$
DECLARE
  bucket text := lpad(to_hex(place >> {event_search.BUCKET_BITS}), 6, '0');
  said text := bucket || '·e' || kind || ' ' || bucket || '·v' || weight;
  words text;
BEGIN
  IF source <> '' THEN said := said || ' ' || bucket || '·s' || left(md5(source), 10); END IF;
  IF workflow_type <> '' THEN said := said || ' ' || bucket || '·t' || left(md5(workflow_type), 10); END IF;
  IF stage <> '' THEN said := said || ' ' || bucket || '·g' || left(md5(stage), 10); END IF;
  IF task_id <> '' THEN said := said || ' ' || bucket || '·k' || left(md5(task_id), 10); END IF;
  IF agent_id <> '' THEN said := said || ' ' || bucket || '·a' || left(md5(agent_id), 10); END IF;
  IF agent_type <> '' THEN said := said || ' ' || bucket || '·y' || left(md5(agent_type), 10); END IF;
  IF message <> '' THEN
    words := ' ' || lower(message COLLATE "C");
    IF octet_length(message) > 1000 THEN
      words := regexp_replace(words, '({_WORD}{{64}}){_WORD}+', '\1', 'g');
    END IF;
    said := said || regexp_replace(words, '[^0-9a-z\u0080-\U0010ffff]+', ' ' || bucket, 'g');
  END IF;
  RETURN array_to_tsvector(string_to_array(said, ' '));
END
$function$
"""
