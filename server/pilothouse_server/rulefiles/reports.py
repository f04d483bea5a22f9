"""What came of unit tests, and how it is said: which test, which time, what was expected and what there was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pilothouse_server.domain.alerts.documents import duration_to_text


class Told(NamedTuple):
    """What a test sees of an alert."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    state: str = "firing"


@dataclass(frozen=True, slots=True)
class Failure:
    """An expectation that was not met, or, with `problem`, a test that could not go on."""

    test: str
    line: int
    alert: str
    at_us: int
    expected: Sequence[Told] = ()
    got: Sequence[Told] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What came of one file."""

    file: str
    tests: int = 0
    expectations: int = 0
    failures: list[Failure] = field(default_factory=list[Failure])
    refused: str = ""
    """Why the file was not run at all, beginning with its name and the line."""

    @property
    def passed(self) -> bool:
        """Whether everything was as expected."""
        return not self.refused and not self.failures


def same(expected: Sequence[Told], got: Sequence[Told]) -> bool:
    """Whether both are the same alerts, in whatever order."""
    return sorted(map(_key, expected)) == sorted(map(_key, got))


def lines(report: Report) -> Iterator[str]:
    """The report for people."""
    if report.refused:
        yield report.refused
    elif report.passed:
        yield f"{report.file}: ok, {report.expectations} expectations in {report.tests} tests"
    else:
        told = (
            f"{len(report.failures)} of {report.expectations} expectations in {report.tests} tests"
        )
        yield f"{report.file}: FAILED, {told}"
    for failure in report.failures:
        yield ""
        yield f"  {report.file}:{failure.line}: {failure.test}"
        if failure.problem:
            yield f"    {failure.alert} at {duration_to_text(failure.at_us)}: {failure.problem}"
        else:
            yield f"    {failure.alert} at {duration_to_text(failure.at_us)}, expected (-) and got (+):"
            yield from (f"    {line}" for line in _difference(failure))


def shown(texts: Mapping[str, str]) -> str:
    """As Prometheus writes labels."""
    written = (f'{name}="{_escaped(value)}"' for name, value in sorted(texts.items()))
    return f"{{{', '.join(written)}}}"


def _difference(failure: Failure) -> Iterator[str]:
    expected, got = list(failure.expected), list(failure.got)
    for told in failure.expected:
        if told in got:
            expected.remove(told)
            got.remove(told)
            yield f"  {_told(told)}"
    for told in expected:
        twin = next((each for each in got if each.labels == told.labels), None)
        if twin is None:
            yield f"- {_told(told)}"
            continue
        got.remove(twin)
        yield f"  {shown(told.labels)}"
        if twin.state != told.state:
            yield f"  - {told.state}"
            yield f"  + {twin.state}"
        for name in sorted({*told.annotations, *twin.annotations}):
            for sign, side in (("-", told), ("+", twin)):
                if (
                    told.annotations.get(name) != twin.annotations.get(name)
                    and name in side.annotations
                ):
                    yield f"  {sign} {name}: {side.annotations[name]}"
    for told in got:
        yield f"+ {_told(told)}"


def _told(told: Told) -> str:
    annotations = f" with {shown(told.annotations)}" if told.annotations else ""
    return f"{told.state} {shown(told.labels)}{annotations}"


def _key(told: Told) -> tuple[list[tuple[str, str]], list[tuple[str, str]], str]:
    return sorted(told.labels.items()), sorted(told.annotations.items()), told.state


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
