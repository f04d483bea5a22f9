"""The commands of the server: `up` is all of it in one process, `serve` and `bridge` are its
halves, `demo` adds real work.

An option on the command line overrides its PILOTHOUSE_ variable.
"""

from __future__ import annotations

import os

# Read by gRPC when it is imported. Our children are programs of their own, so gRPC need not prepare for a
# fork, nor say at each one that it could not.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import sys
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, cast

import click
import uvloop

from pilothouse_server import app, logs, maintenance
from pilothouse_server.adapters.notifying.sealing import new_key
from pilothouse_server.config import InvalidSettings, Settings, read_settings
from pilothouse_server.connectors.celery.broker import BrokerAway, NoApp, NoCelery
from pilothouse_server.connectors.celery.options import CeleryOptions
from pilothouse_server.datadir import DataDirInUse
from pilothouse_server.demo.beside import lacking
from pilothouse_server.demo.launch import CELERY, LANGGRAPH, OPENTELEMETRY
from pilothouse_server.domain.errors import Misconfigured, PilothouseError
from pilothouse_server.rulefiles import reports, rule_tests
from pilothouse_server.transport.server import PortTaken

Command = Callable[..., None]

_OPTIONS: dict[str, Callable[[Command], Command]] = {
    "data_dir": click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="Where log and database live.  [PILOTHOUSE_DATA_DIR]",
    ),
    "host": click.option(
        "--host", help="Address to listen on, 127.0.0.1 by default.  [PILOTHOUSE_HOST]"
    ),
    "grpc_port": click.option(
        "--grpc-port", type=int, help="50051 by default, 0 is any.  [PILOTHOUSE_GRPC_PORT]"
    ),
    "http_port": click.option(
        "--http-port", type=int, help="8080 by default, 0 is any.  [PILOTHOUSE_HTTP_PORT]"
    ),
    "server": click.option(
        "--server", help="The gRPC server to be a client of.  [PILOTHOUSE_SERVER]"
    ),
    "log_level": click.option(
        "--log-level", help="debug, info, warning or error.  [PILOTHOUSE_LOG_LEVEL]"
    ),
    "log_format": click.option("--log-format", help="text or json.  [PILOTHOUSE_LOG_FORMAT]"),
}


def _takes(*names: str) -> Callable[[Command], Command]:
    """The options of these settings, and of those that every command has."""

    def decorate(command: Command) -> Command:
        for name in reversed((*names, "log_level", "log_format")):
            command = _OPTIONS[name](command)
        return command

    return decorate


def _run(body: Callable[[Settings], Coroutine[Any, Any, None]], given: dict[str, object]) -> None:
    """Runs until it is asked to end. What is wrong with the surroundings is one sentence and exit
    code 1 or 2."""
    try:
        settings = read_settings(**given)
    except InvalidSettings as error:
        _fail(2, f"wrong settings:\n{error}")
    logs.configure(settings.log_level, settings.log_format)
    problem: BaseException | None = None
    try:
        uvloop.run(body(settings))
    except* (PortTaken, DataDirInUse, PilothouseError, OSError, NoCelery, NoApp) as group:
        problem = _leaf(group)
    if problem is not None:
        # 2 is what starting again does not mend, so that a supervisor need not try.
        _fail(
            2 if isinstance(problem, Misconfigured | NoCelery | NoApp) else 1, _explained(problem)
        )


def _leaf(error: BaseException) -> BaseException:
    """The first of the errors that are grouped in `error`."""
    match error:
        case BaseExceptionGroup(exceptions=(first, *_)):
            return _leaf(cast("BaseException", first))
        case _:
            return error


def _explained(error: BaseException) -> str:
    """What is wrong with the surroundings, and what to do."""
    match error:
        case PortTaken(address=address):
            return (
                f"{address} is taken by another process. End that one, or choose another port "
                "with --grpc-port or --http-port (0 is any free one)."
            )
        case DataDirInUse(path=path, holder=holder):
            return (
                f"{path} is in use by {f'process {holder}' if holder else 'another process'}. "
                "End that one, or choose another directory with --data-dir."
            )
        case BrokerAway():
            return f"the broker cannot be reached: {error}"
        case _:
            return str(error)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pilothouse-server", prog_name="pilothouse-server")
def main() -> None:
    """Pilothouse: watch and steer fleets of workflows and AI agents."""


@main.command()
@_takes("data_dir", "host", "grpc_port", "http_port")
def up(**given: object) -> None:
    """Everything in one process, with an embedded log and database."""
    _run(app.up, given)


@main.command()
@_takes("data_dir", "host", "grpc_port")
def serve(**given: object) -> None:
    """The gRPC server alone."""
    _run(app.serve, given)


@main.command()
@_takes("host", "http_port", "server")
def bridge(**given: object) -> None:
    """The bridge alone: WebSocket, REST and dashboard, as a client of a server."""
    _run(app.bridge, given)


@main.command()
@click.option("--celery", is_flag=True, help="A Celery app beside it, with a broker of its own.")
@click.option("--langgraph", is_flag=True, help="A LangGraph graph beside it.")
@click.option(
    "--opentelemetry", is_flag=True, help="An OpenTelemetry-instrumented agent beside it."
)
@_takes("data_dir", "host", "grpc_port", "http_port")
def demo(celery: bool, langgraph: bool, opentelemetry: bool, **given: object) -> None:
    """Everything, and a small real engine at work."""
    asked = {CELERY: celery, LANGGRAPH: langgraph, OPENTELEMETRY: opentelemetry}
    beside = [module for module, is_wanted in asked.items() if is_wanted]
    if missing := [name for module in beside for name in lacking(module)]:
        words = f"not installed here: {', '.join(missing)}"
        _fail(2, f"{words}. It takes pip install 'pilothouse-server[demo]'")
    _run(partial(app.demo, beside=beside), given)


@main.command("new-secret-key")
def new_secret_key() -> None:
    """Print a new key for PILOTHOUSE_SECRET_KEY."""
    click.echo(new_key())


@main.command()
@click.argument("revision", default="head")
@_takes("data_dir")
def migrate(revision: str, **given: object) -> None:
    """Take the database's schema to REVISION (head by default), up or down; then end."""

    async def body(settings: Settings) -> None:
        before, after = await maintenance.migrate(settings, revision)
        click.echo(f"{before or 'no schema'} -> {after or 'no schema'}")

    _run(body, given)


@main.command()
@click.option(
    "--shards", type=click.IntRange(1, 64), required=True, help="How many there are to be."
)
@_takes("data_dir")
def reshard(shards: int, **given: object) -> None:
    """Change into how many shards the Redis log is cut. All servers must be stopped."""

    async def body(settings: Settings) -> None:
        done = await maintenance.reshard(settings, shards)
        click.echo(
            f"{done.before} -> {done.after} shards; {done.workflows} workflows in hand were divided. "
            f"Start the servers with PILOTHOUSE_LOG_SHARDS={done.after}"
        )

    _run(body, given)


@main.group()
def connect() -> None:
    """Engines that know nothing of Pilothouse: watched and steered from beside."""


@connect.command("celery")
@click.option("--broker", default="", help="The broker's URL; needed unless --app has it.")
@click.option("--source", default="celery", show_default=True, help="The engine's name here.")
@click.option("--app", default="", help="module:app, when it configures more.")
@click.option("--result-backend", default="", help="Where results are; finds ends nobody told.")
@click.option(
    "--linger",
    type=click.FloatRange(0, 3600),
    default=2.0,
    show_default=True,
    help="Seconds that a next task is waited for, where senders do not tell what they send.",
)
@click.option(
    "--look-every",
    type=click.FloatRange(0.2, 3600),
    default=15.0,
    show_default=True,
    help="Seconds between two rounds of questions to the workers.",
)
@_takes("server")
def connect_celery(**given: object) -> None:
    """A Celery app, with no change of its code."""
    options = {name: given.pop(name) for name in ("broker", "source", "app", "result_backend")}
    times = {name: given.pop(name) for name in ("linger", "look_every")}
    if not options["broker"] and not options["app"]:
        _fail(2, "say where the tasks are: --broker redis://…, or --app module:app")

    async def body(settings: Settings) -> None:
        told = {**options, **times, "server": settings.server}
        await app.connect_celery(CeleryOptions(**cast("dict[str, Any]", told)))

    _run(body, given)


@main.group()
def rules() -> None:
    """Rules as files; needs no server."""


@rules.command("test")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def test_rules(files: tuple[Path, ...]) -> None:
    """Run the unit tests of rules in FILES: ours, or promtool's.

    Ends with 0 when everything is as expected, with 1 when something is not or a file cannot be used."""
    passed = True
    for path in files:
        report = rule_tests.run_file(path)
        passed = passed and report.passed
        click.echo("\n".join(reports.lines(report)))
    sys.exit(0 if passed else 1)


def _fail(code: int, message: str) -> NoReturn:
    click.echo(f"pilothouse-server: {message}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
