"""What an update mask names: the fields that are changed, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.descriptor import Descriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from pilothouse_server.domain.errors import InvalidArgument
from pilothouse_server.transport.validation import violations_of


def merged(before: Message, wanted: Message, mask: FieldMask, at: str) -> None:
    """Puts what the mask names into `before`. Raises InvalidArgument when that breaks a rule of the contract."""
    mask.MergeMessage(wanted, before, replace_message_field=True, replace_repeated_field=True)
    for field, description in violations_of(before):
        raise InvalidArgument(f"{at}.{field}" if field else at, description)


def checked(mask: FieldMask, kind: Descriptor, changeable: Sequence[str]) -> FieldMask:
    """The mask of a request; an empty one names everything that can be changed. Raises InvalidArgument."""
    for path in mask.paths:
        top, dot, _ = path.partition(".")
        if top not in changeable:
            what = "cannot be changed" if top in kind.fields_by_name else "is no field"
            allowed = ", ".join(changeable)
            raise InvalidArgument("update_mask", f"{path!r} {what}; allowed are {allowed}")
        if dot and not FieldMask(paths=[path]).IsValidForDescriptor(kind):
            raise InvalidArgument("update_mask", f"{path!r} is no field; try {top!r}")
    return FieldMask(paths=list(mask.paths) or list(changeable))
