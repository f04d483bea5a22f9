"""What promtool says of unit tests, and what we say."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pilothouse_server.domain.alerts.documents import duration_of_text
from pilothouse_server.rulefiles import reports, rule_tests

PROMTOOL = shutil.which("promtool")
TIMEOUT_S = 60


@dataclass(frozen=True)
class Verdict:
    """Of one file: whether it passed, else the alerts and times that were not as expected, or a rule that cannot be
    evaluated."""

    passed: bool
    wrong: frozenset[tuple[str, int]]
    said: str


def by_us(path: Path) -> Verdict:
    """Ours."""
    report = rule_tests.run_file(path)
    wrong = frozenset((each.alert, each.at_us) for each in report.failures)
    return Verdict(report.passed, wrong, "\n".join(reports.lines(report)))


_FILE = re.compile(r"Unit Testing: +(.*)\n(  SUCCESS)?")
_WRONG = re.compile(r"alertname: (.*), time: (\w+), ")
_FAILED = re.compile(r"rule: (.*), time: (\w+), err: ")


def by_promtool(*paths: Path) -> Mapping[Path, Verdict]:
    """promtool's, file by file."""
    assert PROMTOOL
    done = subprocess.run(
        [PROMTOOL, "test", "rules", *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    passed = {Path(name): bool(success) for name, success in _FILE.findall(done.stdout)}
    assert list(passed) == list(paths), done.stdout + done.stderr
    assert done.returncode == (0 if all(passed.values()) else 1), done.stderr
    # What went wrong stands on the other channel, in the order of the files.
    parts = done.stderr.split("  FAILED:\n")[1:]
    failed = [path for path in paths if not passed[path]]
    assert len(parts) == len(failed), done.stderr
    said = dict(zip(failed, parts, strict=True))
    return {path: _verdict(passed[path], said.get(path, "")) for path in paths}


def _verdict(passed: bool, said: str) -> Verdict:
    wrong = {
        (name, duration_of_text(time, "time"))
        for pattern in (_WRONG, _FAILED)
        for name, time in pattern.findall(said)
    }
    return Verdict(passed, frozenset(wrong), said)
