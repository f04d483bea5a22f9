"""Every version of a rule: who changed it, when and why, and what differs from one version to another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final, NamedTuple, TypeGuard

from pilothouse_server.domain.alerts.documents import Document, rule_to_document
from pilothouse_server.domain.alerts.rules import Rule

VERSIONS_KEPT: Final = 1000
"""Of one rule; the oldest are removed."""
DELETED_KEPT: Final = 1000
"""Rules that were deleted and can be restored; of those deleted longest ago nothing is kept."""


@dataclass(frozen=True, slots=True)
class RuleVersion:
    """One version of a rule."""

    version: int
    create_us: int
    actor: str
    reason: str
    rule: Rule
    """As it was from then on; as it was before, where it was deleted."""
    deleted: bool = False


class FieldDifference(NamedTuple):
    """A field whose values, as JSON, differ; "" where it is not there."""

    path: str
    before: str
    after: str


_NOWHERE: Any = object()


def differences(before: Rule | None, after: Rule | None) -> list[FieldDifference]:
    """Field by field, in the words of documents; None is no rule."""
    return list(_compared(_document(before), _document(after), ""))


def _document(rule: Rule | None) -> Document:
    return {} if rule is None else rule_to_document(rule)


_MAPS: Final = ("labels", "annotations")
"""Mappings whose keys are people's own words."""


def _compared(before: Any, after: Any, at: str) -> Iterator[FieldDifference]:
    if before == after:
        return
    if _is_mapping(before) and _is_mapping(after):
        for key in dict.fromkeys((*before, *after)):
            path = f'{at}["{key}"]' if at in _MAPS else f"{at}.{key}".lstrip(".")
            yield from _compared(_inside(before, key, at), _inside(after, key, at), path)
    elif _is_list(before) and _is_list(after):
        pairs = zip_longest(before, after, fillvalue=_NOWHERE)
        for index, (earlier, later) in enumerate(pairs):
            yield from _compared(earlier, later, f"{at}[{index}]")
    else:
        yield FieldDifference(at, _json(before), _json(after))


def _is_mapping(value: Any) -> TypeGuard[Document]:
    return isinstance(value, dict)


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _inside(mapping: Document, key: str, at: str) -> Any:
    """A mapping that is left out is an empty one, so that its keys are named one by one."""
    default: Any = Document() if not at and key in _MAPS else _NOWHERE
    return mapping.get(key, default)


def _json(value: Any) -> str:
    return "" if value is _NOWHERE else json.dumps(value, ensure_ascii=False)
