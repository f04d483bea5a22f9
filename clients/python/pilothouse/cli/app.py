"""The program: its commands, built from the contract when they are asked for, and its end."""

# What overrides a method of click, or is called by it, has click's arguments.
# ruff: noqa: ARG001, ARG002

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import click

from pilothouse.cli import audits, backtests, contexts, contract, exits, exports, params
from pilothouse.cli.output import FORMS, output_for
from pilothouse.cli.tables import Screen
from pilothouse.cli.values import neutral

SHELLS = ("bash", "zsh", "fish")
DEFAULT_TIMEOUT = 10.0


def _duration(typed: str) -> float:
    from pilothouse.cli.values import parse_duration  # noqa: PLC0415

    return parse_duration(typed).ToMilliseconds() / 1000


SECONDS = params.ValueParam("DURATION", _duration)


def _connection_options() -> list[click.Option]:
    """What says where to call; on the program and, for those who think of it later, on each command."""
    return [
        click.Option(["--server"], metavar="HOST:PORT", help="The server to call."),
        click.Option(
            ["--context"], metavar="NAME", help="The context to use instead of the current one."
        ),
        click.Option(["--tls/--no-tls"], default=None, help="Whether the connection is encrypted."),
        click.Option(
            ["--ca-file"], metavar="FILE", help="PEM file of the authorities that may vouch for it."
        ),
        click.Option(
            ["--timeout"], type=SECONDS, metavar="DURATION", help="How long a call may take; 10 s."
        ),
    ]


def _output_options() -> list[click.Option]:
    return [
        click.Option(
            ["-o", "--output"],
            type=click.Choice(FORMS),
            default="table",
            help="The form of the answer.",
        ),
        click.Option(["--columns"], metavar="NAME,…", help="The columns of a table."),
    ]


def _extra_options(command: contract.Command) -> list[click.Option]:
    """What a command can do beyond its request, for the kind of method that it is."""
    found: list[click.Option] = []
    method = command.method
    listed = _is_paged(command)
    if listed:
        found.append(click.Option(["--all", "every_page"], is_flag=True, help="Every page."))
    if listed or (method.server_streaming and not method.client_streaming):
        what = "rows" if listed else "items; then the program ends"
        found.append(
            click.Option(
                ["--limit"],
                type=click.IntRange(min=0),
                metavar="N",
                help=f"At most so many {what}.",
            )
        )
    if _is_control(command):
        found.append(
            click.Option(["--wait"], is_flag=True, help="Until the engine has done it, or has not.")
        )
        found.append(
            click.Option(
                ["--wait-timeout"], type=SECONDS, metavar="DURATION", help="How long; 60 s."
            )
        )
    if method.client_streaming:
        found.append(
            click.Option(
                ["--input"], default="-", metavar="FILE", help="Requests, one JSON on each line."
            )
        )
    return found


def _is_paged(command: contract.Command) -> bool:
    from pilothouse.cli.calls import is_paged  # noqa: PLC0415

    return is_paged(command)


def _is_control(command: contract.Command) -> bool:
    from pilothouse.cli.calls import is_control  # noqa: PLC0415

    return is_control(command)


def _fields(command: contract.Command) -> list[click.Parameter]:
    """What a request is made from."""
    if command.path == backtests.PATH:
        return backtests.parameters()
    if command.path in exports.PATHS:
        return exports.parameters(command.method)
    method = command.method
    return [] if method.client_streaming else params.parameters(method)


class MethodCommand(click.Command):
    """One method of the contract."""

    def __init__(self, command: contract.Command) -> None:
        fields = _fields(command)
        taken = {parameter.name for parameter in fields}
        if command.path in {backtests.PATH, audits.VERIFY, audits.EXPORT, *exports.PATHS}:
            taken |= {"limit", "columns"}
        own = [*_extra_options(command), *_output_options(), *_connection_options()]
        super().__init__(
            command.name,
            params=[*fields, *(each for each in own if each.name not in taken)],
            callback=self._run,
            help=contract.comment(command.method) or None,
        )
        self._command = command
        self._fields = {parameter.name for parameter in fields if parameter.name}

    def _run(self, **given: Any) -> None:
        from pilothouse.cli.calls import Call, run  # noqa: PLC0415

        root: Mapping[str, Any] = click.get_current_context().find_root().params
        chosen = {
            key: given.get(key) if given.get(key) is not None else root.get(key)
            for key in _CONNECTION
        }
        columns = [name for name in (given.get("columns") or "").split(",") if name.strip()]
        server = _server(chosen)
        call = Call(
            command=self._command,
            given={key: value for key, value in given.items() if key in self._fields},
            server=server,
            timeout=chosen["timeout"] or DEFAULT_TIMEOUT,
            output=output_for(given["output"], _screen(), columns),
            say=lambda text: click.echo(neutral(text), err=True),
            limit=given.get("limit"),
            every_page=given.get("every_page", False),
            wait=(given.get("wait_timeout") or 60.0) if given.get("wait") else None,
            input=given.get("input", "-"),
        )
        try:
            run(call)
        except click.ClickException:
            raise
        except Exception as error:
            complaint = exits.complaint(error, server.server)
            if complaint is None:
                raise
            raise complaint from error


_CONNECTION = ("server", "context", "tls", "ca_file", "timeout")


def _server(chosen: Mapping[str, Any]) -> contexts.Context:
    base = contexts.Context() if chosen["server"] else contexts.resolve(chosen["context"])
    return contexts.Context(
        server=chosen["server"] or base.server,
        tls=base.tls if chosen["tls"] is None else chosen["tls"],
        ca_file=chosen["ca_file"] or base.ca_file,
    )


def _screen() -> Screen:
    terminal = sys.stdout.isatty()
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Screen(sys.stdout, terminal=terminal, colour=terminal and wanted)


class ServiceGroup(click.Group):
    """One service of the contract."""

    def __init__(self, name: str, commands: Mapping[str, contract.Command]) -> None:
        first = next(iter(commands.values()))
        super().__init__(name, help=contract.comment(first.method.containing_service) or None)
        self._methods = commands
        self._inner = {
            group.partition(" ")[2]: methods
            for group, methods in contract.groups().items()
            if group.startswith(f"{first.group} ")
        }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self._methods, *self._inner]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self._inner:
            return ServiceGroup(cmd_name, self._inner[cmd_name])
        found = self._methods.get(cmd_name)
        return None if found is None else MethodCommand(found)


class Program(click.Group):
    """Every service as a group, and what is about the program itself."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*(group for group in contract.groups() if " " not in group), *sorted(self.commands)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = self.commands.get(cmd_name)
        if own is not None:
            return own
        methods = contract.groups().get(cmd_name) if " " not in cmd_name else None
        return None if methods is None else ServiceGroup(cmd_name, methods)


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version  # noqa: PLC0415

        click.echo(f"pilothouse {version('pilothouse')}")
        ctx.exit()


def program() -> Program:
    """The whole command line."""
    root = Program(
        "pilothouse",
        params=[
            *_connection_options(),
            click.Option(
                ["--version"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_version,
                help="Shows it.",
            ),
        ],
        help="Watch and steer workflows and agents.",
    )
    root.add_command(contexts.as_group())
    root.add_command(completion)
    return root


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Prints what makes a shell complete commands: source it, or put it where the shell looks."""
    from click.shell_completion import get_completion_class  # noqa: PLC0415

    found = get_completion_class(shell)
    if found is None:
        raise click.ClickException(f"no completion for {shell}")
    click.echo(found(program(), {}, "pilothouse", "_PILOTHOUSE_COMPLETE").source())


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """Do what was typed, and end the process with its exit code."""
    code = invoke(arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = exits.PIPE
    if code == exits.PIPE:
        # The interpreter flushes once more at its end, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def invoke(arguments: Sequence[str] | None = None) -> int:
    """Do what was typed; the exit code."""
    try:
        result = program().main(args=arguments, prog_name="pilothouse", standalone_mode=False)
    except click.Abort:
        return exits.INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return result if isinstance(result, int) else exits.OK
