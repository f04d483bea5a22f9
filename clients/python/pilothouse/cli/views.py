"""Messages that have a view of their own: first of all a snapshot of the metrics, as an operator wants to see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from google.protobuf.message import Message
from rich.cells import cell_len

from pilothouse.cli import configs, contract, values
from pilothouse.cli.tables import GAP, Screen, View, fit
from pilothouse.v1.metrics_pb2 import (
    METRIC_DIMENSION_FLEET,
    MetricSeries,
    MetricsSnapshot,
    WindowMetrics,
)

NOTHING = "–"
"""Shown where nothing is known: never 0."""

SERIES_SHOWN = 20
"""Series below the fleet."""


def snapshot_view(screen: Screen, message: Message) -> None:
    """The fleet and its windows, then the series below it."""
    for line in snapshot_lines(screen, cast("MetricsSnapshot", message)):
        screen.line(line)


def snapshot_lines(screen: Screen, snapshot: MetricsSnapshot) -> list[str]:
    """The lines of `snapshot_view`."""
    fleet = next(
        (each for each in snapshot.series if each.dimension == METRIC_DIMENSION_FLEET), None
    )
    lines = _head(screen, snapshot, fleet)
    if fleet is not None:
        lines += ["", *_windows(screen, fleet.windows)]
    others = [each for each in snapshot.series if each is not fleet and each.windows]
    if others:
        lines += ["", *_series(screen, others)]
    return lines


def _head(screen: Screen, snapshot: MetricsSnapshot, fleet: MetricSeries | None) -> list[str]:
    word = contract.word_of(snapshot.health, "state") or "UNKNOWN"
    look = values.LOOKS.get(word)
    health = screen.style(f"{look.symbol} {word}" if look else word, look.style if look else "dim")
    facts = [
        f"agents {snapshot.agents.online}/{snapshot.agents.known}",
        f"events/s {_number(snapshot, 'events_per_second')}",
        f"as of {values.show_time(snapshot.as_of_time, screen.now)}",
        f"#{snapshot.sequence}",
    ]
    lines = [GAP.join([health, *(screen.style(fact, "dim") for fact in facts)])]
    lines += [f"  {values.neutral(reason)}" for reason in snapshot.health.reasons]
    if fleet is not None and fleet.HasField("states"):
        now = fleet.states
        lines.append(
            f"running {now.running}  waiting {now.waiting}  paused {now.paused}  queued {now.queued}"
            f"  queue depth {now.queue_depth}  ever {snapshot.totals.workflows}"
        )
    return lines


_WINDOW_TITLES = (
    "window",
    "started",
    "done",
    "failed",
    "cancelled",
    "per min",
    "errors",
    "p50",
    "p95",
    "p99",
)


def _window_cells(window: WindowMetrics) -> list[str]:
    latency = window.latency if window.HasField("latency") else None
    rate = f"{window.throughput * 60:.1f}" if window.HasField("throughput") else NOTHING
    errors = f"{window.error_rate:.1%}" if window.HasField("error_rate") else NOTHING
    percentiles = (
        [values.show_duration(each) for each in (latency.p50, latency.p95, latency.p99)]
        if latency
        else [NOTHING] * 3
    )
    counts = (window.started, window.completed, window.failed, window.cancelled)
    return [values.show_duration(window.window), *map(str, counts), rate, errors, *percentiles]


def _windows(screen: Screen, windows: Sequence[WindowMetrics]) -> list[str]:
    return _grid(screen, _WINDOW_TITLES, [_window_cells(each) for each in windows], left=1)


def _series(screen: Screen, series: Sequence[MetricSeries]) -> list[str]:
    titles = ("series", "name", *_WINDOW_TITLES)
    rows: list[list[str]] = []
    for each in series[:SERIES_SHOWN]:
        kind = contract.word_of(each, "dimension")
        window = each.windows[min(1, len(each.windows) - 1)]
        rows.append(
            [
                kind.lower().replace("_", " "),
                fit(values.neutral(each.name), 32),
                *_window_cells(window),
            ]
        )
    lines = _grid(screen, titles, rows, left=2)
    if len(series) > SERIES_SHOWN:
        lines.append(
            screen.style(f"and {len(series) - SERIES_SHOWN} more: see them with -o json", "dim")
        )
    return lines


def _grid(
    screen: Screen, titles: Sequence[str], rows: Sequence[Sequence[str]], *, left: int
) -> list[str]:
    """Aligned lines; the first `left` columns to the left, numbers to the right."""
    widths = [
        max(cell_len(text) for text in (name, *(row[at] for row in rows)))
        for at, name in enumerate(titles)
    ]

    def line(cells: Sequence[str]) -> str:
        padded = [
            text + " " * (width - cell_len(text))
            if at < left
            else " " * (width - cell_len(text)) + text
            for at, (text, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return GAP.join(padded).rstrip()

    return [
        screen.style(line([name.upper() for name in titles]), "dim"),
        *(line(row) for row in rows),
    ]


def _number(message: Message, field: str) -> str:
    return values.show_number(getattr(message, field)) if message.HasField(field) else NOTHING


def summary(snapshot: MetricsSnapshot) -> str:
    """A snapshot in one line, for an output that is not a terminal."""
    word = contract.word_of(snapshot.health, "state") or "UNKNOWN"
    fleet = next(
        (each for each in snapshot.series if each.dimension == METRIC_DIMENSION_FLEET), None
    )
    parts = [values.show_time(snapshot.as_of_time, None), word]
    if fleet is not None:
        parts.append(f"running={fleet.states.running} queue_depth={fleet.states.queue_depth}")
        for window in fleet.windows[:1]:
            names = ("throughput_per_min", "error_rate", "p50", "p95", "p99")
            cells = dict(zip(_WINDOW_TITLES, _window_cells(window), strict=True))
            keys = ("per min", "errors", "p50", "p95", "p99")
            parts += [
                f"{name}={cells[key].replace(' ', '')}"
                for name, key in zip(names, keys, strict=True)
            ]
    parts.append(f"agents={snapshot.agents.online}/{snapshot.agents.known}")
    return " ".join(parts)


VIEWS: dict[str, View] = {
    MetricsSnapshot.DESCRIPTOR.full_name: snapshot_view,
    configs.NAME: configs.view,
}
"""By the full name of the message."""


def as_snapshot(message: Message) -> MetricsSnapshot:
    """A message of this kind, which the caller knows it is."""
    return cast("MetricsSnapshot", message)
