"""How the program ends: one exit code for each way, and for each refusal what to do about it.

0 done · 1 something on this side · 2 not understood as typed · 3 the command that was waited for failed or expired · 10
+ the gRPC code for a call that was refused · 130 interrupted · 141 nobody reads the output any more
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

import click

from pilothouse.cli.contract import word_of
from pilothouse.cli.values import neutral

if TYPE_CHECKING:
    from pilothouse.errors import CallError

OK, FAILED, USAGE, NOT_EFFECTIVE, GRPC, INTERRUPTED, PIPE = 0, 1, 2, 3, 10, 130, 141

ADVICE: Mapping[str, str] = {
    "WORKFLOW_NOT_FOUND": "`pilothouse workflows list` shows the workflows there are",
    "AGENT_NOT_FOUND": "`pilothouse agents list` shows the agents there are",
    "COMMAND_NOT_FOUND": "`pilothouse commands list` shows the commands there are",
    "ALERT_NOT_FOUND": "`pilothouse alerts list` shows the alerts there are",
    "RULE_NOT_FOUND": "`pilothouse rules list` shows the rules there are",
    "RULE_VERSION_NOT_FOUND": "`pilothouse rules list-versions` shows the versions there are",
    "CONFIG_VERSION_NOT_FOUND": "`pilothouse config list-versions` shows the versions there are",
    "SILENCE_NOT_FOUND": "`pilothouse silences list` shows the silences there are",
    "CHANNEL_NOT_FOUND": "`pilothouse channels list` shows the channels there are",
    "ESCALATION_NOT_FOUND": "`pilothouse escalations list` shows the escalations there are",
    "HEARTBEAT_NOT_FOUND": "`pilothouse heartbeats list` shows the heartbeats there are",
    "DELIVERY_NOT_FOUND": "`pilothouse deliveries list` shows the deliveries there are",
    "COMMAND_PENDING": "wait for it with `pilothouse commands get {command_id}`, or cancel the workflow",
    "ILLEGAL_TRANSITION": "possible now: {legal_actions}",
    "ETAG_MISMATCH": "somebody changed it meanwhile: read it again",
    "NO_EXECUTOR": "the engine {source} has to connect first; `pilothouse commands list-executors` shows who is there",
    "UNSUPPORTED_BY_ENGINE": "`pilothouse commands list-executors` shows what each engine can do",
    "NO_SNAPSHOT": "the server has just started: try again in a second",
    "INVALID_FILTER": 'a filter looks like: state = RUNNING AND type = "feature"',
    "INVALID_PAGE_TOKEN": "use the token of the page before with the same filter and order",
    "REQUEST_ID_REUSED": "leave out --request-id to get a new one",
    "SERVER_UNREACHABLE": "is the server running?",
}
"""What to do, by reason; words in braces are from the error's metadata."""

_BY_CODE: Mapping[str, str] = {
    "UNAVAILABLE": "is the server running at {server}? `pilothouse-server up` starts one; --server names another",
    "UNIMPLEMENTED": "the server at {server} is older than this program, or is not Pilothouse's gRPC port",
    "DEADLINE_EXCEEDED": "a longer --timeout may help; what was asked for may have been done",
    "UNAUTHENTICATED": "the server at {server} wants to know who you are",
}


def explain(error: CallError, server: str) -> list[str]:
    """The lines that say what went wrong and what to do, with what the server says neutralised."""
    lines = [f"error: {neutral(error.message) or error.code.name}"]
    violations = [f"{each.field}: {each.description}" for each in error.violations]
    lines += [f"  {neutral(each)}" for each in violations if each != error.message]
    lines.append(f"  reason: {neutral(error.reason) or error.code.name}")
    lines += [
        f"  {neutral(key)}: {neutral(value)}"
        for key, value in sorted(error.metadata.items())
        if not (violations and key in {"field", "description"})
    ]
    advice = ADVICE.get(error.reason) or _BY_CODE.get("" if error.reason else error.code.name)
    words = {key: neutral(value) for key, value in error.metadata.items() if value}
    # What the advice is about may not have been said: then there is none.
    with contextlib.suppress(KeyError):
        lines += [f"  try: {advice.format_map({**words, 'server': server})}"] if advice else []
    return lines


def code_of(error: CallError) -> int:
    """The exit code for a call that was refused."""
    number: int = error.code.value[0]
    return GRPC + number


class Complaint(click.ClickException):
    """What went wrong and what to do, in lines, with its exit code."""

    def __init__(self, lines: list[str], exit_code: int) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
        self._code = exit_code

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._code

    def show(self, file: IO[Any] | None = None) -> None:
        for line in self.lines:
            click.echo(line, file=file, err=file is None)


def complaint(error: Exception, server: str) -> Complaint | None:
    """What `error` of a call means to a person; None for an error of this program."""
    from google.protobuf.json_format import SerializeToJsonError  # noqa: PLC0415 - only when something is wrong

    from pilothouse.errors import CallError, CommandNotEffective, PilothouseError  # noqa: PLC0415

    match error:
        case BrokenPipeError():
            return Complaint([], PIPE)
        case CallError():
            return Complaint(explain(error, server), code_of(error))
        case CommandNotEffective():
            command = error.command
            word = word_of(command, "state")
            lines = [
                f"error: the command is {word}: {neutral(str(error))}",
                f"  command: {command.id}",
            ]
            return Complaint(lines, NOT_EFFECTIVE)
        case TimeoutError():
            advice = "  it may still take effect: `pilothouse commands get` tells"
            return Complaint([f"error: {error}", advice], GRPC + 4)
        case PilothouseError() | SerializeToJsonError() | ValueError():
            return Complaint([f"error: {neutral(str(error))}"], FAILED)
        case _:
            return None
