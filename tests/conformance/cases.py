"""Cases made from a seed: rules, series, and the times at which one looks, all near the places where it matters."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from pilothouse_server.domain.alerts.documents import duration_to_text

SECOND_US = 1_000_000
METRICS = ("up", "node:load:5m", "m_total")
NAMES = ("instance", "zone", "le")
VALUES = ("a", "b", "c", "d e", "ü", 'quo"te', "back\\slash", "2048", "-1.5e3")
NUMBERS = (
    "0",
    "1",
    "2",
    "-1",
    "0.5",
    "1e6",
    "+3",
    "1.5e-3",
    "Inf",
    "-Inf",
    "NaN",
    "010",
    "0.30000000000000004",
)
NAMES_OF_ALERTS = (("A", "B", 'Slow: "x"'), ("C", "D"))
"""By group: in which order promtool evaluates groups is left to chance where the file does not say."""
SIGNS = (">", ">=", "<", "<=", "==", "!=")
INTERVALS = (7, 13, 15, 30, 45, 60, 90, 100, 120, 300)
PATTERNS = ("a|b", ".*", ".+", "[a-c]", "", "2.*", "d .")
TEMPLATES = (
    "plain",
    "{{ $value }}",
    "{{ $labels.instance }} of {{ $labels.zone }}: {{ $value | humanize }}",
    "{{ $value | humanize1024 }} {{ humanizeDuration $value }} {{ $value|humanizePercentage }}",
    '{{ printf "%.2f %5.1f|%-8.3g|%+.1f %e" $value $value $value $value $value }}',
    "{{ .Labels.instance | toUpper }}{{- /* said */ -}} {{ .Value }}",
    "{{ $labels.zone | title | printf `%5s|%v` $labels.le }}",
    "{{ $labels }}",
    "{{ $labels.__name__ }} {{ $labels.nothing }}{{ -3 }}",
    "{{ (humanize $value) | toLower }} at {{ 1.5e9 | humanizeTimestamp }}",
    "",
)
LABELS = (
    "warning",
    "{{ $labels.instance }}",
    "{{ $labels.zone | toUpper }}",
    "{{ $labels.__name__ }}",
    "",
)


@dataclass(frozen=True)
class Case:
    """A rule file and a test file without what is expected, which `looks` says: name and microseconds, test by test."""

    rules: dict[str, object]
    tests: dict[str, object]
    looks: list[list[tuple[str, int]]]


def case(seed: int) -> Case:
    """The case of a seed."""
    chance = Random(seed)
    groups: list[dict[str, object]] = []
    names: list[str] = []
    for number in range(chance.choice((1, 1, 2))):
        rules = [_rule(chance, NAMES_OF_ALERTS[number]) for _ in range(chance.randint(1, 3))]
        names += [str(each["alert"]) for each in rules]
        groups.append({"name": f"group {number}", "rules": rules})
    interval = chance.choice(INTERVALS[:-1])
    tests: list[dict[str, object]] = []
    looks: list[list[tuple[str, int]]] = []
    for _ in range(chance.choice((1, 1, 2))):
        step = chance.choice(INTERVALS)
        tests.append({"interval": _text(step), "input_series": _all_series(chance)})
        slots = min(60, 1500 // interval)
        looks.append(
            [
                (name, look * SECOND_US)
                for slot in range(slots)
                for name in sorted({*names, "Nobody"} if slot == 3 else set(names))
                for look in {
                    slot * interval,
                    slot * interval + chance.choice((0, 0, interval // 2, interval - 1)),
                }
            ]
        )
    test_file: dict[str, object] = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": _text(interval),
        "tests": tests,
    }
    if chance.random() < 0.3:
        test_file["group_eval_order"] = [f"group {number}" for number in range(len(groups))]
    return Case({"groups": groups}, test_file, looks)


def _rule(chance: Random, names: tuple[str, ...]) -> dict[str, object]:
    rule: dict[str, object] = {
        "alert": chance.choice(names),
        "expr": _expression(chance, 0),
    }
    for key in ("for", "keep_firing_for"):
        if chance.random() < 0.6:
            rule[key] = chance.choice(("0s", "1s", "30s", "1m", "90s", "2m", "5m", "1h"))
    if chance.random() < 0.6:
        rule["labels"] = {
            chance.choice((*NAMES, "severity", "team", "alertname")): chance.choice(LABELS)
            for _ in range(chance.randint(1, 2))
        }
    if chance.random() < 0.8:
        rule["annotations"] = {
            chance.choice(("summary", "description", "value")): chance.choice(TEMPLATES)
            for _ in range(chance.randint(1, 3))
        }
    return rule


def _expression(chance: Random, deep: int) -> str:
    kind = chance.random() + deep * 0.2
    if kind > 0.55:
        return _comparison(chance)
    word = chance.choice((" and ", " or ", " AND ", "\n  or "))
    said = word.join(_expression(chance, deep + 1) for _ in range(chance.randint(2, 3)))
    return f"({said})" if chance.random() < 0.5 else said


def _comparison(chance: Random) -> str:
    matchers: list[str] = []
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        sign = chance.choice(("=", "!=", "=~", "!~"))
        value = chance.choice(PATTERNS if "~" in sign else (*VALUES, ""))
        matchers.append(f"{chance.choice(NAMES)}{sign}{_quoted(chance, value)}")
    scope = f"{{{', '.join(matchers)}}}" if matchers else chance.choice(("", "{}"))
    # Half of them are nearly always true, so that what they are joined with decides.
    often = chance.choice(("!= 77", ">= -1", "< 1e9"))
    limit = chance.choice((often, f"{chance.choice(SIGNS)} {chance.choice(NUMBERS)}"))
    return f"{chance.choice(METRICS)}{scope} {limit}"


def _quoted(chance: Random, value: str) -> str:
    if chance.random() < 0.2:
        return f"`{value}`"
    quote = chance.choice("\"'")
    return quote + value.replace("\\", "\\\\").replace(quote, f"\\{quote}") + quote


def _all_series(chance: Random) -> list[dict[str, object]]:
    # Few sets of labels, so that metrics meet in `and` and `or`.
    sets = [
        {name: chance.choice(VALUES) for name in NAMES if chance.random() < 0.5}
        for _ in range(chance.randint(1, 3))
    ]
    found: dict[tuple[str, ...], dict[str, object]] = {}
    for _ in range(chance.randint(0, 7)):
        labels = chance.choice(sets)
        metric = chance.choice(METRICS)
        written = ",".join(f"{name}={_quoted(chance, value)}" for name, value in labels.items())
        key = (metric, *(f"{name}={value}" for name, value in sorted(labels.items())))
        found[key] = {
            "series": f"{metric}{{{written}}}" if written else metric,
            "values": _values(chance),
        }
    return list(found.values())


def _values(chance: Random) -> str:
    return " ".join(_value(chance) for _ in range(chance.randint(1, 8)))


def _value(chance: Random) -> str:
    kind = chance.random()
    if kind < 0.15:
        return chance.choice(("_", "_x2", "_x9", "stale"))
    number = chance.choice(NUMBERS)
    if kind < 0.4 or number.lower().lstrip("+-") in {"inf", "nan"}:
        return number
    step = chance.choice(("", "+1", "-1", "+0.1", "-0.5", "+0"))
    return f"{number}{step}x{chance.randint(0, 6)}"


def _text(seconds: int) -> str:
    return duration_to_text(seconds * SECOND_US)
