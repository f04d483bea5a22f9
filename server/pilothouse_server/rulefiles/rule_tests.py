"""Unit tests of rules, from files: ours and promtool's, told apart by their first key. Needs no server."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pilothouse_server.domain.alerts import validation
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.errors import PilothouseError
from pilothouse_server.rulefiles import formats, own_tests, prometheus, promtool_tests
from pilothouse_server.rulefiles.prometheus import AlertingRule
from pilothouse_server.rulefiles.reports import Failure, Report
from pilothouse_server.rulefiles.yaml_text import MOST_BYTES, Entries, Node, Refused, parse
from pilothouse_server.wire.alert_rules import rule_to_proto
from pilothouse_server.wire.rules import violations_of


class Unreadable(Exception):
    """A file that cannot be used, with its name, the line and why."""


def run_file(path: Path) -> Report:
    """Everything that a file expects."""
    try:
        node = parsed(path)
        with _named(path):
            if isinstance(node, Entries) and "rules" in node.entries:
                return _own(path, node)
            return _promtool(path, node)
    except Unreadable as error:
        return Report(str(path), refused=str(error))


@contextmanager
def _named(path: Path) -> Generator[None]:
    """Says of what is refused in which file it is."""
    try:
        yield
    except Refused as error:
        raise Unreadable(f"{path}:{error.line}: {error.description}") from error


def _promtool(path: Path, node: Node) -> Report:
    file = promtool_tests.read(node)
    rules: list[AlertingRule] = []
    for rule_path in rule_paths(path, file.rule_files):
        with _named(rule_path):
            rules += prometheus.read_node(parsed(rule_path)).rules
    ordered = promtool_tests.in_order(rules, file.group_order)
    failures: list[Failure] = []
    for test in file.tests:
        failures += promtool_tests.run(test, ordered, file.interval_us)
    expected = sum(len(test.expectations) for test in file.tests)
    return Report(str(path), len(file.tests), expected, failures)


def _own(path: Path, node: Node) -> Report:
    file = own_tests.read(node)
    rules: list[Rule] = []
    for rule_path in rule_paths(path, file.rule_files):
        with _named(rule_path):
            for rule, line in formats.lines_of(parsed(rule_path)):
                rules.append(_checked(rule, rules, line))
    failures: list[Failure] = []
    for test in file.tests:
        failures += own_tests.run(test, rules)
    expected = sum(len(test.expectations) for test in file.tests)
    return Report(str(path), len(file.tests), expected, failures)


def _checked(rule: Rule, before: Sequence[Rule], line: int) -> Rule:
    """The rule, as a server would take it. Which channels and escalations there are is not known here."""
    if any(rule.name == each.name for each in before):
        raise Refused(line, f"there are two rules of the name {rule.name!r}")
    for field, description in violations_of(rule_to_proto(rule)):
        raise Refused(line, f"{rule.name}.{field}: {description}")
    try:
        validation.check_alone(rule, None, None, rule.name)
    except PilothouseError as error:
        raise Refused(line, error.message) from error
    return rule


def rule_paths(path: Path, patterns: Sequence[tuple[str, int]]) -> list[Path]:
    """The files that are meant, beside `path`. Raises Refused for one that is not there."""
    found: list[Path] = []
    for pattern, line in patterns:
        whole = (path.parent / pattern).absolute()
        # An absolute pattern is looked for from its root.
        beside = (
            sorted(Path(whole.anchor).glob(str(whole.relative_to(whole.anchor)))) if pattern else []
        )
        if not beside:
            raise Refused(line, f"there is no rule file {pattern!r}")
        found += beside
    return found


def parsed(path: Path) -> Node:
    """The YAML of a file. Raises Unreadable."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode()
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise Unreadable(f"{path}:{line}: no UTF-8") from error
    with _named(path):
        return parse(text)
