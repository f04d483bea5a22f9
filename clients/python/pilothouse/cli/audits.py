"""`audit verify` says in words whether the log is whole, and ends with 1 when it is not; `audit export` writes what
comes as it is, for a file.

Programs ask `verify` for JSON or YAML and get the verdict alone.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from pilothouse.cli import exits, params
from pilothouse.cli.output import Tables
from pilothouse.cli.values import neutral

if TYPE_CHECKING:
    from pilothouse.cli.calls import Call
    from pilothouse.client import Client
    from pilothouse.v1.audit_pb2 import VerifyAuditResponse

VERIFY = "/pilothouse.v1.AuditService/VerifyAudit"
EXPORT = "/pilothouse.v1.AuditService/ExportAudit"


def verify(client: Client, call: Call) -> None:
    """Make the call and show the verdict. Ends the program with 1 where the log is not whole."""
    # Only what is called loads messages.
    from pilothouse.v1.audit_pb2 import VerifyAuditRequest, VerifyAuditResponse  # noqa: PLC0415

    method = client.channel.unary_stream(
        VERIFY, VerifyAuditRequest.SerializeToString, VerifyAuditResponse.FromString
    )
    verdict = VerifyAuditResponse()
    counts = sys.stderr.isatty()
    request = VerifyAuditRequest()
    params.fill(request, call.given)
    answers: Any = method(request)
    for verdict in answers:
        if counts:
            click.echo(f"\r{verdict.checked:,} records", nl=False, err=True)
    if counts:
        click.echo("\r\x1b[K", nl=False, err=True)
    if not verdict.complete:
        raise click.ClickException("the answer broke off: nothing is proved; try again")
    if isinstance(call.output, Tables):
        for line in _lines(verdict):
            call.output.screen.line(call.output.screen.style(*line))
    else:
        call.output.answer(verdict)
    if not verdict.intact:
        raise click.exceptions.Exit(exits.FAILED)


def _lines(verdict: VerifyAuditResponse) -> list[tuple[str, str]]:
    """What to say, each line with its style."""
    looked = "1 record" if verdict.checked == 1 else f"{verdict.checked:,} records"
    if not verdict.intact:
        return [
            (f"NOT WHOLE: {neutral(verdict.problem)}", "red"),
            (f"{looked} before that are as they were written", "dim"),
        ]
    lines = [(f"whole: {looked}, each as it was written and in its place", "green")]
    if verdict.last_sequence:
        again = f"--expected-sequence {verdict.last_sequence} --expected-hash {verdict.last_hash}"
        lines += [
            (
                "note this elsewhere; it shows later that the log was not made anew as a whole:",
                "dim",
            ),
            (f"pilothouse audit verify {again}", "bold"),
        ]
    return lines


def export(client: Client, call: Call) -> None:
    """Make the call and write down what comes."""
    from pilothouse.v1.audit_pb2 import ExportAuditRequest, ExportAuditResponse  # noqa: PLC0415

    method = client.channel.unary_stream(
        EXPORT, ExportAuditRequest.SerializeToString, ExportAuditResponse.FromString
    )
    terminal = sys.stdout.isatty()
    request = ExportAuditRequest()
    params.fill(request, call.given)
    answers: Any = method(request)
    for part in answers:
        if not isinstance(call.output, Tables):
            call.output.item(part)
        elif terminal:
            for line in part.text.splitlines():
                call.output.screen.line(neutral(line))
        else:
            # As it is: what is in a file has the hashes that it was written with.
            sys.stdout.write(part.text)
