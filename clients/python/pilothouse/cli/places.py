"""The fields that a request is made of, and those of the messages in it: each has a name on the command line by the way
there.

`rule.for_duration` of UpdateRule is `--for-duration`: the noun of the service is not said again. `channel.webhook.url`
is `--webhook-url`. What only the server sets is left out, and so is what has its own form in words, which is typed as a
whole. What the address of the method names (`/api/v1/rules/{rule.id}`) is what the command is about.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from pilothouse.cli import contract, phrases

DEEPEST = 4
"""Fields one in another that are named; what is deeper is typed as JSON."""


@dataclass(frozen=True)
class Place:
    """One field, and the way there."""

    way: tuple[FieldDescriptor, ...]
    """From a field of the request inwards."""
    words: tuple[str, ...]
    """What it is called: the names on the way, without that of the service's noun."""
    positional: bool = False
    """Whether it says what the command is about."""
    whole: bool = False
    """Whether what is in it can be typed field by field."""
    also: tuple[str, ...] = ()
    """Other options that mean the same."""

    @property
    def field(self) -> FieldDescriptor:
        """The field."""
        return self.way[-1]

    @property
    def nested(self) -> bool:
        """Whether it is in a message of the request."""
        return len(self.way) > 1

    @property
    def name(self) -> str:
        """As a name of Python, different for each."""
        return "__".join(field.name for field in self.way)

    @property
    def flag(self) -> str:
        """The option."""
        return "--" + "-".join(self.words).replace("_", "-")

    @property
    def path(self) -> str:
        """For a mask of what is changed in the request's message."""
        return ".".join(field.name for field in self.way[1:])


def places(method: MethodDescriptor) -> list[Place]:
    """All of them: those of the request itself first."""
    noun = "_".join(contract.noun(method.containing_service)).lower()
    about = contract.path_fields(method)
    own: list[Place] = []
    inner: list[Place] = []
    for field in contract.fields(method.input_type):
        whole = is_spread(field)
        own.append(
            Place(
                (field,),
                (field.name,),
                contract.is_positional(field),
                whole,
                _also((field.name,), field),
            )
        )
        if whole:
            before = () if field.name == noun else (field.name,)
            inner += _inside((field,), before, about, noun)
    taken = {flag for place in own for flag in (place.flag, *place.also)}
    return [*own, *(place for place in inner if place.positional or place.flag not in taken)]


def is_spread(field: FieldDescriptor) -> bool:
    """Whether the fields of the message in `field` have options of their own."""
    message = field.message_type
    return (
        message is not None
        and not field.is_repeated
        and message.file.package.startswith("pilothouse.")
        and not phrases.is_phrase(message)
    )


def _inside(
    way: tuple[FieldDescriptor, ...], before: tuple[str, ...], about: frozenset[str], noun: str
) -> Iterator[Place]:
    for field in contract.fields(contract.message_of(way[-1])):
        if contract.is_output_only(field):
            continue
        inner, words = (*way, field), (*before, field.name)
        if is_spread(field) and len(inner) < DEEPEST:
            yield from _inside(inner, words, about, noun)
        elif ".".join(each.name for each in inner) in about:
            yield Place(inner, (noun, field.name), positional=True)
        else:
            yield Place(inner, words, also=_also(words, field))


def _also(words: tuple[str, ...], field: FieldDescriptor) -> tuple[str, ...]:
    """Of what may be given more than once, each is one: `--matcher` for `matchers`."""
    one = contract.singular(field.name)
    if not field.is_repeated or one == field.name:
        return ()
    return ("--" + "-".join([*words[:-1], one]).replace("_", "-"),)


def needed(descriptor: Descriptor) -> Iterator[tuple[FieldDescriptor, ...]]:
    """Of which fields a message of this kind needs one."""
    for field in contract.fields(descriptor):
        if contract.is_required(field) and not contract.is_output_only(field):
            yield (field,)
    for choice in contract.choices(descriptor):
        if contract.is_needed(choice):
            yield tuple(choice.fields)
