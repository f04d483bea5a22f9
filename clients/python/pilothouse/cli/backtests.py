"""`rules backtest FILE --since 24h`: what the rule in a file would have done, as a person wants to read it.

Its progress goes to the terminal while it runs; the answer is written when all of it is there. Programs ask for JSON or
YAML and get every message but the progress, as it comes.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click
from google.protobuf.timestamp_pb2 import Timestamp
from rich.cells import cell_len

from pilothouse.cli import messages, params, values
from pilothouse.cli.output import Tables
from pilothouse.cli.tables import GAP, Screen, fit

if TYPE_CHECKING:
    from pilothouse.cli.calls import Call
    from pilothouse.client import Client
    from pilothouse.v1.rules_pb2 import BacktestAlert, BacktestSource, BacktestSummary

PATH = "/pilothouse.v1.RuleService/BacktestRule"
NEVER = "–"
"""Shown where something did not happen."""
MOST_OF_LABELS = 60


def parameters() -> list[click.Parameter]:
    """What is typed; each is named after the field of the request that it is."""
    when = params.ValueParam("TIME", parse_when)
    return [
        click.Argument(
            ["document"],
            type=params.ValueParam("FILE", messages.read_file),
            required=True,
            metavar="FILE",
        ),
        click.Option(
            ["--since", "start_time"],
            type=when,
            default="24h",
            show_default=True,
            metavar="TIME",
            help="From when: 24h is so long ago.",
        ),
        click.Option(
            ["--until", "end_time"], type=when, metavar="TIME", help="Until when; otherwise now."
        ),
        click.Option(
            ["--rule", "rule_name"],
            metavar="NAME",
            help="Which rule of the file, by name or id; not needed when there is one only.",
        ),
    ]


def parse_when(typed: str) -> Timestamp:
    """A time, or how long ago it was. Raises ValueError."""
    now = dt.datetime.now(dt.UTC)
    try:
        return values.parse_time(f"-{typed.strip().removeprefix('-')}", now)
    except ValueError:
        return values.parse_time(typed, now)


@dataclass
class _Gathered:
    """The answer, while it comes."""

    sources: list[BacktestSource] = field(default_factory=list["BacktestSource"])
    alerts: list[BacktestAlert] = field(default_factory=list["BacktestAlert"])
    summary: BacktestSummary | None = None


def run(client: Client, call: Call) -> None:
    """Make the call and show the answer."""
    from pilothouse.v1 import rules_pb2 as pb  # noqa: PLC0415 - only what is called loads messages

    request = pb.BacktestRuleRequest()
    params.fill(request, call.given)
    method = client.channel.unary_stream(
        PATH,
        pb.BacktestRuleRequest.SerializeToString,
        pb.BacktestRuleResponse.FromString,
    )
    people = isinstance(call.output, Tables)
    gathered, progress = _Gathered(), _Progress()
    answers: Any = method(request)
    try:
        with closing(progress):
            for answer in answers:
                kind = answer.WhichOneof("update")
                if kind == "progress":
                    progress.show(answer.progress.share)
                elif not people:
                    call.output.item(answer)
                elif kind == "summary":
                    gathered.summary = answer.summary
                elif kind in ("source", "alert"):
                    getattr(gathered, f"{kind}s").append(getattr(answer, kind))
    finally:
        answers.cancel()
    if people:
        for line in lines(call.output.screen, gathered):
            call.output.screen.line(line)


class _Progress:
    """How far it is, in one line of a terminal that is taken back."""

    def __init__(self) -> None:
        self._on = sys.stderr.isatty()

    def show(self, share: float) -> None:
        if self._on:
            done = round(share * 30)
            bar = "█" * done + "·" * (30 - done)
            click.echo(f"\r{bar} {share:4.0%}", nl=False, err=True)

    def close(self) -> None:
        """Takes it back."""
        if self._on:
            click.echo("\r" + " " * 40 + "\r", nl=False, err=True)


def lines(screen: Screen, gathered: _Gathered) -> list[str]:
    """The alerts, what they were judged by, what was not, and all in all."""
    found: list[str] = []
    if gathered.alerts:
        alerts = sorted(gathered.alerts, key=_fired_first)
        found += [*_grid(screen, [_cells(each, screen) for each in alerts]), ""]
    for source in gathered.sources:
        begin, end = (values.show_time(t, None) for t in (source.start_time, source.end_time))
        found.append(screen.style(f"{begin} to {end}: {values.neutral(source.description)}", "dim"))
    summary = gathered.summary
    if summary is None:
        return [*found, screen.style("the answer broke off", "red")]
    found += [
        screen.style(f"but: {values.neutral(caveat)}", "yellow") for caveat in summary.caveats
    ]
    times = {0: "would not have fired", 1: "would have fired once"}
    said = times.get(summary.fired, f"would have fired {summary.fired:,} times")
    firing = f", for {values.show_duration(summary.firing_duration)} in all" * bool(summary.fired)
    instances = "1 instance" if summary.instances == 1 else f"{summary.instances:,} instances"
    looked = f"{instances}, {summary.evaluations:,} evaluations"
    found.append(screen.style(f"{said}{firing}", "bold") + GAP + screen.style(looked, "dim"))
    return found


def _fired_first(alert: BacktestAlert) -> tuple[bool, int, int]:
    first = alert.fire_time if alert.HasField("fire_time") else alert.active_time
    return (not alert.HasField("fire_time"), first.seconds, first.nanos)


_TITLES = ("labels", "held since", "fired", "resolved", "worst", "summary")


def _cells(alert: BacktestAlert, screen: Screen) -> list[str]:
    labels = ", ".join(f"{key}={value}" for key, value in sorted(alert.labels.items()))
    shown = values.neutral(labels) or "fleet"
    times = [
        values.show_time(getattr(alert, name), None) if alert.HasField(name) else NEVER
        for name in ("active_time", "fire_time", "resolve_time")
    ]
    worst = values.show_number(alert.worst_value) if alert.HasField("worst_value") else NEVER
    labels = fit(shown, MOST_OF_LABELS) if screen.terminal else shown
    return [
        labels,
        *(time.replace(".000Z", "Z") for time in times),
        worst,
        values.neutral(alert.summary),
    ]


def _grid(screen: Screen, rows: Sequence[Sequence[str]]) -> list[str]:
    titled = [[title.upper() for title in _TITLES], *rows]
    widths = [max(cell_len(row[at]) for row in titled) for at in range(len(_TITLES))]
    written = [
        GAP.join(
            text + " " * (width - cell_len(text)) for text, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in titled
    ]
    if screen.terminal:
        written = [fit(line, screen.width) for line in written]
    return [screen.style(written[0], "dim"), *written[1:]]
