"""The engine alone: `python -m pilothouse_server.demo --server 127.0.0.1:50051 --data-dir FOLDER`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from pilothouse.executor import Executor
from pilothouse_server.demo.engine import Engine, EngineOptions
from pilothouse_server.demo.journal import JournalInUse
from pilothouse_server.demo.launch import die_with

IN_USE = 73
"""Exit status when another engine works in the folder (EX_CANTCREAT)."""


def arguments_of(words: list[str], environment: dict[str, str]) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m pilothouse_server.demo", description=__doc__)
    server = environment.get("PILOTHOUSE_SERVER", "127.0.0.1:50051")
    parser.add_argument(
        "--server", default=server, help="host:port of the gRPC server (%(default)s)"
    )
    parser.add_argument(
        "--data-dir", type=Path, required=True, help="where the engine keeps its work"
    )
    pace = environment.get("PILOTHOUSE_DEMO_PACE", str(EngineOptions().pace))
    parser.add_argument(
        "--pace",
        type=_positive,
        default=pace,
        help="workflows that arrive in a minute (%(default)s)",
    )
    parser.add_argument("--max-workflows", type=int, help="end after so many")
    parser.add_argument("--seed", type=int, help="decides the workflows of a new folder")
    parser.add_argument("--parent", type=int, help="end when the process of this id does")
    return parser.parse_args(words)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 6000:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 6000")
    return value


async def run(options: argparse.Namespace) -> None:
    """Work until a signal says to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    chosen = EngineOptions(
        pace=options.pace, max_workflows=options.max_workflows, seed=options.seed
    )
    executor = Executor(options.server, source=chosen.source)
    await Engine(executor, options.data_dir, chosen).run(stop)


def main(words: list[str] | None = None) -> int:
    """Run the command; its exit status."""
    options = arguments_of(sys.argv[1:] if words is None else words, dict(os.environ))
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    if options.parent is not None and not die_with(options.parent):
        return 0
    try:
        asyncio.run(run(options))
    except JournalInUse as folder:
        print(f"another demo engine works in {folder}", file=sys.stderr)
        return IN_USE
    return 0


if __name__ == "__main__":
    sys.exit(main())
