"""One command of the contract, called: a unary method, the pages of a list, or a stream that is followed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from google.protobuf.message import Message

from pilothouse._pages import Pages, rows_field
from pilothouse.cli import audits, backtests, contract, exports, messages, requests
from pilothouse.cli.contexts import Context
from pilothouse.cli.output import Output

if TYPE_CHECKING:
    from pilothouse.client import Client
    from pilothouse.v1.commands_pb2 import Command as EngineCommand
    from pilothouse.watching import Interruption, WatchOptions

ENGINE_COMMAND = "pilothouse.v1.Command"

SPOKEN: Mapping[str, Callable[[Any, Any], None]] = {
    backtests.PATH: backtests.run,
    audits.VERIFY: audits.verify,
    audits.EXPORT: audits.export,
    exports.EVENTS: exports.events,
    exports.TRACES: exports.traces,
}
"""Streams that end, and whose end a person wants to read in words."""


@dataclass(frozen=True)
class Call:
    """What was typed."""

    command: contract.Command
    given: Mapping[str, Any]
    """Values of the fields of the request."""
    server: Context
    timeout: float
    output: Output
    say: Callable[[str], None]
    """Tells the person something that is not the answer."""
    limit: int | None = None
    """Rows of a list, or items of a stream, at most."""
    every_page: bool = False
    wait: float | None = None
    """Seconds to wait for the effect of a control; None: do not."""
    input: str = "-"
    """Where the requests of a stream come from."""


def is_paged(command: contract.Command) -> bool:
    """Whether the method answers page by page."""
    return (
        "page_token" in command.method.input_type.fields_by_name
        and "next_page_token" in command.method.output_type.fields_by_name
    )


def is_control(command: contract.Command) -> bool:
    """Whether the method asks an engine for something, which happens later."""
    answered = [field.message_type for field in command.method.output_type.fields]
    asks = "request_id" in command.method.input_type.fields_by_name
    return asks and any(each is not None and each.full_name == ENGINE_COMMAND for each in answered)


def run(call: Call) -> None:
    """Make the call and show the answer."""
    from pilothouse._channel import Tls  # noqa: PLC0415 - only what is called loads gRPC
    from pilothouse.client import Client  # noqa: PLC0415

    ca_file = Path(call.server.ca_file) if call.server.ca_file else None
    try:
        client = Client(
            call.server.server, tls=Tls(ca_file) if call.server.tls else None, timeout=call.timeout
        )
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    with client:
        method = call.command.method
        if method.client_streaming:
            _send(client, call)
        elif call.command.path in SPOKEN:
            SPOKEN[call.command.path](client, call)
        elif method.server_streaming:
            _follow(client, call)
        elif is_paged(call.command) and (call.every_page or call.limit is not None):
            _pages(client, call)
        else:
            _ask(client, call)


def _request(call: Call) -> Message:
    return requests.made(call.command.method, call.given)


def _unary(client: Client, command: contract.Command) -> Callable[[Message], Message]:
    return client.channel.unary_unary(
        command.path,
        contract.request_class(command.method).SerializeToString,
        contract.response_class(command.method).FromString,
    )


def _ask(client: Client, call: Call) -> None:
    response = _unary(client, call.command)(_request(call))
    if call.wait is not None and is_control(call.command):
        _wait(client, call, response)
    call.output.answer(response)
    for each in getattr(response, "left_out", ()):
        call.say(f"left out: {each}")
    token = getattr(response, "next_page_token", "")
    if token:
        call.say(f"there is more: --all, or --page-token {token}")


def _wait(client: Client, call: Call, response: Message) -> None:
    """Replace the command in `response` by the same one as it ended."""
    name = next(
        field.name
        for field in response.DESCRIPTOR.fields
        if field.message_type is not None and field.message_type.full_name == ENGINE_COMMAND
    )
    command = cast("EngineCommand", getattr(response, name))
    call.say(f"command {command.id}: waiting for the engine")
    command.CopyFrom(client.command(command.id).wait(call.wait))


def _pages(client: Client, call: Call) -> None:
    method = _unary(client, call.command)
    pages = Pages(_request(call), call.limit)
    field = rows_field(contract.response_class(call.command.method)()) or ""
    rows: list[Message] = []
    while not pages.done:
        rows += pages.received(method(pages.request()))
    call.output.rows(field, rows)


def _follow(client: Client, call: Call) -> None:
    """Follow a stream until it is interrupted; it goes on after a break by itself."""
    from pilothouse.watching import Item, Reset  # noqa: PLC0415

    if call.limit == 0:
        return
    method = client.channel.unary_stream(
        call.command.path,
        contract.request_class(call.command.method).SerializeToString,
        contract.response_class(call.command.method).FromString,
    )
    request = _request(call)
    watch = client.watch(method, request, Message, _watch_options(call, request))
    shown = 0
    try:
        with closing(iter(watch)) as updates:
            for update in updates:
                if isinstance(update, Reset):
                    call.say(f"what follows does not join what came before: {update.reason}")
                elif isinstance(update, Item):
                    call.output.item(update.value)
                    shown += 1
                    if shown == call.limit:
                        return
    finally:
        call.output.close()


def _watch_options(call: Call, request: Message) -> WatchOptions:
    from pilothouse.watching import DEFAULT_SILENCE, WatchOptions  # noqa: PLC0415

    def interrupted(what: Interruption) -> None:
        call.say(f"the stream broke ({what.reason}); trying again in {what.retry_in:.1f} s")

    interval = request.DESCRIPTOR.fields_by_name.get("interval")
    seconds = getattr(request, "interval").seconds if interval else 0  # noqa: B009
    # The first failure is final: a person who typed a wrong address wants to know now.
    return WatchOptions(
        silence=max(DEFAULT_SILENCE, 3 * seconds), patience=0, on_interruption=interrupted
    )


def _send(client: Client, call: Call) -> None:
    """Send the requests that are read, one JSON on each line, and show each answer."""
    method = client.channel.stream_stream(
        call.command.path,
        contract.request_class(call.command.method).SerializeToString,
        contract.response_class(call.command.method).FromString,
    )
    typed = call.input if call.input == "-" else f"@{call.input}"
    found = messages.parse_messages(call.command.method.input_type, typed)
    for response in method(_paced(found)):
        call.output.item(response)


def _paced(every: list[Message]) -> Iterator[Message]:
    for request in every:
        yield request
        # Lets the thread of the answers run between two large requests.
        time.sleep(0)
