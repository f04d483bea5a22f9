"""Figures as a table, with the machine that they are from."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import psutil


def machine() -> str:
    """The machine and the interpreter in one line."""
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}"
    )


def provenance(*servers: str) -> str:
    """What was measured and when: versions, commit, and how busy the machine was before we began."""
    load = " ".join(f"{each:.2f}" for each in os.getloadavg())
    libraries = [
        f"{name} {version(name)}"
        for name in ("grpcio", "protobuf", "SQLAlchemy", "redis", "psycopg")
    ]
    return (
        f"{machine()}; {', '.join(servers or ('embedded log and database',))}; {', '.join(libraries)}; "
        f"commit {_commit()}; load average at the start {load}\n"
    )


def _commit() -> str:
    """The commit, with a mark when files differ from it."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude", "*"],
        cwd=Path(__file__).parent,
        capture_output=True,
        check=False,
        text=True,
    )
    return described.stdout.strip() or "unknown"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * int(share * 1000) // 1000) - 1)]


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: what is printed is what the docs show."""
    lines = [f"### {title}", "", f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def milliseconds(seconds: float) -> str:
    """Three significant digits or so, in ms."""
    value = seconds * 1000
    return f"{value:.1f} ms" if value < 100 else f"{value:,.0f} ms"


def seconds_of(seconds: float) -> str:
    """In seconds when it is long, in milliseconds when it is short."""
    return f"{seconds:.2f} s" if seconds >= 1 else milliseconds(seconds)
