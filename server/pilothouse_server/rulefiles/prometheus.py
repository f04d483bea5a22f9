"""Prometheus' rule files: groups of alerting rules, as far as their conditions are in our part of PromQL.

What Prometheus would refuse is refused, and so is what it would take and we cannot say: recording rules, limits of a
group, labels made of the value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pilothouse_server.domain.alerts import templates
from pilothouse_server.domain.errors import InvalidArgument
from pilothouse_server.rulefiles import promql
from pilothouse_server.rulefiles.fields import Fields, numbered
from pilothouse_server.rulefiles.promql import Expression, NotInSubset
from pilothouse_server.rulefiles.yaml_text import Node, Refused, Text, parse

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class AlertingRule:
    """One of them. Times are microseconds."""

    name: str
    expression: Expression
    for_us: int
    keep_firing_us: int
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    group: str
    line: int
    lines: Mapping[str, int]
    """Those of its fields."""


@dataclass(frozen=True, slots=True)
class RuleFile:
    """The rules of a file."""

    rules: tuple[AlertingRule, ...]
    intervals: Mapping[str, int]
    """Lines in which a group says how often it is evaluated, which promtool overlooks."""


def read(text: str) -> RuleFile:
    """The rules in it. Raises Refused with the line."""
    return read_node(parse(text))


def read_node(node: Node) -> RuleFile:
    """The same of what is parsed already."""
    file = Fields(node, "a mapping with groups")
    rules: list[AlertingRule] = []
    names: set[str] = set()
    intervals: dict[str, int] = {}
    for group in numbered(file.items("groups"), "a group: a mapping with name and rules"):
        name = group.text("name")
        if not name:
            raise Refused(group.line, "the name of a group is empty")
        if name in names:
            raise Refused(group.line_of("name"), f"there are two groups of the name {name!r}")
        names.add(name)
        _check_group(group, name, intervals)
        for each in numbered(group.items("rules"), "a rule: a mapping with alert and expr"):
            rules.append(_rule(each, name))  # noqa: PERF401
        group.end()
    file.end()
    return RuleFile(tuple(rules), intervals)


def _check_group(group: Fields, name: str, intervals: dict[str, int]) -> None:
    if group.duration("interval"):
        intervals[name] = group.line_of("interval")
    if group.text("limit", "0") != "0":
        raise Refused(
            group.line_of("limit"), "limit, a bound on a group's alerts, is not taken here"
        )
    for key in ("query_offset", "evaluation_delay", "source_tenants", "labels"):
        group.refuse(key, "of a group is not taken here")


def _rule(fields: Fields, group: str) -> AlertingRule:
    fields.refuse("record", ": recording rules are not taken here, only alerting rules")
    lines = {
        key: fields.line_of(key)
        for key in ("alert", "expr", "for", "keep_firing_for", "labels", "annotations")
    }
    name = fields.text("alert")
    if not name:
        raise Refused(lines["alert"], "the name of an alert is empty")
    rule = AlertingRule(
        name=name,
        expression=_expression(fields),
        for_us=fields.duration("for"),
        keep_firing_us=fields.duration("keep_firing_for"),
        labels=fields.texts("labels"),
        annotations=fields.texts("annotations"),
        group=group,
        line=fields.line,
        lines=lines,
    )
    fields.end()
    _check_names(rule)
    _check_templates(rule)
    return rule


def _expression(fields: Fields) -> Expression:
    node = fields.get("expr")
    if not isinstance(node, Text):
        raise Refused(
            fields.line_of("expr"), "expr is missing" if node is None else "expr is a text"
        )
    try:
        return promql.parse(node.text)
    except NotInSubset as error:
        before = node.text[: error.position]
        line, begin = node.line, 0
        if node.literal:
            line, begin = node.line + 1 + before.count("\n"), before.rfind("\n") + 1
        where = f"expr, character {error.position - begin + 1}"
        raise Refused(line, f"{where}: {error.description}") from error


def _check_names(rule: AlertingRule) -> None:
    for key, texts in (("labels", rule.labels), ("annotations", rule.annotations)):
        for name in texts:
            if _LABEL.fullmatch(name) is None or (key == "labels" and name == "__name__"):
                raise Refused(rule.lines[key], f"{key}: {name!r} cannot be the name of one")


def _check_templates(rule: AlertingRule) -> None:
    try:
        for name, text in rule.labels.items():
            templates.check_label(text, f"labels.{name}")
        for name, text in rule.annotations.items():
            templates.check(text, f"annotations.{name}")
    except InvalidArgument as error:
        line = rule.lines[error.field.partition(".")[0]]
        raise Refused(line, error.message) from error
