"""One seed: what we say happens is written down as what is expected, and promtool has to find it true, slot by slot.
Then one expectation is made wrong, and both have to find that one and no other."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any, cast

from pilothouse_server.rulefiles import prometheus, promtool_tests
from pilothouse_server.rulefiles.alerting import Evaluation
from pilothouse_server.rulefiles.reports import Told
from pilothouse_server.rulefiles.yaml_text import parse, write
from tests.conformance.cases import Case, case
from tests.conformance.judges import Verdict, by_promtool, by_us


class Disagreement(AssertionError):
    """promtool and we say different things."""


def check(seed: int, into: Path) -> int:
    """The number of alerts that both saw. Raises Disagreement."""
    made = case(seed)
    (into / "rules.yml").write_text(write(made.rules), "utf-8")
    alerts, failed = _expect(made)
    path = into / "right.yml"
    path.write_text(write(made.tests), "utf-8")
    wrong = into / "wrong.yml"
    spoiled = _spoil(made, Random(seed))
    wrong.write_text(write(made.tests), "utf-8")
    theirs = by_promtool(path, wrong)
    for each in (path, wrong):
        _agree(seed, each, theirs[each], by_us(each))
    if not failed and not theirs[path].passed:
        raise Disagreement(f"seed {seed}: {path}: promtool says\n{theirs[path].said}")
    if spoiled and theirs[wrong].passed:
        raise Disagreement(f"seed {seed}: {wrong}: nobody saw that it is wrong")
    return alerts


def _agree(seed: int, path: Path, theirs: Verdict, ours: Verdict) -> None:
    if (theirs.passed, theirs.wrong) != (ours.passed, ours.wrong):
        said = f"promtool says\n{theirs.said}\nwe say\n{ours.said}"
        raise Disagreement(f"seed {seed}: {path}: {said}")


def _expect(made: Case) -> tuple[int, bool]:
    """Writes into the tests what we say; how many alerts that is, and whether a rule cannot be evaluated."""
    file = promtool_tests.read(parse(write(made.tests)))
    rules = prometheus.read_node(parse(write(made.rules))).rules
    ordered = promtool_tests.in_order(rules, file.group_order)
    alerts, failed = 0, False
    written = cast("list[dict[str, Any]]", made.tests["tests"])
    for test, read, looks in zip(written, file.tests, made.looks, strict=True):
        evaluation = Evaluation(ordered, read.series)
        slots: dict[tuple[int, str], list[Told]] = {}
        for ts_us in range(0, max(at for _, at in looks) + 1, file.interval_us):
            if evaluation.slot(ts_us):
                failed = True
                break
            slots |= {(ts_us, name): evaluation.firing(name) for name, _ in looks}
        expected: list[dict[str, Any]] = []
        test["alert_rule_test"] = expected
        for name, at_us in looks:
            fire = slots.get((at_us // file.interval_us * file.interval_us, name), [])
            alerts += len(fire)
            expected.append(
                {
                    "eval_time": f"{at_us // 1_000_000}s",
                    "alertname": name,
                    "exp_alerts": [_written(told) for told in fire],
                }
            )
    return alerts, failed


def _written(told: Told) -> dict[str, Any]:
    labels = {name: value for name, value in told.labels.items() if name != "alertname"}
    return {"exp_labels": labels, "exp_annotations": dict(told.annotations)}


def _spoil(made: Case, chance: Random) -> bool:
    """Makes one expectation wrong."""
    tests = cast("list[dict[str, Any]]", made.tests["tests"])
    expectations = [each for test in tests for each in test["alert_rule_test"]]
    full = [each for each in expectations if each["exp_alerts"]]
    one = chance.choice(full or expectations)
    before = json.dumps(one, sort_keys=True)
    alerts = one["exp_alerts"]
    match chance.randrange(4) if alerts else 0:
        case 0:
            alerts.append({"exp_labels": {"zone": "nowhere"}})
        case 1:
            alerts.pop(chance.randrange(len(alerts)))
        case 2:
            chance.choice(alerts)["exp_labels"]["zone"] = "elsewhere"
        case _:
            chance.choice(alerts)["exp_annotations"]["summary"] = "something else"
    return json.dumps(one, sort_keys=True) != before
