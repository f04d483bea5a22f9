"""`events export` and `traces export` write what comes as it is, for a file; events say on the terminal how far it is.

A file has its name only when all of it is there. A document that broke off ends the program with 1.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pilothouse.cli import params
from pilothouse.cli.output import Tables
from pilothouse.cli.values import neutral

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor

    from pilothouse.cli.calls import Call
    from pilothouse.client import Client
    from pilothouse.v1.events_pb2 import ExportEventsResponse

EVENTS = "/pilothouse.v1.EventService/ExportEvents"
TRACES = "/pilothouse.v1.TraceService/ExportTrace"
PATHS = frozenset({EVENTS, TRACES})
TO = "to"


def parameters(method: MethodDescriptor) -> list[click.Parameter]:
    """What is typed."""
    to = click.Option(
        [f"--{TO}"],
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Write to this file instead of the terminal.",
    )
    return [*params.parameters(method), to]


def events(client: Client, call: Call) -> None:
    """Make the call and write down what comes."""
    from pilothouse.v1.events_pb2 import (  # noqa: PLC0415 - only what is called loads messages
        ExportEventsRequest,
        ExportEventsResponse,
    )

    given = dict(call.given)
    file: Path | None = given.pop(TO, None)
    request = ExportEventsRequest()
    params.fill(request, given)
    method = client.channel.unary_stream(
        EVENTS, ExportEventsRequest.SerializeToString, ExportEventsResponse.FromString
    )
    answers: Any = method(request)
    part = ExportEventsResponse()
    with _writing(call, file) as write:
        for part in answers:
            if file is None and not isinstance(call.output, Tables):
                call.output.item(part)
            else:
                write(part.text)
            _say_how_far(part, file)
        if not part.complete:
            raise click.ClickException("the answer broke off: the document is not whole")
    if file is not None:
        call.say(f"{part.exported:,} events in {file}")


def traces(client: Client, call: Call) -> None:
    """The same for the document of a trace, which is whole when the call ends well."""
    from pilothouse.v1.traces_pb2 import (  # noqa: PLC0415 - only what is called loads messages
        ExportTraceRequest,
        ExportTraceResponse,
    )

    given = dict(call.given)
    file: Path | None = given.pop(TO, None)
    request = ExportTraceRequest()
    params.fill(request, given)
    method = client.channel.unary_stream(
        TRACES, ExportTraceRequest.SerializeToString, ExportTraceResponse.FromString
    )
    answers: Any = method(request)
    part = ExportTraceResponse()
    with _writing(call, file) as write:
        for part in answers:
            if file is None and not isinstance(call.output, Tables):
                call.output.item(part)
            else:
                write(part.text)
    if file is not None:
        call.say(f"{part.exported:,} spans in {file}")


@contextlib.contextmanager
def _writing(call: Call, file: Path | None) -> Generator[Callable[[str], object]]:
    """Where the text goes."""
    if file is None:
        yield _shown(call) if sys.stdout.isatty() else sys.stdout.write
        return
    partial = file.with_name(f"{file.name}.part")
    try:
        # Its lines end as the server ends them.
        with partial.open("w", encoding="utf-8", newline="") as opened:
            yield opened.write
        partial.replace(file)
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)


def _shown(call: Call) -> Callable[[str], object]:
    """For a terminal, which events must not command."""

    def show(text: str) -> None:
        for line in text.splitlines():
            call.output.screen.line(neutral(line))

    return show


def _say_how_far(part: ExportEventsResponse, file: Path | None) -> None:
    if not sys.stderr.isatty() or (file is None and sys.stdout.isatty()):
        return
    told = "" if part.complete else f"{part.progress:4.0%}  {part.exported:,} events"
    click.echo(f"\r\x1b[K{told}", nl=False, err=True)
