"""The two forms of a file with rules, and how each is read and written.

rules:                      groups:
- name: Error rate          - name: fleet
  condition: {…}              rules:
                              - alert: Error rate
                                expr: pilothouse:error_ratio:5m > 0.05
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum

from pilothouse_server.domain.alerts.documents import rule_from_document, rule_to_document
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.errors import InvalidArgument
from pilothouse_server.rulefiles import live, prometheus
from pilothouse_server.rulefiles.fields import Fields
from pilothouse_server.rulefiles.yaml_text import Entries, Items, Node, Refused, parse, plain
from pilothouse_server.rulefiles.yaml_text import write as write_yaml

MOST_RULES = 10_000
"""In one file; how many there may be in a server is another question."""


class RuleFormat(IntEnum):
    """In which form rules are written. The numbers are those of the contract."""

    PILOTHOUSE = 1
    PROMETHEUS = 2


def read(document: str, format: int = 0) -> list[Rule]:
    """The rules of a document; with the format 0 its first key tells. Raises InvalidArgument with the line. Whether a
    rule may be so is `validation`'s to say. Takes up to a second for 1 MiB, so it belongs in a thread."""
    try:
        return [rule for rule, _ in lines_of(parse(document), format)]
    except Refused as error:
        raise InvalidArgument("document", str(error)) from error


def lines_of(node: Node, format: int = 0) -> list[tuple[Rule, int]]:
    """The rules, and the line in which each begins. Raises Refused."""
    if (format or format_of(node)) == RuleFormat.PROMETHEUS:
        file = prometheus.read_node(node)
        return list(zip(live.rules_of(file), (each.line for each in file.rules), strict=True))
    return _own(node)


def write(rules: Sequence[Rule], format: int = 0) -> tuple[str, list[str]]:
    """The document, and a sentence for each rule that it cannot hold; the format 0 is ours."""
    if format == RuleFormat.PROMETHEUS:
        return live.write_prometheus(rules)
    return write_yaml({"rules": [rule_to_document(rule) for rule in rules]}), []


def format_of(node: Node) -> RuleFormat:
    """By the keys of the document. Raises Refused."""
    if isinstance(node, Entries):
        if "groups" in node.entries:
            return RuleFormat.PROMETHEUS
        if "rules" in node.entries:
            return RuleFormat.PILOTHOUSE
    raise Refused(node.line, "expected rules: (ours) or groups: (those of Prometheus)")


def _own(node: Node) -> list[tuple[Rule, int]]:
    file = Fields(node, "a mapping with rules")
    nodes = file.items("rules")
    file.end()
    if len(nodes) > MOST_RULES:
        raise Refused(file.line, f"{len(nodes):,} rules; a file has {MOST_RULES:,} at most")
    rules: list[tuple[Rule, int]] = []
    seen: dict[tuple[str, str], int] = {}
    for index, each in enumerate(nodes):
        rule = _own_rule(each, f"rules[{index}]")
        for key, value in (("id", rule.id), ("name", rule.name)):
            first = seen.setdefault((key, value), each.line) if value else each.line
            if first != each.line:
                raise Refused(
                    each.line, f"the {key} {value!r} is that of the rule in line {first} already"
                )
        rules.append((rule, each.line))
    return rules


def _own_rule(node: Node, at: str) -> Rule:
    try:
        return rule_from_document(plain(node), at)
    except InvalidArgument as error:
        line = line_of(node, error.field.removeprefix(at))
        raise Refused(line, error.message) from error


_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


def line_of(node: Node, path: str) -> int:
    """The line of `.condition.all[1].metric`, or of the nearest place above it that there is."""
    line = node.line
    for found in _STEP.finditer(path):
        if isinstance(node, Entries) and found[1] in node.entries:
            line, node = node.lines[found[1]], node.entries[found[1]]
        elif isinstance(node, Items) and found[2] and int(found[2]) < len(node.items):
            node = node.items[int(found[2])]
            line = node.line
        else:
            break
    return line
