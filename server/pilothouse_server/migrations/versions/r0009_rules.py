"""Rules as documents with every version kept, and what alerts say beyond their state."""

from __future__ import annotations

import json
import re
from typing import Any

import sqlalchemy as sa
from alembic import op

from pilothouse_server.adapters.sql.metadata import TEXT

revision = "0009_rules"
down_revision = "0008_positions"
branch_labels = None
depends_on = None

METRICS = (
    "latency_p50", "latency_p95", "latency_p99", "error_rate", "success_rate", "throughput", "queue_depth",
    "agent_silence",
)  # fmt: skip
DIMENSIONS = ("fleet", "workflow_type", "stage", "agent_type", "agent")
COMPARISONS = (">", ">=", "<", "<=")
SEVERITIES = ("debug", "info", "warning", "error", "critical")


def upgrade() -> None:
    """Up."""
    _rules_up()
    for column in (
        sa.Column("kind", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("fingerprint", TEXT, nullable=False, server_default=""),
        sa.Column("rule_version", sa.BigInteger(), nullable=False, server_default="1"),
        sa.Column("annotations", sa.JSON(), nullable=False, server_default="{}"),
        sa.Column("evidence", sa.JSON(), nullable=False, server_default="[]"),
        sa.Column("acknowledge_expire_us", sa.BigInteger(), nullable=True),
        sa.Column("assignee", TEXT, nullable=False, server_default=""),
        sa.Column("silenced_by", sa.JSON(), nullable=False, server_default="[]"),
        sa.Column("inhibited_by", sa.JSON(), nullable=False, server_default="[]"),
        sa.Column("flapping", sa.Boolean(), nullable=False, server_default=sa.false()),
    ):
        op.add_column("alerts", column)
    _live("rule_id", "kind", "name")
    op.execute("INSERT INTO counters (name, value) VALUES ('rules', 0)")
    op.add_column(
        "alert_transitions", sa.Column("act", sa.Integer(), nullable=False, server_default="0")
    )


def downgrade() -> None:
    """Down."""
    op.drop_column("alert_transitions", "act")
    op.execute("DELETE FROM counters WHERE name = 'rules'")
    op.execute(
        "DELETE FROM alert_transitions WHERE alert_id IN (SELECT id FROM alerts WHERE kind <> 1)"
    )
    op.execute("DELETE FROM alerts WHERE kind <> 1")
    op.drop_index("uq_alerts_live", table_name="alerts")
    for name in (
        "flapping", "inhibited_by", "silenced_by", "assignee", "acknowledge_expire_us", "evidence", "annotations",
        "rule_version", "fingerprint", "kind",
    ):  # fmt: skip
        op.drop_column("alerts", name)
    _live("rule_id", "name", drop=False)
    _rules_down()


def _live(*columns: str, drop: bool = True) -> None:
    if drop:
        op.drop_index("uq_alerts_live", table_name="alerts")
    live = sa.text("state <> 4")
    op.create_index(
        "uq_alerts_live",
        "alerts",
        list(columns),
        unique=True,
        sqlite_where=live,
        postgresql_where=live,
    )


def _rules_up() -> None:
    columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in _OLD]
    rows = op.get_bind().execute(sa.select(sa.table("alert_rules", *columns))).mappings().all()
    op.drop_table("alert_rules")
    rules = op.create_table(
        "alert_rules",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _NUMBERS),
        sa.Column("updated_by", TEXT, nullable=False),
    )
    op.create_index("uq_alert_rules_name", "alert_rules", ["name"], unique=True)
    versions = _create_versions()
    for row in rows:
        of_both = {"document": _document(row), "create_us": row["create_us"], "version": 1}
        rule = {"id": row["id"], "name": row["name"], "update_us": row["update_us"]}
        op.bulk_insert(rules, [of_both | rule | {"updated_by": ""}])
        texts = dict.fromkeys(("actor", "reason", "request_id"), "")
        op.bulk_insert(versions, [of_both | texts | {"rule_id": row["id"], "deleted": False}])


def _create_versions() -> sa.Table:
    versions = op.create_table(
        "alert_rule_versions",
        sa.Column("rule_id", TEXT, primary_key=True),
        sa.Column("version", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("create_us", sa.BigInteger(), nullable=False),
        *(sa.Column(name, TEXT, nullable=False) for name in ("actor", "reason", "request_id")),
    )
    asked, gone = sa.text("request_id <> ''"), sa.text("deleted")
    op.create_index(
        "uq_alert_rule_versions_request_id",
        "alert_rule_versions",
        ["request_id"],
        unique=True,
        sqlite_where=asked,
        postgresql_where=asked,
    )
    op.create_index(
        "ix_alert_rule_versions_deleted",
        "alert_rule_versions",
        ["rule_id"],
        sqlite_where=gone,
        postgresql_where=gone,
    )
    return versions


def _rules_down() -> None:
    rules = sa.table("alert_rules", sa.column("document", sa.JSON()), *map(sa.column, _NUMBERS))
    rows = op.get_bind().execute(sa.select(rules)).mappings().all()
    op.drop_table("alert_rule_versions")
    op.drop_table("alert_rules")
    old = op.create_table(
        "alert_rules",
        sa.Column("id", TEXT, primary_key=True),
        *(sa.Column(name, TEXT, nullable=False) for name in ("name", "description")),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in _SMALL),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _SPANS),
        sa.Column("threshold", sa.Float(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("create_us", "update_us")),
    )
    op.create_index("uq_alert_rules_name", "alert_rules", ["name"], unique=True)
    op.bulk_insert(old, [_old_row(row) for row in rows if _is_old(row["document"])])


def _is_old(document: Any) -> bool:
    """Whether the older version can say all that decides. A rule that it can say in part only would be another one:
    without its matchers it is about everything."""
    condition = document["condition"]
    return (
        "metric" in condition
        and not condition.keys() & {"matchers", "recovery_threshold"}
        and document.get("no_data", "keep") == "keep"
        and not any("{{" in text for text in document.get("labels", {}).values())
    )


_NUMBERS = ("version", "create_us", "update_us")
_SMALL = ("metric", "dimension", "comparison", "no_data_policy", "severity")
_SPANS = ("window_us", "for_us", "keep_firing_us", "min_samples")
_OLD = (
    "id", "name", "description", "enabled", *_SMALL, *_SPANS, "threshold", "labels", "create_us", "update_us",
)  # fmt: skip
_SECOND_US = 1_000_000


def _document(row: Any) -> dict[str, Any]:
    condition: dict[str, Any] = {"metric": METRICS[row["metric"] - 1]}
    if row["dimension"] > 1:
        condition["dimension"] = DIMENSIONS[row["dimension"] - 1]
    if row["window_us"]:
        condition["window"] = f"{row['window_us'] // _SECOND_US // 60}m"
    condition["comparison"] = COMPARISONS[row["comparison"] - 1]
    condition["threshold"] = row["threshold"]
    if row["min_samples"]:
        condition["min_samples"] = row["min_samples"]
    labels = row["labels"]
    if isinstance(labels, str):
        labels = json.loads(labels)
    document: dict[str, Any] = {
        "id": row["id"],
        "name": row["name"],
        "description": row["description"],
        "enabled": bool(row["enabled"]),
        "condition": condition,
        "for": _span(row["for_us"]),
        "keep_firing_for": _span(row["keep_firing_us"]),
        "severity": SEVERITIES[row["severity"] - 1],
        "labels": labels,
    }
    left_out: dict[str, Any] = {
        "description": "", "enabled": True, "for": "0s", "keep_firing_for": "0s", "labels": {},
    }  # fmt: skip
    return {key: value for key, value in document.items() if value != left_out.get(key)}


def _old_row(row: Any) -> dict[str, Any]:
    document = row["document"]
    condition = document["condition"]
    return {
        "id": document["id"],
        "name": document["name"],
        "description": document.get("description", ""),
        "enabled": document.get("enabled", True),
        "metric": METRICS.index(condition["metric"]) + 1,
        "dimension": DIMENSIONS.index(condition.get("dimension", "fleet")) + 1,
        "comparison": COMPARISONS.index(condition["comparison"]) + 1,
        "no_data_policy": 1,
        "severity": SEVERITIES.index(document.get("severity", "warning")) + 1,
        "window_us": _us(condition.get("window", "0s")),
        "for_us": _us(document.get("for", "0s")),
        "keep_firing_us": _us(document.get("keep_firing_for", "0s")),
        "min_samples": condition.get("min_samples", 0),
        "threshold": condition["threshold"],
        "labels": document.get("labels", {}),
        "create_us": row["create_us"],
        "update_us": row["update_us"],
    }


_UNITS = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6}


def _span(us: int) -> str:
    seconds, rest = divmod(us, _SECOND_US)
    return f"{seconds}s" + (f"{rest}us" if rest else "")


def _us(text: str) -> int:
    parts = re.findall(r"(\d+)([a-z]+)", text)
    return round(sum(int(amount) * _UNITS[unit] for amount, unit in parts) * _SECOND_US)
