"""The configuration of the platform ⇄ the contract. A path names a field of one of its groups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from pilothouse.v1 import config_pb2 as pb
from pilothouse_server.domain.errors import InvalidArgument
from pilothouse_server.domain.platform import (
    SETTINGS,
    Change,
    ConfigVersion,
    Overrides,
    PlatformConfig,
    every_override,
)
from pilothouse_server.wire.times import duration, duration_us, optional_timestamp

GROUPS: Final = tuple(pb.PlatformConfig.DESCRIPTOR.fields_by_name)


def version_to_proto(version: ConfigVersion) -> pb.ConfigVersion:
    """The contract's message of a version."""
    return pb.ConfigVersion(
        version=version.version,
        config=overrides_to_proto(version.overrides),
        actor=version.actor,
        reason=version.reason,
        create_time=optional_timestamp(version.create_us),
    )


def config_to_proto(config: PlatformConfig) -> pb.PlatformConfig:
    """What is in force: every field present."""
    return overrides_to_proto(every_override(config))


def overrides_to_proto(overrides: Overrides) -> pb.PlatformConfig:
    """What is set; a field that is not is absent."""
    message = pb.PlatformConfig()
    for path, value in overrides.items():
        setting = SETTINGS.get(path)
        if setting is None:
            continue
        group, _, name = path.partition(".")
        inside: Message = getattr(message, group)
        if setting.duration:
            getattr(inside, name).CopyFrom(duration(round(value)))
        else:
            setattr(inside, name, value)
    return message


def overrides_from_proto(message: pb.PlatformConfig) -> Overrides:
    """What is said in a message."""
    found: dict[str, int | float] = {}
    for path in SETTINGS:
        group, _, name = path.partition(".")
        inside: Message = getattr(message, group)
        if inside.HasField(name):
            value: Any = getattr(inside, name)
            found[path] = duration_us(value) if isinstance(value, Duration) else value
    return found


def paths_of(mask: FieldMask, values: Overrides) -> Sequence[str]:
    """The fields that an update is about: those that the mask names, where a group is all of its fields; without a
    mask those that have a value. Raises InvalidArgument for a path that is no field."""
    if not mask.paths:
        return list(values)
    found: dict[str, None] = {}
    for path in mask.paths:
        named = [path] if path in SETTINGS else [p for p in SETTINGS if p.startswith(f"{path}.")]
        if not named or (path not in SETTINGS and path not in GROUPS):
            raise InvalidArgument("update_mask", f"{path!r} is no field; {_allowed(path)}")
        found |= dict.fromkeys(named)
    return list(found)


def _allowed(path: str) -> str:
    beyond = next((each for each in SETTINGS if path.startswith(f"{each}.")), "")
    if beyond:
        return f"try {beyond!r}"
    group = path.partition(".")[0]
    of_group = [each for each in SETTINGS if each.startswith(f"{group}.")]
    return f"allowed are {', '.join(of_group or SETTINGS)}"


def changes_to_proto(changes: Iterable[Change]) -> Sequence[pb.ConfigChange]:
    """The contract's messages of what differs."""
    return [pb.ConfigChange(field=c.field, before=c.before, after=c.after) for c in changes]
