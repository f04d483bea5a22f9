"""A request, made of what was typed: JSON of a message first, then the options for its fields, which win."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from pilothouse.cli import contract, params, places
from pilothouse.cli.places import Place


def made(method: MethodDescriptor, given: Mapping[str, Any]) -> Message:
    """The request. Raises click.UsageError for what is missing or cannot be."""
    request = contract.request_class(method)()
    params.fill(request, given)
    every = places.places(method)
    typed = [place for place in every if place.nested and given.get(place.name) not in (None, ())]
    _check_choices(typed)
    for place in typed:
        message = request
        for field in place.way[:-1]:
            message = getattr(message, field.name)
            # Named on the way, it is there, even if what is in it is emptied.
            message.SetInParent()
        params.assign(message, place.field, given[place.name])
    _check_about(request, every)
    for place in every:
        if place.whole:
            _check(request, place, every)
    _set_mask(request, given, typed)
    return request


def _check_choices(typed: Sequence[Place]) -> None:
    """Of what a message is one of, options may give one only."""
    first: dict[str, tuple[FieldDescriptor, Place]] = {}
    for place in typed:
        for field in place.way[1:]:
            choice = field.containing_oneof
            if choice is None:
                continue
            taken, other = first.setdefault(choice.full_name, (field, place))
            if taken is not field:
                text = f"{other.flag} and {place.flag} exclude each other."
                raise click.UsageError(text, _context())


def _check_about(request: Message, every: Sequence[Place]) -> None:
    for place in every:
        if place.positional and place.nested:
            message: Any = request
            for field in place.way:
                message = getattr(message, field.name)
            if not message:
                raise _missing(f"argument '{'_'.join(place.words).upper()}'")


def _check(request: Message, whole: Place, every: Sequence[Place]) -> None:
    """Say what a message in the request needs, as the options that give it."""
    field = whole.field
    there = request.HasField(field.name)
    if contract.is_unchecked(field) or not (there or contract.is_required(field)):
        return
    message = getattr(request, field.name)
    for fields in places.needed(contract.message_of(field)):
        if any(_is_set(message, each) for each in fields):
            continue
        flags = [
            place.flag
            for place in every
            if len(place.way) > 1
            and place.way[0] is field
            and place.way[1] in fields
            and (len(place.way) == 2 or contract.is_address(place.field))
        ]
        raise _missing(f"option {' or '.join(repr(flag) for flag in flags or [whole.flag])}")


def _is_set(message: Message, field: FieldDescriptor) -> bool:
    if field.is_repeated or not field.has_presence:
        return bool(getattr(message, field.name))
    return message.HasField(field.name)


def _set_mask(request: Message, given: Mapping[str, Any], typed: Sequence[Place]) -> None:
    """Without a mask a change is of what the options name, unless JSON says all of it."""
    fields = contract.fields(contract.kind_of(request))
    mask = next((field.name for field in fields if _is_mask(field)), None)
    if mask is None:
        return
    changed = [place for place in typed if not place.positional]
    whole = [field.name for field in fields if places.is_spread(field)]
    as_json = any(given.get(name) is not None for name in whole)
    paths: Any = getattr(request, mask).paths
    if paths or not as_json:
        paths.extend(place.path for place in changed if place.path not in paths)
    if not paths and not as_json:
        raise click.UsageError(
            "Nothing to change: give the options of what shall be different.", _context()
        )


def _is_mask(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name == contract.FIELD_MASK


def _missing(what: str) -> click.UsageError:
    return click.UsageError(f"Missing {what}.", _context())


def _context() -> click.Context | None:
    return click.get_current_context(silent=True)
