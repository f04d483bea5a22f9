"""Silences; what people do with alerts beyond acknowledging them; what lists of many alerts are found by."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from pilothouse_server.adapters.sql.metadata import TEXT
from pilothouse_server.domain.alerts.search import terms_of

revision = "0010_silences"
down_revision = "0009_rules"
branch_labels = None
depends_on = None

AT_ONCE = 1000
"""Alerts whose terms are made at once."""

RARE = {
    "acknowledged": ("acknowledge_us", "acknowledge_us IS NOT NULL"),
    "assigned": ("assignee", "assignee <> ''"),
    "no_data": ("active_us", "kind = 2"),
    "silenced": ("active_us", "CAST(silenced_by AS TEXT) <> '[]'"),
    "inhibited": ("active_us", "CAST(inhibited_by AS TEXT) <> '[]'"),
    "flapping": ("active_us", "flapping"),
}


def upgrade() -> None:
    """Up."""
    _silences_up()
    _acts_up()
    op.add_column(
        "alerts", sa.Column("sequence", sa.BigInteger(), nullable=False, server_default="0")
    )
    op.add_column("alerts", sa.Column("terms", TEXT, nullable=False, server_default=""))
    # Below every revision that was given: each row had one of its own.
    op.execute(
        "UPDATE alerts SET sequence = placed.place FROM (SELECT id AS of, row_number() OVER (ORDER BY active_us, id)"
        " AS place FROM alerts) AS placed WHERE placed.of = alerts.id"
    )
    op.create_index("uq_alerts_sequence", "alerts", ["sequence"], unique=True)
    _fill_terms()
    # Only what is over has such a time, and SQLite takes an index of a state first where it is asked for one.
    op.drop_index("ix_alerts_resolve_us", table_name="alerts")
    _partial("ix_alerts_resolve_us", "alerts", "resolve_us", "resolve_us IS NOT NULL")
    op.create_index("ix_alerts_severity", "alerts", ["severity"])
    op.create_index("ix_alerts_fire_us", "alerts", ["fire_us"])
    for name, (column, where) in RARE.items():
        _partial(f"ix_alerts_{name}", "alerts", column, where)
    if op.get_bind().dialect.name == "sqlite":
        for statement in _SEARCH_UP:
            op.execute(statement)
    else:
        op.execute(
            "CREATE INDEX ix_alerts_terms ON alerts"
            " USING gin (array_to_tsvector(string_to_array(terms, ' ')))"
        )


def downgrade() -> None:
    """Down."""
    if op.get_bind().dialect.name == "sqlite":
        for name in ("insert", "delete", "update"):
            op.execute(f"DROP TRIGGER alert_search_{name}")
        op.execute("DROP TABLE alert_search")
    else:
        op.drop_index("ix_alerts_terms", table_name="alerts")
    op.drop_index("ix_alerts_resolve_us", table_name="alerts")
    _partial("ix_alerts_resolve_us", "alerts", "resolve_us", "state = 4")
    for name in ("uq_alerts_sequence", "ix_alerts_severity", "ix_alerts_fire_us"):
        op.drop_index(name, table_name="alerts")
    for name in RARE:
        op.drop_index(f"ix_alerts_{name}", table_name="alerts")
    for name in ("terms", "sequence"):
        op.drop_column("alerts", name)
    for name in ("expire_after_us", "assignee", "request_id"):
        op.drop_column("alert_requests", name)
    op.drop_index("uq_alert_transitions_request_id", table_name="alert_transitions")
    op.drop_column("alert_transitions", "request_id")
    op.drop_table("alert_outbox")
    op.drop_table("silences")


_SEARCH_UP = (
    (
        "CREATE VIRTUAL TABLE alert_search USING fts5(terms, content='alerts', content_rowid='sequence', detail=none,"
        " columnsize=0, tokenize=\"ascii tokenchars '='\")"
    ),
    "INSERT INTO alert_search(alert_search) VALUES ('rebuild')",
    (
        "CREATE TRIGGER alert_search_insert AFTER INSERT ON alerts BEGIN"
        " INSERT INTO alert_search(rowid, terms) VALUES (new.sequence, new.terms); END"
    ),
    (
        "CREATE TRIGGER alert_search_delete AFTER DELETE ON alerts BEGIN"
        " INSERT INTO alert_search(alert_search, rowid, terms) VALUES ('delete', old.sequence, old.terms); END"
    ),
    (
        "CREATE TRIGGER alert_search_update AFTER UPDATE OF terms ON alerts WHEN old.terms <> new.terms BEGIN"
        " INSERT INTO alert_search(alert_search, rowid, terms) VALUES ('delete', old.sequence, old.terms);"
        " INSERT INTO alert_search(rowid, terms) VALUES (new.sequence, new.terms); END"
    ),
)


def _silences_up() -> None:
    op.create_table(
        "silences",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("matchers", sa.JSON(), nullable=False),
        sa.Column("start_us", sa.BigInteger(), nullable=False),
        sa.Column("end_us", sa.BigInteger(), nullable=True),
        *(sa.Column(name, TEXT, nullable=False) for name in ("cron", "time_zone")),
        sa.Column("duration_us", sa.BigInteger(), nullable=False),
        sa.Column("until_resolved", sa.Boolean(), nullable=False),
        sa.Column("bound", sa.JSON(), nullable=False),
        *(sa.Column(name, TEXT, nullable=False) for name in ("comment", "created_by")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("create_us", "update_us")),
        sa.Column("expire_us", sa.BigInteger(), nullable=True),
        *(sa.Column(name, TEXT, nullable=False) for name in ("expired_by", "expire_reason")),
        *(sa.Column(name, TEXT, nullable=False) for name in ("request_id", "asked")),
    )
    op.create_index("ix_silences_create_us_id", "silences", ["create_us", "id"])
    _partial("ix_silences_open", "silences", "end_us", "expire_us IS NULL")
    _partial("uq_silences_request_id", "silences", "request_id", "request_id <> ''", unique=True)


def _acts_up() -> None:
    for name in ("request_id", "assignee"):
        op.add_column("alert_requests", sa.Column(name, TEXT, nullable=False, server_default=""))
    op.add_column("alert_requests", sa.Column("expire_after_us", sa.BigInteger(), nullable=True))
    op.add_column(
        "alert_transitions", sa.Column("request_id", TEXT, nullable=False, server_default="")
    )
    _partial(
        "uq_alert_transitions_request_id", "alert_transitions", "request_id", "request_id <> ''", unique=True
    )  # fmt: skip
    op.create_table(
        "alert_outbox",
        sa.Column(
            "position",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("alert_id", TEXT, nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sqlite_autoincrement=True,
    )


def _partial(name: str, table: str, column: str, where: str, *, unique: bool = False) -> None:
    only = sa.text(where)
    op.create_index(
        name, table, [column], unique=unique, sqlite_where=only, postgresql_where=only
    )  # fmt: skip


def _fill_terms() -> None:
    bind, last = op.get_bind(), 0
    alerts = sa.table(
        "alerts",
        sa.column("labels", sa.JSON()),
        sa.column("sequence", sa.BigInteger()),
        *(sa.column(name, TEXT) for name in ("rule_name", "summary", "terms")),
    )
    some = (
        sa.select(alerts.c.sequence, alerts.c.rule_name, alerts.c.summary, alerts.c.labels)
        .order_by(alerts.c.sequence)
        .limit(AT_ONCE)
    )
    filled = (
        sa.update(alerts)
        .where(alerts.c.sequence == sa.bindparam("at"))
        .values(terms=sa.bindparam("made"))
    )
    while rows := bind.execute(some.where(alerts.c.sequence > last)).all():
        made: list[dict[str, Any]] = [
            {"at": sequence, "made": terms_of(rule_name, summary, labels)}
            for sequence, rule_name, summary, labels in rows
        ]
        bind.execute(filled, made)
        last = rows[-1].sequence
